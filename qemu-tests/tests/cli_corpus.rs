//! Replays the corpora of the fuzz targets: real files, and every input that once broke a reader.

use std::fs;
use std::panic::catch_unwind;

use qemu_tests::{readers, repository};

#[test]
fn cli_corpora_are_replayed() {
    for (name, reader) in readers::ALL {
        let folder = repository().join("qemu-tests/fuzz/corpus").join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let (mut files, mut taken) = (0, 0);
        for entry in entries {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let Ok(took) = catch_unwind(|| reader(&bytes)) else { panic!("{} breaks the reader", path.display()) };
            let refused = path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("-is-refused"));
            assert!(!(refused && took), "{} was taken", path.display());
            files += 1;
            taken += usize::from(took);
        }
        assert!(files > 0, "{} is empty", folder.display());
        assert!(taken > 0, "{name}: none of {files} files was taken");
    }
}

/// A target that `make fuzz` runs is a reader here, and the other way round.
#[test]
fn cli_every_reader_has_a_fuzz_target() {
    let fuzz = repository().join("qemu-tests/fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let mut targets: Vec<_> = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")).collect();
    let mut needed: Vec<_> = readers::ALL.iter().map(|(name, _)| format!("{name}.rs\"")).collect();
    targets.sort_unstable();
    needed.sort_unstable();
    assert_eq!(targets, needed);
    for (name, _) in readers::ALL {
        let target = fs::read_to_string(fuzz.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("readers::{name}(bytes)")), "{name}");
    }
}
