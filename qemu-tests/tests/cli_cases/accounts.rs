//! Who may build what: nobody needs root, and a base that is there needs no subordinate numbers.

use std::fs;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use qemu_tests::{Account, Warm};

fn same_disk(warm: &Warm) -> Result<()> {
    let (found, expected) = (warm.manifest("out")?, Warm::expected()?);
    assert_eq!(found["commit"], expected["commit"]);
    assert_eq!(found["artefacts"][0], expected["artefacts"][0]);
    Ok(())
}

#[test]
fn cli_root_without_capabilities_builds_from_a_cached_base() -> Result<()> {
    let warm = Warm::new()?;
    let build = warm.build("out")?.arg("--format").arg("raw").account(Account::RootWithoutCapabilities);
    build.run(&warm.scratch)?.exits(0);
    same_disk(&warm)
}

/// With a cache and a commit of its own.
#[test]
fn cli_an_ordinary_user_needs_subordinate_numbers_for_a_new_base_only() -> Result<()> {
    let warm = Warm::apart()?;
    let build = warm.build("out")?.arg("--format").arg("raw").account(Account::NoSubordinates);
    warm.give_to(Account::NoSubordinates)?;
    build.run(&warm.scratch)?.exits(0);
    same_disk(&warm)?;
    for folder in ["out", "cache/base"] {
        let folder = warm.scratch.path().join(folder);
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
        }
    }
    let ran = build.run(&warm.scratch)?.exits(i32::from(Kind::Tool.exit_code()));
    ran.says("subordinate").says("usermod --add-subuids");
    warm.assert_cache_has_only(&["blobs", "overlay", "ostree"]);
    assert_eq!(fs::read_dir(warm.scratch.path().join("out"))?.count(), 0);
    Ok(())
}

/// While packages are unpacked, half of the files belong to subordinate users, and mmdebstrap runs in a namespace of its own.
#[test]
fn cli_a_base_that_was_killed_is_taken_away_by_the_next_process() -> Result<()> {
    let warm = Warm::apart()?;
    fs::remove_dir_all(warm.cache.join("base"))?;
    let build = warm.build("out")?.args(["--json", "--format", "raw"]).account(Account::Ordinary);
    warm.give_to(Account::Ordinary)?;
    let temporary = warm.cache.join("tmp");
    for (signal, code) in [(Signal::SIGKILL, None), (Signal::SIGINT, Some(130))] {
        let mut child = build.spawn(&warm.scratch)?;
        let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        let unpacked = lines.find(|line| {
            line.as_ref().is_ok_and(|line| line.contains("\"stage-advanced\"") && line.contains("\"stage\":\"packages\""))
        });
        ensure!(unpacked.is_some(), "the packages stage never came");
        killpg(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        assert_eq!(child.wait()?.code(), code, "{signal}");
        nobody_works_in(&temporary)?;
        if signal == Signal::SIGKILL {
            assert!(fs::read_dir(&temporary)?.count() > 0, "nothing was left: the signal came too early");
        }
        // Whoever opens the cache next clears it, even only to look.
        warm.basalt(["cache"]).account(Account::Ordinary).run(&warm.scratch)?.exits(0);
        assert_eq!(fs::read_dir(&temporary)?.count(), 0, "{signal}");
        warm.assert_cache_has_only(&["blobs", "overlay"]);
    }
    Ok(())
}

/// Fails unless soon no program has an argument in `folder`.
fn nobody_works_in(folder: &Path) -> Result<()> {
    let (folder, deadline) = (folder.display().to_string(), Instant::now() + Duration::from_secs(10));
    loop {
        let commands = fs::read_dir("/proc")?.flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
        let working: Vec<_> = commands
            .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
            .filter(|line| line.contains(&folder))
            .collect();
        if working.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "still at work: {working:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
