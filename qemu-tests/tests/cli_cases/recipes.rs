//! Bad recipes: place, message and exit code of each, and that nothing stays of the attempt.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Context, Result};
use basalt::failure::Kind;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use qemu_tests::{Basalt, Scratch, Warm, assert_whole};

const INVALID: i32 = Kind::Invalid.exit_code() as i32;

/// What follows the name and version of a recipe `r.toml`, and the message for it. The folder has the overlays of [`overlays`].
const BAD: [(&str, &str); 16] = [
    ("[kernel]\narg = [\"quiet\"]", "r.toml:4:1: unknown key \"arg\" in kernel; did you mean \"args\"?"),
    ("packages = \"nginx\"", "r.toml:3:12: packages: needed a list, found text; write [\"nginx\"]"),
    ("version = 2", "r.toml:3:1: "),
    (
        "include = [\"parts/none.toml\"]",
        "r.toml:3:12: include \"parts/none.toml\": parts/none.toml cannot be read: No such file or directory",
    ),
    ("include = [\"circle.toml\"]", "circle.toml:1:12: include goes in a circle: r.toml -> circle.toml -> r.toml"),
    ("[[file]]\npath = \"/etc/../../x\"\ntext = \"\"", "r.toml:4:8: file.path: path \"/etc/../../x\" has a part \"..\""),
    ("[[file]]\npath = \"etc/x\"\ntext = \"\"", "r.toml:4:8: file.path: needed an absolute path of the image, found \"etc/x\""),
    ("[[file]]\npath = \"/etc/x\"\nsource = \"/etc/shadow\"", "r.toml:5:10: needed a path relative to this file"),
    ("[[file]]\npath = \"/etc/x\"\nsymlink = \"../../x\"", "r.toml:5:11: file.symlink: \"../../x\" points out of the image"),
    ("[[overlay]]\npath = \"/etc\"", "r.toml:4:8: needed a path relative to this file, found the absolute \"/etc\""),
    ("[[overlay]]\npath = \"pipe\"", "r.toml:4:8: overlay \"pipe\": /etc/pipe is a named pipe; needed a file, folder or link"),
    (
        "[[overlay]]\npath = \"leaves\"",
        "r.toml:4:8: overlay \"leaves\": /etc/link is a link to \"../../../etc/shadow\", which climbs",
    ),
    ("[users.me]\nuid = 1000\npassword = \"x\"", "r.toml:5:1: unknown key \"password\" in users.me; a secret comes at boot as"),
    ("[systemd]\nenable = [\"no such\"]", "r.toml:4:11: systemd.enable: needed a unit with its type"),
    ("[disk]\nsector-size = 513", "r.toml:4:15: disk.sector-size: needed 512 or 4096, found 513"),
    (
        "architectures = [\"arm64\"]",
        "r.toml:3:18: architectures: arm64 is not built yet; its boot chain is not tested; write [\"amd64\"]",
    ),
];

fn folder() -> Result<Scratch> {
    let scratch = Scratch::new()?;
    scratch.write("circle.toml", "include = [\"r.toml\"]\n")?;
    mkfifo(&scratch.folder("pipe/etc")?.join("pipe"), Mode::S_IRUSR)?;
    symlink("../../../etc/shadow", scratch.folder("leaves/etc")?.join("link"))?;
    Ok(scratch)
}

/// Builds the recipe `r.toml` of `scratch`; nothing may stay of it.
fn refused(scratch: &Scratch, text: &str, message: &str) -> Result<()> {
    scratch.write("r.toml", text)?;
    let cache = scratch.path().join("cache");
    Basalt::new(["build", "r.toml", "--out", "out"]).cache(&cache).run(scratch)?.exits(INVALID).says(message);
    assert_whole(&cache, &[]);
    for name in ["out", "r.lock"] {
        assert!(!scratch.path().join(name).exists(), "{text}: {name} stayed");
    }
    Basalt::new(["check", "r.toml"]).run(scratch)?.exits(INVALID).says(message);
    Ok(())
}

#[test]
fn cli_a_bad_recipe_is_refused_at_its_place_and_leaves_nothing() -> Result<()> {
    let scratch = folder()?;
    for (text, message) in BAD {
        refused(&scratch, &format!("name = \"x\"\nversion = \"1\"\n{text}\n"), message)?;
    }
    Ok(())
}

#[test]
fn cli_a_password_hash_is_refused_and_not_repeated() -> Result<()> {
    let scratch = folder()?;
    // Put together here, so that no scanner takes this file for a leak.
    let hash = format!("${}$saltsalt$0123456789abcdefABCDEF0123456789", 6);
    let text = format!("name = \"x\"\nversion = \"1\"\n[[file]]\npath = \"/etc/shadow\"\ntext = \"root:{hash}:1::::::\"\n");
    refused(&scratch, &text, "r.toml:5:8: a password hash in a recipe; needed no secret; a secret comes at boot as a systemd")?;
    let ran = Basalt::new(["check", "--json", "r.toml"]).run(&scratch)?;
    assert!(!ran.stdout.contains("saltsalt") && !ran.stderr.contains("saltsalt"));
    Ok(())
}

/// Making a device node needs a privilege, so the overlay is a folder that every machine has.
#[test]
fn cli_a_device_node_in_an_overlay_is_refused() -> Result<()> {
    let scratch = folder()?;
    symlink("/dev", scratch.path().join("devices"))?;
    let message = "r.toml:4:8: overlay \"devices\": ";
    refused(&scratch, "name = \"x\"\nversion = \"1\"\n[[overlay]]\npath = \"devices\"\n", message)?;
    Basalt::new(["check", "r.toml"]).run(&scratch)?.says("/null is a device node; needed a file, folder or link");
    Ok(())
}

/// The number of the line, from 0, on which `what` begins.
fn line_of(text: &str, what: &str) -> Option<usize> {
    Some(text[..text.find(what)? + 1].lines().count())
}

#[test]
fn cli_a_unit_that_no_layer_has_is_named() -> Result<()> {
    let warm = Warm::new()?;
    let text = fs::read_to_string(&warm.recipe)?;
    fs::write(&warm.recipe, text.replace("\nenable = [", "\nenable = [\"no-such-thing.service\", "))?;
    let place = format!("{}:{}:11: ", warm.recipe.display(), 1 + line_of(&text, "\nenable = [").context("no enable")?);
    let ran = warm.build("out")?.run(&warm.scratch)?.exits(INVALID).says(&place);
    ran.says("no layer has the unit no-such-thing.service").says("next: add the package that brings it");
    warm.assert_cache_has_only(&["base", "blobs", "overlay", "ostree"]);
    assert_eq!(fs::read_dir(warm.scratch.path().join("out"))?.count(), 0);
    Ok(())
}

#[test]
fn cli_all_problems_are_told_at_once_also_as_json() -> Result<()> {
    let scratch = folder()?;
    scratch.write("a.toml", "name = \"x\"\nversion = 1\npackage = []\n")?;
    scratch.write("b.toml", "name = \"x\"\nversion = \"1\"\n[kernel]\nargs = \"quiet\"\n")?;
    let ran = Basalt::new(["check", "--json", "a.toml", "b.toml"]).run(&scratch)?.exits(INVALID);
    let first = ran.stdout.lines().next().unwrap_or_default();
    let told: serde_json::Value = serde_json::from_str(first)?;
    let problems = told["problems"].as_array().cloned().unwrap_or_default();
    let places: Vec<_> =
        problems.iter().map(|problem| format!("{}:{}", problem["file"].as_str().unwrap_or_default(), problem["at"])).collect();
    assert_eq!(places, ["a.toml:[2,11]", "a.toml:[3,1]", "b.toml:[4,8]"], "{told}");
    assert_eq!(told["version"], 1);
    assert_eq!(problems[1]["hint"], "did you mean \"packages\"?");
    Ok(())
}
