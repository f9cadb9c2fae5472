//! Locks, saved plans and vendored folders: what a build may take, and what it says when an input is missing or another.

use std::fs;

use anyhow::{Context, Result};
use basalt::failure::Kind;
use nix::unistd::getuid;
use qemu_tests::{Warm, assert_whole, manifest};
use serde_json::Value;

const INPUT: i32 = Kind::Input.exit_code() as i32;
const IMPORTED: [&str; 4] = ["base", "blobs", "overlay", "ostree"];

#[test]
fn cli_locked_needs_a_lock() -> Result<()> {
    let warm = Warm::new()?;
    fs::remove_file(warm.recipe.with_extension("lock"))?;
    let ran = warm.build("out")?.arg("--locked").run(&warm.scratch)?.exits(INPUT);
    ran.says("needed a lock for amd64, found none").says("next: run `basalt lock RECIPE`");
    assert!(!warm.recipe.with_extension("lock").exists(), "--locked wrote a lock");
    warm.assert_cache_has_only(&IMPORTED);
    assert_eq!(fs::read_dir(warm.scratch.path().join("out"))?.count(), 0);
    Ok(())
}

#[test]
fn cli_locked_names_both_digests_of_a_changed_file() -> Result<()> {
    let warm = Warm::new()?;
    let text = fs::read_to_string(&warm.recipe)? + "\n[[overlay]]\npath = \"mine\"\n";
    fs::write(&warm.recipe, text)?;
    let file = warm.scratch.write("image-recipes/mine/usr/lib/mine/a", "one\n")?;
    let locked = warm.basalt(["lock"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0);
    assert!(locked.stdout.contains("overlay mine: added 1 files"), "{}", locked.stdout);
    let lock = fs::read_to_string(warm.recipe.with_extension("lock"))?;
    fs::write(file, "two\n")?;
    let ran = warm.build("out")?.arg("--locked").run(&warm.scratch)?.exits(INPUT);
    let needed =
        lock.split("name = \"mine\"\ndigest = \"").nth(1).and_then(|rest| rest.get(..64)).context("no digest in the lock")?;
    let ran = ran.says(&format!("overlay mine: needed sha256 {needed}, found sha256 ")).says("(/usr/lib/mine/a changed)");
    ran.says("next: run `basalt lock RECIPE`");
    assert_eq!(fs::read_to_string(warm.recipe.with_extension("lock"))?, lock);
    warm.assert_cache_has_only(&IMPORTED);
    assert_eq!(fs::read_dir(warm.scratch.path().join("out"))?.count(), 0);
    Ok(())
}

#[test]
fn cli_offline_names_the_packages_that_are_missing() -> Result<()> {
    let warm = Warm::new()?;
    let empty = warm.scratch.folder("empty")?;
    let lock = fs::read_to_string(warm.recipe.with_extension("lock"))?;
    let count = lock.matches("\n[[architecture.amd64.package]]").count();
    let ran = warm.build("out")?.cache(&empty).arg("--offline").run(&warm.scratch)?.exits(INPUT);
    let message = format!("--offline, and {count} locked packages are not in the cache:\n  adduser ");
    ran.says(&message).says(&format!("  and {} more\n", count - 10)).says("next: ");
    assert_whole(&empty, &["blobs", "overlay"]);
    assert_eq!(fs::read_dir(warm.scratch.path().join("out"))?.count(), 0);
    Ok(())
}

/// Also when the packages are gone: the base that they made is in the cache.
#[test]
fn cli_a_saved_plan_gives_the_bytes_of_its_recipe() -> Result<()> {
    let warm = Warm::new()?;
    let plan = warm.basalt(["plan", "--json"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0).stdout;
    let value: Value = serde_json::from_str(&plan)?;
    for package in value["base"]["packages"].as_array().context("the plan has no packages")? {
        fs::remove_file(warm.cache.join("blobs").join(package["sha256"].as_str().context("a package without a digest")?))?;
    }
    let plan = warm.scratch.write("plan.json", plan)?;
    warm.basalt(["build", "--offline", "--out", "out"]).arg(plan).run(&warm.scratch)?.exits(0);
    assert_eq!(warm.manifest("out")?, Warm::expected()?);
    Ok(())
}

/// A plan names what lay on somebody's disk by digest only.
#[test]
fn cli_a_saved_plan_without_its_local_inputs_says_what_is_missing() -> Result<()> {
    let warm = Warm::new()?;
    let text =
        fs::read_to_string(&warm.recipe)? + "\n[[overlay]]\npath = \"mine\"\n[[file]]\npath = \"/etc/a\"\nsource = \"a\"\n";
    fs::write(&warm.recipe, text)?;
    warm.scratch.write("image-recipes/mine/usr/lib/mine/a", "one\n")?;
    warm.scratch.write("image-recipes/a", "two\n")?;
    let plan = warm.basalt(["plan", "--json"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0).stdout;
    let plan = warm.scratch.write("plan.json", plan)?;
    let empty = warm.scratch.folder("empty")?;
    let build = warm.basalt(["build", "--out", "out"]).arg(&plan).cache(&empty);
    let ran = build.run(&warm.scratch)?.exits(INPUT).says("the cache lacks inputs of plan gpu-node that no mirror has:\n");
    let ran = ran.says("\n  overlay mine, sha256 ").says("\n  file /etc/a, sha256 ").says("\n  the first-boot agent, sha256 ");
    ran.says("next: build from the recipe").says("`basalt vendor`");
    assert_whole(&empty, &[]);
    assert!(!warm.scratch.path().join("out").exists());
    // As it says: with the recipe, the inputs are there again.
    fs::remove_dir_all(warm.cache.join("overlay"))?;
    warm.basalt(["build", "--out", "out"]).arg(&plan).run(&warm.scratch)?.exits(INPUT).says("overlay mine, sha256 ");
    warm.basalt(["lock"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0);
    warm.basalt(["build", "--offline", "--format", "raw", "--out", "out"]).arg(&plan).run(&warm.scratch)?.exits(0);
    Ok(())
}

#[test]
fn cli_what_no_image_has_any_more_leaves_the_cache() -> Result<()> {
    let warm = Warm::new()?;
    let text = fs::read_to_string(&warm.recipe)?;
    fs::write(&warm.recipe, format!("{text}\n[[overlay]]\npath = \"mine\"\n"))?;
    let big = warm.scratch.write("image-recipes/mine/usr/lib/mine/a", vec![1; 3 << 20])?;
    warm.build("out")?.args(["--format", "raw"]).run(&warm.scratch)?.exits(0);
    fs::write(big, vec![2; 3 << 20])?;
    warm.build("out")?.args(["--format", "raw"]).run(&warm.scratch)?.exits(0);
    let removed = warm.basalt(["cache", "--gc"]).run(&warm.scratch)?.exits(0).stdout;
    let line = removed.lines().last().and_then(|line| line.strip_prefix("removed ")).context(removed.clone())?;
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    // The file and the overlay that held it, 3 MiB each; those of the reference image that this one replaced, and its layers.
    assert!(numbers[0] >= 3 && numbers[1] >= 1 && numbers[2] >= 1 && numbers[3] >= 6, "{removed}");
    let nothing = warm.basalt(["cache", "--gc"]).run(&warm.scratch)?.exits(0).stdout;
    assert!(nothing.contains("removed 0 files of old commits, 0 overlays and 0 OCI layers, 0 MiB"), "{nothing}");
    fs::write(&warm.recipe, text)?;
    warm.build("out")?.args(["--format", "raw,qcow2,oci"]).run(&warm.scratch)?.exits(0);
    assert_eq!(warm.manifest("out")?, Warm::expected()?);
    Ok(())
}

/// The base is taken over from the warm cache: making it takes minutes, and other cases do.
#[test]
fn cli_a_vendored_folder_builds_without_a_network() -> Result<()> {
    let warm = Warm::new()?;
    let vendored = warm.scratch.path().join("vendored");
    warm.basalt(["vendor"]).arg(&warm.recipe).arg(&vendored).run(&warm.scratch)?.exits(0);
    let other = warm.scratch.folder("other")?;
    fs::rename(warm.cache.join("base"), other.join("base"))?;
    fs::remove_dir_all(&warm.cache)?;
    let alone: &[&str] = if getuid().is_root() { &["unshare", "--net"] } else { &["unshare", "--map-current-user", "--net"] };
    let build = warm.basalt(["build", "--offline", "--out", "out"]).cache(&other).arg(vendored.join("plan.json"));
    build.under(alone).run(&warm.scratch)?.exits(0);
    assert_eq!(manifest(&warm.scratch.path().join("out"))?, Warm::expected()?);
    Ok(())
}

#[test]
fn cli_a_vendored_file_with_another_digest_is_refused() -> Result<()> {
    let warm = Warm::new()?;
    let vendored = warm.scratch.path().join("vendored");
    warm.basalt(["vendor"]).arg(&warm.recipe).arg(&vendored).run(&warm.scratch)?.exits(0);
    let blobs = vendored.join("store/blobs");
    let blob = fs::read_dir(&blobs)?.next().context("no blob")??;
    let needed = blob.file_name().to_string_lossy().into_owned();
    // A new file: the old one may be shared with a cache.
    let mut bytes = fs::read(blob.path())?;
    bytes[100] ^= 1;
    fs::remove_file(blob.path())?;
    fs::write(blob.path(), bytes)?;
    let empty = warm.scratch.folder("empty")?;
    let build = warm.basalt(["build", "--offline", "--out", "out"]).cache(&empty).arg(vendored.join("plan.json"));
    let ran = build.run(&warm.scratch)?.exits(INPUT);
    ran.says(&format!("{needed}: its digest differs: needed {needed}, found ")).says("next: ");
    assert_whole(&empty, &["blobs"]);
    assert!(!empty.join("blobs").join(&needed).exists() && !warm.scratch.path().join("out").exists());
    Ok(())
}
