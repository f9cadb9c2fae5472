//! The same inputs give the same bytes, whoever builds them, wherever and with whatever settings.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use anyhow::Result;
use qemu_tests::{Account, Warm};

/// The settings with which the commit is made anew, too.
const COMMITS: &str = "far away, alone, private";

/// What it is called, variables, and what runs the builder.
type Setting = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

/// Settings that differ in everything that must not matter.
const SETTINGS: [Setting; 3] = [
    (
        COMMITS,
        &[("TZ", "Pacific/Auckland"), ("LC_ALL", "tr_TR.UTF-8"), ("LANG", "tr_TR.UTF-8")],
        &["taskset", "--cpu-list", "0", "sh", "-c", "umask 077; exec \"$0\" \"$@\""],
    ),
    (
        "utc, open, no variables",
        &[("TZ", "UTC"), ("SOURCE_DATE_EPOCH", "1"), ("TMPDIR", "/tmp")],
        &["sh", "-c", "umask 000; cd /; exec env --unset=LANG --unset=LC_ALL --unset=HOME --unset=USER \"$0\" \"$@\""],
    ),
    ("west", &[("TZ", "America/St_Johns"), ("LC_ALL", "C")], &["sh", "-c", "umask 027; exec nice \"$0\" \"$@\""]),
];

#[test]
fn cli_bytes_do_not_depend_on_settings() -> Result<()> {
    let expected = Warm::expected()?;
    for (name, variables, under) in SETTINGS {
        // Another folder for cache, recipe, home and artefacts each time.
        let warm = Warm::new()?;
        if name == COMMITS {
            warm.forget_commit()?;
        }
        let mut build = warm.build("out")?.arg("--format").arg("raw,qcow2,oci").under(under);
        for (variable, value) in variables {
            build = build.env(variable, value);
        }
        build.run(&warm.scratch)?.exits(0);
        assert_eq!(warm.manifest("out")?, expected, "{name}");
    }
    Ok(())
}

#[test]
fn cli_artefacts_are_what_the_sums_say_and_everyone_may_read_them() -> Result<()> {
    let warm = Warm::new()?;
    warm.build("out")?
        .arg("--format")
        .arg("raw,qcow2")
        .under(["sh", "-c", "umask 077; exec \"$0\" \"$@\""])
        .run(&warm.scratch)?
        .exits(0);
    let out = warm.scratch.path().join("out");
    let sums = Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&out).output()?;
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    let mut names = Vec::new();
    for entry in fs::read_dir(&out)? {
        let entry = entry?;
        assert_eq!(entry.metadata()?.permissions().mode() & 0o777, 0o644, "{}", entry.path().display());
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(
        names,
        ["SHA256SUMS", "gpu-node.intoto.json", "gpu-node.qcow2", "gpu-node.raw", "gpu-node.spdx.json", "manifest.json"]
    );
    Ok(())
}

#[test]
fn cli_an_unchanged_plan_only_verifies_and_a_damaged_artefact_is_made_again() -> Result<()> {
    let warm = Warm::new()?;
    let build = warm.build("out")?.arg("--json");
    build.run(&warm.scratch)?.exits(0);
    let again = build.run(&warm.scratch)?.exits(0);
    assert!(again.stdout.contains("\"up-to-date\":true") && !again.stdout.contains("\"stage\":\"commit\""), "{}", again.stdout);
    let raw = warm.scratch.path().join("out/gpu-node.raw");
    let file = fs::File::options().write(true).open(&raw)?;
    std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 64 << 20)?;
    let mended = build.run(&warm.scratch)?.exits(0);
    assert!(mended.stdout.contains("\"up-to-date\":false"), "{}", mended.stdout);
    assert_eq!(warm.manifest("out")?, Warm::expected()?);
    Ok(())
}

/// Two builds, each with its own empty cache but for the packages: base and initramfs included. One by root, one by an ordinary user.
#[test]
fn soak_reproducible_cold() -> Result<()> {
    let expected = Warm::expected()?;
    for (account, zone, cpus) in [(Account::Tests, "Pacific/Auckland", "0"), (Account::Ordinary, "UTC", "0-1")] {
        let warm = Warm::apart()?;
        fs::remove_dir_all(warm.cache.join("base"))?;
        warm.give_to(account)?;
        let build = warm.build("out")?.arg("--format").arg("raw,qcow2,oci").env("TZ", zone).account(account);
        build.under(["taskset", "--cpu-list", cpus]).run(&warm.scratch)?.exits(0);
        assert_eq!(warm.manifest("out")?, expected, "{account:?}, {zone}, processors {cpus}");
    }
    Ok(())
}
