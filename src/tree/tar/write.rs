//! Writes a tree as a pax archive: folders before what they hold, names in byte order, a pax header only where the short one does
//! not say it all.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use tar::{EntryType, Header};

use super::pax;
use crate::host::interrupt;
use crate::tree::{Leaf, LeafKind, Meta, Node, Tree, TreePath};

/// The largest number in a field of seven octal digits.
const SEVEN_DIGITS: u64 = 0o7_777_777;
/// The largest number in a field of eleven octal digits.
const ELEVEN_DIGITS: u64 = 0o77_777_777_777;
const BLOCK: u64 = 512;

/// Writes `tree` to `out`. Equal trees give equal bytes; user and group names are left out, numbers count.
pub fn write(tree: &Tree, mut out: impl Write) -> io::Result<()> {
    let mut first: HashMap<*const Leaf, TreePath> = HashMap::new();
    member(&mut out, "./", EntryType::Directory, &tree.root.meta, "", 0)?;
    for (path, node) in tree.walk() {
        interrupt::check_io()?;
        let name = format!("./{}", path.relative());
        match node {
            Node::Directory(directory) => member(&mut out, &format!("{name}/"), EntryType::Directory, &directory.meta, "", 0)?,
            Node::Leaf(leaf) => {
                if let Some(other) = first.get(&Arc::as_ptr(leaf)) {
                    member(&mut out, &name, EntryType::Link, &leaf.meta, &format!("./{}", other.relative()), 0)?;
                    continue;
                }
                first.insert(Arc::as_ptr(leaf), path);
                match &leaf.kind {
                    LeafKind::Symlink(target) => member(&mut out, &name, EntryType::Symlink, &leaf.meta, target, 0)?,
                    LeafKind::File(content) => {
                        member(&mut out, &name, EntryType::Regular, &leaf.meta, "", content.len())?;
                        io::copy(&mut content.reader(), &mut out)?;
                        pad(&mut out, content.len())?;
                    }
                }
            }
        }
    }
    out.write_all(&[0; 2 * BLOCK as usize])?;
    out.flush()
}

/// Writes the headers of a member.
fn member(out: &mut impl Write, name: &str, kind: EntryType, meta: &Meta, target: &str, size: u64) -> io::Result<()> {
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    put_name(&mut header.as_ustar_mut().expect("made as one").name, &mut records, "path", name);
    put_name(&mut header.as_ustar_mut().expect("made as one").linkname, &mut records, "linkpath", target);
    let mut fit = |key: &str, value: u64, limit: u64| {
        if value > limit {
            pax::push(&mut records, key, value.to_string().as_bytes());
        }
        value.min(limit)
    };
    header.set_size(fit("size", size, ELEVEN_DIGITS));
    header.set_uid(fit("uid", meta.uid.into(), SEVEN_DIGITS));
    header.set_gid(fit("gid", meta.gid.into(), SEVEN_DIGITS));
    match u64::try_from(meta.mtime) {
        Ok(mtime) => header.set_mtime(fit("mtime", mtime, ELEVEN_DIGITS)),
        Err(_) => {
            pax::push(&mut records, "mtime", meta.mtime.to_string().as_bytes());
            header.set_mtime(0);
        }
    }
    for (xattr, value) in &meta.xattrs {
        pax::push(&mut records, &format!("{}{xattr}", pax::XATTR), value);
    }
    header.set_mode(meta.mode.into());
    header.set_entry_type(kind);
    header.set_cksum();
    if !records.is_empty() {
        let mut before = Header::new_ustar();
        before.as_ustar_mut().expect("made as one").name[..8].copy_from_slice(b"././@Pax");
        before.set_entry_type(EntryType::XHeader);
        before.set_mode(0o644);
        before.set_uid(0);
        before.set_gid(0);
        before.set_mtime(0);
        before.set_size(records.len() as u64);
        before.set_cksum();
        out.write_all(before.as_bytes())?;
        out.write_all(&records)?;
        pad(out, records.len() as u64)?;
    }
    out.write_all(header.as_bytes())
}

/// Fills the field when `text` fits and is ASCII; else adds a record, and the field has the beginning for readers without pax.
fn put_name(field: &mut [u8; 100], records: &mut Vec<u8>, key: &str, text: &str) {
    if text.len() > field.len() || !text.is_ascii() {
        pax::push(records, key, text.as_bytes());
    }
    let end = text.len().min(field.len());
    field[..end].copy_from_slice(&text.as_bytes()[..end]);
}

fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let length = (BLOCK - size % BLOCK) % BLOCK;
    out.write_all(&[0; BLOCK as usize][..length as usize])
}
