//! Writes a list of pieces into a file, sparse, and computes the file's SHA-256 at the same time.
//!
//! One thread reads and writes, another hashes what was read: each byte is read once, and the whole takes as long as the slower
//! of the two. Holes are hashed but not written: there the writer gets ahead, and it flushes while the end is still hashed. Pieces
//! that lie close together (the files of a filesystem) go out in one large write.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use crate::digest::{Digest, Hasher};
use crate::format::extents::{Extent, Extents, hash_zeros};
use crate::host::writeback;

/// Bytes of a buffer, and the most that one write writes.
const BUFFER: usize = 1 << 20;
/// How many buffers there are for all files that are written at once: a writer may be that far ahead of its hasher, which has holes to
/// hash, and gets its flush done.
pub const BUFFERS: usize = 96;
/// What a filesystem allocates: a hole that is smaller is no hole.
const BLOCK: u64 = 4096;
/// After so many bytes the kernel is told to begin writing them out.
const WRITEBACK: u64 = 32 << 20;

/// Bytes that the file of `extents` takes: its pieces in whole blocks of 4096.
pub fn allocated(extents: &Extents) -> u64 {
    let (mut sum, mut end) = (0, 0);
    for piece in extents.pieces() {
        let start = (piece.at / BLOCK * BLOCK).max(end);
        end = piece.end().next_multiple_of(BLOCK).min(extents.len());
        sum += end - start;
    }
    sum
}

/// The digest of a file that is written already; some of it may still have to be hashed.
pub struct Hashing(JoinHandle<Digest>);

impl Hashing {
    /// Waits for it.
    pub fn finish(self) -> io::Result<Digest> {
        self.0.join().map_err(|_| io::Error::other("the thread that computes the digest has panicked"))
    }
}

/// Writes `extents` into the empty file `file`, with so many `buffers` (at least one) of a MiB. `advance` is told how many bytes of the whole each step got on, and may stop the work.
/// Then the file is whole and flushed. Gives back the SHA-256 of the whole file, holes included.
pub fn write(
    extents: &Extents,
    file: &File,
    buffers: usize,
    mut advance: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<Hashing> {
    file.set_len(extents.len())?;
    let (full, work) = sync_channel(buffers);
    let (give_back, empty) = channel();
    for _ in 0..buffers {
        // The receiver lives in this function.
        let _ = give_back.send(vec![0; BUFFER]);
    }
    let hasher = thread::Builder::new().name("hash".into()).spawn(move || hash(&work, &give_back))?;
    copy(extents, file, &full, &empty, &mut advance)?;
    Ok(Hashing(hasher))
}

/// A filled buffer: its place in the file, and how much of it is meant.
struct Filled {
    at: u64,
    len: usize,
    buffer: Vec<u8>,
}

/// Hashes what comes, with the holes between.
fn hash(work: &Receiver<Filled>, give_back: &Sender<Vec<u8>>) -> Digest {
    let mut hasher = Hasher::new();
    let mut position = 0;
    for Filled { at, len, buffer } in work {
        hash_zeros(&mut hasher, at - position);
        hasher.update(&buffer[..len]);
        position = at + len as u64;
        // The writer takes no more buffers once it is done.
        let _ = give_back.send(buffer);
    }
    hasher.finish()
}

fn copy(
    extents: &Extents,
    file: &File,
    full: &SyncSender<Filled>,
    empty: &Receiver<Vec<u8>>,
    advance: &mut impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    let gone = || io::Error::other("the thread that computes the digest is gone");
    let mut runs = Runs::of(extents);
    let mut position = 0;
    let (mut begun, mut pending) = (0, 0);
    while let Some(run) = runs.next_run() {
        let mut buffer = empty.recv().map_err(|_| gone())?;
        let len = run.len as usize;
        run.read(&mut buffer[..len])?;
        file.write_all_at(&buffer[..len], run.at)?;
        full.send(Filled { at: run.at, len, buffer }).map_err(|_| gone())?;
        pending += run.len;
        let end = run.at + run.len;
        if pending >= WRITEBACK {
            writeback::begin(file, begun, end - begun);
            (begun, pending) = (end, 0);
        }
        advance(end - position)?;
        position = end;
    }
    // The hole at the end, for the digest.
    full.send(Filled { at: extents.len(), len: 0, buffer: Vec::new() }).map_err(|_| gone())?;
    file.sync_all()?;
    advance(extents.len() - position)
}

/// The parts of a file that are not holes, none longer than a buffer.
struct Runs<'a> {
    len: u64,
    /// What is not done yet; of the first piece only what lies at `position` or behind it.
    pieces: &'a [Extent],
    position: u64,
}

/// A part of a file that is not a hole, and the pieces that reach into it.
struct Run<'a> {
    at: u64,
    len: u64,
    pieces: &'a [Extent],
}

impl<'a> Runs<'a> {
    fn of(extents: &'a Extents) -> Self {
        Self { len: extents.len(), pieces: extents.pieces(), position: 0 }
    }

    fn next_run(&mut self) -> Option<Run<'a>> {
        let first = self.pieces.first()?;
        let at = self.position.max(first.at / BLOCK * BLOCK);
        let limit = at + BUFFER as u64;
        let mut end = at;
        let mut count = 0;
        for piece in self.pieces {
            if piece.at >= limit || piece.at / BLOCK * BLOCK > end {
                break;
            }
            end = piece.end().next_multiple_of(BLOCK).min(limit);
            count += 1;
        }
        let run = Run { at, len: end.min(self.len) - at, pieces: &self.pieces[..count] };
        self.position = end;
        let done = run.pieces.iter().take_while(|piece| piece.end() <= end).count();
        self.pieces = &self.pieces[done..];
        Some(run)
    }
}

impl Run<'_> {
    /// Fills `buffer`, which has the run's length.
    fn read(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        for piece in self.pieces {
            let from = piece.at.max(self.at);
            let start = (from - self.at) as usize;
            let end = (piece.end().min(self.at + self.len) - self.at) as usize;
            buffer[filled..start].fill(0);
            piece.data.read_exact_at(&mut buffer[start..end], from - piece.at)?;
            filled = end;
        }
        buffer[filled..].fill(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Content;

    const MIB: u64 = 1 << 20;

    /// Pieces that touch, share a block, leave a block free, are longer than a buffer, and end with the file.
    fn sample() -> Extents {
        let bytes = |len: usize, seed: usize| -> Vec<u8> { (0..len).map(|n| (n * 7 + n / 251 + seed) as u8 | 1).collect() };
        let mut extents = Extents::new(16 * MIB + 700);
        extents.put_bytes(10, bytes(20, 1));
        extents.put_bytes(30, bytes(5, 2));
        extents.put_bytes(4000, bytes(200, 3));
        extents.put_bytes(12_288, bytes(1, 4));
        extents.put_content(MIB - 3, &Content::from_bytes(bytes(3 << 20, 5)));
        extents.put_bytes(8 * MIB + 1, bytes(MIB as usize, 6));
        extents.put_bytes(16 * MIB + 699, bytes(1, 7));
        extents
    }

    #[test]
    fn the_file_is_that_of_the_plain_writer_and_so_is_the_digest() {
        let extents = sample();
        let plain = tempfile::tempfile().unwrap();
        plain.set_len(extents.len()).unwrap();
        extents.write_to(&plain, 0, |_| Ok(())).unwrap();
        let file = tempfile::tempfile().unwrap();
        let mut seen = 0;
        let digest = write(&extents, &file, 4, |n| {
            seen += n;
            Ok(())
        });
        let bytes = |file: &File| {
            let mut bytes = vec![0; extents.len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert!(bytes(&file) == bytes(&plain));
        assert_eq!((digest.unwrap().finish().unwrap(), seen), (extents.digest().unwrap(), extents.len()));
        // Blocks 0 and 1, block 3, the contents with a block more, the next, the end.
        assert_eq!(allocated(&extents), 3 * BLOCK + (3 * MIB + BLOCK) + (MIB + BLOCK) + 700);
    }

    #[test]
    fn nothing_but_holes() {
        for len in [0, 1, 3 * MIB] {
            let extents = Extents::new(len);
            let file = tempfile::tempfile().unwrap();
            let digest = write(&extents, &file, 1, |_| Ok(())).unwrap().finish().unwrap();
            assert_eq!((digest, allocated(&extents)), (extents.digest().unwrap(), 0));
            assert_eq!(file.metadata().unwrap().len(), len);
        }
    }

    #[test]
    fn an_error_ends_the_work() {
        let file = tempfile::tempfile().unwrap();
        let error = write(&sample(), &file, 4, |_| Err(io::Error::other("stopped"))).err().unwrap();
        assert_eq!(error.to_string(), "stopped");
        let pack = tempfile::NamedTempFile::new().unwrap();
        let content = Content::packed(crate::tree::Pack::open(pack.path()).unwrap(), 0, 10, Digest::of(b""));
        let mut extents = Extents::new(MIB);
        extents.put_content(0, &content);
        let error = write(&extents, &file, 1, |_| Ok(())).err().unwrap();
        assert!(error.to_string().starts_with(&pack.path().display().to_string()), "{error}");
    }
}
