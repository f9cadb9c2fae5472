//! Writes the members of a pax archive: a pax header only where the short one does not say it all.

use std::io::{self, Write};

use tar::{EntryType, Header};

use super::pax;
use crate::tree::Meta;

/// The largest number in a field of seven octal digits.
const SEVEN_DIGITS: u64 = 0o7_777_777;
/// The largest number in a field of eleven octal digits.
const ELEVEN_DIGITS: u64 = 0o77_777_777_777;
/// Everything is in blocks of so many bytes.
pub const BLOCK: u64 = 512;

/// Writes the headers of a member that has `size` bytes. Its attributes become pax records; a link leads to `target`.
pub fn header(out: &mut impl Write, name: &str, kind: EntryType, meta: &Meta, target: &str, size: u64) -> io::Result<()> {
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

/// Fills the last block of a member that has `size` bytes.
pub fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let length = (BLOCK - size % BLOCK) % BLOCK;
    out.write_all(&[0; BLOCK as usize][..length as usize])
}

/// Ends the archive.
pub fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK as usize])?;
    out.flush()
}
