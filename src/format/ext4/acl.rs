//! POSIX access control lists: a program sees 8 bytes an entry, the disk holds 4 where the entry names nobody.
//!
//! Source: `include/uapi/linux/posix_acl_xattr.h` and `fs/ext4/acl.h` of Linux.

/// Version of the form that a program sees (and a tree holds).
const SEEN_VERSION: u32 = 2;
/// Version of the form on disk.
const DISK_VERSION: u32 = 1;
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
/// All tags: owner, user, owning group, group, mask, others.
const TAGS: [u16; 6] = [0x01, USER, 0x04, GROUP, 0x10, 0x20];

/// The form on disk of a list as a program sees it. None when it is no such list.
pub(super) fn to_disk(seen: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = seen.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != SEEN_VERSION || entries.len() % 8 != 0 {
        return None;
    }
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        if !TAGS.contains(&tag) || permissions > 7 {
            return None;
        }
        disk.extend_from_slice(if matches!(tag, USER | GROUP) { entry } else { &entry[..4] });
    }
    Some(disk)
}

/// The list as a program sees it, of its form on disk. None when it is no such list.
pub(super) fn from_disk(disk: &[u8]) -> Option<Vec<u8>> {
    let (version, mut entries) = disk.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != DISK_VERSION {
        return None;
    }
    let mut seen = SEEN_VERSION.to_le_bytes().to_vec();
    while let Some((entry, rest)) = entries.split_first_chunk::<4>() {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        seen.extend_from_slice(entry);
        let (name, rest) = match tag {
            USER | GROUP => rest.split_first_chunk::<4>()?,
            _ if TAGS.contains(&tag) => (&[0xff; 4], rest),
            _ => return None,
        };
        seen.extend_from_slice(name);
        entries = rest;
    }
    entries.is_empty().then_some(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_without_a_name_are_short() {
        let seen = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 232, 3, 0, 0];
        assert_eq!(to_disk(&seen).unwrap(), [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 232, 3, 0, 0]);
        assert_eq!(from_disk(&to_disk(&seen).unwrap()).unwrap(), seen);
        for disk in [&[1, 0, 0][..], &[2, 0, 0, 0], &[1, 0, 0, 0, 2, 0, 4, 0], &[1, 0, 0, 0, 9, 0, 0, 0], &[1, 0, 0, 0, 1]] {
            assert_eq!(from_disk(disk), None, "{disk:?}");
        }
    }

    #[test]
    fn what_is_no_list() {
        for seen in [
            &[][..],
            &[1, 0, 0, 0],
            &[2, 0, 0, 0, 1],
            &[2, 0, 0, 0, 3, 0, 6, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(to_disk(seen), None, "{seen:?}");
        }
    }
}
