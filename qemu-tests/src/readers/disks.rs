//! The readers of disks and filesystems. A corpus leaves out the zeros at the end of a disk: here it has them again.

use std::io;
use std::sync::Arc;

use basalt::format::bytes::Bytes;
use basalt::format::ext4::read::{Filesystem, Inode, InodeKind};
use basalt::format::fat::read::{Entry, Volume};
use basalt::format::qcow2::read::Disk;

/// Bytes of a disk, at least.
const DISK: u64 = 8 << 20;
/// So many files and folders are looked at, however many there seem to be.
const LOOKED_AT: usize = 200;

/// What was given, then zeros.
struct Padded(Vec<u8>);

impl Bytes for Padded {
    fn len(&self) -> u64 {
        DISK.max(self.0.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if at.checked_add(buffer.len() as u64).is_none_or(|end| end > self.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let given = self.0.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let len = given.len().min(buffer.len());
        buffer[..len].copy_from_slice(&given[..len]);
        buffer[len..].fill(0);
        Ok(())
    }
}

fn disk(bytes: &[u8]) -> Arc<dyn Bytes> {
    Arc::new(Padded(bytes.to_vec()))
}

/// A partition table: every partition lies on the disk.
pub fn gpt(bytes: &[u8]) -> bool {
    let Ok(table) = basalt::format::gpt::read(&disk(bytes)) else { return false };
    assert!(table.partitions.iter().all(|partition| partition.start + partition.size <= table.disk_size));
    true
}

/// An ext4: its first files and folders, with attributes and contents.
pub fn ext4(bytes: &[u8]) -> bool {
    let Ok(filesystem) = Filesystem::open(disk(bytes)) else { return false };
    let Ok(root) = filesystem.root() else { return false };
    let mut left = vec![root];
    let mut good = true;
    for _ in 0..LOOKED_AT {
        let Some(inode) = left.pop() else { break };
        good &= filesystem.xattrs(&inode).is_ok() && look(&filesystem, &inode, &mut left);
    }
    good
}

fn look(filesystem: &Filesystem, inode: &Inode, left: &mut Vec<Inode>) -> bool {
    match inode.kind {
        InodeKind::Directory => {
            let Ok(names) = filesystem.names(inode) else { return false };
            let inner: Vec<_> = names.iter().take(LOOKED_AT).map_while(|name| filesystem.inode(name.inode).ok()).collect();
            let all = inner.len() == names.len().min(LOOKED_AT);
            left.extend(inner);
            all
        }
        InodeKind::File | InodeKind::Symlink => match filesystem.small(inode) {
            Ok(bytes) => {
                assert_eq!(bytes.len() as u64, inode.size);
                true
            }
            Err(_) => false,
        },
        InodeKind::Special => true,
    }
}

/// A FAT: its first files and folders.
pub fn fat(bytes: &[u8]) -> bool {
    let Ok(volume) = Volume::open(disk(bytes)) else { return false };
    let Ok(mut left) = volume.root() else { return false };
    let mut good = true;
    for _ in 0..LOOKED_AT {
        let Some(entry) = left.pop() else { break };
        good &= look_into(&volume, &entry, &mut left);
    }
    good
}

fn look_into(volume: &Volume, entry: &Entry, left: &mut Vec<Entry>) -> bool {
    if entry.is_folder {
        let inner = volume.folder(entry);
        left.extend(inner.iter().flatten().take(LOOKED_AT).cloned());
        return inner.is_ok();
    }
    volume.file(entry).is_ok_and(|bytes| bytes.len() as u64 == entry.len)
}

/// A qcow2: the first bytes of its disk, and the last.
pub fn qcow2(bytes: &[u8]) -> bool {
    let Ok(disk) = Disk::open(Arc::new(bytes.to_vec())) else { return false };
    let part = disk.len().min(DISK);
    disk.read_at(0, part).is_ok() && disk.read_at(disk.len() - part, part).is_ok()
}
