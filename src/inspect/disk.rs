//! A disk image: its partition table and the filesystems in it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;
use uuid::Uuid;

use super::resolve::resolve;
use crate::failure::{Failure, Kind};
use crate::format::bytes::{Bytes, Opened, Part};
use crate::format::ext4::read::{self as ext4, BadExt4, InodeKind};
use crate::format::fat::read::{self as fat, BadFat};
use crate::format::gpt;
use crate::format::qcow2::read::{self as qcow2, BadQcow2};

/// How a file holds a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// As it is.
    Raw,
    /// As QEMU's format.
    Qcow2,
}

/// A disk image that is open.
pub struct Disk {
    path: PathBuf,
    format: Format,
    bytes: Arc<dyn Bytes>,
    /// Of a qcow2: where its clusters lie.
    clusters: Option<Arc<qcow2::Disk>>,
    table: gpt::Table,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Partition {
    /// Counted from 1, by place.
    pub number: usize,
    /// Its name in the table (PARTLABEL).
    pub label: String,
    /// What it is for: a GUID of the Discoverable Partitions Specification.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which it is (PARTUUID).
    pub id: String,
    /// First byte on the disk.
    pub start: u64,
    /// In bytes.
    pub size: u64,
    /// What is in it; none when Basalt does not know it.
    pub filesystem: Option<Filesystem>,
}

/// A filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Filesystem {
    /// `ext4`, `FAT32` or `FAT16`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its name.
    pub label: String,
    /// By which it is found: a UUID, or `XXXX-XXXX` of a FAT.
    pub id: String,
    /// Whether its journal would have to be replayed: it was not unmounted.
    pub needs_recovery: bool,
}

/// A filesystem that can be read.
pub enum Volume {
    /// ext4.
    Ext4(Box<ext4::Filesystem>),
    /// FAT16 or FAT32.
    Fat(Box<fat::Volume>),
}

impl Disk {
    /// Opens the image at `path`.
    ///
    /// # Errors
    /// [`Kind::Input`]: it is not there, or is no disk with a partition table.
    pub fn open(path: &Path) -> Result<Self> {
        let input = |what: String| Failure::new(Kind::Input, format!("{}: {what}", path.display()));
        let opened = File::open(path).and_then(|file| {
            if file.metadata()?.is_dir() { Err(std::io::ErrorKind::IsADirectory.into()) } else { Opened::new(file) }
        });
        let opened = opened.map_err(|error| input(format!("cannot be read: {error}")).hint("name a raw or qcow2 disk"))?;
        let file: Arc<dyn Bytes> = Arc::new(opened);
        let clusters = match qcow2::Disk::open(Arc::clone(&file)) {
            Ok(disk) => Some(Arc::new(disk)),
            Err(BadQcow2::Magic) => None,
            Err(error) => return Err(input(error.to_string()).into()),
        };
        let (format, bytes): (_, Arc<dyn Bytes>) = match &clusters {
            Some(disk) => (Format::Qcow2, Arc::clone(disk) as _),
            None => (Format::Raw, file),
        };
        let table =
            gpt::read(&bytes).map_err(|error| input(error.to_string()).hint("needed a disk with a GPT, raw or in a qcow2"))?;
        Ok(Self { path: path.to_owned(), format, bytes, clusters, table })
    }

    /// How the file holds it.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its partition table.
    pub fn table(&self) -> &gpt::Table {
        &self.table
    }

    /// Where `len` bytes of the disk from `at` on lie in its file. None when they are zeros there, or do not lie in one piece.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn place_in_file(&self, at: u64, len: u64) -> Result<Option<u64>> {
        let place = match &self.clusters {
            None => Some((at, len)),
            Some(clusters) => clusters.place_of(at)?,
        };
        Ok(place.filter(|(_, whole)| *whole >= len).map(|(place, _)| place))
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> &Arc<dyn Bytes> {
        &self.bytes
    }

    /// The partitions with what is in them.
    pub fn partitions(&self) -> Result<Vec<Partition>> {
        let partition = |(index, partition): (usize, &gpt::Partition)| {
            Ok(Partition {
                number: index + 1,
                label: partition.label.clone(),
                kind: partition.kind.to_string(),
                id: partition.id.to_string(),
                start: partition.start,
                size: partition.size,
                filesystem: self.in_partition(partition)?.map(|volume| volume.describe()),
            })
        };
        self.table.partitions.iter().enumerate().map(partition).collect()
    }

    /// The filesystem in the partition with this label.
    ///
    /// # Errors
    /// [`Kind::Input`] when there is none; it names those that there are.
    pub fn volume(&self, label: &str) -> Result<Volume> {
        let found = self.table.partitions.iter().find(|partition| partition.label == label);
        let volume = found.map(|partition| self.in_partition(partition)).transpose()?.flatten();
        volume.ok_or_else(|| {
            let labels: Vec<_> = self.table.partitions.iter().map(|partition| partition.label.as_str()).collect();
            let what = format!("{}: no filesystem that Basalt reads in a partition {label:?}", self.path.display());
            Failure::new(Kind::Input, what).hint(format!("the partitions are {}", labels.join(", "))).into()
        })
    }

    fn in_partition(&self, partition: &gpt::Partition) -> Result<Option<Volume>> {
        let part: Arc<dyn Bytes> = Arc::new(Part::of(Arc::clone(&self.bytes), partition.start, partition.size)?);
        let damaged = |error: String| {
            Failure::new(Kind::Verification, format!("{}: partition {}: {error}", self.path.display(), partition.label))
        };
        match ext4::Filesystem::open(Arc::clone(&part)) {
            Ok(filesystem) => return Ok(Some(Volume::Ext4(Box::new(filesystem)))),
            Err(BadExt4::Magic(_) | BadExt4::Io(_)) => {}
            Err(error) => return Err(damaged(error.to_string()).into()),
        }
        match fat::Volume::open(part) {
            Ok(volume) => Ok(Some(Volume::Fat(Box::new(volume)))),
            Err(BadFat::None(_)) => Ok(None),
            Err(error) => Err(damaged(error.to_string()).into()),
        }
    }
}

impl Volume {
    fn describe(&self) -> Filesystem {
        match self {
            Self::Ext4(ext4) => Filesystem {
                kind: "ext4".to_owned(),
                label: ext4.label().to_owned(),
                id: Uuid::from_bytes(ext4.uuid()).to_string(),
                needs_recovery: ext4.needs_recovery(),
            },
            Self::Fat(fat) => Filesystem {
                kind: fat.kind().to_owned(),
                label: fat.label().to_owned(),
                id: format!("{:04X}-{:04X}", fat.id() >> 16, fat.id() & 0xffff),
                needs_recovery: false,
            },
        }
    }

    /// The bytes of the file at `path`; none when there is no such file.
    pub fn file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Ext4(ext4) => {
                let found = resolve(ext4, &ext4.root()?, path)?.filter(|inode| inode.kind == InodeKind::File);
                found.map(|inode| ext4.small(&inode)).transpose().with_context(|| path.to_owned())
            }
            Self::Fat(fat) => {
                let found = fat.find(path)?.filter(|entry| !entry.is_folder);
                found.map(|entry| fat.file(&entry)).transpose().with_context(|| path.to_owned())
            }
        }
    }
}
