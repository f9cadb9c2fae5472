//! What Basalt puts into images has the same bytes from another folder, HOME, CARGO_HOME, time zone and umask: the agent's program, and
//! the update client's, whose build takes minutes.
//!
//! Compared with the programs that `make` builds for the images: those are there already, so each costs one build.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command with nothing of our environment but what finds Rust.
fn clean(program: impl AsRef<std::ffi::OsStr>, home: &Path, cargo_home: &Path, rustup_home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap());
    command.env("HOME", home).env("CARGO_HOME", cargo_home).env("RUSTUP_HOME", rustup_home);
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    command
}

/// The path that a build prints.
fn built(mut command: Command) -> PathBuf {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end())
}

#[test]
fn cli_agent_is_the_same_from_any_folder() {
    is_the_same_from_any_folder("firstboot/build.sh", &qemu_tests::agent().unwrap());
}

#[test]
fn soak_update_client_is_the_same_from_any_folder() {
    is_the_same_from_any_folder("firstboot/container/build.sh", &qemu_tests::update_client().unwrap());
}

fn is_the_same_from_any_folder(script: &str, in_images: &Path) {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let home = PathBuf::from(env::var_os("HOME").unwrap());
    let place = |name: &str, default: &str| env::var_os(name).map_or_else(|| home.join(default), PathBuf::from);
    let (cargo_home, rustup_home) = (place("CARGO_HOME", ".cargo"), place("RUSTUP_HOME", ".rustup"));
    let here = built(clean(workspace.join(script), &home, &cargo_home, &rustup_home));

    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("a folder with a blank/and deeper");
    copy_sources(workspace, &elsewhere);
    let other_home = folder.path().join("home");
    let other_cargo_home = other_home.join("somewhere/else");
    fs::create_dir_all(&other_cargo_home).unwrap();
    for name in ["registry", "config.toml"] {
        if cargo_home.join(name).exists() {
            symlink(cargo_home.join(name), other_cargo_home.join(name)).unwrap();
        }
    }
    let mut command = clean("bash", &other_home, &other_cargo_home, &rustup_home);
    command.args(["-c", "umask 077; exec \"$@\"", "bash"]).arg(elsewhere.join(script));
    command.arg(folder.path().join("target")).arg("--offline").env("TZ", "Asia/Tokyo").env("LANG", "tr_TR.UTF-8");
    let there = built(command);

    let (here, there) = (fs::read(here).unwrap(), fs::read(there).unwrap());
    let differs = here.iter().zip(&there).position(|(a, b)| a != b);
    assert_eq!((here.len(), differs), (there.len(), None), "sizes, and where the first byte differs");
    assert!(fs::read(in_images).unwrap() == here, "the images of the other cases have another program");
    let text = |name: &OsString| name.to_str().unwrap().to_owned().into_bytes();
    for place in [workspace.as_os_str().to_owned(), cargo_home.into_os_string()] {
        let place = text(&place);
        assert!(!here.windows(place.len()).any(|part| part == place), "{} is in the program", String::from_utf8_lossy(&place));
    }
}

/// What git knows of the workspace, as it lies there now.
fn copy_sources(from: &Path, to: &Path) {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(from).output().expect("git must be installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in String::from_utf8(output.stdout).unwrap().split_terminator('\0') {
        let (source, target) = (from.join(name), to.join(name));
        // A link may point to what only the image has; a file may be deleted and not yet committed.
        if source.is_file() {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::copy(source, target).unwrap();
        }
    }
}
