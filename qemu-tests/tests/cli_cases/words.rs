//! What the program says of itself: help, schema, completions, man pages; and how it takes a wrong command line.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use qemu_tests::{Basalt, Scratch, repository};

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
        (&["build", "r.toml", "--format", "vmdk"], "needed raw or qcow2"),
        (&["build", "r.toml", "--arch", "riscv64"], "needed amd64 or arm64"),
        (&["boot", "disk.raw"], "boot needs a terminal"),
    ];
    for (args, message) in table {
        Basalt::new(args).cache(&scratch.path().join("cache")).run(&scratch)?.exits(2).says(message);
    }
    assert!(!scratch.path().join("out").exists());
    Ok(())
}

#[test]
fn cli_a_recipe_that_is_not_there_is_a_missing_input() -> Result<()> {
    Basalt::new(["check", "none.toml"]).run(&Scratch::new()?)?.exits(4).says("none.toml: cannot be read");
    Ok(())
}
