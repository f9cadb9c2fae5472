//! Every reader of foreign bytes, each as a function of bytes: what the fuzz targets call, and what replays their corpora.
//!
//! The contract: errors are fine, panics are bugs; what is read can be written and read again.
//!
//! To add one: a function and a row of [`ALL`] here, a target in `fuzz/fuzz_targets/` and a `[[bin]]` in `fuzz/Cargo.toml`, and a
//! folder of small real files in `fuzz/corpus/`.

mod config_drive;
mod desired;
mod disks;
mod kernel;
mod node;
mod profiles;

pub use config_drive::config_drive;
pub use desired::desired_state;
pub use disks::{ext4, fat, gpt, qcow2};
pub use kernel::{certificate, initramfs, kernel_image, kernel_module, module_signature, modules_index, symvers, uefi_variables};
pub use node::{journal, node_facts};
pub use profiles::tuned_profile;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use basalt::format::bls::Entry;
use basalt::format::file_contexts::{FileContexts, FileKind, Source};
use basalt::format::{compressed, oci};
use basalt::inspect::contents;
use basalt::lock::Lock;
use basalt::plan::Plan;
use basalt::sign::simple::Payload;
use basalt::sign::{metadata, openpgp};
use basalt::source::debian::control::{names, stanzas};
use basalt::tree::{Pack, Tree, dump, tar};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::draft;

/// A reader of foreign bytes; whether it took them. Panics when it breaks the contract.
pub type Reader = fn(&[u8]) -> bool;

/// All of them, by the name of their corpus.
pub const ALL: [(&str, Reader); 30] = [
    ("config_drive", config_drive),
    ("desired_state", desired_state),
    ("journal", journal),
    ("node_facts", node_facts),
    ("recipe", recipe),
    ("lock", lock),
    ("plan", plan),
    ("tar", tar),
    ("index", index),
    ("control", control),
    ("bls", bls),
    ("file_contexts", file_contexts),
    ("gpt", disks::gpt),
    ("ext4", disks::ext4),
    ("fat", disks::fat),
    ("qcow2", disks::qcow2),
    ("oci_document", oci_document),
    ("oci_layer", oci_layer),
    ("signature", signature),
    ("image_layer", image_layer),
    ("modules_index", modules_index),
    ("kernel_module", kernel_module),
    ("module_signature", module_signature),
    ("symvers", symvers),
    ("uefi_variables", uefi_variables),
    ("kernel_image", kernel_image),
    ("initramfs", initramfs),
    ("certificate", certificate),
    ("tuned_profile", tuned_profile),
    ("kmm", kmm),
];

/// A recipe: checked, every problem rendered.
pub fn recipe(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match basalt::recipe::parse("fuzz.toml", text) {
        Ok(_) => true,
        Err(problems) => {
            assert!(!problems.list.is_empty() && !problems.to_string().is_empty(), "refused without a reason");
            false
        }
    }
}

/// A Module of KMM: what it becomes is TOML, and a part of a recipe when it has a source of modules.
pub fn kmm(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(imported) = basalt::import::kmm::read("fuzz.yaml", text) else { return false };
    assert!(imported.left.iter().all(|left| !left.path.is_empty() && !left.why.is_empty()), "left out without a reason");
    let recipe = format!("name = \"case\"\nversion = \"1\"\n{}", imported.recipe);
    if let Err(problems) = basalt::recipe::parse("fuzz.toml", &recipe) {
        assert!(imported.recipe.contains("\n# from = "), "{problems}\n{recipe}");
    }
    true
}

/// A lock: what is read is written and read again as the same.
pub fn lock(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(lock) = Lock::parse(text) else { return false };
    assert_eq!(Lock::parse(&lock.to_text()).as_ref(), Ok(&lock));
    true
}

/// A saved plan: it and its identity survive being written.
pub fn plan(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(plan) = Plan::parse(text) else { return false };
    let again = Plan::parse(&plan.to_json()).expect("our own plan");
    assert_eq!(again, plan);
    assert_eq!(again.id(), plan.id());
    true
}

/// A tar archive: what is read is written as an archive with the same tree. Read once more with its checksums mended, since no
/// mutation gets past them.
pub fn tar(bytes: &[u8]) -> bool {
    let taken = archive(bytes);
    archive(&sealed(bytes)) || taken
}

fn archive(bytes: &[u8]) -> bool {
    let pack = pack(bytes);
    let strict = tar::read_packed(&pack, tar::Devices::Refuse);
    let Ok(tree) = strict.or_else(|_| tar::read_packed(&pack, tar::Devices::SkipBelowDev)) else { return false };
    let mut out = Vec::new();
    tar::write(&tree, &mut out).expect("memory takes everything");
    let again = tar::read_packed(&self::pack(&out), tar::Devices::Refuse).expect("our own archive");
    assert_eq!(dump::digest(&again), dump::digest(&tree));
    true
}

/// With the right checksum in every block that looks like a header.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.as_chunks_mut::<512>().0.iter_mut().filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().copied().map(u32::from).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

/// The index of a layer in the store: what is read is written and read again as the same tree.
pub fn index(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let pack = pack(&[]);
    let Ok(tree) = dump::read_index(text, &pack) else { return false };
    let mut out = Vec::new();
    dump::write_index(&tree, &mut out).expect("its contents are packed");
    let again = dump::read_index(std::str::from_utf8(&out).expect("ASCII"), &pack).expect("our own index");
    assert_eq!(dump::digest(&again), dump::digest(&tree));
    true
}

/// A Debian control file: taken when each stanza has a field that every one of apt's files has.
pub fn control(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut taken = true;
    let mut count = 0;
    for stanza in stanzas(text) {
        assert!(text.contains(stanza.text()));
        assert!(names(stanza.get("Depends").unwrap_or_default()).all(|name| !name.is_empty()));
        taken &= ["Package", "Suite", "Origin"].iter().any(|field| stanza.get(field).is_some());
        count += 1;
    }
    taken && count > 0
}

/// A boot loader entry: what is read is written and read again as the same.
pub fn bls(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(entry) = Entry::parse(text) else { return false };
    assert_eq!(Entry::parse(&entry.to_string()).as_ref(), Ok(&entry));
    entry.get("linux").is_some()
}

/// The rules of an SELinux policy, taken for substitutions, too: every path has an answer, and it is a word of the text.
pub fn file_contexts(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let source = Source { name: "fuzz", text };
    let Ok(contexts) = FileContexts::parse(&[source], [text, "/alias /usr\n"]) else { return false };
    for path in ["/", "/usr", "/usr/lib/x/libé.so.1", "/home/ann/.ssh/id", "/a/bcc", "/proc/1", "/alias/lib"] {
        for kind in [FileKind::Regular, FileKind::Directory, FileKind::Symlink, FileKind::Socket] {
            let label = contexts.label(path, kind);
            assert!(label.is_none_or(|label| !label.is_empty() && text.contains(label)), "{path}: {label:?}");
        }
    }
    !contexts.is_empty()
}

/// A document of an OCI image: index, manifest or configuration. What is read is written and read again as the same.
pub fn oci_document(bytes: &[u8]) -> bool {
    fn same<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) -> bool {
        let Ok(document) = serde_json::from_slice::<T>(bytes) else { return false };
        let written = serde_json::to_vec(&document).expect("a document of ours");
        assert_eq!(serde_json::from_slice::<T>(&written).expect("our own document"), document);
        true
    }
    let taken = [same::<oci::Index>(bytes), same::<oci::Manifest>(bytes), same::<oci::Config>(bytes)];
    taken.contains(&true)
}

/// A layer of an OCI image, compressed or not. Read once more with its checksums mended, since no mutation gets past them.
pub fn oci_layer(bytes: &[u8]) -> bool {
    let files = |bytes: &[u8]| contents::files(bytes).is_ok_and(|files| !files.is_empty());
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return contents::files(flate2::read::MultiGzDecoder::new(bytes).take(UNPACKED)).is_ok_and(|files| !files.is_empty());
    }
    let taken = files(bytes);
    files(&sealed(bytes)) || taken
}

/// What belongs to signatures: OpenPGP keys and signatures, detached metadata of a commit, what is signed of an image.
pub fn signature(bytes: &[u8]) -> bool {
    let keys = openpgp::public_keys(bytes);
    if let Ok(keys) = &keys {
        assert_eq!(openpgp::public_keys(&keys.bytes).as_ref(), Ok(keys));
    }
    let signatures = metadata::signatures(bytes);
    for signature in &signatures {
        openpgp::issuers(signature);
    }
    let payload = Payload::parse(bytes);
    if let Some(payload) = &payload {
        assert_eq!(Payload::parse(&payload.bytes()).as_ref(), Some(payload));
    }
    keys.is_ok() || openpgp::signatures(bytes).is_ok() || !signatures.is_empty() || payload.is_some()
}

/// A layer of an image that becomes a base, compressed or not: laid over a small system, it leaves a tree that an archive can hold, or
/// the system as it was. Read once more with its checksums mended, since no mutation gets past them.
pub fn image_layer(bytes: &[u8]) -> bool {
    let mut unpacked = Vec::new();
    let Ok(reader) = compressed::unpack(bytes, bytes.len() as u64) else { return false };
    if reader.take(UNPACKED).read_to_end(&mut unpacked).is_err() {
        return false;
    }
    let taken = laid(&unpacked);
    laid(&sealed(&unpacked)) || taken
}

fn laid(bytes: &[u8]) -> bool {
    let mut tree = Tree::new();
    let below = draft::archive(&draft::system());
    tar::read_layer(&mut tree, &below[..], &pack(&below), 0, tar::End::Marked).expect("a system");
    let before = dump::digest(&tree);
    let over = pack(bytes);
    if tar::read_layer(&mut tree, bytes, &over, 0, tar::End::MayBeBare).is_err() {
        assert_eq!(dump::digest(&tree), before, "a layer that is refused has left something");
        return false;
    }
    let mut out = Vec::new();
    tar::write(&tree, &mut out).expect("memory takes everything");
    let again = tar::read_packed(&pack(&out), tar::Devices::Refuse).expect("our own archive");
    assert_eq!(dump::digest(&again), dump::digest(&tree));
    true
}

/// So much of a compressed layer is looked at: more only takes longer.
const UNPACKED: u64 = 1 << 20;

/// A pack with these bytes, in memory: a file on a disk would take most of the time.
fn pack(bytes: &[u8]) -> Arc<Pack> {
    let mut file = File::from(memfd_create(c"pack", MFdFlags::MFD_CLOEXEC).expect("a file in memory"));
    file.write_all(bytes).expect("memory takes everything");
    Pack::open(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd()))).expect("the file that was just written")
}
