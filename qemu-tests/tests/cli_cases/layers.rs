//! Layers that cannot be an image: archives and folders that lead out, kernels, architectures. The place is the recipe's, and nothing
//! of it stays.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Basalt, Scratch, Warm, assert_whole};

const INVALID: i32 = Kind::Invalid.exit_code() as i32;

/// How GNU tar is brought to make an archive `$1` of a file `f`, and what is said of it.
const ARCHIVES: [(&str, &str); 9] = [
    (
        "tar -cPf $1 --transform='s,^f$,../f,' f",
        "member \"../f\": path \"../f\" has a part \"..\": a path must not leave the tree",
    ),
    ("tar -cPf $1 --transform='s,^f$,a/../../f,' f", "member \"a/../../f\": path \"a/../../f\" has a part \"..\""),
    ("tar -cPf $1 --transform='s,^f$,/etc/f,' f", "member \"/etc/f\": the name is absolute; needed a path relative to the root"),
    (
        "ln -s /tmp a; tar -cf $1 a; tar -rf $1 --transform='s,^f$,a/f,' f",
        "member \"a/f\": the way to it leads through /a, which is not a directory",
    ),
    (
        "ln f g; tar -cPf $1 --transform='flags=h;s,^f$,../../etc/shadow,' f g",
        "member \"g\": a hard link to \"../../etc/shadow\", which is no file or link before it in the archive",
    ),
    (
        "ln f g; tar -cPf $1 --transform='flags=h;s,^f$,/etc/shadow,' f g",
        "member \"g\": a hard link to \"/etc/shadow\", which is no file or link before it in the archive",
    ),
    ("ln -s ../../etc/shadow l; tar -cf $1 --owner=0 --group=0 l", "/l is a link to \"../../etc/shadow\", which climbs above"),
    ("tar -cf $1 -C /dev null", "member \"null\": a character device, which has no place in an image"),
    ("tar -czf $1 f", "needed a folder or a plain tar archive, found one that gzip compressed; unpack it: gunzip"),
];

fn sh(folder: &Path, script: &str, arg: &Path) -> Result<()> {
    let output = Command::new("sh").args(["-ec", script, "sh"]).arg(arg).current_dir(folder).output().context("sh")?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn cli_an_archive_that_leads_out_is_refused_at_its_place_and_leaves_nothing() -> Result<()> {
    for (script, message) in ARCHIVES {
        let scratch = Scratch::new()?;
        let made = scratch.folder("made")?;
        fs::write(made.join("f"), "x\n")?;
        sh(&made, script, &scratch.path().join("x.tar"))?;
        scratch.write("r.toml", "name = \"x\"\nversion = \"1\"\n[[overlay]]\npath = \"x.tar\"\n")?;
        let cache = scratch.path().join("cache");
        let message = format!("r.toml:4:8: overlay \"x.tar\": {message}");
        Basalt::new(["check", "r.toml"]).run(&scratch)?.exits(INVALID).says(&message);
        Basalt::new(["build", "r.toml"]).cache(&cache).run(&scratch)?.exits(INVALID).says(&message);
        assert_whole(&cache, &[]);
        for name in ["out", "r.lock"] {
            assert!(!scratch.path().join(name).exists(), "{script}: {name} stayed");
        }
    }
    Ok(())
}

/// What an archive keeps and a folder does not is in the commit.
#[test]
fn cli_an_archive_keeps_owners_modes_and_hard_links() -> Result<()> {
    let warm = Warm::new()?;
    let made = warm.scratch.folder("made")?;
    let script = "mkdir -p usr/lib/mine; echo x >usr/lib/mine/a; chmod 2755 usr/lib/mine/a; ln usr/lib/mine/a usr/lib/mine/b; \
                  tar -cf $1 --owner=0 --group=42 usr/lib/mine/a usr/lib/mine/b";
    sh(&made, script, &warm.scratch.path().join("image-recipes/mine.tar"))?;
    add(&warm, "[[overlay]]\npath = \"mine.tar\"\n")?;
    warm.build("out")?.arg("--format").arg("raw").run(&warm.scratch)?.exits(0);
    let repository = format!("--repo={}", warm.cache.join("ostree/repo").display());
    let branch = "basalt/gpu-node/amd64";
    let listed = Command::new("ostree").args(["ls", "-C", &repository, branch, "/usr/lib/mine"]).output().context("ostree")?;
    let listed = String::from_utf8(listed.stdout)?;
    let lines: Vec<Vec<_>> = listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    for line in &lines {
        assert_eq!(line[..4], ["-02755", "0", "42", "2"], "{listed}");
    }
    assert_eq!(lines[0][4], lines[1][4], "one object: {listed}");
    Ok(())
}

/// Adds `text` to the recipe; answers its first line's number.
fn add(warm: &Warm, text: &str) -> Result<usize> {
    let old = fs::read_to_string(&warm.recipe)?;
    fs::write(&warm.recipe, format!("{old}\n{text}"))?;
    Ok(old.lines().count() + 2)
}

/// The version of the base's kernel, as the lock has it.
fn kernel(warm: &Warm) -> Result<String> {
    let lock = fs::read_to_string(warm.recipe.with_extension("lock"))?;
    let names = lock.lines().filter_map(|line| line.strip_prefix("name = \"linux-image-")?.strip_suffix('"'));
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned).next().context("no kernel in the lock")
}

/// The first bytes of an ELF program for arm64.
fn arm64() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = 183;
    bytes
}

#[test]
fn cli_layers_that_make_no_image_are_named_at_their_place() -> Result<()> {
    const MINE: &str = "[[overlay]]\npath = \"mine\"\n";
    let version = {
        let warm = Warm::new()?;
        warm.basalt(["lock"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0);
        kernel(&warm)?
    };
    let vmlinuz = format!("/usr/lib/modules/{version}/vmlinuz");
    let masked = format!("[[file]]\npath = \"{vmlinuz}\"\nsymlink = \"/dev/null\"\nreplaces = true\n");
    let systemd = "[[file]]\npath = \"/usr/lib/systemd/systemd\"\nsource = \"arm64\"\nmode = \"0755\"\nreplaces = true\n";
    let two = format!("needed one kernel, found 2: {version} of layer base, 9.9.9 of layer overlay mine");
    // What lies in the overlay `mine`, what the recipe says, line and column within that, the message and the next step.
    let table: [(&str, &str, [usize; 2], &str, &str); 8] = [
        (
            "lib/x",
            MINE,
            [1, 8],
            "/lib: a symbolic link of layer base, a directory of layer overlay mine",
            "/lib leads to usr/lib there",
        ),
        ("var/run/x", MINE, [1, 8], "layer overlay mine: /var/run/x cannot be part of an image", "/usr/share/factory"),
        (
            "link",
            MINE,
            [1, 8],
            "/etc: a directory of layer overlay 10-basalt-node, a symbolic link of layer overlay mine",
            "replaces = [\"/etc\"]",
        ),
        ("usr/lib/modules/9.9.9/vmlinuz", MINE, [1, 8], &two, "leave all but one of them out"),
        ("", &masked, [1, 8], &format!("{vmlinuz}: needed the kernel, found no regular file"), "leave out the layer"),
        ("", systemd, [1, 8], "/usr/lib/systemd/systemd: needed a program for amd64, found ELF machine 183", "architecture"),
        (
            "",
            "[agent]\npath = \"arm64\"\n",
            [1, 8],
            "/usr/bin/basalt-firstboot: needed a program for amd64, found ELF machine 183",
            "architecture",
        ),
        (
            "",
            "[users.ann]\nuid = 1000\ngroups = [\"sudoo\"]\n",
            [1, 7],
            "[users] ann: no layer has the group sudoo",
            "did you mean sudo?",
        ),
    ];
    let warm = Warm::new()?;
    let text = fs::read_to_string(&warm.recipe)?;
    warm.scratch.write("image-recipes/arm64", arm64())?;
    let mine = warm.scratch.path().join("image-recipes/mine");
    for (file, recipe, [line, column], message, next) in table {
        fs::write(&warm.recipe, &text)?;
        let first = add(&warm, recipe)?;
        match file {
            "link" => {
                fs::create_dir(&mine)?;
                symlink("/etc", mine.join("etc"))?;
            }
            "" => {}
            file => drop(warm.scratch.write(&format!("image-recipes/mine/{file}"), "x\n")?),
        }
        let ran = warm.build("out")?.run(&warm.scratch)?.exits(INVALID);
        let place = format!("basalt: {}:{}:{column}: ", warm.recipe.display(), first + line);
        assert!(ran.stderr.lines().any(|line| line.starts_with(&place)), "needed {place}:\n{}", ran.stderr);
        ran.says(message).says("  next: ").says(next);
        warm.assert_cache_has_only(&["base", "blobs", "overlay", "ostree"]);
        assert_eq!(fs::read_dir(warm.scratch.path().join("out"))?.count(), 0, "{message}");
        if mine.exists() {
            fs::remove_dir_all(&mine)?;
        }
    }
    Ok(())
}
