//! Bytes that are read where they lie: a file, a part of one, the disk in a qcow2. What reads a format takes these, never a path.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A fixed number of bytes, each of which can be read at any time.
pub trait Bytes: Send + Sync {
    /// How many there are.
    fn len(&self) -> u64;

    /// Fills `buffer` with those from `at` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when there are not so many.
    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes from `at` on, in memory. Nothing is allocated for bytes that are not there.
    fn read_at(&self, at: u64, len: u64) -> io::Result<Vec<u8>> {
        need(self.len(), at, len)?;
        let mut buffer = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.read_exact_at(&mut buffer, at)?;
        Ok(buffer)
    }
}

/// How many bytes are compared at once.
const CHUNK: u64 = 1 << 20;

/// The first of `len` bytes in which two readers differ, each of which fills a buffer with its bytes from a place on; none when they do
/// not.
///
/// # Errors
/// Of a reader.
pub fn first_difference<E>(
    len: u64,
    one: impl Fn(&mut [u8], u64) -> Result<(), E>,
    other: impl Fn(&mut [u8], u64) -> Result<(), E>,
) -> Result<Option<u64>, E> {
    let (mut left, mut right) = (vec![0; CHUNK.min(len) as usize], vec![0; CHUNK.min(len) as usize]);
    let mut at = 0;
    while at < len {
        let part = CHUNK.min(len - at) as usize;
        let (left, right) = (&mut left[..part], &mut right[..part]);
        one(left, at)?;
        other(right, at)?;
        if left != right {
            let inside = left.iter().zip(&*right).position(|(one, other)| one != other).unwrap_or_default();
            return Ok(Some(at + inside as u64));
        }
        at += part as u64;
    }
    Ok(None)
}

/// An error unless `len` bytes from `at` on are among `all`.
fn need(all: u64, at: u64, len: u64) -> io::Result<()> {
    match at.checked_add(len) {
        Some(end) if end <= all => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("needed {len} bytes at {at}, found {all} in all"))),
    }
}

impl Bytes for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        need(Bytes::len(self), at, buffer.len() as u64)?;
        buffer.copy_from_slice(&self[at as usize..at as usize + buffer.len()]);
        Ok(())
    }
}

impl Bytes for Vec<u8> {
    fn len(&self) -> u64 {
        Bytes::len(self.as_slice())
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buffer, at)
    }
}

/// A file, as long as it was when it was opened.
#[derive(Debug)]
pub struct Opened {
    file: File,
    len: u64,
}

impl Opened {
    /// Of an open file or block device.
    pub fn new(mut file: File) -> io::Result<Self> {
        let len = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, len })
    }
}

impl Bytes for Opened {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        need(self.len, at, buffer.len() as u64)?;
        self.file.read_exact_at(buffer, at)
    }
}

/// A part of other bytes: a partition.
#[derive(Clone)]
pub struct Part {
    whole: Arc<dyn Bytes>,
    start: u64,
    len: u64,
}

impl Part {
    /// The `len` bytes of `whole` from `start` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when there are not so many.
    pub fn of(whole: Arc<dyn Bytes>, start: u64, len: u64) -> io::Result<Self> {
        need(whole.len(), start, len)?;
        Ok(Self { whole, start, len })
    }
}

impl Bytes for Part {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        need(self.len, at, buffer.len() as u64)?;
        self.whole.read_exact_at(buffer, self.start + at)
    }
}

/// Bytes as a file that can be read and not written, for libraries that want one.
pub struct Cursor {
    bytes: Arc<dyn Bytes>,
    at: u64,
}

impl Cursor {
    /// At the first byte.
    pub fn new(bytes: Arc<dyn Bytes>) -> Self {
        Self { bytes, at: 0 }
    }
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.bytes.len().saturating_sub(self.at)).unwrap_or(usize::MAX);
        let len = buffer.len().min(left);
        if len == 0 {
            return Ok(0);
        }
        self.bytes.read_exact_at(&mut buffer[..len], self.at)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Write for Cursor {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Cursor {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.bytes.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the first byte"))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_different_byte_is_found_wherever_it_stands() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 5).map(|n| n as u8).collect();
        let find = |other: &Vec<u8>| {
            let len = Bytes::len(&bytes);
            first_difference(len, |buffer, at| bytes.read_exact_at(buffer, at), |buffer, at| other.read_exact_at(buffer, at))
        };
        assert_eq!(find(&bytes).unwrap(), None);
        for at in [0, CHUNK - 1, CHUNK, 3 * CHUNK + 4] {
            let mut other = bytes.clone();
            other[at as usize] ^= 1;
            assert_eq!(find(&other).unwrap(), Some(at));
        }
        let short = bytes[..10].to_vec();
        assert_eq!(find(&short).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(first_difference(0, |_, _| Err(()), |_, _| Err(())), Ok(None));
    }

    #[test]
    fn parts_and_cursors_end_where_they_end() {
        let whole: Arc<dyn Bytes> = Arc::new((0..100).collect::<Vec<u8>>());
        let part = Part::of(Arc::clone(&whole), 10, 20).unwrap();
        assert_eq!(part.read_at(18, 2).unwrap(), [28, 29]);
        for (at, len) in [(19, 2), (21, 0), (u64::MAX, 1), (0, u64::MAX)] {
            assert_eq!(part.read_at(at, len).unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{at} {len}");
        }
        assert!(Part::of(Arc::clone(&whole), 90, 11).is_err());
        let mut cursor = Cursor::new(Arc::new(part));
        let mut rest = Vec::new();
        cursor.seek(SeekFrom::End(-3)).unwrap();
        cursor.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [27, 28, 29]);
        assert!(cursor.seek(SeekFrom::Current(-21)).is_err());
        cursor.seek(SeekFrom::Start(1000)).unwrap();
        assert_eq!(cursor.read(&mut [0; 4]).unwrap(), 0);
        assert!(cursor.write(b"x").is_err());
    }
}
