//! A throw-away layer over a disk image: an empty qcow2 whose backing file is the image. What the guest writes goes into the layer;
//! the layer may be larger than the image, which is how a test sees a disk grow.
//!
//! Format: QEMU's docs/interop/qcow2.rst, version 3. Four parts of one cluster each: header, refcount table, one refcount block; then
//! the L1 table, all zero: every cluster is read from the image, or is zero where the image has ended.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How the bytes of an image file are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The disk itself.
    Raw,
    /// A qcow2 file.
    Qcow2,
}

impl Format {
    /// The format of the file at `path`, by its first bytes.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let mut magic = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut magic)?;
        Ok(if magic == MAGIC { Self::Qcow2 } else { Self::Raw })
    }

    /// QEMU's name for it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

const MAGIC: [u8; 4] = *b"QFI\xfb";
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Where the header says the name of the backing file is.
const NAME_AT: u64 = 0x200;
const NAME_MAX: usize = 1023;
/// Bytes of disk that one entry of the L1 table covers.
const L1_COVERS: u64 = CLUSTER * CLUSTER / 8;
/// With one refcount block of 16-bit counts.
const CLUSTERS_MAX: u64 = CLUSTER / 2;

/// The size in bytes of the disk in the image at `path`: of a raw file its length, of a qcow2 what its header says.
pub fn disk_size(path: &Path) -> io::Result<u64> {
    let file = File::open(path)?;
    match Format::of(path)? {
        Format::Raw => Ok(file.metadata()?.len()),
        Format::Qcow2 => {
            let mut size = [0; 8];
            file.read_exact_at(&mut size, 24)?;
            Ok(u64::from_be_bytes(size))
        }
    }
}

/// Writes an overlay of `size` bytes over the image at `backing` (an absolute path).
pub(super) fn write(path: &Path, backing: &Path, format: Format, size: u64) -> io::Result<()> {
    let name = backing.as_os_str().as_bytes();
    let l1_entries = size.div_ceil(L1_COVERS).max(1);
    let l1_clusters = (l1_entries * 8).div_ceil(CLUSTER);
    let clusters = 3 + l1_clusters;
    if name.len() > NAME_MAX || clusters > CLUSTERS_MAX || u32::try_from(l1_entries).is_err() {
        return Err(io::Error::other(format!("{}: no overlay of {size} bytes can be made over it", backing.display())));
    }
    let mut header = Vec::new();
    header.extend(MAGIC);
    let words = |header: &mut Vec<u8>, words: &[u32]| words.iter().for_each(|word| header.extend(word.to_be_bytes()));
    words(&mut header, &[3, 0, NAME_AT as u32, name.len() as u32, CLUSTER_BITS]);
    header.extend(size.to_be_bytes());
    words(&mut header, &[0, l1_entries as u32]); // no encryption
    header.extend((3 * CLUSTER).to_be_bytes()); // L1 table
    header.extend(CLUSTER.to_be_bytes()); // refcount table
    words(&mut header, &[1, 0]); // one cluster of it, no snapshots
    header.extend([0; 32]); // snapshots' offset; incompatible, compatible and autoclear features: none
    words(&mut header, &[4, 104]); // 16-bit refcounts, length of the header
    words(&mut header, &[0xe279_2aca, format.name().len() as u32]); // extension: format of the backing file
    header.extend(format.name().as_bytes());
    header.resize(header.len().next_multiple_of(8), 0);
    words(&mut header, &[0, 0]); // last extension

    let file = File::create_new(path)?;
    file.set_len(clusters * CLUSTER)?;
    file.write_all_at(&header, 0)?;
    file.write_all_at(name, NAME_AT)?;
    file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
    let counts: Vec<u8> = (0..clusters).flat_map(|_| 1_u16.to_be_bytes()).collect();
    file.write_all_at(&counts, 2 * CLUSTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cmd::Cmd;

    #[test]
    fn the_real_tool_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, overlay, again) =
            (folder.path().join("a,b.raw"), folder.path().join("o.qcow2"), folder.path().join("back.raw"));
        let mut bytes = vec![7; 3 << 20];
        std::fs::write(&raw, &bytes).unwrap();
        for size in [3 << 20, 8 << 20, 9 << 40] {
            write(&overlay, &raw, Format::Raw, size).unwrap();
            assert_eq!((Format::of(&overlay).unwrap(), disk_size(&overlay).unwrap()), (Format::Qcow2, size));
            Cmd::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&overlay).run().unwrap();
            let info = Cmd::new("qemu-img").args(["info", "--output=json"]).arg(&overlay).run().unwrap().stdout;
            let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
            assert_eq!(info["virtual-size"], size);
            assert_eq!(info["backing-filename-format"], "raw");
            if size < 1 << 30 {
                Cmd::new("qemu-img").args(["convert", "-O", "raw"]).arg(&overlay).arg(&again).run().unwrap();
                bytes.resize(size as usize, 0);
                assert!(std::fs::read(&again).unwrap() == bytes, "{size}");
            }
            std::fs::remove_file(&overlay).unwrap();
        }
        assert_eq!((Format::of(&raw).unwrap(), disk_size(&raw).unwrap()), (Format::Raw, 3 << 20));
    }
}
