//! Bases that others made: container images in folders, archives and registries, folders and tars. What comes out is what was put in,
//! whichever way it came.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use basalt::failure::Kind;
use qemu_tests::draft::{self, Draft, Member, archive, gzip, system};
use qemu_tests::{Basalt, Ran, Registry, Scratch, Warm, run};
use serde_json::Value;

const INPUT: i32 = Kind::Input.exit_code() as i32;
const USAGE: i32 = Kind::Usage.exit_code() as i32;

/// A folder for one case, with a cache.
struct Case(Scratch);

impl Case {
    fn new() -> Result<Self> {
        Ok(Self(Scratch::new()?))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn basalt(&self, args: &[&str]) -> Result<Ran> {
        Basalt::new(args).folder(self.0.path()).cache(&self.at("cache")).run(&self.0)
    }

    /// Writes a recipe with this base.
    fn recipe(&self, base: &str) -> Result<()> {
        let text = format!("name = \"case\"\nversion = \"1\"\n[base]\n{base}\nminimal = true\n");
        self.0.write("case.toml", text).map(drop)
    }

    /// Builds `out` from this base.
    fn build(&self, base: &str, out: &str) -> Result<()> {
        self.recipe(base)?;
        self.basalt(&["build", "case.toml", "--out", out])?.exits(0);
        Ok(())
    }

    /// What the disk in `out` has at `path`; none when it has no such file.
    fn file(&self, out: &str, path: &str) -> Result<Option<String>> {
        let ran = self.basalt(&["inspect", &format!("{out}/case.raw:{path}")])?;
        Ok((ran.code == 0).then_some(ran.stdout))
    }

    /// The paths that differ between two disks, but for that which says what they are made from.
    fn differences(&self, one: &str, other: &str) -> Result<Vec<String>> {
        let ran = self.basalt(&["diff", "--json", &format!("{one}/case.raw"), &format!("{other}/case.raw")])?.exits(0);
        differences(&ran)
    }
}

/// The paths that a `diff --json` names, but for the plan's. Files of `/etc` have the image's time, which an image of its own may not say.
fn differences(ran: &Ran) -> Result<Vec<String>> {
    let found: Value = serde_json::from_str(&ran.stdout)?;
    let files = found["files"].as_array().with_context(|| format!("no files: {found}"))?;
    let more = |file: &&Value| file["changes"].as_array().is_some_and(|changes| changes.iter().any(|one| one["what"] != "time"));
    let paths = files.iter().filter(more).filter_map(|file| Some(file["path"].as_str()?.to_owned()));
    Ok(paths.filter(|path| path != "/usr/lib/basalt/image.json").collect())
}

const IMAGE: &str = "kind = \"oci\"\nfrom = \"oci:image\"";

/// Three layers: what each adds, replaces and takes away is what is there at the end.
#[test]
fn cli_layers_lie_over_one_another_as_the_specification_has_it() -> Result<()> {
    let case = Case::new()?;
    let mut lowest = system();
    for name in ["usr/share/a/", "usr/share/b/", "usr/share/b/deep/", "usr/share/c/", "usr/share/d/"] {
        lowest.push(Member::folder(name));
    }
    for name in ["a/kept", "a/removed", "a/changed", "b/hidden", "b/deep/hidden", "c/all", "d/becomes-folder"] {
        lowest.push(Member::file(&format!("usr/share/{name}"), "1"));
    }
    lowest.push(Member::link("usr/share/a/link", "kept"));
    let second = [
        Member::file("usr/share/a/.wh.removed", ""),
        Member::file("usr/share/a/changed", "2"),
        Member::hard("usr/share/a/hard", "usr/share/a/kept"),
        // The marker is valid wherever it stands, and for lower layers only.
        Member::file("usr/share/b/new", "2"),
        Member::folder("usr/share/b/deep/"),
        Member::file("usr/share/b/.wh..wh..opq", ""),
        Member::file("usr/share/.wh.c", ""),
        Member::folder("usr/share/d/becomes-folder/"),
        Member::file("usr/share/d/becomes-folder/inside", "2"),
        Member::file("usr/share/.wh..wh.plnk", ""),
        Member::file("usr/share/a/link", "2"),
        // What was never there, and what this layer has itself.
        Member::file("usr/share/a/.wh.never", ""),
        Member::file("usr/share/a/both", "2"),
        Member::file("usr/share/a/.wh.both", ""),
    ];
    let third = [Member::file("usr/share/c", "3"), Member::file("usr/share/a/removed", "3"), Member::file("usr/share/.wh.d", "")];
    let [second, third] = [archive(&second), archive(&third)];
    let draft = Draft::new(&[&archive(&lowest)]).stored(draft::PLAIN, second.clone(), &second);
    draft.stored(draft::GZIP, gzip(&third), &third).write(&case.at("image"))?;
    case.build(IMAGE, "out")?;
    for (path, wanted) in [
        ("a/kept", Some("1")),
        ("a/removed", Some("3")),
        ("a/changed", Some("2")),
        ("a/hard", Some("1")),
        ("a/link", Some("2")),
        ("a/both", Some("2")),
        ("b/hidden", None),
        ("b/deep/hidden", None),
        ("b/new", Some("2")),
        ("c/all", None),
        ("c", Some("3")),
        ("d/becomes-folder", None),
        ("d/becomes-folder/inside", None),
        (".wh..wh.plnk", None),
        ("b/.wh..wh..opq", None),
    ] {
        assert_eq!(case.file("out", &format!("/usr/share/{path}"))?.as_deref(), wanted, "{path}");
    }
    Ok(())
}

/// The same files by other programs, in every form that they write, are the same system.
#[test]
fn cli_a_system_is_the_same_whichever_program_packed_it() -> Result<()> {
    let case = Case::new()?;
    let root = case.at("root");
    fs::create_dir(&root)?;
    let [long, deep] = ["n".repeat(200), "deep/".repeat(30)];
    let mut members = system();
    members.push(Member::file("usr/share/case/Gruß", "not ASCII"));
    members.push(Member::hard("usr/share/case/hard", "usr/share/case/file"));
    let system_tar = case.0.write("system.tar", archive(&members))?;
    run(Command::new("tar").arg("-xf").arg(&system_tar).arg("-C").arg(&root))?;
    fs::create_dir_all(root.join("usr/share/case").join(&deep))?;
    fs::write(root.join("usr/share/case").join(&deep).join("file"), "deep")?;
    fs::write(root.join("usr/share/case").join(&long), "long")?;
    let pack = |program: &str, args: &[&str], to: &str| -> Result<PathBuf> {
        let to = case.at(to);
        run(Command::new(program).args(args).args(["--numeric-owner", "-cf"]).arg(&to).arg("-C").arg(&root).arg("."))?;
        Ok(to)
    };
    let owner = ["--owner=0", "--group=0"];
    let gnu = pack("tar", &[&["--format=gnu"], &owner[..]].concat(), "gnu.tar")?;
    let pax = pack("tar", &[&["--format=posix"], &owner[..]].concat(), "pax.tar")?;
    let other = pack("bsdtar", &["--format=pax", "--uid=0", "--gid=0"], "bsd.tar")?;
    let compressed = |program: &str, from: &Path| run(Command::new(program).args(["-k", "-f"]).arg(from)).map(drop);
    compressed("gzip", &gnu)?;
    compressed("zstd", &pax)?;

    case.build("kind = \"tree\"\npath = \"gnu.tar\"", "gnu")?;
    assert_eq!(case.file("gnu", &format!("/usr/share/case/{long}"))?.as_deref(), Some("long"));
    assert_eq!(case.file("gnu", &format!("/usr/share/case/{deep}file"))?.as_deref(), Some("deep"));
    assert_eq!(case.file("gnu", "/usr/share/case/hard")?.as_deref(), Some("lowest\n"));
    assert_eq!(case.file("gnu", "/usr/share/case/Gruß")?.as_deref(), Some("not ASCII"));
    for path in ["pax.tar", "bsd.tar", "gnu.tar.gz", "pax.tar.zst", "root"] {
        let out = format!("{path}-out");
        case.build(&format!("kind = \"tree\"\npath = \"{path}\""), &out)?;
        assert_eq!(case.differences("gnu", &out)?, [""; 0], "{path}");
    }
    for (name, tar, media_type, stored) in [
        ("gzip", &gnu, draft::GZIP, fs::read(case.at("gnu.tar.gz"))?),
        ("zstd", &pax, draft::ZSTD, fs::read(case.at("pax.tar.zst"))?),
        ("plain", &other, draft::PLAIN, fs::read(&other)?),
    ] {
        let image = Draft::new(&[]).stored(media_type, stored, &fs::read(tar)?);
        image.write(&case.at(&format!("{name}-image")))?;
        case.build(&format!("kind = \"oci\"\nfrom = \"oci:{name}-image:latest\""), name)?;
        assert_eq!(case.differences("gnu", name)?, [""; 0], "{name}");
    }
    let (from, to) =
        (format!("oci:{}", case.at("gzip-image").display()), format!("oci-archive:{}:x", case.at("archive").display()));
    run(Command::new("skopeo").args(["--insecure-policy", "copy", &from, &to]))?;
    case.build("kind = \"oci\"\nfrom = \"oci-archive:archive:x\"", "archive-out")?;
    assert_eq!(case.differences("gnu", "archive-out")?, [""; 0]);

    // umoci packs for itself, and its smallest layers have no end mark.
    let image = format!("{}:x", case.at("umoci").display());
    run(Command::new("umoci").arg("init").arg("--layout").arg(case.at("umoci")))?;
    run(Command::new("umoci").args(["new", "--image", &image]))?;
    run(Command::new("umoci").args(["insert", "--rootless", "--image", &image]).arg(&root).arg("/"))?;
    case.build("kind = \"oci\"\nfrom = \"oci:umoci:x\"", "umoci-out")?;
    assert_eq!(case.differences("gnu", "umoci-out")?, [""; 0]);
    fs::create_dir(case.at("empty"))?;
    let insert = ["insert", "--rootless", "--opaque", "--image", &image];
    run(Command::new("umoci").args(insert).arg(case.at("empty")).arg("/usr/share/case"))?;
    case.build("kind = \"oci\"\nfrom = \"oci:umoci:x\"", "emptied")?;
    let gone = case.differences("gnu", "emptied")?;
    assert!(gone.len() > 4 && gone.iter().all(|path| path.starts_with("/usr/share/case/")), "{gone:?}");
    Ok(())
}

/// The image's own manifest is pinned, not that of the list, and stays until somebody asks for another.
#[test]
fn cli_an_image_is_pinned_and_its_registry_is_asked_only_for_another() -> Result<()> {
    let case = Case::new()?;
    let registry = Registry::start(&case.0)?;
    let with = |text: &str| {
        let mut members = system();
        members.push(Member::file("usr/share/case/version", text));
        Draft::new(&[&archive(&members)])
    };
    let put = |text: &str| -> Result<()> {
        let image = case.at(text);
        Draft::write_list(&[with("arm64").on("arm64"), with(text)], &image)?;
        registry.put(&format!("oci:{}", image.display()), "hosts/system:1")
    };
    let (certificates, login) = (registry.certificates.display().to_string(), registry.auth_file.display().to_string());
    let way = ["--cert-dir", certificates.as_str(), "--authfile", &login];
    let basalt = |args: &[&str]| case.basalt(&[&args[..1], &way, &args[1..]].concat());
    let pinned = || -> Result<String> {
        let lock: toml::Value = toml::from_str(&fs::read_to_string(case.at("case.lock"))?)?;
        let base = &lock["architecture"]["amd64"]["base"];
        assert_eq!(base["kind"].as_str(), Some("oci"), "{base}");
        assert_eq!(base["layers"].as_array().map(Vec::len), Some(1), "{base}");
        Ok(base["manifest"]["sha256"].as_str().context("no digest")?.to_owned())
    };
    put("one")?;
    case.recipe(&format!("kind = \"oci\"\nfrom = \"docker://{}/hosts/system:1\"", registry.host))?;
    basalt(&["lock", "case.toml"])?.exits(0);
    let list: Value = serde_json::from_slice(&fs::read(case.at("one/index.json"))?)?;
    let list = list["manifests"][0]["digest"].as_str().context("no list")?.replace("sha256:", "");
    let list: Value = serde_json::from_slice(&fs::read(case.at("one/blobs/sha256").join(list))?)?;
    let first = pinned()?;
    assert_eq!(list["manifests"][1]["digest"].as_str(), Some(format!("sha256:{first}").as_str()), "{list}");

    put("two")?;
    basalt(&["build", "case.toml", "--out", "one-out"])?.exits(0);
    assert_eq!(case.file("one-out", "/usr/share/case/version")?.as_deref(), Some("one"));
    basalt(&["lock", "case.toml"])?.exits(0);
    assert_eq!(pinned()?, first);
    basalt(&["lock", "case.toml", "--update"])?.exits(0);
    assert_ne!(pinned()?, first);
    basalt(&["build", "case.toml", "--out", "two-out"])?.exits(0);
    assert_eq!(case.file("two-out", "/usr/share/case/version")?.as_deref(), Some("two"));
    assert_eq!(case.differences("one-out", "two-out")?, ["/usr/share/case/version"]);

    // Packages are no part of it.
    basalt(&["lock", "case.toml", "--update", "bash"])?.exits(USAGE).says("the base is not made of packages");
    basalt(&["vendor", "case.toml", "vendored"])?.exits(0);
    fs::copy(case.at("case.lock"), case.at("kept.lock"))?;
    drop(registry);
    // Nobody is asked any more: what is there will do.
    fs::remove_dir_all(case.at("two-out"))?;
    case.basalt(&["build", "case.toml", "--locked", "--out", "two-out"])?.exits(0);
    let from = case.at("vendored/plan.json").display().to_string();
    fs::remove_dir_all(case.at("cache"))?;
    case.basalt(&["build", &from, "--offline", "--out", "vendored-out"])?.exits(0);
    assert_eq!(case.differences("two-out", "vendored-out")?, [""; 0]);
    fs::remove_dir_all(case.at("cache"))?;
    let ran = case.basalt(&["build", "case.toml", "--offline", "--out", "none"])?.exits(INPUT);
    ran.says("not in the cache").says("basalt vendor");
    assert_eq!(fs::read(case.at("case.lock"))?, fs::read(case.at("kept.lock"))?);
    Ok(())
}

/// A base of very many files takes seconds and memory that fits them.
#[test]
fn cli_a_base_of_a_hundred_thousand_entries_is_read() -> Result<()> {
    let case = Case::new()?;
    let mut members = system();
    for folder in 0..100 {
        members.push(Member::folder(&format!("usr/share/case/{folder}/")));
        members.extend((0..1000).map(|file| Member::file(&format!("usr/share/case/{folder}/{file}"), file.to_string())));
    }
    Draft::new(&[&archive(&members)]).write(&case.at("image"))?;
    case.recipe(IMAGE)?;
    let ran = case.basalt(&["build", "case.toml", "--out", "out"])?.exits(0);
    println!("100,000 entries: {} ms", ran.took.as_millis());
    assert_eq!(case.file("out", "/usr/share/case/99/999")?.as_deref(), Some("999"));
    Ok(())
}

/// Our own image is a base like any other: what comes out has what went in. In one that was derived from it, the layer above has the
/// last word.
#[test]
fn cli_our_own_image_is_a_base() -> Result<()> {
    let warm = Warm::new()?;
    warm.build("out")?.args(["--format", "raw,oci"]).run(&warm.scratch)?.exits(0);
    let at = |name: &str| warm.scratch.path().join(name);
    let derived = format!("{}:x", at("derived").display());
    let ours = format!("oci:{}", at("out/gpu-node.oci").display());
    run(Command::new("skopeo").args(["--insecure-policy", "copy", &ours, &format!("oci:{derived}")]))?;
    warm.scratch.write("case/file", "of the layer above\n")?;
    run(Command::new("umoci").args(["insert", "--rootless", "--image", &derived]).arg(at("case")).arg("/usr/share/case"))?;
    run(Command::new("umoci").args(["insert", "--rootless", "--image", &derived, "--whiteout", "/usr/share/pixmaps"]))?;
    run(Command::new("umoci").args(["insert", "--rootless", "--image", &derived]).arg(at("case/file")).arg("/etc/issue.net"))?;

    let recipe = fs::read_to_string(&warm.recipe)?;
    let (head, _) = recipe.split_once("[base]").context("the reference recipe has a base")?;
    let (_, rest) = recipe.split_once("[ssh]").context("the reference recipe has keys")?;
    let build = |from: &str, out: &str| -> Result<Vec<String>> {
        fs::write(&warm.recipe, format!("{head}[base]\nkind = \"oci\"\nfrom = \"oci:../{from}\"\n\n[ssh]{rest}"))?;
        warm.build(out)?.args(["--format", "raw"]).run(&warm.scratch)?.exits(0);
        let disk = |out: &str| at(out).join("gpu-node.raw");
        let ran = warm.basalt(["diff", "--json"]).arg(disk("out")).arg(disk(out)).run(&warm.scratch)?.exits(0);
        differences(&ran)
    };
    assert_eq!(build("out/gpu-node.oci", "again")?, [""; 0]);
    let changed = ["/etc/issue.net", "/usr/etc/issue.net", "/usr/share/case", "/usr/share/case/file", "/usr/share/pixmaps"];
    let found = build("derived:x", "above")?;
    let (inside, found): (Vec<_>, Vec<_>) = found.iter().partition(|path| path.starts_with("/usr/share/pixmaps/"));
    assert_eq!(found, changed);
    assert!(inside.iter().any(|path| path.ends_with("/debian-logo.png")), "{inside:?}");
    Ok(())
}
