//! The members of a tar, also such as no program writes. Format: POSIX.1-2017 `pax`.

use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// A member of a tar, by root and without times.
#[derive(Clone, Debug)]
pub enum Member {
    /// A folder, mode 755.
    Folder(String),
    /// A file, mode 644.
    File(String, Vec<u8>),
    /// A symbolic link, and where it leads.
    Link(String, String),
    /// A hard link, and to what.
    Hard(String, String),
    /// Bytes of the archive as they are: whole blocks.
    Raw(Vec<u8>),
}

impl Member {
    /// A folder, mode 755.
    pub fn folder(name: &str) -> Self {
        Self::Folder(name.to_owned())
    }

    /// A file, mode 644.
    pub fn file(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        Self::File(name.to_owned(), bytes.as_ref().to_vec())
    }

    /// A symbolic link.
    pub fn link(name: &str, target: &str) -> Self {
        Self::Link(name.to_owned(), target.to_owned())
    }

    /// A hard link.
    pub fn hard(name: &str, target: &str) -> Self {
        Self::Hard(name.to_owned(), target.to_owned())
    }

    /// A member whose header, a valid one of an empty file, is changed before it gets its checksum; `body` follows it.
    pub fn raw(change: impl FnOnce(&mut Header), body: &[u8]) -> Self {
        let mut header = header("raw", EntryType::Regular, 0o644, body.len());
        change(&mut header);
        header.set_cksum();
        Self::Raw(blocks(&header, body))
    }

    /// A member behind a pax header with these bytes as its records.
    pub fn pax(records: &[u8], member: &Self) -> Self {
        let before = Self::raw(|header| header.set_entry_type(EntryType::XHeader), records);
        let bytes: Vec<_> = [before, member.clone()].iter().flat_map(Self::bytes).collect();
        Self::Raw(bytes)
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Folder(name) => blocks(&sealed(header(name, EntryType::Directory, 0o755, 0)), &[]),
            Self::File(name, bytes) => blocks(&sealed(header(name, EntryType::Regular, 0o644, bytes.len())), bytes),
            Self::Link(name, target) => blocks(&linked(name, EntryType::Symlink, target), &[]),
            Self::Hard(name, target) => blocks(&linked(name, EntryType::Link, target), &[]),
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

/// The bytes of a tar of these members, with its end mark.
pub fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes: Vec<_> = members.iter().flat_map(Member::bytes).collect();
    bytes.resize(bytes.len() + 2 * BLOCK, 0);
    bytes
}

/// One record of a pax header.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let digits = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap_or(1);
    [format!("{} {key}=", rest + digits).as_bytes(), value, b"\n"].concat()
}

fn header(name: &str, kind: EntryType, mode: u32, size: usize) -> Header {
    let mut header = Header::new_ustar();
    // As it is: a header's own way to set a name refuses what these cases are about.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size as u64);
    header
}

fn linked(name: &str, kind: EntryType, target: &str) -> Header {
    let mut header = header(name, kind, 0o777, 0);
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    sealed(header)
}

fn sealed(mut header: Header) -> Header {
    header.set_cksum();
    header
}

fn blocks(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = [header.as_bytes(), body].concat();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}
