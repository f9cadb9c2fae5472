//! Who may build what: nobody needs root, and a base that is there needs no subordinate numbers.

use std::fs;

use anyhow::Result;
use basalt::failure::Kind;
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
