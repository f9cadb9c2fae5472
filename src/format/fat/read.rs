//! Reads a FAT16 or FAT32 where it lies: ours, and those of mkfs.fat. FAT12 is too small for any ESP and is refused.
//!
//! Source: Microsoft's "FAT32 File System Specification" 1.03. Errors are fine, panics and endless work are not: a chain of clusters
//! ends after as many as there are.

mod folder;
mod place;

use std::io;
use std::sync::Arc;

use jiff::civil::date;

use super::geometry::FIRST_CLUSTER;
use crate::format::bytes::Bytes;

/// Fewer clusters are a FAT12, fewer than the second a FAT16: the specification's own rule.
const FAT16_MIN: u64 = 4_085;
const FAT32_MIN: u64 = 65_525;
/// Bytes of a folder at most, and of a file that is read whole.
const IN_MEMORY_MAX: u64 = 256 << 20;

/// Why bytes cannot be read as a FAT.
#[derive(Debug, thiserror::Error)]
pub enum BadFat {
    /// No boot sector of one.
    #[error("no FAT filesystem: {0}")]
    None(String),
    /// It contradicts itself.
    #[error("FAT: {what}: needed {needed}, found {found}")]
    Damaged {
        /// Where.
        what: String,
        /// What there should be.
        needed: String,
        /// What there is.
        found: u64,
    },
    /// The bytes cannot be read.
    #[error("FAT: {0}")]
    Io(#[from] io::Error),
}

/// A volume.
pub struct Volume {
    bytes: Arc<dyn Bytes>,
    cluster: u64,
    clusters: u64,
    /// First byte of the first table.
    tables_at: u64,
    /// First byte of cluster 2.
    data_at: u64,
    table: Vec<u8>,
    /// Bytes of an entry of the table: 2 or 4.
    entry: usize,
    root: Root,
    id: u32,
    label: String,
}

/// Where the folder `/` is.
#[derive(Clone, Copy)]
enum Root {
    Cluster(u32),
    /// A FAT16 has it at a fixed place.
    At {
        first: u64,
        len: u64,
    },
}

/// What a name in a folder stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The long name where there is one.
    pub name: String,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Bytes of a file.
    pub len: u64,
    /// When it was written, in seconds since 1970, as if the clock were in UTC. None for a date that does not exist.
    pub modified: Option<i64>,
    /// The number of its first cluster; 0 for an empty file.
    first: u32,
}

impl Volume {
    /// Of all `bytes`: a partition, not a disk.
    ///
    /// # Errors
    /// See [`BadFat`].
    pub fn open(bytes: Arc<dyn Bytes>) -> Result<Self, BadFat> {
        let head = bytes.read_at(0, 512).map_err(|_| BadFat::None("needed 512 bytes".into()))?;
        let u8_at = |at: usize| u64::from(head[at]);
        let u16_at = |at: usize| u64::from(u16::from_le_bytes([head[at], head[at + 1]]));
        let u32_at = |at: usize| u16_at(at) | u16_at(at + 2) << 16;
        let (sector, per_cluster) = (u16_at(11), u8_at(13));
        if u16_at(510) != 0xaa55 || !matches!(sector, 512 | 1024 | 2048 | 4096) || !per_cluster.is_power_of_two() {
            return Err(BadFat::None(format!("its boot sector says sectors of {sector} bytes, {per_cluster} a cluster")));
        }
        let either = |short: u64, long: u64| if short == 0 { long } else { short };
        let (reserved, tables) = (u16_at(14), u8_at(16));
        let sectors = either(u16_at(19), u32_at(32));
        let table_sectors = either(u16_at(22), u32_at(36));
        let root_sectors = (u16_at(17) * 32).div_ceil(sector);
        let before = reserved + tables * table_sectors + root_sectors;
        let clusters = sectors.saturating_sub(before) / per_cluster;
        if reserved == 0 || tables == 0 || clusters < FAT16_MIN {
            return Err(BadFat::None(format!("{clusters} clusters, needed {FAT16_MIN}")));
        }
        let wide = clusters >= FAT32_MIN;
        let entry = if wide { 4 } else { 2 };
        let needed = (clusters + u64::from(FIRST_CLUSTER)) * entry as u64;
        if sectors * sector > bytes.len() || needed > table_sectors * sector {
            let needed = format!("{} bytes and a table of {needed}", sectors * sector);
            return Err(BadFat::Damaged { what: "boot sector".into(), needed, found: bytes.len() });
        }
        let at = if wide { 67 } else { 39 };
        let root = if wide {
            Root::Cluster(u32_at(44) as u32)
        } else {
            Root::At { first: (before - root_sectors) * sector, len: root_sectors * sector }
        };
        let mut volume = Self {
            cluster: per_cluster * sector,
            clusters,
            tables_at: reserved * sector,
            data_at: before * sector,
            table: bytes.read_at(reserved * sector, needed)?,
            entry,
            root,
            id: u32_at(at) as u32,
            label: String::new(),
            bytes,
        };
        volume.label = volume.root_bytes().map(|bytes| folder::label(&bytes))?.unwrap_or_default();
        Ok(volume)
    }

    /// The number by which it is found, shown as `XXXX-XXXX`.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its name; empty when it has none.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// `FAT16` or `FAT32`.
    pub fn kind(&self) -> &'static str {
        if self.entry == 4 { "FAT32" } else { "FAT16" }
    }

    /// What is in the folder `/`.
    pub fn root(&self) -> Result<Vec<Entry>, BadFat> {
        Ok(folder::entries(&self.root_bytes()?))
    }

    /// What is in a folder.
    pub fn folder(&self, entry: &Entry) -> Result<Vec<Entry>, BadFat> {
        if entry.first == 0 {
            return Ok(Vec::new());
        }
        Ok(folder::entries(&self.whole(&self.chain(entry.first)?, u64::MAX)?))
    }

    /// The bytes of a file.
    pub fn file(&self, entry: &Entry) -> Result<Vec<u8>, BadFat> {
        if entry.len == 0 {
            return Ok(Vec::new());
        }
        let chain = self.chain(entry.first)?;
        let found = chain.len() as u64 * self.cluster;
        if found < entry.len {
            return Err(BadFat::Damaged { what: entry.name.clone(), needed: format!("clusters of {} bytes", entry.len), found });
        }
        self.whole(&chain, entry.len)
    }

    /// The entry at `path`, whose parts are separated by `/`; upper and lower case are the same. None when there is none.
    pub fn find(&self, path: &str) -> Result<Option<Entry>, BadFat> {
        let mut entries = self.root()?;
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            let same = |entry: &Entry| entry.name.to_lowercase() == part.to_lowercase();
            let Some(found) = entries.into_iter().find(same) else { return Ok(None) };
            if parts.peek().is_none() {
                return Ok(Some(found));
            }
            if !found.is_folder {
                return Ok(None);
            }
            entries = self.folder(&found)?;
        }
        Ok(None)
    }

    fn root_bytes(&self) -> Result<Vec<u8>, BadFat> {
        match self.root {
            Root::At { first, len } => Ok(self.bytes.read_at(first, len)?),
            Root::Cluster(first) => self.whole(&self.chain(first)?, u64::MAX),
        }
    }

    /// The clusters of a file or folder whose first is `first`.
    fn chain(&self, first: u32) -> Result<Vec<u32>, BadFat> {
        let damaged = |found: u64| BadFat::Damaged {
            what: format!("the chain from cluster {first} on"),
            needed: format!("clusters from {FIRST_CLUSTER} to {}", self.clusters + 1),
            found,
        };
        let mut chain = Vec::new();
        let mut next = first;
        loop {
            if u64::from(next) > self.clusters + 1 || next < FIRST_CLUSTER || chain.len() as u64 >= self.clusters {
                return Err(damaged(u64::from(next)));
            }
            chain.push(next);
            let at = next as usize * self.entry;
            let bytes = self.table.get(at..at + self.entry).unwrap_or_default();
            let (value, end) = match bytes {
                [a, b, c, d] => (u32::from_le_bytes([*a, *b, *c, *d]) & 0x0fff_ffff, 0x0fff_fff8),
                [a, b] => (u32::from(u16::from_le_bytes([*a, *b])), 0xfff8),
                _ => return Err(damaged(u64::from(next))),
            };
            if value >= end {
                return Ok(chain);
            }
            next = value;
        }
    }

    /// The bytes of clusters, `len` at most.
    fn whole(&self, chain: &[u32], len: u64) -> Result<Vec<u8>, BadFat> {
        let len = len.min(chain.len() as u64 * self.cluster);
        if len > IN_MEMORY_MAX {
            let needed = format!("{IN_MEMORY_MAX} bytes at most");
            return Err(BadFat::Damaged { what: "a file".into(), needed, found: len });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).map_err(io::Error::other)?);
        for cluster in chain {
            let part = self.cluster.min(len - bytes.len() as u64);
            let at = self.data_at + u64::from(cluster - FIRST_CLUSTER) * self.cluster;
            bytes.extend(self.bytes.read_at(at, part)?);
        }
        Ok(bytes)
    }
}

/// Seconds since 1970 of a date and time of the format.
fn unix(day: u16, time: u16) -> Option<i64> {
    let small = |value: u16| i8::try_from(value).ok();
    let (year, month, day) = (i16::try_from(1980 + (day >> 9)).ok()?, small(day >> 5 & 15)?, small(day & 31)?);
    let (hour, minute, second) = (small(time >> 11)?, small(time >> 5 & 63)?, small((time & 31) * 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let first = date(year, month, 1);
    if day > first.days_in_month() {
        return None;
    }
    let at = date(year, month, day).at(hour, minute, second, 0);
    jiff::tz::Offset::UTC.to_timestamp(at).ok().map(|at| at.as_second())
}
