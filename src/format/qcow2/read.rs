//! Reads the disk in a qcow2 file: ours, and what qemu-img makes without compression, encryption and backing file.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::MAGIC;
use crate::format::bytes::Bytes;

/// Where a table or cluster lies, in an entry of a map.
const PLACE: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros, whatever its place.
const ZERO: u64 = 1;
/// Incompatible features that do not matter to a reader: reference counts may be wrong.
const DIRTY: u64 = 1;
/// Bytes of the first-level table at most, as QEMU has it.
const L1_LEN_MAX: u64 = 32 << 20;

/// Why bytes cannot be read as a qcow2 file.
#[derive(Debug, thiserror::Error)]
pub enum BadQcow2 {
    /// It begins with something else.
    #[error("no qcow2: needed the bytes QFI\\xfb at the start")]
    Magic,
    /// Something of the format that this reader does not know.
    #[error("qcow2: {0}, which Basalt does not read; next: qemu-img convert -O raw")]
    Unknown(String),
    /// The file contradicts itself.
    #[error("qcow2: {what}: needed {needed}, found {found}")]
    Damaged {
        /// Where.
        what: &'static str,
        /// What there should be.
        needed: String,
        /// What there is.
        found: u64,
    },
    /// The bytes cannot be read.
    #[error("qcow2: {0}")]
    Io(#[from] io::Error),
}

/// The disk in a file.
pub struct Disk {
    file: Arc<dyn Bytes>,
    len: u64,
    cluster: u64,
    l1: Vec<u64>,
    /// Second-level tables that were needed so far, by their place.
    l2: Mutex<BTreeMap<u64, Arc<Vec<u64>>>>,
}

impl Disk {
    /// Of a whole file.
    ///
    /// # Errors
    /// See [`BadQcow2`].
    pub fn open(file: Arc<dyn Bytes>) -> Result<Self, BadQcow2> {
        let head = file.read_at(0, file.len().min(104))?;
        if !head.starts_with(MAGIC) || head.len() < 72 {
            return Err(BadQcow2::Magic);
        }
        let u32_at = |at: usize| head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        let version = u32_at(4);
        if !matches!(version, 2 | 3) {
            return Err(BadQcow2::Unknown(format!("version {version}")));
        }
        let features = if version == 3 { u64_at(72) } else { 0 };
        let unread = [
            (u64_at(8) != 0, "a backing file".to_owned()),
            (u32_at(32) != 0, "encryption".to_owned()),
            (features & !DIRTY != 0, format!("incompatible features {:#x}", features & !DIRTY)),
        ];
        if let Some((_, what)) = unread.into_iter().find(|(found, _)| *found) {
            return Err(BadQcow2::Unknown(format!("it has {what}")));
        }
        let damaged = |what, needed: String, found| BadQcow2::Damaged { what, needed, found };
        let bits = u32_at(20);
        if !(9..=21).contains(&bits) {
            return Err(damaged("size of a cluster", "2^9 to 2^21 bytes".into(), u64::from(bits)));
        }
        let (len, cluster, entries) = (u64_at(24), 1u64 << bits, u64::from(u32_at(36)));
        let mapped = entries.saturating_mul(cluster / 8 * cluster);
        if mapped < len || entries * 8 > L1_LEN_MAX {
            return Err(damaged(
                "entries of the first table",
                format!("enough for {len} bytes, {} at most", L1_LEN_MAX / 8),
                entries,
            ));
        }
        let l1 = words(&file.read_at(u64_at(40), entries * 8)?);
        Ok(Self { file, len, cluster, l1, l2: Mutex::default() })
    }

    /// Where the byte at `at` of the disk lies in the file, and how many lie there in one piece; none for zeros.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn place_of(&self, at: u64) -> io::Result<Option<(u64, u64)>> {
        let inside = at % self.cluster;
        Ok(self.place(at / self.cluster)?.map(|place| (place + inside, self.cluster - inside)))
    }

    /// Where the cluster with this number lies in the file; none for zeros.
    fn place(&self, cluster: u64) -> io::Result<Option<u64>> {
        let per_table = self.cluster / 8;
        let table = self.l1.get((cluster / per_table) as usize).copied().unwrap_or_default() & PLACE;
        if table == 0 {
            return Ok(None);
        }
        let entries = {
            let mut known = self.l2.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(&table) {
                Some(entries) => Arc::clone(entries),
                None => {
                    let entries = Arc::new(words(&self.file.read_at(table, self.cluster)?));
                    known.insert(table, Arc::clone(&entries));
                    entries
                }
            }
        };
        let entry = entries.get((cluster % per_table) as usize).copied().unwrap_or_default();
        if entry & COMPRESSED != 0 {
            return Err(io::Error::other(BadQcow2::Unknown("it has compressed clusters".into())));
        }
        Ok(Some(entry & PLACE).filter(|place| *place != 0 && entry & ZERO == 0))
    }
}

impl Bytes for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut done, mut at) = (0, at);
        while done < buffer.len() {
            let inside = at % self.cluster;
            let len = (self.cluster - inside).min((buffer.len() - done) as u64) as usize;
            let part = &mut buffer[done..done + len];
            match self.place(at / self.cluster)? {
                Some(place) => self.file.read_exact_at(part, place + inside)?,
                None => part.fill(0),
            }
            (done, at) = (done + len, at + len as u64);
        }
        Ok(())
    }
}

fn words(bytes: &[u8]) -> Vec<u64> {
    let (words, _) = bytes.as_chunks::<8>();
    words.iter().map(|word| u64::from_be_bytes(*word)).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::format::bytes::Opened;
    use crate::format::extents::Extents;
    use crate::host::cmd::Cmd;

    fn disk() -> Vec<u8> {
        let mut disk = vec![0; 5 << 20];
        for (at, len) in [(0, 600), (65_530, 20), (3 << 20, 200_000), ((5 << 20) - 1, 1)] {
            disk[at..at + len].iter_mut().enumerate().for_each(|(n, byte)| *byte = (n * 7 + at) as u8 | 1);
        }
        disk
    }

    fn read(path: &std::path::Path) -> Result<Vec<u8>, BadQcow2> {
        let disk = Disk::open(Arc::new(Opened::new(File::open(path)?)?))?;
        // In parts that cross clusters.
        let mut whole = Vec::new();
        for at in (0..disk.len()).step_by(100_000) {
            whole.extend(disk.read_at(at, 100_000.min(disk.len() - at))?);
        }
        Ok(whole)
    }

    #[test]
    fn ours_and_those_of_qemu() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("raw"), disk()).unwrap();
        let mut extents = Extents::new(5 << 20);
        extents.put_bytes(0, disk());
        let ours = super::super::layout(&extents);
        let file = File::create(at("ours")).unwrap();
        file.set_len(ours.len()).unwrap();
        ours.write_to(&file, 0, |_| Ok(())).unwrap();
        assert!(read(&at("ours")).unwrap() == disk());
        for options in ["cluster_size=65536", "cluster_size=512", "compat=0.10", "cluster_size=2M,lazy_refcounts=on"] {
            Cmd::new("qemu-img").args(["convert", "-O", "qcow2", "-o", options]).args([at("raw"), at("made")]).run().unwrap();
            assert!(read(&at("made")).unwrap() == disk(), "{options}");
        }
    }

    #[test]
    fn what_is_not_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("raw"), disk()).unwrap();
        assert!(matches!(read(&at("raw")), Err(BadQcow2::Magic)));
        let qemu = |args: &[&str]| Cmd::new("qemu-img").args(args).folder(folder.path()).run().unwrap();
        qemu(&["convert", "-c", "-O", "qcow2", "raw", "small"]);
        assert!(read(&at("small")).unwrap_err().to_string().contains("compressed clusters"));
        qemu(&["create", "-q", "-f", "qcow2", "-b", "raw", "-F", "raw", "above"]);
        assert!(
            read(&at("above")).unwrap_err().to_string().contains("a backing file, which Basalt does not read; next: qemu-img")
        );
        qemu(&["create", "-q", "-f", "qcow2", "-o", "extended_l2=on", "extended", "5M"]);
        assert!(read(&at("extended")).unwrap_err().to_string().contains("incompatible features 0x10"));
    }
}
