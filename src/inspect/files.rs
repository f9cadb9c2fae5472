//! The files below a folder of an ext4, with everything that the filesystem keeps of them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use crate::format::bytes;
use crate::format::ext4::read::{Filesystem, Inode, InodeKind};

/// A file, folder or link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) inode: Inode,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// Of a symbolic link.
    pub(super) target: Option<Vec<u8>>,
}

/// Files by their path below the folder, which begins with `/`.
pub(super) type Files = BTreeMap<String, File>;

/// Everything below `top`.
pub(super) fn below(filesystem: &Filesystem, top: &Inode) -> Result<Files> {
    let mut files = Files::new();
    let mut left = vec![(String::new(), top.clone())];
    while let Some((at, folder)) = left.pop() {
        // A folder that is in itself would be looked at for ever.
        anyhow::ensure!(at.len() <= 4096, "{at}: folders are nested too deeply");
        for name in filesystem.names(&folder).with_context(|| at.clone())? {
            let path = format!("{at}/{}", String::from_utf8_lossy(&name.name));
            let inode = filesystem.inode(name.inode).with_context(|| path.clone())?;
            if inode.kind == InodeKind::Directory {
                left.push((path.clone(), inode.clone()));
            }
            let file = of(filesystem, inode).with_context(|| path.clone())?;
            files.insert(path, file);
        }
    }
    Ok(files)
}

/// One file.
pub(super) fn of(filesystem: &Filesystem, inode: Inode) -> Result<File> {
    let target = (inode.kind == InodeKind::Symlink).then(|| filesystem.small(&inode)).transpose()?;
    Ok(File { xattrs: filesystem.xattrs(&inode)?, target, inode })
}

/// The first byte in which two regular files of the same length differ; none when they do not.
pub(super) fn first_difference(one: (&Filesystem, &Inode), other: (&Filesystem, &Inode)) -> Result<Option<u64>> {
    let (ours, theirs) = (one.0.runs(one.1)?, other.0.runs(other.1)?);
    let read = |(filesystem, _): (&Filesystem, &Inode), runs, buffer: &mut [u8], at| filesystem.read(runs, buffer, at);
    let found = bytes::first_difference(
        one.1.size,
        |buffer, at| read(one, &ours, buffer, at),
        |buffer, at| read(other, &theirs, buffer, at),
    );
    Ok(found?)
}
