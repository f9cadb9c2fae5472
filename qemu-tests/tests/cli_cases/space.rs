//! A full disk: asked for before anything is written where the size is known, a clean end where it fills half-way.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{FallocateFlags, fallocate};
use nix::unistd::getuid;
use qemu_tests::{Basalt, Warm};

/// Runs a build with a small filesystem of its own mounted on the first argument; then says what lies there.
const SCRIPT: &str = "folder=$0; size=$1; shift; mount -t tmpfs -o size=$size none \"$folder\" || exit 99; \"$@\"; code=$?; \
     echo \"left:$(ls -A \"$folder\" | tr '\\n' ' ')\"; exit $code";

fn small(build: Basalt, folder: &Path, size: &str) -> Basalt {
    let mut words = vec!["unshare".into(), "--mount".into()];
    if !getuid().is_root() {
        words.push("--map-root-user".into());
    }
    words.extend(["sh".into(), "-c".into(), SCRIPT.into(), folder.as_os_str().to_owned(), size.into()]);
    build.under(words)
}

#[test]
fn cli_too_little_space_is_said_before_anything_is_written() -> Result<()> {
    let warm = Warm::new()?;
    let out = warm.scratch.folder("out")?;
    let ran = small(warm.build("out")?.arg("--format").arg("raw"), &out, "64M").run(&warm.scratch)?.exits(1);
    let data = Warm::expected()?["artefacts"][0]["allocated"].as_u64().context("no size")?.div_ceil(1 << 20);
    let needed = ran.stderr.split(" needs ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|n| n.parse::<u64>().ok());
    let needed = needed.with_context(|| ran.stderr.clone())?;
    assert!((data..data + data / 5).contains(&needed), "needs {needed} MiB for {data} MiB of data");
    assert!(ran.stdout.ends_with("left:\n"), "{}", ran.stdout);
    ran.says("MiB of free space, found 64 MiB").says("or choose another folder with --out");
    Ok(())
}

#[test]
fn cli_a_disk_that_fills_half_way_leaves_nothing() -> Result<()> {
    let warm = Warm::new()?;
    let out = warm.scratch.folder("out")?;
    let build = small(warm.build("out")?.arg("--json").arg("--format").arg("raw"), &out, "800M");
    let mut child = build.spawn(&warm.scratch)?;
    let mut lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
    let begun = |line: &str| line.contains("\"stage-advanced\"") && line.contains("\"stage\":\"artefacts\"");
    let mut seen = Vec::new();
    while let Some(line) = lines.next().transpose()? {
        let now = begun(&line);
        seen.push(line);
        if now {
            // Somebody else fills the disk: seen through the build's own view of the filesystems.
            let path = PathBuf::from(format!("/proc/{}/root{}/other", child.id(), out.display()));
            let other = File::create(&path).with_context(|| path.display().to_string())?;
            while fallocate(&other, FallocateFlags::empty(), i64::try_from(other.metadata()?.len())?, 1 << 20).is_ok() {}
            break;
        }
    }
    seen.extend(lines.collect::<Result<Vec<_>, _>>()?);
    let mut stderr = String::new();
    child.stderr.take().context("no stderr")?.read_to_string(&mut stderr)?;
    assert_eq!(child.wait()?.code(), Some(1), "{seen:#?}\n{stderr}");
    assert!(stderr.contains("cannot be written: No space left on device"), "{stderr}");
    assert!(stderr.contains("nothing half-written was kept"), "{stderr}");
    assert_eq!(seen.last().map(String::as_str), Some("left:other "), "{seen:#?}");
    Ok(())
}

#[test]
fn cli_a_cache_that_is_full_fails_cleanly() -> Result<()> {
    let warm = Warm::new()?;
    warm.forget_commit()?;
    let small_cache = warm.scratch.folder("small")?;
    // Packages, overlays and agent come in first; the base is there.
    let build = warm.build("out")?.cache(&small_cache).arg("--offline");
    let fill = format!("{}/.", warm.cache.display());
    let size = kib(&warm.cache)? + (100 << 10);
    let copy = "cache=$0; from=$1; shift; cp -a \"$from\" \"$cache\"; \"$@\"; code=$?; echo \"half-made:$(ls -A \"$cache/tmp\")\"; exit $code";
    let build = small(build, &small_cache, &format!("{size}K"));
    let build =
        build.under(["sh".into(), "-c".into(), copy.into(), small_cache.into_os_string(), std::ffi::OsString::from(fill)]);
    let ran = build.run(&warm.scratch)?.exits(1);
    assert!(ran.stdout.contains("half-made:\n"), "{}", ran.stdout);
    assert_eq!(fs::read_dir(warm.scratch.path().join("out"))?.count(), 0);
    ran.says("pace");
    Ok(())
}

/// What the folder takes on a disk, in KiB.
fn kib(folder: &Path) -> Result<u64> {
    let output = std::process::Command::new("du").args(["-sk"]).arg(folder).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.split('\t').next().and_then(|n| n.parse().ok()).with_context(|| text.clone())
}
