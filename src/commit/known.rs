//! Which object libostree made of a file, remembered: so that a file that has not changed is neither read nor hashed again.
//!
//! The file `known` beside the repository is a list of 64-byte records: the digest of everything that decides the object (content,
//! owner, mode, xattrs), then the object's checksum. A record is added only after its object is safely on the disk; a record cut
//! short by a crash is dropped.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::digest::{Digest, Hasher};
use crate::tree::{Leaf, LeafKind};

const RECORD: usize = 64;

/// What is remembered. Whoever has one holds the repository's lock.
#[derive(Debug)]
pub struct Known {
    path: PathBuf,
    objects: HashMap<Digest, Digest>,
    new: Vec<(Digest, Digest)>,
}

impl Known {
    /// Reads the file at `path`; none is an empty one.
    pub fn load(path: &Path) -> io::Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let (records, _cut_short) = bytes.as_chunks::<RECORD>();
        let mut objects = HashMap::with_capacity(records.len());
        for record in records {
            let (key, object) = record.split_at(32);
            if let (Ok(key), Ok(object)) = (key.try_into(), object.try_into()) {
                objects.insert(Digest::from_bytes(key), Digest::from_bytes(object));
            }
        }
        Ok(Self { path: path.to_owned(), objects, new: Vec::new() })
    }

    /// The object of the leaf with this [`key`].
    pub fn get(&self, key: &Digest) -> Option<Digest> {
        self.objects.get(key).copied()
    }

    /// Remembers an object.
    pub fn add(&mut self, key: Digest, object: Digest) {
        if self.objects.insert(key, object) != Some(object) {
            self.new.push((key, object));
        }
    }

    /// Forgets all but the objects that `is_there` says are.
    pub fn retain(&mut self, is_there: impl Fn(&Digest) -> bool) -> io::Result<()> {
        let before = self.objects.len();
        self.objects.retain(|_, object| is_there(object));
        if self.objects.len() == before {
            return Ok(());
        }
        let records = self.objects.iter().flat_map(|(key, object)| [*key.as_bytes(), *object.as_bytes()]).flatten();
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&records.collect::<Vec<u8>>())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }

    /// Writes what is new. Every object must be on the disk by now.
    pub fn save(self) -> io::Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
        let mut file = File::options().create(true).append(true).open(&self.path)?;
        let len = file.metadata()?.len();
        file.set_len(len - len % RECORD as u64)?;
        let mut bytes = Vec::with_capacity(self.new.len() * RECORD);
        for (key, object) in &self.new {
            bytes.extend_from_slice(key.as_bytes());
            bytes.extend_from_slice(object.as_bytes());
        }
        file.write_all(&bytes)?;
        file.sync_data()
    }
}

/// The digest of everything that decides a leaf's object.
pub fn key(leaf: &Leaf) -> Digest {
    let mut hasher = Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    match &leaf.kind {
        LeafKind::File(content) => {
            field(b"file");
            field(content.digest().as_bytes());
            field(&leaf.meta.mode.to_le_bytes());
        }
        LeafKind::Symlink(target) => {
            field(b"link");
            field(target.as_bytes());
        }
    }
    field(&leaf.meta.uid.to_le_bytes());
    field(&leaf.meta.gid.to_le_bytes());
    for (name, value) in &leaf.meta.xattrs {
        field(name.as_bytes());
        field(value);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Meta};

    #[test]
    fn what_was_added_is_known_later_and_a_cut_record_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known");
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let mut known = Known::load(&path).unwrap();
        known.add(a, b);
        known.save().unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"cut").unwrap();
        let mut known = Known::load(&path).unwrap();
        assert_eq!((known.get(&a), known.get(&b)), (Some(b), None));
        known.add(b, a);
        known.save().unwrap();
        Known::load(&path).unwrap().retain(|_| true).unwrap();
        assert_eq!(Known::load(&path).unwrap().get(&b), Some(a));
        assert_eq!(fs::metadata(&path).unwrap().len(), 2 * RECORD as u64);
        Known::load(&path).unwrap().retain(|object| *object == a).unwrap();
        let known = Known::load(&path).unwrap();
        assert_eq!((known.get(&a), known.get(&b)), (None, Some(a)));
    }

    #[test]
    fn everything_but_the_time_decides() {
        let leaf = |meta: Meta, text: &str| Leaf { meta, kind: LeafKind::File(Content::from_bytes(text.as_bytes())) };
        let one = key(&leaf(Meta::root(0o644), "x"));
        assert_eq!(one, key(&leaf(Meta { mtime: 7, ..Meta::root(0o644) }, "x")));
        let xattrs = [("user.a".to_owned(), b"1".to_vec())].into();
        for other in [
            leaf(Meta::root(0o600), "x"),
            leaf(Meta { uid: 1, ..Meta::root(0o644) }, "x"),
            leaf(Meta { gid: 1, ..Meta::root(0o644) }, "x"),
            leaf(Meta { xattrs, ..Meta::root(0o644) }, "x"),
            leaf(Meta::root(0o644), "y"),
            Leaf { meta: Meta::root(0o644), kind: LeafKind::Symlink("x".into()) },
        ] {
            assert_ne!(one, key(&other), "{other:?}");
        }
    }
}
