//! Recipes that are right, and every way to be wrong: exact place and message.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Agent, Content, OverlaySource, Recipe, load, parse, read};
use crate::failure::Kind;
use crate::plan::Format;

const STRANGER: &str = "\
name = \"web\"
version = \"1\"
[base]
packages = [\"openssh-server\"]
";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHaVmpLtkwV3pQ1mlvCCnTGPmiZhJBXI6e4qKJbVPxoF me";

/// Writes files into a new folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

/// What is wrong with `r.toml` of these files, a line each, without the folder.
fn problems(files: &[(&str, &str)]) -> Vec<String> {
    let folder = folder(files);
    let Err(problems) = read(&folder.path().join("r.toml")) else { return Vec::new() };
    assert_eq!(problems.kind, Kind::Invalid);
    let here = format!("{}/", folder.path().display());
    problems.to_string().lines().map(|line| line.replace(&here, "")).collect()
}

fn recipe(files: &[(&str, &str)]) -> Recipe {
    let folder = folder(files);
    read(&folder.path().join("r.toml")).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn ten_lines_of_a_stranger_are_enough() {
    let recipe = parse("web.toml", STRANGER).unwrap();
    let asked = recipe.base.requested(recipe.architectures[0]);
    for package in ["openssh-server", "linux-image-amd64", "ostree-boot", "shim-signed", "systemd-sysv"] {
        assert!(asked.contains(&package.to_owned()), "{package}");
    }
    assert_eq!((recipe.base.debian().unwrap().suite.as_str(), recipe.disk.sector_size), ("trixie", 512));
    assert_eq!(recipe.agent, Some(Agent::Shipped));
    assert_eq!(recipe.outputs, [Format::Raw]);
    assert_eq!(recipe.overlays[0].source, OverlaySource::Builtin("10-basalt-node".into()));
}

#[test]
fn a_package_of_another_suite_stands_for_ours() {
    let more = "packages = [\"linux-image-amd64/trixie-backports\"]\n";
    let asked = parse("web.toml", &STRANGER.replacen("version", &format!("{more}version"), 1)).unwrap();
    let asked = asked.base.requested(asked.architectures[0]);
    let kernels: Vec<_> = asked.iter().filter(|name| name.starts_with("linux-image")).collect();
    assert_eq!(kernels, ["linux-image-amd64/trixie-backports"]);
}

#[test]
fn a_minimal_base_brings_nothing_by_itself() {
    let recipe = parse("m.toml", "name = \"m\"\nversion = \"1\"\n[base]\nminimal = true\npackages = [\"systemd\"]").unwrap();
    assert_eq!(recipe.base.requested(recipe.architectures[0]), ["systemd"]);
    assert!(recipe.overlays.is_empty() && recipe.agent.is_none());
}

#[test]
fn every_key_is_understood() {
    let text = format!(
        "{}host-name = \"n1\"\n{}",
        "include = [\"f/a.toml\"]\nname = \"full\"\nversion = \"2\"\narchitectures = [\"amd64\"]\npackages = [\"vim\"]\n",
        format_args!(
            "[base]\nkind = \"debian\"\nsuite = \"trixie\"\ncomponents = [\"main\", \"contrib\"]\nmirror = \"https://m.example/debian\"\n\
             keyring = \"keys.gpg\"\n[base.users]\nops-agent = 950\n[base.groups]\nops-agent = 950\n\
             [[overlay]]\npath = \"over\"\nreplaces = [\"/etc/issue\"]\nmodes = {{ \"/etc/x\" = \"0440\" }}\n\
             [[file]]\npath = \"/etc/a\"\ntext = \"a\"\nmode = \"0600\"\nuid = 1\ngid = 2\nxattrs = {{ \"user.x\" = \"0sAQI=\" }}\nreplaces = true\n\
             [[file]]\npath = \"/etc/b\"\nsource = \"over/etc/x\"\n[[file]]\npath = \"/etc/c\"\nsymlink = \"a\"\n\
             [kernel]\nargs = [\"quiet\"]\n[systemd]\nenable = [\"a.service\"]\ndisable = [\"b.timer\"]\nmask = [\"c.socket\"]\n\
             [users.ops]\nuid = 1000\ngroups = [\"sudo\"]\nshell = \"/bin/bash\"\nssh-keys = [\"{KEY}\"]\n[ssh]\nroot-keys = [\"{KEY}\"]\n\
             [[network]]\nname = \"20-x.network\"\ntext = \"[Match]\"\n[[network]]\nname = \"30-y.network\"\nsource = \"over/etc/x\"\n\
             [disk]\nsector-size = 4096\nesp-size = \"300M\"\nboot-size = \"512M\"\nroot-size = \"auto\"\n\
             [update]\nimage = \"r.example.org/basalt/full:stable\"\n[outputs]\nformats = [\"raw\", \"qcow2\"]\n[agent]\nenable = true\npath = \"agent\"\n\
             [[check]]\nname = \"up\"\nrun = [\"systemctl\", \"is-system-running\"]\nstatus = 0\nstdout = \"running\"\ncontains = \"run\"\n"
        )
    );
    let fragment =
        "[kernel]\nargs = [\"iommu=pt\"]\n[[file]]\npath = \"/etc/d\"\nsource = \"../over/etc/x\"\n[disk]\nboot-size = \"1G\"\n";
    let recipe = recipe(&[("r.toml", &text), ("f/a.toml", fragment), ("over/etc/x", "x"), ("keys.gpg", "k"), ("agent", "elf")]);
    assert!(recipe.kernel_args.iter().map(|arg| &arg.text).eq(["iommu=pt", "quiet"]), "fragments come first");
    assert_eq!(recipe.disk.boot_size, Some(512 << 20), "the recipe wins");
    assert_eq!((recipe.disk.esp_size, recipe.disk.root_size), (Some(300 << 20), None));
    let paths: Vec<_> = recipe.files.keys().map(ToString::to_string).collect();
    assert_eq!(paths, ["/etc/a", "/etc/b", "/etc/c", "/etc/d", "/etc/systemd/network/30-y.network"]);
    let d = recipe.files.values().nth(3).unwrap();
    assert_eq!(d.content, Content::Source("over/etc/x".into()), "relative to the fragment's folder");
    let a = recipe.files.values().next().unwrap();
    assert_eq!((a.mode, a.uid, a.gid, a.replaces), (0o600, 1, 2, true));
    assert_eq!(a.xattrs["user.x"], [1, 2]);
    assert_eq!(recipe.local_files(), ["over/etc/x"]);
    assert_eq!(recipe.agent, Some(Agent::Local("agent".into())));
    assert_eq!(recipe.settings.users["ops"].ssh_keys, [KEY]);
    let users = &recipe.base.debian().unwrap().users;
    assert_eq!((users["ops-agent"], users["sshd"]), (950, 905));
    assert_eq!(recipe.update.as_deref(), Some("r.example.org/basalt/full:stable"));
    assert!(recipe.update_client && recipe.base.debian().unwrap().packages.contains(&"skopeo".to_owned()));
    assert_eq!(recipe.checks[0].run, ["systemctl", "is-system-running"]);
}

/// The stranger's recipe (four lines), and then `more`.
fn stranger_and(more: &str) -> String {
    format!("{STRANGER}{more}")
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    // Line 5 is the first of ours.
    let table: &[(&str, &[&str])] = &[
        ("pakages = []", &["r.toml:5:1: unknown key \"pakages\" in base; did you mean \"packages\"?"]),
        ("[kernle]\nargs = []", &["r.toml:5:2: unknown key \"kernle\"; did you mean \"kernel\"?"]),
        ("[update]\nfrobnicate = 1", &["r.toml:6:1: unknown key \"frobnicate\" in update; known here: client, image"]),
        ("[kernel]\nargs = \"quiet\"", &["r.toml:6:8: kernel.args: needed a list, found text; write [\"quiet\"]"]),
        ("[kernel]\nargs = [\"a\", 7]", &["r.toml:6:14: kernel.args[2]: needed text, found a whole number; write \"7\""]),
        ("[disk]\nsector-size = 520", &["r.toml:6:15: disk.sector-size: needed 512 or 4096, found 520"]),
        ("[disk]\nsector-size = -1", &["r.toml:6:15: disk.sector-size: needed a number from 0 to 4294967295, found -1"]),
        ("[disk]\nboot-size = \"1M\"", &["r.toml:6:13: disk.boot-size: needed at least 128M, found \"1M\""]),
        ("[disk]\nsector-size = 4096\nesp-size = \"64M\"", &["r.toml:7:12: disk.esp-size: needed at least 272M, found \"64M\""]),
        ("[disk]\nroot-size = \"1000000001\"", &["r.toml:6:13: disk.root-size: needed a multiple of 1M, found \"1000000001\""]),
        (
            "[disk]\nroot-size = \"big\"",
            &["r.toml:6:13: disk.root-size: needed a size like \"512M\" or \"2G\", or \"auto\", found \"big\""],
        ),
        ("[base.users]\nx = 0", &["r.toml:6:5: base.users.x: needed a free number, found 0"]),
        ("[base.users]\nx = 905", &["r.toml:6:5: base.users.x: needed a number of its own, found 905, which is sshd's"]),
        ("[[file]]\ntext = \"x\"", &["r.toml:5:1: file[1]: key \"path\" is missing"]),
        (
            "[[file]]\npath = \"/etc/x\"",
            &["r.toml:6:8: file: needed exactly one of \"text\", \"source\" and \"symlink\", found 0"],
        ),
        (
            "[[file]]\npath = \"etc/x\"\ntext = \"\"",
            &["r.toml:6:8: file.path: needed an absolute path of the image, found \"etc/x\""],
        ),
        (
            "[[file]]\npath = \"/etc/../../x\"\ntext = \"\"",
            &["r.toml:6:8: file.path: path \"/etc/../../x\" has a part \"..\": a path must not leave the tree"],
        ),
        (
            "[[file]]\npath = \"/etc/x\"\nsymlink = \"../../y\"",
            &[
                "r.toml:7:11: file.symlink: \"../../y\" points out of the image from \"/etc/x\"; write an absolute target: it is the image's own path",
            ],
        ),
        (
            "[[file]]\npath = \"/var/x\"\ntext = \"\"",
            &[
                "r.toml:6:8: file.path: /var/x lies in /var, which no image carries; it is the node's own; a file of /usr/lib/tmpfiles.d makes things there at boot",
            ],
        ),
        (
            "[[file]]\npath = \"/etc/x\"\ntext = \"\"\n[[file]]\npath = \"/etc/x\"\ntext = \"\"",
            &["r.toml:9:8: file.path: /etc/x is named twice; needed once"],
        ),
        (
            "[[file]]\npath = \"/etc/x\"\ntext = \"\"\n[[file]]\npath = \"/etc/x/y\"\ntext = \"\"",
            &["r.toml:9:8: file.path: /etc/x/y and /etc/x: one would be a folder of the other"],
        ),
        (
            "[[file]]\npath = \"/etc/x\"\ntext = \"\"\nmode = \"0o644\"",
            &["r.toml:8:8: file.mode: needed three or four octal digits like \"0644\", found \"0o644\""],
        ),
        (
            "[[file]]\npath = \"/etc/x\"\ntext = \"\"\nmode = 644",
            &["r.toml:8:8: file[1].mode: needed text, found a whole number; write \"644\""],
        ),
        (
            "[kernel]\nargs = [\"a b\", \"root=/dev/sda\"]",
            &[
                "r.toml:6:9: kernel.args: needed one kernel argument without white space or quotes, found \"a b\"",
                "r.toml:6:16: kernel.args: needed no \"root\", which Basalt sets itself, found \"root=/dev/sda\"",
            ],
        ),
        (
            "[systemd]\nenable = [\"ssh\"]",
            &["r.toml:6:11: systemd.enable: needed a unit with its type (like ssh.service), found \"ssh\""],
        ),
        (
            "[systemd]\nenable = [\"a.service\"]\nmask = [\"a.service\"]",
            &["r.toml:6:11: systemd.enable: \"a.service\" is also masked; needed one of the two"],
        ),
        (
            "[users.a]\nuid = 1000\n[users.b]\nuid = 1000\n[users.root]\nuid = 0\n[users.c]\nuid = 5",
            &[
                "r.toml:8:7: users.b.uid: needed a number of its own, found 1000, which is a's",
                "r.toml:10:7: users.root: root is always there; its keys go to [ssh] root-keys",
                "r.toml:12:7: users.c.uid: needed a number from 1000 to 59999, found 5",
            ],
        ),
        (
            "[users.a]\nuid = 1000\npassword = \"x\"",
            &[
                "r.toml:7:1: unknown key \"password\" in users.a; a secret comes at boot as a systemd credential (passwd.hashed-password.NAME, ssh.authorized_keys.root)",
            ],
        ),
        (
            "[ssh]\nroot-keys = [\"ssh-ed25519 AAAA\"]",
            &["r.toml:6:14: ssh.root-keys: needed the base64 of a whole ssh-ed25519 key; it is cut off or damaged"],
        ),
        (
            "[update]\nimage = \"docker://r.example.org/a\"",
            &[
                "r.toml:6:9: update.image: needed a container image without a transport before it, found \"docker://r.example.org/a\"",
            ],
        ),
        (
            "[outputs]\nformats = [\"vmdk\"]",
            &["r.toml:6:12: outputs.formats[1]: needed \"raw\" or \"qcow2\" or \"oci\", found \"vmdk\""],
        ),
        ("[[check]]\nname = \"x\"\nrun = []", &["r.toml:7:7: check.run: needed a program and its arguments, found none"]),
        (
            "[[overlay]]\npath = \"none\"",
            &["r.toml:6:8: overlay \"none\": needed a folder or a tar archive, found: No such file or directory (os error 2)"],
        ),
        (
            "[[overlay]]\npath = \"/etc\"",
            &[
                "r.toml:6:8: needed a path relative to this file, found the absolute \"/etc\"; so the recipe builds the same on every machine",
            ],
        ),
        (
            "[[overlay]]\npath = \"a\"\nbuiltin = \"b\"",
            &[
                "r.toml:6:8: overlay: needed either \"path\" or \"builtin\", found both",
                "r.toml:6:8: overlay \"a\": needed a folder or a tar archive, found: No such file or directory (os error 2)",
            ],
        ),
        (
            "[[file]]\npath = \"/etc/x\"\nsource = \"gone\"",
            &[
                "r.toml:7:10: \"gone\": needed a file, found: No such file or directory (os error 2); paths are relative to the file that names them",
            ],
        ),
        (
            "[[network]]\nname = \"a.network\"\ntext = \"\"\n[[network]]\nname = \"a.network\"\ntext = \"\"",
            &["r.toml:9:8: network.name: /etc/systemd/network/a.network is named twice; needed once"],
        ),
        ("[agent]\nenable = false\npath = \"r.toml\"", &["r.toml:7:8: agent.path: needed none, because enable is false"]),
        ("x = [1,", &["r.toml:5:8: not TOML: unclosed array, expected `]`"]),
    ];
    for (more, expected) in table {
        let found = problems(&[("r.toml", &stranger_and(more))]);
        assert_eq!(found, *expected, "{more}");
    }
}

#[test]
fn top_level_keys_have_their_rules() {
    let rest = "\nversion = \"1\"";
    let table: &[(&str, &[&str])] = &[
        ("version = \"1\"", &["r.toml:1:1: key \"name\" is missing; write name = \"gpu-node\" at the top of the recipe"]),
        ("name = 3\nversion = \"1\"", &["r.toml:1:8: name: needed text, found a whole number; write \"3\""]),
        (
            "name = \"A\"\nversion = \"1\"",
            &["r.toml:1:8: name: needed up to 63 lower-case letters, digits and inner \"-\", found \"A\""],
        ),
        (
            "name = \"a\"\nversion = \"1\"\nhost-name = \"a_b\"",
            &[
                "r.toml:3:13: host-name: needed a host name (RFC 1123: labels of letters, digits and inner \"-\", 64 bytes in all), found \"a_b\"",
            ],
        ),
        (
            "name = \"a\"\nversion = \"1\"\narchitectures = [\"arm64\"]",
            &["r.toml:3:18: architectures: arm64 is not built yet; its boot chain is not tested; write [\"amd64\"]"],
        ),
        (
            "name = \"a\"\nversion = \"1\"\narchitectures = [\"riscv\"]",
            &["r.toml:3:18: architectures[1]: needed \"amd64\" or \"arm64\", found \"riscv\""],
        ),
        (
            "name = \"a\"\nversion = \"1\"\npackages = [\"bash=5\", \"x\"]",
            &[
                "r.toml:3:13: packages: needed a package's name alone (the lock pins its version and archive), found \"bash=5\"",
                "r.toml:3:23: packages: needed a Debian package's name, found \"x\"",
            ],
        ),
    ];
    for (text, expected) in table {
        let found = problems(&[("r.toml", text)]);
        assert_eq!(found, *expected, "{text}");
    }
    assert!(problems(&[("r.toml", &format!("name = \"a\"{rest}"))]).is_empty());
}

#[test]
fn all_problems_come_at_once() {
    let more = "nope = 1\n[kernel]\nargs = [\"a b\"]\n[disk]\nsector-size = \"x\"\n[[overlay]]\npath = \"none\"\n[systemd]\nmask = [\"m\"]";
    let found = problems(&[("r.toml", &stranger_and(more))]);
    let lines: Vec<_> = found.iter().filter_map(|line| line.split(':').nth(1)).collect();
    assert_eq!(lines, ["5", "7", "9", "11", "13"], "{found:#?}");
}

#[test]
fn secrets_are_refused_and_not_repeated() {
    let hash = format!("${}$saltsalt$0123456789abcdefABCDEF./01234567", 6);
    let found = problems(&[("r.toml", &stranger_and(&format!("[[file]]\npath = \"/etc/x\"\ntext = \"root:{hash}:1\"")))]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("r.toml:7:8: a password hash in a recipe; needed no secret; a secret comes at boot"),
        "{found:?}"
    );
    assert!(!found[0].contains("saltsalt"));
    let key = format!("-----BEGIN {} KEY-----\nx", "RSA PRIVATE");
    let more = "[[file]]\npath = \"/etc/x\"\nsource = \"id\"";
    let found = problems(&[("r.toml", &stranger_and(more)), ("id", &key)]);
    assert!(found[0].starts_with("r.toml:7:10: \"id\" is a private key; needed no secret"), "{found:?}");
}

#[test]
fn includes_that_go_wrong_name_the_chain() {
    let root = format!("include = [\"a.toml\"]\n{STRANGER}");
    let missing =
        problems(&[("r.toml", &root), ("a.toml", "include = [\"f/b.toml\"]"), ("f/b.toml", "include = [\n \"c.toml\"]")]);
    assert_eq!(
        missing,
        ["f/b.toml:2:2: include \"c.toml\": f/c.toml cannot be read: No such file or directory (os error 2); \
          included by r.toml -> a.toml -> f/b.toml; paths are relative to the including file"]
    );
    let circle =
        problems(&[("r.toml", &root), ("a.toml", "include = [\"f/b.toml\"]"), ("f/b.toml", "include = [\"../a.toml\"]")]);
    assert_eq!(circle, ["f/b.toml:1:12: include goes in a circle: a.toml -> f/b.toml -> a.toml; take one of these includes out"]);
    let absolute = problems(&[("r.toml", &format!("include = [\"/etc/x\"]\n{STRANGER}"))]);
    assert_eq!(absolute, ["r.toml:1:12: include: needed a path relative to this file, found the absolute \"/etc/x\""]);
    let broken = problems(&[("r.toml", &root), ("a.toml", "name = \n")]);
    assert!(broken[0].starts_with("a.toml:1:"), "{broken:?}");
}

#[test]
fn fragments_that_disagree_are_both_named() {
    let fragments = [("a.toml", "[disk]\nboot-size = \"512M\""), ("b.toml", "[disk]\nboot-size = \"1G\"")];
    let with = |more: &str| {
        let root = format!("include = [\"a.toml\", \"b.toml\"]\n{STRANGER}{more}");
        let mut files = vec![("r.toml", root.as_str())];
        files.extend(fragments);
        problems(&files)
    };
    assert_eq!(
        with(""),
        ["b.toml:2:13: disk.boot-size: \"1G\" here, but \"512M\" in a.toml:2:13; \
          two fragments disagree (a.toml and b.toml): say disk.boot-size in the recipe that includes them"]
    );
    assert_eq!(with("[disk]\nboot-size = \"1G\""), [""; 0], "the recipe decides");
    assert_eq!(with("[disk]\nboot-size = \"2G\""), [""; 0]);
}

#[test]
fn a_fragment_included_twice_counts_once() {
    let root = format!("include = [\"a.toml\", \"b.toml\", \"a.toml\"]\n{STRANGER}");
    let files = [("r.toml", root.as_str()), ("a.toml", "[kernel]\nargs = [\"x\"]"), ("b.toml", "include = [\"a.toml\"]")];
    assert!(recipe(&files).kernel_args.iter().map(|arg| &arg.text).eq(["x"]));
}

#[test]
fn unfit_overlays_are_named_at_their_key() {
    let folder =
        folder(&[("r.toml", &stranger_and("[[overlay]]\npath = \"o\"\nmodes = { \"/etc/no\" = \"0400\" }")), ("o/etc/x", "")]);
    let missing = read(&folder.path().join("r.toml")).unwrap_err();
    assert!(missing.to_string().ends_with("r.toml:7:23: overlay.modes: \"/etc/no\" is not in \"o\""), "{missing}");
    nix::unistd::mkfifo(&folder.path().join("o/etc/pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let unfit = read(&folder.path().join("r.toml")).unwrap_err();
    let expected = "r.toml:6:8: overlay \"o\": /etc/pipe is a named pipe; needed a file, folder or link";
    assert!(unfit.to_string().ends_with(expected), "{unfit}");
}

#[test]
fn a_recipe_that_is_not_there_is_a_missing_input() {
    let failure = load(Path::new("no/such/recipe.toml")).unwrap_err();
    assert_eq!(failure.kind, Kind::Input);
    assert_eq!(
        failure.what,
        "no/such/recipe.toml: cannot be read: No such file or directory (os error 2); name an existing recipe (a .toml file)"
    );
}

#[test]
fn the_committed_schema_is_the_current_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("image-recipes/recipe.schema.json");
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == super::schema(), "stale; run: basalt schema > image-recipes/recipe.schema.json");
}

#[test]
fn the_recipes_we_ship_are_right() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/image-recipes")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "drivers" {
            symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    // Who builds the reference image has a key: drivers/build.sh.
    fs::create_dir_all(folder.path().join("drivers/modules")).unwrap();
    let certificate = include_bytes!("../../qemu-tests/fuzz/corpus/certificate/rsa");
    fs::write(folder.path().join("drivers/modules/module.pem"), certificate).unwrap();
    let mut seen = Vec::new();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let recipe = load(&path).unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!(recipe.name, "gpu-node");
            seen.push(path.file_stem().unwrap().to_string_lossy().into_owned());
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, ["gpu-node", "gpu-node-stock"]);
}
