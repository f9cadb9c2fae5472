//! The first difference of two disks, named by what it is part of: a field of the partition table, of a filesystem, of a file.

use std::sync::Arc;

use anyhow::Result;

use super::compare;
use super::disk::{Disk, Volume};
use super::files::{self, File};
use crate::format::bytes::{self, Bytes};
use crate::format::ext4::read::{Filesystem, InodeKind, Place};
use crate::format::gpt;

/// Where two disks differ first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The first byte of the disk that is another one; where one disk ends, the byte behind it.
    pub at: u64,
    /// What it is part of, in words.
    pub what: String,
}

/// The first difference of `found` from `wanted`; none when every byte is the same.
///
/// # Errors
/// When a disk cannot be read.
pub fn first_difference(wanted: &Disk, found: &Disk) -> Result<Option<Difference>> {
    let Some(at) = first_byte(wanted.bytes(), found.bytes())? else { return Ok(None) };
    if wanted.bytes().len() != found.bytes().len() && at == wanted.bytes().len().min(found.bytes().len()) {
        let what = format!("length of the disk: needed {} bytes, found {}", wanted.bytes().len(), found.bytes().len());
        return Ok(Some(Difference { at, what }));
    }
    let partition = wanted.table().partitions.iter().find(|one| (one.start..one.start + one.size).contains(&at));
    let what = match partition {
        None => in_table(wanted.table(), at),
        Some(partition) => {
            let inside = at - partition.start;
            let words = match (wanted.volume(&partition.label)?, found.volume(&partition.label)) {
                (Volume::Fat(fat), _) => fat.describe(inside)?,
                (Volume::Ext4(one), Ok(Volume::Ext4(other))) => in_ext4(&one, &other, inside)?,
                (Volume::Ext4(_), _) => format!("byte {inside}; no ext4 is left in it"),
            };
            format!("partition {}: {words}", partition.label)
        }
    };
    Ok(Some(Difference { at, what }))
}

fn first_byte(one: &Arc<dyn Bytes>, other: &Arc<dyn Bytes>) -> Result<Option<u64>> {
    let len = one.len().min(other.len());
    let found =
        bytes::first_difference(len, |buffer, at| one.read_exact_at(buffer, at), |buffer, at| other.read_exact_at(buffer, at))?;
    Ok(found.or_else(|| (one.len() != other.len()).then_some(len)))
}

/// Outside of partitions. Source: UEFI specification, chapter 5.
fn in_table(table: &gpt::Table, at: u64) -> String {
    let sector = u64::from(table.sector_size);
    let header = |inside: u64| match inside {
        56..72 => "identifier of the disk",
        _ => "header",
    };
    let entry = |inside: u64| {
        let field = match inside % 128 {
            0..16 => "type",
            16..32 => "identifier",
            32..48 => "place",
            48..56 => "attributes",
            _ => "label",
        };
        format!("{field} of partition {}", inside / 128 + 1)
    };
    let array = 128 * 128;
    let end = table.disk_size;
    match at {
        _ if at < sector => "boot record before the partition table".to_owned(),
        _ if at < 2 * sector => format!("partition table: {}", header(at - sector)),
        _ if at < 2 * sector + array => format!("partition table: {}", entry(at - 2 * sector)),
        _ if at >= end - sector => format!("copy of the partition table: {}", header(at - (end - sector))),
        _ if at >= end - sector - array => format!("copy of the partition table: {}", entry(at - (end - sector - array))),
        _ => format!("byte {at}, outside of the partitions"),
    }
}

fn in_ext4(wanted: &Filesystem, found: &Filesystem, at: u64) -> Result<String> {
    let place = wanted.place_of(at);
    if let Place::Superblock(field) = place {
        return Ok(format!("superblock: {field}"));
    }
    let files = files::below(wanted, &wanted.root()?)?;
    let owner = files.iter().find(|(_, file)| belongs(wanted, file, place, at));
    let Some((path, file)) = owner else {
        return Ok(match place {
            Place::Inode { number, field } => format!("inode {number}: {field}"),
            Place::Superblock(_) | Place::Block(_) => format!("byte {at}, of no file: a table, the journal or free space"),
        });
    };
    // What is different of the file says more than where its bytes stand.
    let now = found.inode(file.inode.number).ok().map(|inode| files::of(found, inode)).transpose();
    if let Ok(Some(now)) = now {
        let changes = compare::file_changes((wanted, file), (found, &now))?;
        if let Some(change) = changes.first() {
            let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
            return Ok(match (&change.old, &change.new) {
                (None, None) => format!("{path}: {}", change.what),
                (old, new) => format!("{path}: {}: needed {}, found {}", change.what, side(old), side(new)),
            });
        }
    }
    let field = match place {
        Place::Inode { field, .. } => field,
        Place::Superblock(_) | Place::Block(_) if file.inode.kind == InodeKind::Directory => "its names",
        Place::Superblock(_) | Place::Block(_) => "its blocks",
    };
    Ok(format!("{path}: {field}"))
}

/// Whether the byte `at` is one of `file`.
fn belongs(filesystem: &Filesystem, file: &File, place: Place, at: u64) -> bool {
    match place {
        Place::Superblock(_) => false,
        Place::Inode { number, .. } => file.inode.number == number,
        Place::Block(block) => {
            filesystem.xattr_block(&file.inode) == Some(block)
                || filesystem.runs(&file.inode).is_ok_and(|runs| runs.iter().any(|run| (run.at..run.at + run.len).contains(&at)))
        }
    }
}
