//! `basalt import`: a document of another program becomes a part of a recipe that `basalt check` takes.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Basalt, Scratch, basalt, repository};
use serde_json::Value;

const INVALID: i32 = Kind::Invalid.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;

#[test]
fn cli_a_module_of_kmm_becomes_a_part_of_a_recipe() -> Result<()> {
    let scratch = Scratch::new()?;
    let corpus = repository().join("qemu-tests/fuzz/corpus/kmm");
    let mut taken = 0;
    for entry in fs::read_dir(&corpus)? {
        let path = entry?.path();
        let name = path.file_stem().context("a name")?.to_string_lossy().into_owned();
        let ran = Basalt::new(["import", "kmm"]).arg(&path).run(&scratch)?;
        if name.ends_with("-is-refused") {
            ran.exits(INVALID).says(&path.display().to_string());
            continue;
        }
        let ran = ran.exits(0);
        let text = format!("name = \"case\"\nversion = \"1\"\n{}", ran.stdout);
        let recipe = scratch.write(&format!("{name}.toml"), text)?;
        Basalt::new(["check"]).arg(&recipe).run(&scratch)?.exits(0);
        // The same for programs, and from standard input.
        let json = Basalt::new(["import", "kmm", "--json"]).arg(&path).run(&scratch)?.exits(0);
        let json: Value = serde_json::from_str(&json.stdout)?;
        ensure!(json["recipe"] == ran.stdout.as_str(), "{json}");
        let left = json["left"].as_array().context("no list")?;
        ensure!(ran.stderr.lines().filter(|line| line.starts_with("left out: ")).count() == left.len(), "{}", ran.stderr);
        let input = fs::File::open(&path)?;
        let output = Command::new(basalt()?).args(["import", "kmm", "-"]).stdin(Stdio::from(input)).output()?;
        ensure!(output.stdout == ran.stdout.as_bytes(), "standard input gives another part");
        taken += 1;
    }
    ensure!(taken > 2, "{taken} documents were taken");
    Basalt::new(["import", "kmm", "no-such-file"])
        .run(&scratch)?
        .exits(INPUT)
        .says("no-such-file: cannot be read")
        .says("next: ");
    Ok(())
}
