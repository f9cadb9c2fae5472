//! The disk: partition table, EFI system partition, boot and root filesystem as one list of pieces, every size known before a byte is
//! written.
//!
//! | partition | PARTLABEL and label | type | filesystem | as small as |
//! |---|---|---|---|---|
//! | 1 | `EFI-SYSTEM` | EFI system partition | FAT32 | FAT32 can be: 64 MiB, or 260 MiB with sectors of 4096 bytes |
//! | 2 | `boot` | XBOOTLDR | ext4 | three deployments and a little |
//! | 3 | `root` | root of the architecture | ext4 | its files and a tenth more, at least 64 MiB; it grows at first boot |
//!
//! Identifiers of the table, the partitions and the filesystems are made from the [`PlanId`]: the same plan gives the same disk.
//!
//! Architecture invariant: gets named trees, never a recipe.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::format::ext4::{self, Ext4Error};
use crate::format::extents::Extents;
use crate::format::fat::{self, FatError};
use crate::format::gpt::{self, ALIGNMENT};
use crate::plan::{self, PlanId};
use crate::sysroot;
use crate::tree::{Directory, Leaf, LeafKind, Node, Tree};

const MIB: u64 = 1 << 20;
/// The name space of all identifiers that Basalt makes.
const NAMESPACE: Uuid = uuid!("56ae8f6a-f75f-49fa-b7c5-2eb810ce2e5d");
/// To how many bytes a filesystem can grow while it is mounted.
const GROW_TO: u64 = 8 << 40;
/// The root filesystem is small only until it grows: the journal of one of 16 GiB.
const ROOT_JOURNAL: u64 = 64 * MIB;
/// Room for files that the node writes before the root filesystem has grown, at least.
const ROOT_SPARE: u64 = 64 * MIB;
/// Beside deployments: menus, and a kernel that got larger.
const BOOT_SPARE: u64 = 32 * MIB;
/// Beside two sets of boot loaders: an update writes the new one beside the old.
const ESP_SPARE: u64 = 16 * MIB;

/// The three filesystems of a disk.
#[derive(Clone, Copy, Debug)]
pub struct Trees<'a> {
    /// EFI system partition: files and folders only.
    pub esp: &'a Tree,
    /// `/boot`.
    pub boot: &'a Tree,
    /// The root of the disk, with the OSTree repository and the deployment.
    pub root: &'a Tree,
}

/// What is the same for all three: where identifiers and times come from.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Of the plan.
    pub plan: PlanId,
    /// Of the image, in seconds since 1970.
    pub time: i64,
    /// Decides the type of the root partition.
    pub architecture: Architecture,
}

/// A disk that can be written.
#[derive(Clone, Debug)]
pub struct Disk {
    /// What stands where.
    pub extents: Extents,
    /// In the order of the table.
    pub partitions: Vec<Partition>,
}

/// A partition, as the manifest lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Partition {
    /// Its name in the table (PARTLABEL); also the filesystem's label.
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
    /// `vfat` or `ext4`.
    pub filesystem: String,
    /// By which the filesystem is found: a UUID, or `XXXX-XXXX` of a FAT.
    pub filesystem_id: String,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Esp,
    Boot,
    Root,
}

impl Role {
    const fn label(self) -> &'static str {
        match self {
            Self::Esp => sysroot::ESP_LABEL,
            Self::Boot => sysroot::BOOT_LABEL,
            Self::Root => sysroot::ROOT_LABEL,
        }
    }

    /// The recipe's key for its size.
    const fn key(self) -> &'static str {
        match self {
            Self::Esp => "esp-size",
            Self::Boot => "boot-size",
            Self::Root => "root-size",
        }
    }

    const fn kind(self, architecture: Architecture) -> Uuid {
        match (self, architecture) {
            (Self::Esp, _) => gpt::TYPE_ESP,
            (Self::Boot, _) => gpt::TYPE_BOOT,
            (Self::Root, Architecture::Amd64) => gpt::TYPE_ROOT_AMD64,
            (Self::Root, Architecture::Arm64) => gpt::TYPE_ROOT_ARM64,
        }
    }
}

/// A filesystem before it has its place.
struct Filesystem {
    role: Role,
    extents: Extents,
    kind: &'static str,
    id: String,
}

impl Identity {
    /// The identifier of `what` on this plan's disk.
    fn uuid(&self, what: &str, role: &str) -> Uuid {
        Uuid::new_v5(&NAMESPACE, format!("{}/{what}/{role}", self.plan).as_bytes())
    }
}

/// Lays out the disk of `trees`. Sizes that `disk` does not fix are as small as the table above says, in whole MiB; a fixed size that is
/// too small is a failure that names both numbers.
pub fn layout(trees: Trees<'_>, disk: &plan::Disk, identity: &Identity) -> anyhow::Result<Disk> {
    let filesystems = thread::scope(|scope| {
        let small = scope.spawn(|| anyhow::Ok((esp(trees.esp, disk, identity)?, boot(trees.boot, disk, identity)?)));
        let root = root(trees.root, disk, identity);
        let (esp, boot) = small.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        anyhow::Ok([esp, boot, root?])
    })?;
    let mut table = gpt::Table {
        sector_size: disk.sector_size,
        disk_size: 0,
        id: identity.uuid("disk", "table"),
        partitions: Vec::with_capacity(filesystems.len()),
    };
    let mut end = ALIGNMENT;
    for Filesystem { role, extents, .. } in &filesystems {
        table.partitions.push(gpt::Partition {
            label: role.label().to_owned(),
            kind: role.kind(identity.architecture),
            id: identity.uuid("partition", role.label()),
            start: end,
            size: extents.len(),
        });
        end += extents.len();
    }
    table.disk_size = end + ALIGNMENT;
    let partitions = table
        .partitions
        .iter()
        .zip(&filesystems)
        .map(|(partition, filesystem)| Partition {
            label: partition.label.clone(),
            kind: partition.kind.to_string(),
            id: partition.id.to_string(),
            start: partition.start,
            size: partition.size,
            filesystem: filesystem.kind.to_owned(),
            filesystem_id: filesystem.id.clone(),
        })
        .collect();
    let mut extents = gpt::layout(&table)?;
    for (partition, filesystem) in table.partitions.iter().zip(filesystems) {
        extents.place(partition.start, filesystem.extents);
    }
    Ok(Disk { extents, partitions })
}

fn esp(tree: &Tree, disk: &plan::Disk, identity: &Identity) -> anyhow::Result<Filesystem> {
    let role = Role::Esp;
    let refused = |error| match error {
        FatError::TooSmall { needed, found } => too_small(role, needed, found),
        error => Failure::new(Kind::Failed, format!("EFI system partition: {error}")),
    };
    let size = match disk.esp_size {
        Some(size) => whole_mib(role, size)?,
        None => {
            let least = if disk.sector_size == 4096 { 260 * MIB } else { 64 * MIB };
            let twice = (2 * content_len(tree) + ESP_SPARE).next_multiple_of(MIB);
            fat::smallest(tree, disk.sector_size).map_err(refused)?.max(twice).max(least)
        }
    };
    let (volume_id, ..) = identity.uuid("filesystem", role.label()).as_fields();
    let options = fat::Options { size, sector_size: disk.sector_size, label: role.label(), volume_id, time: identity.time };
    let extents = fat::layout(tree, &options).map_err(refused)?;
    let id = format!("{:04X}-{:04X}", volume_id >> 16, volume_id & 0xffff);
    Ok(Filesystem { role, extents, kind: "vfat", id })
}

fn boot(tree: &Tree, disk: &plan::Disk, identity: &Identity) -> anyhow::Result<Filesystem> {
    let role = Role::Boot;
    let options = ext4::Options { reserved_percent: 0, grow_to: GROW_TO, ..ext4_options(role, identity) };
    // While an update is written there are three deployments: the running one, the one before, the new one.
    let others = 2 * content_len(tree);
    if let Some(size) = disk.boot_size {
        let needed = ext4::size_for(tree, &options, others).with_context(|| format!("{} filesystem", role.label()))?;
        if size < needed {
            return Err(too_small(role, needed, size).into());
        }
    }
    ext4_filesystem(role, tree, &options, disk.boot_size, others + BOOT_SPARE)
}

fn root(tree: &Tree, disk: &plan::Disk, identity: &Identity) -> anyhow::Result<Filesystem> {
    let role = Role::Root;
    let options = ext4::Options {
        grow_to: GROW_TO,
        verity: true,
        journal: ext4::Journal::Bytes(ROOT_JOURNAL),
        ..ext4_options(role, identity)
    };
    ext4_filesystem(role, tree, &options, disk.root_size, (content_len(tree) / 10).max(ROOT_SPARE))
}

/// Label, identifiers and time; the size is not known yet.
fn ext4_options(role: Role, identity: &Identity) -> ext4::Options {
    let id = identity.uuid("filesystem", role.label());
    let seed = identity.uuid("hash-seed", role.label());
    let options = ext4::Options::new(0, id.into_bytes(), seed.into_bytes(), identity.time);
    ext4::Options { label: role.label().to_owned(), ..options }
}

/// Of `size` bytes, or as small as leaves `free` bytes.
fn ext4_filesystem(role: Role, tree: &Tree, options: &ext4::Options, size: Option<u64>, free: u64) -> anyhow::Result<Filesystem> {
    let laid_out = match size {
        Some(size) => ext4::layout(tree, &ext4::Options { size: whole_mib(role, size)?, ..options.clone() }),
        None => ext4::layout_with(tree, options, free, MIB),
    };
    let extents = laid_out.map_err(|error| match error {
        Ext4Error::TooSmall { needed, found } => too_small(role, needed, found).into(),
        error => anyhow::Error::from(error).context(format!("{} filesystem", role.label())),
    })?;
    Ok(Filesystem { role, extents, kind: "ext4", id: Uuid::from_bytes(options.uuid).to_string() })
}

/// Bytes of all files; one with several names counts once.
fn content_len(tree: &Tree) -> u64 {
    fn below(directory: &Directory, seen: &mut HashSet<*const Leaf>) -> u64 {
        let nodes = directory.children.values();
        nodes
            .map(|node| match node {
                Node::Directory(inner) => below(inner, seen),
                Node::Leaf(leaf) => match &leaf.kind {
                    LeafKind::File(content) if seen.insert(Arc::as_ptr(leaf)) => content.len(),
                    LeafKind::File(_) | LeafKind::Symlink(_) => 0,
                },
            })
            .sum()
    }
    below(&tree.root, &mut HashSet::new())
}

fn whole_mib(role: Role, size: u64) -> Result<u64, Failure> {
    if size > 0 && size.is_multiple_of(ALIGNMENT) {
        return Ok(size);
    }
    Err(Failure::new(Kind::Invalid, format!("{} partition: needed whole MiB, found {size} bytes", role.label()))
        .hint(format!("round {} in [disk] to whole MiB", role.key())))
}

fn too_small(role: Role, needed: u64, found: u64) -> Failure {
    let needed = needed.div_ceil(MIB);
    let what = format!("{} partition: needed {needed} MiB, found {} MiB", role.label(), found / MIB);
    Failure::new(Kind::Invalid, what)
        .hint(format!("give {} in [disk] at least {needed} MiB, or leave it out for the smallest size", role.key()))
}

#[cfg(test)]
pub(super) mod tests;
