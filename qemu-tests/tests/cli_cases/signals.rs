//! SIGINT and SIGKILL in the middle of a build, and two builds at once.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use qemu_tests::Warm;

/// The lines of progress at which a signal comes: beginning, middle and last part of a build.
const MOMENTS: [[&str; 2]; 6] = [
    ["stage-started", "verify"],
    ["stage-finished", "base"],
    ["stage-started", "commit"],
    ["stage-advanced", "commit"],
    ["stage-started", "artefacts"],
    ["stage-advanced", "artefacts"],
];

/// Starts a build and sends `signal` when the line of `moment` comes. Answers the exit code, or that of the signal.
fn hit(warm: &Warm, signal: Signal, moment: [&str; 2]) -> Result<i32> {
    let mut child = warm.build("out")?.arg("--json").arg("--format").arg("raw").spawn(&warm.scratch)?;
    let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let [event, stage] = moment.map(str::to_owned);
    let wanted = [format!("\"event\":\"{event}\""), format!("\"stage\":\"{stage}\"")];
    let mut seen = Vec::new();
    for line in lines {
        let line = line?;
        let here = wanted.iter().all(|word| line.contains(word));
        seen.push(line);
        if here {
            killpg(Pid::from_raw(i32::try_from(child.id())?), signal)?;
            return code(child);
        }
    }
    anyhow::bail!("{moment:?} never came: {seen:#?}")
}

fn code(mut child: Child) -> Result<i32> {
    let status = child.wait()?;
    status.code().or(status.signal().map(|signal| 128 + signal)).context("no exit code")
}

/// The names of what lies in the folder for artefacts.
fn artefacts(warm: &Warm) -> Result<Vec<String>> {
    let entries = fs::read_dir(warm.scratch.path().join("out"))?.collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<_> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

/// Builds to the end: the same commit and disk as the reference image, and nothing else.
fn clean_build(warm: &Warm) -> Result<()> {
    warm.build("out")?.arg("--format").arg("raw").run(&warm.scratch)?.exits(0);
    let (found, expected) = (warm.manifest("out")?, Warm::expected()?);
    for key in ["plan", "commit", "layers", "partitions"] {
        assert_eq!(found[key], expected[key], "{key}");
    }
    assert_eq!(found["artefacts"][0], expected["artefacts"][0]);
    assert_eq!(artefacts(warm)?, ["SHA256SUMS", "gpu-node.intoto.json", "gpu-node.raw", "gpu-node.spdx.json", "manifest.json"]);
    warm.assert_cache_has_only(&["base", "blobs", "overlay", "ostree"]);
    Ok(())
}

#[test]
fn cli_an_interrupted_build_says_130_and_leaves_nothing_half_made() -> Result<()> {
    let warm = Warm::new()?;
    warm.forget_commit()?;
    for moment in MOMENTS {
        assert_eq!(hit(&warm, Signal::SIGINT, moment)?, 130, "{moment:?}");
        assert!(artefacts(&warm)?.is_empty(), "{moment:?}: {:?}", artefacts(&warm)?);
        warm.assert_cache_has_only(&["base", "blobs", "overlay", "ostree"]);
    }
    clean_build(&warm)
}

#[test]
fn cli_after_a_kill_at_any_stage_a_clean_build_gives_the_same_bytes() -> Result<()> {
    let warm = Warm::new()?;
    warm.forget_commit()?;
    for moment in MOMENTS {
        assert_eq!(hit(&warm, Signal::SIGKILL, moment)?, 137, "{moment:?}");
        // What a killed build could not take away has no name that anyone takes for an artefact.
        let named: Vec<_> = artefacts(&warm)?.into_iter().filter(|name| !name.starts_with(".basalt-")).collect();
        assert!(named.is_empty(), "{moment:?}: {named:?}");
    }
    clean_build(&warm)
}

/// Both make layers and commit from nothing but the base, and write a disk each.
#[test]
fn cli_two_builds_at_once_race_for_every_stage_and_agree() -> Result<()> {
    let warm = Warm::new()?;
    warm.forget_commit()?;
    fs::remove_dir_all(warm.cache.join("overlay"))?;
    let outs = ["one", "other"];
    let spawn = |out: &&str| warm.build(out)?.args(["--format", "raw", "--json"]).spawn(&warm.scratch);
    let children = outs.iter().map(spawn).collect::<Result<Vec<_>>>()?;
    for (child, out) in children.into_iter().zip(outs) {
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{out}: {}", String::from_utf8_lossy(&output.stderr));
        let told = String::from_utf8(output.stdout)?;
        for stage in ["commit", "artefacts"] {
            let finished = format!("\"stage\":\"{stage}\"");
            let lines = told.lines().filter(|line| line.contains("stage-finished") && line.contains(&finished));
            assert_eq!(lines.count(), 1, "{out}, {stage}: {told}");
        }
        assert_eq!(warm.manifest(out)?["artefacts"][0], Warm::expected()?["artefacts"][0], "{out}");
    }
    let repository = format!("--repo={}", warm.cache.join("ostree/repo").display());
    let checked = Command::new("ostree").args(["fsck", &repository]).output().context("ostree")?;
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    clean_build(&warm)
}

#[test]
fn cli_two_builds_at_once_over_one_cache_and_folder_agree() -> Result<()> {
    let warm = Warm::new()?;
    let build = warm.build("out")?.arg("--format").arg("raw").arg("--quiet");
    let (one, other) = (build.spawn(&warm.scratch)?, build.spawn(&warm.scratch)?);
    for child in [one, other] {
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    clean_build(&warm)
}
