//! What a file holds: a digest, a length and where the bytes lie. Never a staged file of its own.
//!
//! Bytes lie in memory (things that we generate) or at an offset of a larger file of the store (a base's tar, a layer's pack):
//! a tree of ten thousand files opens one file, and copying it out reads that file from front to back.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;

/// A file of the store that holds the bytes of many [`Content`]s.
#[derive(Debug)]
pub struct Pack {
    path: PathBuf,
    file: File,
}

impl Pack {
    /// Opens `path` for reading.
    pub fn open(path: &Path) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self { path: path.to_owned(), file: File::open(path)? }))
    }

    /// Where it lies, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file, for copies inside the kernel.
    pub fn file(&self) -> &File {
        &self.file
    }
}

#[derive(Clone, Debug)]
enum Place {
    Memory(Arc<[u8]>),
    Packed { pack: Arc<Pack>, offset: u64 },
}

/// The bytes of one regular file.
#[derive(Clone, Debug)]
pub struct Content {
    digest: Digest,
    len: u64,
    place: Place,
}

impl Content {
    /// Bytes in memory.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { digest: Digest::of(&bytes), len: bytes.len() as u64, place: Place::Memory(bytes) }
    }

    /// `len` bytes of `pack` from `offset` on, whose digest is known.
    pub fn packed(pack: Arc<Pack>, offset: u64, len: u64, digest: Digest) -> Self {
        Self { digest, len, place: Place::Packed { pack, offset } }
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the bytes lie in a pack, if they do.
    pub fn packed_at(&self) -> Option<(&Arc<Pack>, u64)> {
        match &self.place {
            Place::Memory(_) => None,
            Place::Packed { pack, offset } => Some((pack, *offset)),
        }
    }

    /// Fills `buffer` from `offset` on. The range must lie within the content.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buffer.len() as u64;
        if end > self.len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("byte {end} of {}", self.len)));
        }
        match &self.place {
            Place::Memory(bytes) => {
                buffer.copy_from_slice(&bytes[offset as usize..end as usize]);
                Ok(())
            }
            Place::Packed { pack, offset: start } => pack
                .file
                .read_exact_at(buffer, start + offset)
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", pack.path.display()))),
        }
    }

    /// All bytes. For files that are known to be small, or needed whole.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Reads the bytes from front to back.
    pub fn reader(&self) -> ContentReader<'_> {
        ContentReader { content: self, offset: 0 }
    }
}

/// Equal when digest and length are: where the bytes lie does not matter.
impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest && self.len == other.len
    }
}

impl Eq for Content {}

/// Reads a [`Content`] from front to back.
#[derive(Debug)]
pub struct ContentReader<'a> {
    content: &'a Content,
    offset: u64,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(usize::try_from(self.content.len - self.offset).unwrap_or(usize::MAX));
        self.content.read_exact_at(&mut buffer[..n], self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}
