//! What the kernel unpacks into its first root: cpio archives one behind another, each plain or compressed, with zeros between them. A later
//! one adds to an earlier one and wins over it.
//!
//! ```text
//! bytes --read--> Initramfs{path: what}        (bytes, archive) --append--> bytes, the archive at a multiple of 4
//! ```
//!
//! Sources: init/initramfs.c, Documentation/driver-api/early-userspace/buffer-format.rst.

use std::collections::BTreeMap;

use super::{compressed, cpio};

/// So many links are followed, as the kernel does.
const LINKS: usize = 40;
/// How other compressions begin that the kernel may know.
const OTHERS: [(&[u8], &str); 5] =
    [(b"\x02\x21\x4c\x18", "lz4"), (b"\x04\x22\x4d\x18", "lz4"), (b"BZh", "bzip2"), (b"\x89LZO", "lzo"), (b"\x5d\0\0", "lzma")];

/// Why nobody can tell what is in an initramfs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {why}")]
pub struct BadInitramfs {
    /// Where the part begins that is not understood.
    pub at: usize,
    /// What was needed, and what was found.
    pub why: String,
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder.
    Directory,
    /// A file; its bytes where somebody asked for them.
    File(Option<Vec<u8>>),
    /// A link, and where it leads.
    Symlink(String),
    /// A device, a pipe or a socket.
    Other,
}

/// The files of an initramfs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Initramfs {
    /// By path, without `/` at its beginning.
    pub files: BTreeMap<String, Node>,
}

impl Initramfs {
    /// Reads one, and keeps the bytes of those files that are `wanted` by their path.
    ///
    /// # Errors
    /// A part that is neither a cpio archive nor one by gzip, xz or zstd; one that is broken.
    pub fn read(bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Result<Self, BadInitramfs> {
        let mut found = Self::default();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let bad = |why: String| BadInitramfs { at, why };
            if rest[0] == 0 {
                at += 1;
            } else if cpio::MAGIC.iter().any(|magic| rest.starts_with(magic)) {
                at += found.archive(rest, wanted).map_err(|error| bad(error.to_string()))?;
            } else if let Some((plain, len)) = compressed::unpack_first(rest).map_err(|error| bad(error.to_string()))? {
                found.archives(&plain, wanted).map_err(|error| bad(error.to_string()))?;
                at += len;
            } else {
                return Err(bad(format!(
                    "needed a cpio archive (newc), plain or by gzip, xz or zstd; found {}",
                    beginning(rest)
                )));
            }
        }
        if found.files.is_empty() {
            return Err(BadInitramfs { at, why: "needed files, found none".to_owned() });
        }
        Ok(found)
    }

    /// Takes the archives that one compressed part has.
    fn archives(&mut self, bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Result<(), cpio::BadArchive> {
        let mut at = 0;
        while at < bytes.len() {
            at += if bytes[at] == 0 { 1 } else { self.archive(&bytes[at..], wanted)? };
        }
        Ok(())
    }

    fn archive(&mut self, bytes: &[u8], wanted: &dyn Fn(&str) -> bool) -> Result<usize, cpio::BadArchive> {
        let (entries, len) = cpio::read(bytes)?;
        for entry in entries {
            let node = match entry.kind {
                cpio::Kind::Directory => Node::Directory,
                cpio::Kind::File(bytes) => Node::File(wanted(entry.path).then(|| bytes.to_vec())),
                cpio::Kind::Symlink(target) => Node::Symlink(String::from_utf8_lossy(target).into_owned()),
                cpio::Kind::Other => Node::Other,
            };
            self.files.insert(entry.path.to_owned(), node);
        }
        Ok(len)
    }

    /// What stands at a path, links followed.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.files.get(&self.real(path)?)
    }

    /// The path at which something lies that is named by `path`, its links followed: `lib/modules` may be `usr/lib/modules`. What is not
    /// there lies where it would be put. None where links turn in a circle.
    pub fn real(&self, path: &str) -> Option<String> {
        let mut done: Vec<String> = Vec::new();
        let mut left: Vec<String> = parts(path).rev().collect();
        let mut followed = 0;
        while let Some(part) = left.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            if let Some(Node::Symlink(target)) = self.files.get(&done.join("/")) {
                followed += 1;
                if followed > LINKS {
                    return None;
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                left.extend(parts(target).rev());
            }
        }
        Some(done.join("/"))
    }
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = String> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned)
}

/// For messages: what a part begins with.
fn beginning(bytes: &[u8]) -> String {
    match OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("bytes that begin with {:02x?}", &bytes[..bytes.len().min(6)]),
    }
}

/// How many zeros come between an initramfs of `len` bytes and an archive behind it: a plain one begins at a multiple of 4.
pub const fn padding(len: u64) -> usize {
    (len.next_multiple_of(4) - len) as usize
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::format::packed::Packing;

    fn archive(files: &[(&str, cpio::Kind<'_>)]) -> Vec<u8> {
        let entries: Vec<_> = files.iter().map(|(path, kind)| cpio::Entry { path, mode: 0o755, kind: *kind }).collect();
        cpio::write(&entries)
    }

    fn lz4() -> Vec<u8> {
        [&b"\x02\x21\x4c\x18"[..], &[0; 20]].concat()
    }

    #[test]
    fn parts_of_every_kind_are_read_and_the_last_wins() {
        let early = archive(&[("kernel", cpio::Kind::Directory), ("kernel/microcode", cpio::Kind::File(b"x"))]);
        let main = archive(&[
            ("lib", cpio::Kind::Symlink(b"usr/lib")),
            ("usr", cpio::Kind::Directory),
            ("usr/lib", cpio::Kind::Directory),
            ("usr/lib/a", cpio::Kind::File(b"old")),
            ("usr/lib/b", cpio::Kind::File(b"not asked for")),
        ]);
        let late = archive(&[("usr/lib/a", cpio::Kind::File(b"new"))]);
        for packing in [Packing::None, Packing::Gz, Packing::Xz, Packing::Zst] {
            let mut bytes = early.clone();
            bytes.extend([0; 512]);
            bytes.extend(packing.pack(&[&main[..], &[0; 256]].concat()).unwrap());
            bytes.extend(vec![0; padding(bytes.len() as u64)]);
            assert_eq!(bytes.len() % 4, 0);
            bytes.extend(&late);
            let found = Initramfs::read(&bytes, &|path| path.ends_with("/a")).unwrap();
            assert_eq!(found.files.len(), 7, "{packing:?}");
            assert_eq!(found.get("lib/a"), Some(&Node::File(Some(b"new".to_vec()))));
            assert_eq!(found.get("/usr/lib/b"), Some(&Node::File(None)));
            assert_eq!(found.get("lib/none"), None);
        }
    }

    #[test]
    fn links_are_followed_and_never_forever() {
        let bytes = archive(&[
            ("lib", cpio::Kind::Symlink(b"usr/lib")),
            ("usr/lib", cpio::Kind::Directory),
            ("usr/lib/up", cpio::Kind::Symlink(b"../share/x")),
            ("usr/lib/top", cpio::Kind::Symlink(b"/lib")),
            ("loop", cpio::Kind::Symlink(b"loop")),
        ]);
        let found = Initramfs::read(&bytes, &|_| false).unwrap();
        for (path, real) in [
            ("lib/modules", Some("usr/lib/modules")),
            ("lib/up/y", Some("usr/share/x/y")),
            ("usr/lib/top/a", Some("usr/lib/a")),
            ("../a", Some("a")),
            ("loop/a", None),
        ] {
            assert_eq!(found.real(path).as_deref(), real, "{path}");
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_place() {
        let early = archive(&[("a", cpio::Kind::File(b"x"))]);
        let at = early.len();
        let cut = Packing::Xz.pack(&early).unwrap();
        let mut lzma = b"\x5d\0\0\x80\0".to_vec();
        lzma.write_all(&[0xff; 8]).unwrap();
        for (bytes, place, why) in [
            ([early.clone(), lz4()].concat(), at, "found lz4"),
            ([early.clone(), lzma].concat(), at, "found lzma"),
            ([early.clone(), b"garbage".to_vec()].concat(), at, "found bytes that begin with [67, 61, 72, 62, 61, 67]"),
            ([early.clone(), cut[..cut.len() - 9].to_vec()].concat(), at, ""),
            (early[..at - 100].to_vec(), 0, "needed a whole member"),
            (Packing::Gz.pack(b"text").unwrap(), 0, "needed a whole member"),
            (vec![0; 8], 8, "needed files, found none"),
        ] {
            let found = Initramfs::read(&bytes, &|_| false).unwrap_err();
            assert!(found.at == place && found.why.contains(why), "needed {place} {why:?}, found {found}");
        }
    }
}
