//! `basalt inspect`: it says what other people's programs find on the disk.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Basalt, Scratch, Warm, reference_image};
use serde_json::Value;

const INPUT: i32 = Kind::Input.exit_code() as i32;

fn inspect(scratch: &Scratch, what: &Path) -> Result<Value> {
    let ran = Basalt::new(["inspect", "--json"]).arg(what).run(scratch)?.exits(0);
    Ok(serde_json::from_str(&ran.stdout)?)
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn cli_inspect_says_what_other_programs_find() -> Result<()> {
    let (image, manifest, scratch) = (reference_image()?, Warm::expected()?, Scratch::new()?);
    let raw = image.artefact("raw")?;
    let found = inspect(&scratch, &raw)?;
    let disk = raw.display().to_string();

    let partitions = found["partitions"].as_array().context("no partitions")?;
    assert_eq!(partitions.len(), 3);
    for partition in partitions {
        let number = partition["number"].to_string();
        let table = output("sgdisk", &["-i", &number, &disk])?.to_lowercase();
        let start = partition["start"].as_u64().context("start")?;
        for wanted in ["type", "id"].map(|key| partition[key].as_str().unwrap_or("missing").to_owned()) {
            assert!(table.contains(&wanted), "{wanted} in {table}");
        }
        assert!(table.contains(&format!("first sector: {} ", start / 512)), "{table}");
        let probed = output("blkid", &["--probe", "--offset", &start.to_string(), "--output", "export", &disk])?;
        for (name, value) in [("LABEL", &partition["filesystem"]["label"]), ("UUID", &partition["filesystem"]["id"])] {
            let line = format!("{name}={}", value.as_str().context("a filesystem")?);
            assert!(probed.lines().any(|found| found == line), "{line} in {probed}");
        }
    }

    let [deployment] = found["deployments"].as_array().context("no deployments")?.as_slice() else {
        anyhow::bail!("needed one deployment: {found}")
    };
    for (key, wanted) in [("commit", "commit"), ("plan", "plan"), ("kernel-args", "kernel-args"), ("layers", "layers")] {
        assert_eq!(deployment[key], manifest[wanted], "{key}");
    }
    // What libostree has of the commit, in the repository of the build.
    let repository = format!("--repo={}", image.cache.join("ostree/repo").display());
    let commit = deployment["commit"].as_str().context("a commit")?;
    for (key, wanted) in [("version", "version"), ("kernel", "ostree.linux")] {
        let said = output("ostree", &[&repository, "show", &format!("--print-metadata-key={wanted}"), commit])?;
        assert_eq!(said.trim().trim_matches('\''), deployment[key].as_str().context(key)?);
    }
    let status = output("ostree", &[&repository, "cat", commit, "/usr/lib/sysimage/dpkg/status"])?;
    let folder = scratch.folder("dpkg")?;
    fs::write(folder.join("status"), &status)?;
    fs::create_dir_all(folder.join("updates"))?;
    let admin = format!("--admindir={}", folder.display());
    let listed = output("dpkg-query", &[&admin, "--show", "--showformat=${Package} ${Version}\n"])?;
    let packages = deployment["packages"].as_array().context("no packages")?.iter();
    let packages: Vec<_> =
        packages.map(|one| format!("{} {}", one["name"].as_str().unwrap_or(""), one["version"].as_str().unwrap_or(""))).collect();
    let mut listed: Vec<_> = listed.lines().collect();
    listed.sort_by_key(|line| line.split(' ').next());
    assert_eq!(packages, listed);
    assert_eq!(packages.len() as u64, manifest["packages"].as_u64().context("packages")?);

    let mut other = inspect(&scratch, &image.artefact("qcow2")?)?;
    assert_eq!(other["format"], "qcow2");
    other["format"] = found["format"].clone();
    assert_eq!(other, found);
    Ok(())
}

#[test]
fn cli_inspect_prints_files_of_the_deployment_and_of_partitions() -> Result<()> {
    let (image, scratch) = (reference_image()?, Scratch::new()?);
    let manifest = Warm::expected()?;
    let repository = format!("--repo={}", image.cache.join("ostree/repo").display());
    let commit = manifest["commit"].as_str().context("a commit")?;
    let wanted = output("ostree", &[&repository, "cat", commit, "/usr/lib/os-release"])?;
    for kind in ["raw", "qcow2"] {
        let disk = image.artefact(kind)?.display().to_string();
        let print = |inside: &str| Basalt::new(["inspect"]).arg(format!("{disk}:{inside}")).run(&scratch);
        // The second is a link in /etc.
        for inside in ["/usr/lib/os-release", "/etc/os-release", "/etc/../usr/../../etc/os-release"] {
            assert_eq!(print(inside)?.exits(0).stdout, wanted, "{inside}");
        }
        assert!(print("boot:/loader/entries/ostree-1.conf")?.exits(0).stdout.contains("ostree=/ostree/boot.1/gpu-node/"));
        assert!(print("EFI-SYSTEM:/efi/debian/grub.cfg")?.exits(0).stdout.contains("search"));
        print("/usr/lib/none")?.exits(INPUT).says("no file /usr/lib/none");
        print("other:/x")?.exits(INPUT).says("next: the partitions are EFI-SYSTEM, boot, root");
    }
    Ok(())
}

const CHANGES: &str = r#"
[[file]]
path = "/usr/lib/case/new"
text = "new\n"
xattrs = { "user.note" = "hello" }
[[file]]
path = "/etc/motd"
text = "another\n"
mode = "0600"
replaces = true
"#;

#[test]
fn cli_diff_names_what_was_changed_and_nothing_else() -> Result<()> {
    let (image, warm) = (reference_image()?, Warm::new()?);
    let recipe = fs::read_to_string(&warm.recipe)?.replace("\nversion = \"0.1.0\"", "\nversion = \"0.2.0\"");
    fs::write(&warm.recipe, recipe + CHANGES)?;
    warm.build("out")?.args(["--format", "raw"]).run(&warm.scratch)?.exits(0);
    let (old, new) = (image.artefact("qcow2")?, warm.scratch.path().join("out/gpu-node.raw"));
    let diff = |one: &Path, other: &Path| -> Result<Value> {
        let ran = Basalt::new(["diff", "--json"]).arg(one).arg(other).run(&warm.scratch)?.exits(0);
        Ok(serde_json::from_str(&ran.stdout)?)
    };
    let found = diff(&old, &new)?;
    let version = found["fields"].as_array().context("fields")?.iter().find(|change| change["what"] == "deployment version");
    assert_eq!(version.map(|change| (&change["old"], &change["new"])), Some((&"0.1.0".into(), &"0.2.0".into())), "{found}");
    assert_eq!(found["packages"], Value::Array(Vec::new()));
    let files = found["files"].as_array().context("files")?;
    let paths: Vec<_> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    // The copy of /etc, what the image says of itself, and the two files with the new folder.
    let wanted =
        ["/etc/motd", "/usr/etc/motd", "/usr/lib/basalt/image.json", "/usr/lib/case", "/usr/lib/case/new", "/usr/lib/os-release"];
    assert_eq!(paths, wanted, "{found}");
    let change = |path: &str, what: &str| {
        let file = files.iter().find(|file| file["path"] == path)?;
        let change = file["changes"].as_array()?.iter().find(|change| change["what"] == what)?;
        Some((change["old"].clone(), change["new"].clone()))
    };
    assert_eq!(change("/etc/motd", "mode"), Some(("0644".into(), "0600".into())), "{found}");
    assert_eq!(change("/usr/lib/case/new", "added"), Some((Value::Null, "file".into())), "{found}");

    let nothing = Basalt::new(["diff"]).arg(image.artefact("raw")?).arg(&old).run(&warm.scratch)?.exits(0).stdout;
    assert_eq!(nothing, "no difference\n");
    Ok(())
}

#[test]
fn cli_inspect_refuses_what_is_no_disk() -> Result<()> {
    let scratch = Scratch::new()?;
    let text = scratch.write("text", "hello")?;
    let inspect = |what: &Path| Basalt::new(["inspect"]).arg(what).run(&scratch);
    inspect(&text)?.exits(INPUT).says("no partition table").says("next: needed a disk with a GPT");
    inspect(scratch.path())?.exits(INPUT).says("is a directory").says("next: name a raw or qcow2 disk");
    inspect(&scratch.path().join("none"))?.exits(INPUT).says("cannot be read");
    let cut = scratch.write("cut.qcow2", b"QFI\xfb\0\0\0\x03")?;
    inspect(&cut)?.exits(INPUT);
    Ok(())
}
