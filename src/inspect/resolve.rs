//! Finds a path in an ext4 as a process would whose root is a folder of it: links are followed, and none leads out.

use std::collections::VecDeque;

use crate::format::ext4::read::{BadExt4, Filesystem, Inode, InodeKind};

/// As many links as Linux follows.
const LINKS_MAX: usize = 40;

/// What `path` leads to below the folder `root`; none when a part of it is missing, or too many links are followed.
pub(super) fn resolve(filesystem: &Filesystem, root: &Inode, path: &str) -> Result<Option<Inode>, BadExt4> {
    let mut parts: VecDeque<String> = split(path).collect();
    let mut way = vec![root.clone()];
    let mut links = 0;
    while let Some(part) = parts.pop_front() {
        if part == ".." {
            way.truncate((way.len() - 1).max(1));
            continue;
        }
        let Some(here) = way.last().filter(|inode| inode.kind == InodeKind::Directory) else { return Ok(None) };
        let Some(next) = filesystem.find(here, &part)? else { return Ok(None) };
        if next.kind == InodeKind::Symlink {
            links += 1;
            let target = String::from_utf8_lossy(&filesystem.small(&next)?).into_owned();
            if links > LINKS_MAX {
                return Ok(None);
            }
            if target.starts_with('/') {
                way.truncate(1);
            }
            for part in split(&target).collect::<Vec<_>>().into_iter().rev() {
                parts.push_front(part);
            }
        } else {
            way.push(next);
        }
    }
    Ok(way.pop())
}

fn split(path: &str) -> impl Iterator<Item = String> {
    path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned)
}
