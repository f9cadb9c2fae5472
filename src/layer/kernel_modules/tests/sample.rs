//! A kernel with three small modules: `a` gives what `b` needs, `c` is alone. Its initramfs has `a`.

use std::collections::BTreeMap;

use object::write::SymbolSection;

use crate::format::cpio::{self, Entry, Kind};
use crate::format::module::fixture::Draft;
use crate::format::modules_index::{Index, ModulePath, SearchOrder};
use crate::format::packed::Packing;
use crate::layer::kernel_modules::index::described;
use crate::layer::kernel_modules::source::Sources;
use crate::layer::kernel_modules::{Found, INITRAMFS};
use crate::tree::{Content, Meta, Tree, TreePath};

pub const RELEASE: &str = "6.12.1-amd64";
pub const FOLDER: &str = "usr/lib/modules/6.12.1-amd64";

/// A module with these words in `.modinfo`, each ended by a NUL.
pub fn module(info: &str, gives: Option<&str>, needs: Option<&str>) -> Vec<u8> {
    let mut draft = Draft::new();
    draft.section(".modinfo", format!("license=GPL\0{info}").as_bytes());
    if let Some(name) = gives {
        let table = draft.section("__ksymtab", &[0; 12]);
        draft.symbol(&format!("__ksymtab_{name}"), 0, SymbolSection::Section(table), false);
    }
    if let Some(name) = needs {
        draft.symbol(name, 0, SymbolSection::Undefined, false);
    }
    draft.bytes()
}

/// The kernel's own, by path below its folder.
pub fn own() -> BTreeMap<&'static str, Vec<u8>> {
    [
        ("kernel/a.ko", module("", Some("fa"), None)),
        ("kernel/b.ko", module("firmware=b.bin\0alias=pci:b\0", None, Some("fa"))),
        ("kernel/c.ko", module("softdep=pre: b\0", None, None)),
    ]
    .into()
}

/// What depmod writes for modules.
pub fn index<'a>(modules: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> BTreeMap<String, Vec<u8>> {
    let empty = super::INDEX.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())).into();
    let modules: Vec<_> =
        modules.into_iter().map(|(path, bytes)| described(&ModulePath::parse(path).unwrap(), bytes).unwrap()).collect();
    let search = SearchOrder::parse(&[], RELEASE).unwrap();
    Index::read(&empty).unwrap().with(&[], &modules, &search).unwrap().index.files().unwrap()
}

/// The initramfs, by zstd: with `a`, and with what loads modules unless it is to lack that.
pub fn initramfs(has_loader: bool) -> Vec<u8> {
    let own = own();
    let mut files: BTreeMap<String, Vec<u8>> = [(format!("{FOLDER}/kernel/a.ko"), own["kernel/a.ko"].clone())].into();
    let made = index([("kernel/a.ko", own["kernel/a.ko"].as_slice())]);
    files.extend(made.into_iter().map(|(name, bytes)| (format!("{FOLDER}/{name}"), bytes)));
    if has_loader {
        files.insert("usr/lib/systemd/systemd-modules-load".to_owned(), b"program".to_vec());
    }
    let folders = ["etc", "usr", "usr/lib", "usr/lib/modules", FOLDER, "usr/lib/modules/6.12.1-amd64/kernel", "usr/lib/systemd"];
    let folders = folders.map(|path| Entry { path, mode: 0o755, kind: Kind::Directory });
    let link = Entry { path: "lib", mode: 0o777, kind: Kind::Symlink(b"usr/lib") };
    let files = files.iter().map(|(path, bytes)| Entry { path, mode: 0o644, kind: Kind::File(bytes) });
    let entries: Vec<_> = folders.into_iter().chain([link]).chain(files).collect();
    Packing::Zst.pack(&cpio::write(&entries)).unwrap()
}

/// The layers below, with this initramfs.
pub fn below(initramfs: Vec<u8>) -> Tree {
    let own = own();
    let mut tree = Tree::new();
    let mut put = |path: String, bytes: Vec<u8>| {
        tree.put_file(&TreePath::parse(&path).unwrap(), Meta::root(0o600), Content::from_bytes(bytes)).unwrap();
    };
    for (name, bytes) in index(own.iter().map(|(path, bytes)| (*path, bytes.as_slice()))) {
        put(format!("{FOLDER}/{name}"), bytes);
    }
    for (path, bytes) in own {
        put(format!("{FOLDER}/{path}"), bytes);
    }
    put(format!("{FOLDER}/{INITRAMFS}"), initramfs);
    put("usr/lib/firmware/b.bin".to_owned(), b"firmware of b".to_vec());
    tree
}

/// Modules that others built, all of the first set.
pub fn sources(modules: &[(&str, &[u8])]) -> Sources {
    let found = |(path, bytes): &(&str, &[u8])| Found {
        set: 0,
        path: ModulePath::parse(path).unwrap(),
        content: Content::from_bytes(*bytes),
    };
    Sources { modules: modules.iter().map(found).collect(), firmware: Vec::new(), signatures: BTreeMap::new() }
}
