//! Readers of what belongs to a kernel's modules.

use std::collections::BTreeMap;

use basalt::format::initramfs::Initramfs;
use basalt::format::modules_index::{Index, Layout, Module, ModulePath, SearchOrder, Trie};
use basalt::format::{cpio, kernel_image, module, symvers, uefi_variables};
use basalt::kmod::signing::{Certificate, Hash};
use basalt::kmod::{Facts, Keyring, Signed};

/// An index of kernel modules: one `.bin` file, or the text files as head(1) shows several (`==> modules.dep <==`). What is read is
/// written and read again as the same, in each layout; so is what comes out when the first module is replaced and another one added.
pub fn modules_index(bytes: &[u8]) -> bool {
    if bytes.starts_with(&0xB007_F457_u32.to_be_bytes()) {
        return trie(bytes);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let files = files(text);
    let Ok(index) = Index::read(&files) else { return false };
    again(&index, &files);
    let path = |text: &str| ModulePath::parse(text).expect("a path");
    let mut module = Module {
        path: path("updates/fuzz-new.ko"),
        aliases: vec!["devname:fuzz".to_owned(), "char-major-10-1".to_owned(), "x-[a-c]*".to_owned()],
        softdeps: vec!["pre: fuse".to_owned()],
        weakdeps: vec!["fuse".to_owned()],
        exports: vec!["fuzz_export".to_owned()],
        imports: vec!["jbd2_journal_stop".to_owned(), "crc16".to_owned()],
    };
    let mut added = vec![module.clone()];
    if let Some(first) = index.paths().next() {
        module.path = path(&format!("updates/{}.ko", first.name()));
        module.exports.clear();
        added.push(module);
    }
    if let Ok(extended) = index.with(&[], &added, &SearchOrder::default()) {
        again(&extended.index, &files);
    }
    true
}

/// Text files, as head(1) shows them.
fn files(text: &str) -> BTreeMap<String, Vec<u8>> {
    let sections = text.strip_prefix("==> ").unwrap_or(text).split("\n==> ");
    let file = |section: &str| section.split_once(" <==\n").map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
    sections.filter_map(file).collect()
}

fn again(index: &Index, files: &BTreeMap<String, Vec<u8>>) {
    let mut written = index.files().expect("less than 256 MiB");
    written.extend(files.get_key_value("modules.order").map(|(name, bytes)| (name.clone(), bytes.clone())));
    // The layout of an index without modules cannot be seen.
    if index.paths().next().is_some() {
        assert_eq!(&Index::read(&written).expect("our own index"), index);
    }
}

fn trie(bytes: &[u8]) -> bool {
    let Ok((trie, _)) = Trie::read(bytes) else { return false };
    for layout in [Layout::ParentsFirst, Layout::ParentsLast] {
        let written = trie.write(layout).expect("as small as it was");
        assert_eq!(Trie::read(&written).expect("our own file").0, trie);
    }
    true
}

/// A kernel module, perhaps packed and signed: what it says does not depend on a signature behind it.
pub fn kernel_module(bytes: &[u8]) -> bool {
    let Ok(facts) = Facts::read("updates/case.ko", bytes, None) else { return false };
    let unpacked = module::unpack(bytes).expect("it was read");
    let object = module::signature::split(&unpacked).map_or(&*unpacked, |(object, _)| object);
    let signed = [object, &module::signature::trailer(b"DER")].concat();
    assert_eq!(Facts::read("updates/case.ko", &signed, None).expect("it is the same object"), facts);
    true
}

/// The PKCS#7 of a module's signature, by a key that nobody has.
pub fn module_signature(bytes: &[u8]) -> bool {
    matches!(Keyring::default().verify(b"object", bytes), Signed::Stranger(_))
}

/// Module.symvers.
pub fn symvers(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(symbols) = symvers::parse(text) else { return false };
    let line = |symbol: &symvers::Symbol<'_>| {
        let export = if symbol.gpl { "EXPORT_SYMBOL_GPL" } else { "EXPORT_SYMBOL" };
        format!("{:#010x}\t{}\t{}\t{export}\t{}\n", symbol.crc, symbol.name, symbol.owner, symbol.namespace)
    };
    let written: String = symbols.iter().map(line).collect();
    assert_eq!(symvers::parse(&written).expect("what was read can be written"), symbols);
    true
}

/// Variables of OVMF: a certificate that is enrolled is the last of the owner's, and nothing but the list's place changes.
pub fn uefi_variables(bytes: &[u8]) -> bool {
    let mut changed = bytes.to_vec();
    let Ok(before) = uefi_variables::owners(bytes) else { return false };
    if uefi_variables::enrol(&mut changed, &[b"certificate".to_vec()]).is_err() {
        return false;
    }
    let after = uefi_variables::owners(&changed).expect("our own variables").expect("our own list");
    assert!(after.starts_with(before.unwrap_or_default()) && after.ends_with(b"certificate"));
    assert_eq!(changed.len(), bytes.len());
    true
}

/// A kernel that a boot loader starts, and the certificates in it.
pub fn kernel_image(bytes: &[u8]) -> bool {
    let Ok(kernel) = kernel_image::unpack(bytes) else { return false };
    Keyring::of_kernel(&kernel);
    true
}

/// An initramfs: archives, plain or compressed. Where it begins with a plain one, what that has is written and read again as the same.
pub fn initramfs(bytes: &[u8]) -> bool {
    let Ok(found) = Initramfs::read(bytes, &|path| path.ends_with("modules.dep")) else { return false };
    for path in found.files.keys() {
        found.real(path);
    }
    if let Ok((entries, _)) = cpio::read(bytes) {
        let kept: Vec<_> = entries.into_iter().filter(|entry| entry.kind != cpio::Kind::Other).collect();
        assert_eq!(cpio::read(&cpio::write(&kept)).expect("our own archive").0, kept);
    }
    true
}

/// A certificate of whoever signs modules; what is wrapped around a signature is read as one by a key that nobody has.
pub fn certificate(bytes: &[u8]) -> bool {
    let Ok(certificate) = Certificate::parse(bytes) else { return false };
    for hash in Hash::ALL {
        let wrapped = certificate.wrap(hash, b"signature").expect("a certificate that was read");
        assert!(matches!(Keyring::default().verify(b"object", &wrapped), Signed::Stranger(_)));
    }
    true
}
