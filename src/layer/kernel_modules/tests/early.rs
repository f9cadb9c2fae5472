//! What comes behind the base's initramfs, read back as the kernel would unpack it.

use std::collections::BTreeMap;

use super::sample::{FOLDER, below, initramfs, module, own, sources};
use crate::failure::{Kind, failure_in, kind_of};
use crate::format::cpio;
use crate::format::initramfs::{Initramfs, Node};
use crate::format::modules_index::{Index, ModulePath};
use crate::layer::kernel_modules::early::{Early, extended};
use crate::layer::kernel_modules::index;
use crate::layer::kernel_modules::source::Sources;
use crate::layer::kernel_modules::target::Target;
use crate::plan::{KernelModules, ModuleSet};
use crate::store::Store;
use crate::tree::Tree;

fn early(below: &Tree, sources: &Sources, set: ModuleSet) -> anyhow::Result<Option<Early>> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let target = Target::of(below).unwrap();
    let wanted = KernelModules { sets: vec![set], ..Default::default() };
    let removed = target.removed(&wanted.sets).unwrap();
    let index = index::extended(&target, &sources.modules, &removed).unwrap();
    extended(&wanted, &target, sources, &removed, &index, &store)
}

fn loading(names: &[&str]) -> ModuleSet {
    ModuleSet {
        name: "set".into(),
        load_early: names.iter().map(|name| (*name).to_owned()).collect(),
        blacklist: vec!["nouveau".into()],
        ..Default::default()
    }
}

/// What the kernel makes of it, and the index of its modules.
fn unpacked(early: &Early) -> (Initramfs, Index) {
    let bytes = early.content.bytes().unwrap();
    assert!(bytes.starts_with(&initramfs(true)), "the base's own bytes stay");
    let ram = Initramfs::read(&bytes, &|_| true).unwrap();
    let files = ram.files.iter().filter_map(|(path, node)| match (path.strip_prefix(FOLDER)?, node) {
        (name, Node::File(Some(bytes))) if name.starts_with("/modules.") => Some((name[1..].to_owned(), bytes.clone())),
        _ => None,
    });
    let files: BTreeMap<_, _> = files.collect();
    let index = Index::read(&files).unwrap();
    assert_eq!(index.files().unwrap(), files, "the binary index says the same");
    (ram, index)
}

fn file(ram: &Initramfs, path: &str) -> Vec<u8> {
    match ram.get(path) {
        Some(Node::File(Some(bytes))) => bytes.clone(),
        other => panic!("{path}: {other:?}"),
    }
}

fn paths(found: Option<Vec<&ModulePath>>) -> Vec<&str> {
    found.unwrap().into_iter().map(ModulePath::as_str).collect()
}

#[test]
fn modules_come_with_all_that_they_need() {
    let below = below(initramfs(true));
    let made = early(&below, &sources(&[]), loading(&["c"])).unwrap().unwrap();
    assert_eq!(made.replaced.relative(), format!("{FOLDER}/initramfs.img"));
    assert_eq!(made.meta.mode, 0o600);
    let (ram, index) = unpacked(&made);
    for (path, bytes) in own() {
        assert_eq!(file(&ram, &format!("lib/modules/6.12.1-amd64/{path}")), bytes, "{path}");
    }
    assert_eq!(paths(index.dependencies("b")), ["kernel/a.ko"]);
    assert_eq!(file(&ram, "usr/lib/firmware/b.bin"), b"firmware of b");
    assert_eq!(file(&ram, "etc/modules-load.d/basalt-early.conf"), b"c\n");
    assert_eq!(file(&ram, "lib/modprobe.d/basalt-set.conf"), b"blacklist nouveau\n");
    assert_eq!(ram.get("etc/modules-load.d"), Some(&Node::Directory));
    assert_eq!(early(&below, &sources(&[]), loading(&["c"])).unwrap().unwrap().content.digest(), made.content.digest());
}

#[test]
fn what_takes_the_place_of_a_module_there_comes_unasked() {
    let below = below(initramfs(true));
    let other = module("", Some("fa"), None);
    let new = module("", None, None);
    let quiet = ModuleSet { name: "set".into(), ..Default::default() };
    let made = early(&below, &sources(&[("updates/set/a.ko.xz", &other)]), quiet.clone()).unwrap().unwrap();
    let (ram, index) = unpacked(&made);
    assert_eq!(file(&ram, &format!("{FOLDER}/updates/set/a.ko.xz")), other);
    assert_eq!(index.paths().map(ModulePath::as_str).collect::<Vec<_>>(), ["updates/set/a.ko.xz"]);
    assert_eq!(ram.get("etc/modules-load.d/basalt-early.conf"), None);
    // One that goes is not found any more.
    let goes = ModuleSet { remove: vec!["a".into(), "b".into()], ..quiet.clone() };
    let made = early(&below, &sources(&[]), goes).unwrap().unwrap();
    assert_eq!(unpacked(&made).1.paths().count(), 0);
    // What the initramfs does not have is no matter of its.
    let gone = ModuleSet { remove: vec!["c".into()], ..quiet.clone() };
    assert!(early(&below, &sources(&[("updates/set/new.ko", &new)]), gone).unwrap().is_none());
    assert!(early(&below, &sources(&[("updates/set/c.ko", &new)]), quiet).unwrap().is_none());
}

#[test]
fn what_cannot_be_done_is_told() {
    let refused = |initramfs: Vec<u8>, name: &str, words: &[&str]| {
        let Err(error) = early(&below(initramfs), &sources(&[]), loading(&[name])) else { panic!("{words:?}") };
        assert_eq!(kind_of(&error), Kind::Invalid);
        let failure = failure_in(&error).unwrap();
        assert!(
            words.iter().all(|word| failure.what.contains(word)) && failure.hint.is_some(),
            "needed {words:?}, found {failure}"
        );
    };
    let at = "/usr/lib/modules/6.12.1-amd64/initramfs.img: ";
    refused(b"\x02\x21\x4c\x18lz4".to_vec(), "c", &[at, "byte 0: needed a cpio archive", "found lz4"]);
    refused(initramfs(false), "c", &[at, "needed usr/lib/systemd/systemd-modules-load", "found none"]);
    refused(initramfs(true), "d", &["kernel module set: load-early: needed a module of", "found \"d\""]);
    let empty = cpio::write(&[cpio::Entry { path: "usr", mode: 0o755, kind: cpio::Kind::Directory }]);
    refused(empty.clone(), "c", &[at, "needed modules for the kernel 6.12.1-amd64, found none"]);
    let other = module("", Some("fa"), None);
    let replacing = sources(&[("updates/set/a.ko", &other)]);
    assert!(early(&below(empty), &replacing, ModuleSet::default()).unwrap().is_none(), "it has nothing to replace");
    // Nobody looks where nothing is asked for.
    let strange = below(b"\x02\x21\x4c\x18lz4".to_vec());
    let quiet = ModuleSet { name: "set".into(), ..Default::default() };
    assert!(early(&strange, &sources(&[]), quiet).unwrap().is_none());
}
