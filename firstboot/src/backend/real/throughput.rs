//! How fast this machine's disk and memory are: the ready measurements of an acceptance run. One thread, as the wall's clock has it.

use std::fs::{self, File, OpenOptions};
use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use nix::errno::Errno;
use nix::fcntl::{self, OFlag, PosixFadviseAdvice};
use nix::sys::statvfs;

/// Where a disk is measured.
const FOLDER: &str = "var/lib/basalt";
/// The file's name: it has none any more as soon as it is open, so that it is gone whatever happens.
const NAME: &str = ".measured";
/// One call.
const BLOCK: usize = 4 << 20;
/// What unbuffered reads and writes are multiples of: no disk has larger sectors.
const SECTOR: usize = 4096;
/// The most blocks of the file: 256 MiB. Fewer where there is less than twice the room, or time.
const BLOCKS: u64 = 64;
const FEWEST: u64 = 4;
/// No longer than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Each of the two buffers between which memory is copied: larger than caches are.
const BUFFER: usize = 128 << 20;
/// So long is copied, and so often at least.
const COPYING: Duration = Duration::from_secs(1);
const ROUNDS: u32 = 3;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Throughput {
    /// One writer, unbuffered, until the disk has it.
    DiskWrite,
    /// One reader, unbuffered.
    DiskRead,
    /// Copies, as STREAM counts them: reads and writes.
    Memory,
}

impl Throughput {
    /// In MB/s (10^6 bytes). Disks: that of the node whose root is `root`.
    ///
    /// # Errors
    /// When there is no room, or the disk fails.
    pub fn measure(self, root: &Path) -> anyhow::Result<f64> {
        let bytes_per_second = match self {
            Self::DiskWrite => Disk::open(&root.join(FOLDER))?.write()?,
            Self::DiskRead => {
                let mut disk = Disk::open(&root.join(FOLDER))?;
                disk.write()?;
                disk.read()?
            }
            Self::Memory => memory(),
        };
        Ok(bytes_per_second / 1e6)
    }
}

/// A file that nobody else sees.
struct Disk {
    file: File,
    /// How large it may become.
    blocks: u64,
    /// How large it is.
    written: u64,
    buffer: Aligned,
}

impl Disk {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let room = statvfs::statvfs(folder).with_context(|| folder.display().to_string())?;
        let room = room.blocks_available() * room.fragment_size();
        let blocks = (room / 2 / BLOCK as u64).min(BLOCKS);
        if blocks < FEWEST {
            let needed = 2 * FEWEST * BLOCK as u64;
            let hint = "an image is no larger than its files: give the machine a larger disk";
            bail!("{}: needed room for {needed} bytes, found {room}: {hint}", folder.display());
        }
        if blocks < BLOCKS {
            eprintln!(
                "{}: there is less room than usual: {blocks} blocks of {BLOCK} bytes instead of {BLOCKS}",
                folder.display()
            );
        }
        let path = folder.join(NAME);
        let file = open(&path).with_context(|| path.display().to_string())?;
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
        Ok(Self { file, blocks, written: 0, buffer: Aligned::noise() })
    }

    /// Bytes for each second until they are on the disk.
    fn write(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        while self.written < self.blocks && (self.written < FEWEST || begun.elapsed() < PATIENCE) {
            self.file.write_all(self.buffer.bytes()).context("cannot write to the disk")?;
            self.written += 1;
        }
        self.file.sync_data().context("cannot write to the disk")?;
        Ok(self.rate(self.written, begun))
    }

    /// Bytes for each second.
    fn read(&mut self) -> anyhow::Result<f64> {
        // Where the filesystem has no unbuffered reads, what it remembers must go. Those that have pass over it.
        fcntl::posix_fadvise(&self.file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).context("cannot read from the disk")?;
        let begun = Instant::now();
        let mut read = 0;
        while read < self.written && (read == 0 || begun.elapsed() < PATIENCE) {
            let at = read * BLOCK as u64;
            self.file.read_exact_at(self.buffer.bytes(), at).context("cannot read from the disk")?;
            read += 1;
        }
        Ok(self.rate(read, begun))
    }

    fn rate(&self, blocks: u64, begun: Instant) -> f64 {
        (blocks * BLOCK as u64) as f64 / begun.elapsed().as_secs_f64()
    }
}

/// A new file, unbuffered where the filesystem can do that.
fn open(path: &Path) -> std::io::Result<File> {
    let open = |flags: OFlag| {
        let flags = flags | OFlag::O_NOFOLLOW;
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).custom_flags(flags.bits()).open(path)
    };
    match open(OFlag::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => open(OFlag::empty()),
        result => result,
    }
}

/// A block that begins where a sector may.
struct Aligned {
    bytes: Vec<u8>,
    offset: usize,
}

impl Aligned {
    /// Full of what no disk can press together: Marsaglia's xorshift, always the same.
    fn noise() -> Self {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        let bytes: Vec<u8> = words.take((BLOCK + SECTOR) / 8).flatten().collect();
        let offset = bytes.as_ptr().align_offset(SECTOR);
        Self { bytes, offset }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[self.offset..self.offset + BLOCK]
    }
}

/// The best of several copies: whoever else runs only makes one slower.
fn memory() -> f64 {
    // Not zeros: memory that was never written to is one page many times.
    let (from, mut to) = (vec![1_u8; BUFFER], vec![2_u8; BUFFER]);
    let (begun, mut best, mut rounds) = (Instant::now(), f64::MAX, 0);
    while rounds < ROUNDS || begun.elapsed() < COPYING {
        let round = Instant::now();
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        best = best.min(round.elapsed().as_secs_f64());
        rounds += 1;
    }
    2.0 * BUFFER as f64 / best
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FOLDER, Throughput};

    #[test]
    fn everything_is_measured_and_nothing_stays() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(FOLDER);
        let error = Throughput::DiskWrite.measure(root.path()).unwrap_err();
        assert!(format!("{error:#}").ends_with("/var/lib/basalt: ENOENT: No such file or directory"), "{error:#}");
        fs::create_dir_all(&folder).unwrap();
        for what in [Throughput::DiskWrite, Throughput::DiskRead, Throughput::Memory] {
            let found = what.measure(root.path()).unwrap();
            assert!(found > 0.1 && found < 1e7, "{what:?}: {found} MB/s");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
}
