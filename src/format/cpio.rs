//! cpio archives in the form `newc`, what the kernel unpacks into its first root. Written with one owner (root) and no times, so that equal
//! files are equal bytes; links of several names to one file are not written.
//!
//! ```text
//! header: "070701", then 13 numbers of 8 hexadecimal digits: ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor
//!         namesize check; the name, ended by a NUL; zeros up to 4; the bytes of the file; zeros up to 4
//! the end: an entry of the name "TRAILER!!!"
//! ```
//!
//! Source: Documentation/driver-api/early-userspace/buffer-format.rst.

/// What an archive begins with; the second has a checksum for each file, which nobody looks at.
pub const MAGIC: [&[u8]; 2] = [b"070701", b"070702"];
const HEADER: usize = 110;
const END: &str = "TRAILER!!!";
/// The longest name that the kernel takes: PATH_MAX.
const LONGEST: usize = 4096;

/// The kinds of files, as `st_mode` has them.
const KIND: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Bytes that are no whole archive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of a cpio archive: {why}")]
pub struct BadArchive {
    /// Where.
    pub at: usize,
    /// What was needed, and what was found.
    pub why: String,
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A folder.
    Directory,
    /// A file with its bytes.
    File(&'a [u8]),
    /// A link, and where it leads.
    Symlink(&'a [u8]),
    /// A device, a pipe or a socket.
    Other,
}

/// A member of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Without `/` at its beginning: `usr/lib`. The root is `.`.
    pub path: &'a str,
    /// Permission bits.
    pub mode: u16,
    /// What it is.
    pub kind: Kind<'a>,
}

/// The members of the archive that `bytes` begin with, and how many bytes it has.
///
/// # Errors
/// No archive, or one that is cut off.
pub fn read(bytes: &[u8]) -> Result<(Vec<Entry<'_>>, usize), BadArchive> {
    let (mut entries, mut at) = (Vec::new(), 0);
    loop {
        let (entry, next) = member(bytes, at)?;
        at = next;
        if entry.path == END {
            return Ok((entries, at));
        }
        let path = entry.path.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
        entries.push(Entry { path: if path.is_empty() { "." } else { path }, ..entry });
    }
}

fn member(bytes: &[u8], at: usize) -> Result<(Entry<'_>, usize), BadArchive> {
    let bad = |why: String| BadArchive { at, why };
    let cut = || bad(format!("needed a whole member, found an archive of {} bytes", bytes.len()));
    let header = bytes.get(at..at + HEADER).ok_or_else(cut)?;
    if !MAGIC.contains(&&header[..6]) {
        return Err(bad(format!("needed a member (070701), found {:02x?}", &header[..6])));
    }
    let number = |index: usize| {
        let digits = std::str::from_utf8(&header[6 + 8 * index..14 + 8 * index]).ok();
        let plain = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        plain.and_then(|text| u32::from_str_radix(text, 16).ok()).ok_or_else(|| bad("needed hexadecimal digits".to_owned()))
    };
    let (mode, len, name_len) = (number(1)?, number(6)? as usize, number(11)? as usize);
    if name_len == 0 || name_len > LONGEST {
        return Err(bad(format!("needed a name of up to {LONGEST} bytes, found {name_len}")));
    }
    let name = bytes.get(at + HEADER..at + HEADER + name_len).ok_or_else(cut)?;
    let path = name.strip_suffix(b"\0").and_then(|name| std::str::from_utf8(name).ok()).filter(|name| !name.contains('\0'));
    let path = path.ok_or_else(|| bad("needed a name in UTF-8 that a NUL ends".to_owned()))?;
    let start = (at + HEADER + name_len).next_multiple_of(4);
    let body = start.checked_add(len).and_then(|end| bytes.get(start..end)).ok_or_else(cut)?;
    let kind = match mode & KIND {
        DIRECTORY => Kind::Directory,
        FILE => Kind::File(body),
        SYMLINK => Kind::Symlink(body),
        _ => Kind::Other,
    };
    let mode = (mode & 0o7777) as u16;
    // What is cut off behind the last byte were zeros.
    Ok((Entry { path, mode, kind }, (start + len).next_multiple_of(4).min(bytes.len())))
}

/// An archive of `entries`, in their order: a folder comes before what it holds. Its length is a multiple of 4.
///
/// # Panics
/// On a file of 4 GiB or more, which the form cannot hold.
pub fn write(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let (kind, body, links) = match entry.kind {
            Kind::Directory => (DIRECTORY, &[][..], 2),
            Kind::File(bytes) => (FILE, bytes, 1),
            Kind::Symlink(target) => (SYMLINK, target, 1),
            Kind::Other => continue,
        };
        put(&mut out, index + 1, kind | u32::from(entry.mode), links, entry.path, body);
    }
    put(&mut out, 0, 0, 1, END, &[]);
    out
}

fn put(out: &mut Vec<u8>, number: usize, mode: u32, links: u32, name: &str, body: &[u8]) {
    let len = u32::try_from(body.len()).expect("a file of an initramfs has less than 4 GiB");
    let number = u32::try_from(number).unwrap_or_default();
    let fields = [number, mode, 0, 0, links, 0, len, 0, 0, 0, 0, name.len() as u32 + 1, 0];
    out.extend_from_slice(MAGIC[0]);
    fields.iter().for_each(|field| out.extend_from_slice(format!("{field:08x}").as_bytes()));
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(4), 0);
    out.extend_from_slice(body);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRIES: [Entry<'static>; 4] = [
        Entry { path: "usr", mode: 0o755, kind: Kind::Directory },
        Entry { path: "usr/a", mode: 0o644, kind: Kind::File(b"hello") },
        Entry { path: "usr/empty", mode: 0o600, kind: Kind::File(b"") },
        Entry { path: "usr/link", mode: 0o777, kind: Kind::Symlink(b"a") },
    ];

    #[test]
    fn an_archive_is_written_and_read_back() {
        let bytes = write(&ENTRIES);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..HEADER + 6], b"07070100000001000041ed0000000000000000000000020000000000000000000000000000000000000000000000000000000400000000usr\0\0\0".get(..HEADER + 6).unwrap());
        assert_eq!(read(&bytes).unwrap(), (ENTRIES.to_vec(), bytes.len()));
        let more = [&bytes[..], b"behind"].concat();
        assert_eq!(read(&more).unwrap().1, bytes.len());
        let paths: Vec<_> = ["./usr/a", "/usr/a/", ".", "./"].map(|path| Entry { path, ..ENTRIES[1] }).to_vec();
        let bytes = write(&paths);
        let found: Vec<_> = read(&bytes).unwrap().0.iter().map(|entry| entry.path.to_owned()).collect();
        assert_eq!(found, ["usr/a", "usr/a", ".", "."]);
    }

    #[test]
    fn what_is_cut_off_or_altered_is_told_with_its_place() {
        let bytes = write(&ENTRIES);
        for len in (0..bytes.len()).step_by(7).filter(|len| *len < bytes.len() - 4) {
            assert!(read(&bytes[..len]).is_err(), "{len}");
        }
        for (at, byte, why) in [
            (0, b'1', "needed a member (070701), found [31, 37,"),
            (20, b'g', "needed hexadecimal digits"),
            (54, b'f', "needed a whole member"),
            (94, b'f', "needed a name of up to 4096 bytes"),
            (111, 0, "needed a name in UTF-8"),
        ] {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            let found = read(&bytes).unwrap_err();
            assert!(found.at == 0 && found.why.starts_with(why), "{found}");
        }
    }
}
