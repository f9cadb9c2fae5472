//! What the program says of itself: help, schema, completions, man pages; and how it takes a wrong command line.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use anyhow::{Context, Result};
use nix::unistd::getuid;
use qemu_tests::{Account, Basalt, Scratch, assert_whole, repository};

const VERBS: [&str; 11] = ["check", "lock", "plan", "build", "boot", "test", "vendor", "cache", "schema", "completions", "man"];

#[test]
fn cli_help_of_every_verb_fits_a_terminal() -> Result<()> {
    let scratch = Scratch::new()?;
    let whole = Basalt::new(["--help"]).run(&scratch)?.exits(0).stdout;
    assert!(whole.contains("130 interrupted"), "{whole}");
    for verb in VERBS {
        assert!(whole.contains(&format!("\n  {verb} ")), "{verb} is not in:\n{whole}");
        let help = Basalt::new([verb, "--help"]).run(&scratch)?.exits(0).stdout;
        let wide: Vec<_> = help.lines().filter(|line| line.chars().count() >= 80).collect();
        assert!(help.contains("Usage:") && wide.is_empty(), "{verb}: {wide:?}");
    }
    Ok(())
}

#[test]
fn cli_schema_is_the_committed_one() -> Result<()> {
    let schema = Basalt::new(["schema"]).run(&Scratch::new()?)?.exits(0).stdout;
    let committed = fs::read_to_string(repository().join("image-recipes/recipe.schema.json"))?;
    assert_eq!(schema, committed, "stale: run `basalt schema > image-recipes/recipe.schema.json`");
    let schema = Basalt::new(["schema", "desired-state"]).run(&Scratch::new()?)?.exits(0).stdout;
    let committed = fs::read_to_string(repository().join("firstboot/contract/desired.schema.json"))?;
    assert_eq!(schema, committed, "stale: run `basalt schema desired-state > firstboot/contract/desired.schema.json`");
    Ok(())
}

#[test]
fn cli_bash_takes_the_completions() -> Result<()> {
    let scratch = Scratch::new()?;
    let script = scratch.write("basalt.bash", Basalt::new(["completions", "bash"]).run(&scratch)?.exits(0).stdout)?;
    let ask = "source \"$0\" && COMP_WORDS=(basalt ven) COMP_CWORD=1 && _basalt basalt ven basalt && echo \"${COMPREPLY[@]}\"";
    let answer = Command::new("bash").args(["--norc", "-c", ask]).arg(&script).output().context("bash")?;
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), "vendor", "{}", String::from_utf8_lossy(&answer.stderr));
    Ok(())
}

#[test]
fn cli_man_pages_are_readable() -> Result<()> {
    let scratch = Scratch::new()?;
    Basalt::new(["man", "pages"]).run(&scratch)?.exits(0);
    for page in VERBS.map(|verb| format!("basalt-{verb}.1")).iter().map(String::as_str).chain(["basalt.1"]) {
        let path = scratch.path().join("pages").join(page);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        assert!(text.contains(".TH ") && text.contains(".SH SYNOPSIS"), "{page}");
    }
    Ok(())
}

#[test]
fn cli_a_wrong_command_line_is_a_usage_error() -> Result<()> {
    let scratch = Scratch::new()?;
    let table: [(&[&str], &str); 6] = [
        (&[], "Usage:"),
        (&["bild"], "build"),
        (&["build"], "<RECIPE|PLAN>"),
        (&["build", "r.toml", "--format", "vmdk"], "needed raw, qcow2 or oci"),
        (&["build", "r.toml", "--arch", "riscv64"], "needed amd64 or arm64"),
        (&["boot", "disk.raw"], "boot needs a terminal"),
    ];
    for (args, message) in table {
        Basalt::new(args).cache(&scratch.path().join("cache")).run(&scratch)?.exits(2).says(message);
    }
    assert!(!scratch.path().join("out").exists());
    Ok(())
}

/// Slips of a new user: what and where, needed and found, the next step.
#[test]
fn cli_a_slip_is_told_with_the_next_step_before_any_work() -> Result<()> {
    let scratch = Scratch::new()?;
    scratch.write("r.toml", "name = \"x\"\nversion = \"1\"\n")?;
    scratch.write("file", "hello\n")?;
    scratch.write("plan.json", "{")?;
    scratch.folder("dir")?;
    // Nobody can make anything there, not even root.
    symlink("/proc/1", scratch.path().join("locked"))?;
    type Slip<'a> = (&'a [&'a str], i32, &'a str, &'a str);
    let table: [Slip<'_>; 17] = [
        (&["bild", "r.toml"], 2, "unrecognized subcommand 'bild'", "a similar subcommand exists: 'build'"),
        (&["build", "r.toml", "--fromat", "raw"], 2, "unexpected argument '--fromat'", "a similar argument exists: '--format'"),
        (&["build", "r.toml", "--format", "qcow"], 2, "invalid value 'qcow' for '--format <FORMAT>'", "needed raw, qcow2 or oci"),
        (&["completions", "basch"], 2, "invalid value 'basch'", "a similar value exists: 'bash'"),
        (&["build", "dir"], 4, "dir: cannot be read: Is a directory", "name the recipe in it (a .toml file)"),
        (&["build", "file"], 3, "file:1:6: not TOML: ", "expected `=`"),
        (&["build", "plan.json"], 3, "plan.json:1:1: ", "next: save it again: basalt plan --json RECIPE > PLAN.json"),
        (
            &["build", "none.json"],
            4,
            "none.json: cannot be read: No such file",
            "next: name a plan that `basalt plan --json` saved",
        ),
        (
            &["build", "r.toml", "--out", "file"],
            2,
            "file: needed a folder, found a file",
            "next: choose another folder with --out",
        ),
        (
            &["build", "r.toml", "--out", "file/x"],
            2,
            "file/x: needed a folder, found a file at file",
            "next: choose another folder",
        ),
        (
            &["build", "r.toml", "--out", "locked/x"],
            2,
            "locked/x: needed a folder to write to, found that locked is not",
            "--out",
        ),
        (
            &["test", "r.toml", "--out", "file"],
            2,
            "file: needed a folder, found a file",
            "next: choose another folder with --out",
        ),
        (&["test", "dir"], 4, "dir: needed a disk (a file), found a folder", "next: name the disk in it: DIR/NAME.raw"),
        (&["test", "none.raw"], 4, "none.raw: needed a disk (a file), found none", "next: build one: basalt build RECIPE"),
        (&["vendor", "r.toml", "file"], 2, "file: needed a folder, found a file", "next: name another folder"),
        (&["man", "file"], 2, "file: needed a folder, found a file", "next: name another folder"),
        (
            &["--cache", "file", "cache"],
            2,
            "file: needed a folder, found a file",
            "next: choose another cache folder with --cache",
        ),
    ];
    for (args, code, message, next) in table {
        let ran = Basalt::new(args).env("BASALT_CACHE", scratch.path().join("cache")).run(&scratch)?;
        assert!(!ran.stderr.contains("--cache <DIR>"), "not asked for:\n{}", ran.stderr);
        ran.exits(code).says(message).says(next);
        assert_whole(&scratch.path().join("cache"), &[]);
        assert!(!scratch.path().join("out").exists() && !scratch.path().join("r.lock").exists(), "{args:?}");
    }
    Ok(())
}

/// Root may read everything, so somebody else asks.
#[test]
fn cli_a_recipe_that_may_not_be_read_says_so() -> Result<()> {
    let scratch = Scratch::new()?;
    let recipe = scratch.write("r.toml", "name = \"x\"\nversion = \"1\"\n")?;
    fs::set_permissions(&recipe, fs::Permissions::from_mode(0o000))?;
    let account = if getuid().is_root() { Account::Ordinary } else { Account::Tests };
    let ran = Basalt::new(["check", "r.toml"]).account(account).run(&scratch)?.exits(4);
    ran.says("r.toml: cannot be read: Permission denied").says("let this user read it");
    Ok(())
}

#[test]
fn cli_a_recipe_that_is_not_there_is_a_missing_input() -> Result<()> {
    Basalt::new(["check", "none.toml"]).run(&Scratch::new()?)?.exits(4).says("none.toml: cannot be read");
    Ok(())
}
