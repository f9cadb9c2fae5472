//! Every reader of foreign bytes, each as a function of bytes: what the fuzz targets call, and what replays their corpora.
//!
//! The contract: errors are fine, panics are bugs; what is read can be written and read again.

use std::sync::Arc;

use basalt::lock::Lock;
use basalt::plan::Plan;
use basalt::tree::{Pack, dump, tar};

/// A reader of foreign bytes.
pub type Reader = fn(&[u8]);

/// All of them, by the name of their corpus.
pub const ALL: [(&str, Reader); 6] =
    [("recipe", recipe), ("lock", lock), ("plan", plan), ("tar", tar), ("index", index), ("control", control)];

/// A recipe: checked, every problem rendered.
pub fn recipe(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(problems) = basalt::recipe::parse("fuzz.toml", text) {
        assert!(!problems.list.is_empty() && !problems.to_string().is_empty());
    }
}

/// A lock: what is read is written and read again as the same.
pub fn lock(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(lock) = Lock::parse("fuzz.lock", text) {
        assert_eq!(Lock::parse("fuzz.lock", &lock.to_toml()).ok(), Some(lock));
    }
}

/// A saved plan: its identity survives being written.
pub fn plan(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(plan) = Plan::parse(text) {
        assert_eq!(Plan::parse(&plan.to_json()).map(|again| again.id()).ok(), Some(plan.id()));
    }
}

/// A tar archive: what is read is written as an archive with the same tree.
pub fn tar(bytes: &[u8]) {
    let Some(pack) = pack(bytes) else { return };
    let Ok(tree) = tar::read_packed(&pack, tar::Devices::Refuse) else { return };
    let mut out = Vec::new();
    tar::write(&tree, &mut out).expect("memory takes everything");
    let Some(again) = self::pack(&out) else { return };
    let again = tar::read_packed(&again, tar::Devices::Refuse).expect("our own archive");
    assert_eq!(dump::digest(&again), dump::digest(&tree));
}

/// The index of a layer in the store.
pub fn index(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Some(pack) = pack(&[]) else { return };
    if let Ok(tree) = dump::read_index(text, &pack) {
        let mut out = Vec::new();
        dump::write_index(&tree, &mut out).expect("its contents are packed");
        let again = dump::read_index(std::str::from_utf8(&out).expect("ASCII"), &pack).expect("our own index");
        assert_eq!(dump::digest(&again), dump::digest(&tree));
    }
}

/// A Debian control file.
pub fn control(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for stanza in basalt::source::debian::control::stanzas(text) {
        let _ = (stanza.get("Package"), stanza.text());
    }
}

/// A pack in a file without a name.
fn pack(bytes: &[u8]) -> Option<Arc<Pack>> {
    let file = tempfile::NamedTempFile::new().ok()?;
    std::fs::write(file.path(), bytes).ok()?;
    Pack::open(file.path()).ok()
}
