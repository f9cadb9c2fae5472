//! qcow2, QEMU's sparse disk: made from the list of pieces alone, so it is written in one pass like a raw disk.
//!
//! Source: `docs/interop/qcow2.txt` of QEMU. Version 3, clusters of 64 KiB, no compression, no encryption, no snapshots, 16-bit
//! reference counts. All numbers are big-endian. Tables stand in front, then the clusters that hold something, in the disk's order.
//! [`read`] is the way back.

pub mod read;

use super::extents::Extents;

/// Bytes of a cluster.
const CLUSTER: u64 = 1 << CLUSTER_BITS;
const CLUSTER_BITS: u32 = 16;
/// Bytes of an entry of the two mapping tables and of the table of reference blocks.
const ENTRY_LEN: u64 = 8;
/// Clusters that one second-level table maps: 512 MiB.
const L2_ENTRIES: u64 = CLUSTER / ENTRY_LEN;
/// Clusters that one block of 16-bit reference counts describes.
const BLOCK_ENTRIES: u64 = CLUSTER / 2;
/// Marks an entry whose cluster has a reference count of exactly one.
const COPIED: u64 = 1 << 63;
const HEADER_LEN: u32 = 104;
const MAGIC: &[u8; 4] = b"QFI\xfb";
const VERSION: u32 = 3;
/// Reference counts have 2 to the power of this bits.
const REFCOUNT_ORDER: u32 = 4;

/// The file that holds `disk` as qcow2. Clusters in which no piece lies are not stored: they read as zeros.
///
/// # Panics
/// When the disk is not a multiple of 512 bytes: a mistake of the disk's layout.
pub fn layout(disk: &Extents) -> Extents {
    assert!(disk.len().is_multiple_of(512), "a disk of {} bytes", disk.len());
    let stored = stored_clusters(disk);
    let shape = Shape::of(disk.len(), &stored);
    let mut file = Extents::new(shape.total * CLUSTER);
    file.put_bytes(0, shape.header(disk.len()));
    let blocks = (0..shape.block_clusters).map(|n| (shape.block_at + n) * CLUSTER);
    file.put_bytes(shape.block_table_at * CLUSTER, words(blocks));
    // Every cluster of the file is used once.
    let counts: Vec<u8> = std::iter::repeat_n(1_u16.to_be_bytes(), shape.total as usize).flatten().collect();
    file.put_bytes(shape.block_at * CLUSTER, counts);
    put_maps(&mut file, &shape, &stored);
    put_data(&mut file, &shape, &stored, disk);
    file
}

/// A run of clusters of the disk that are stored.
struct Run {
    /// Its first cluster on the disk.
    first: u64,
    /// How many.
    count: u64,
    /// How many clusters the runs before it have.
    before: u64,
}

/// The clusters in which pieces lie, as runs.
fn stored_clusters(disk: &Extents) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for piece in disk.pieces() {
        let (first, end) = (piece.at / CLUSTER, piece.end().div_ceil(CLUSTER));
        match runs.last_mut() {
            Some(run) if first <= run.first + run.count => run.count = end - run.first,
            last => {
                let before = last.map_or(0, |run| run.before + run.count);
                runs.push(Run { first, count: end - first, before });
            }
        }
    }
    runs
}

/// Where everything stands in the file, in clusters.
struct Shape {
    block_table_at: u64,
    block_table_clusters: u64,
    block_at: u64,
    block_clusters: u64,
    l1_at: u64,
    l1_entries: u64,
    /// The numbers of the second-level tables that exist: where runs lie.
    l2: Vec<u64>,
    l2_at: u64,
    data_at: u64,
    total: u64,
}

impl Shape {
    fn of(disk_len: u64, runs: &[Run]) -> Self {
        let l1_entries = disk_len.div_ceil(CLUSTER * L2_ENTRIES);
        let l1_clusters = (l1_entries * ENTRY_LEN).div_ceil(CLUSTER);
        let mut l2: Vec<u64> =
            runs.iter().flat_map(|run| run.first / L2_ENTRIES..=(run.first + run.count - 1) / L2_ENTRIES).collect();
        l2.dedup();
        let data = runs.last().map_or(0, |run| run.before + run.count);
        let others = 1 + l1_clusters + l2.len() as u64 + data;
        // The reference counts count themselves too.
        let (mut table, mut blocks) = (1, 1);
        loop {
            let needed_blocks = (others + table + blocks).div_ceil(BLOCK_ENTRIES);
            let needed_table = (needed_blocks * ENTRY_LEN).div_ceil(CLUSTER);
            if (needed_table, needed_blocks) == (table, blocks) {
                break;
            }
            (table, blocks) = (needed_table, needed_blocks);
        }
        let block_table_at = 1;
        let block_at = block_table_at + table;
        let l1_at = block_at + blocks;
        let l2_at = l1_at + l1_clusters;
        let data_at = l2_at + l2.len() as u64;
        Self {
            block_table_at,
            block_table_clusters: table,
            block_at,
            block_clusters: blocks,
            l1_at,
            l1_entries,
            l2,
            l2_at,
            data_at,
            total: data_at + data,
        }
    }

    fn header(&self, disk_len: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(HEADER_LEN as usize + 8);
        let mut put = |bytes: &[u8]| header.extend_from_slice(bytes);
        put(MAGIC);
        put(&VERSION.to_be_bytes());
        put(&[0; 12]); // no backing file
        put(&CLUSTER_BITS.to_be_bytes());
        put(&disk_len.to_be_bytes());
        put(&0_u32.to_be_bytes()); // no encryption
        // As many entries as there are tables: 2^32 tables are 2 EiB.
        put(&(self.l1_entries as u32).to_be_bytes());
        put(&(self.l1_at * CLUSTER).to_be_bytes());
        put(&(self.block_table_at * CLUSTER).to_be_bytes());
        put(&(self.block_table_clusters as u32).to_be_bytes());
        put(&[0; 12]); // no snapshots
        put(&[0; 24]); // no incompatible, compatible or auto-clear features
        put(&REFCOUNT_ORDER.to_be_bytes());
        put(&HEADER_LEN.to_be_bytes());
        put(&[0; 8]); // end of the header's extensions
        header
    }
}

/// Both levels of the map from the disk's clusters to the file's.
fn put_maps(file: &mut Extents, shape: &Shape, runs: &[Run]) {
    let mut l1 = vec![0; shape.l1_entries as usize];
    for (place, index) in (shape.l2_at..).zip(&shape.l2) {
        l1[*index as usize] = (place * CLUSTER) | COPIED;
    }
    file.put_bytes(shape.l1_at * CLUSTER, words(l1));
    let mut runs = runs.iter().peekable();
    for (place, index) in (shape.l2_at..).zip(&shape.l2) {
        let mapped = index * L2_ENTRIES..(index + 1) * L2_ENTRIES;
        let mut l2 = vec![0; L2_ENTRIES as usize];
        while let Some(run) = runs.peek()
            && run.first < mapped.end
        {
            let end = run.first + run.count;
            for cluster in run.first.max(mapped.start)..end.min(mapped.end) {
                let stored = shape.data_at + run.before + (cluster - run.first);
                l2[(cluster - mapped.start) as usize] = (stored * CLUSTER) | COPIED;
            }
            if end > mapped.end {
                break;
            }
            runs.next();
        }
        file.put_bytes(place * CLUSTER, words(l2));
    }
}

/// The pieces, each moved with its run. A piece never crosses the end of a run.
fn put_data(file: &mut Extents, shape: &Shape, runs: &[Run], disk: &Extents) {
    let mut runs = runs.iter().peekable();
    for piece in disk.pieces() {
        while runs.next_if(|run| (run.first + run.count) * CLUSTER <= piece.at).is_some() {}
        let Some(run) = runs.peek() else { break };
        let moved = (shape.data_at + run.before) * CLUSTER + (piece.at - run.first * CLUSTER);
        file.put(moved, piece.data.clone());
    }
}

fn words(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(u64::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::*;
    use crate::host::cmd::Cmd;
    use crate::tree::Content;

    fn write(extents: &Extents, at: &Path) {
        let file = File::create(at).unwrap();
        file.set_len(extents.len()).unwrap();
        extents.write_to(&file, 0, |_| Ok(())).unwrap();
    }

    const MIB: u64 = 1 << 20;

    /// Pieces that touch, share a cluster, cross clusters and tables, and end with the disk.
    fn disks() -> Vec<(&'static str, Extents)> {
        let noise = |len: usize, seed: u32| -> Vec<u8> {
            let mut state = seed;
            std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(len)
            .collect()
        };
        let mut small = Extents::new(MIB + 512);
        small.put_bytes(MIB, noise(512, 1));
        let mut mixed = Extents::new(1600 * MIB);
        for (at, len) in [(0, 512), (1000, 1), (65_535, 2), (200_000, 300_000), (512 * MIB - 70_000, 140_000)] {
            mixed.put_bytes(at, noise(len, at as u32));
        }
        mixed.put_content(1500 * MIB, &Content::from_bytes(noise(5 << 20, 5)));
        mixed.put_bytes(1600 * MIB - 512, noise(512, 6));
        let mut across = Extents::new(1600 * MIB);
        across.put_content(500 * MIB, &Content::from_bytes(noise(24 << 20, 9)));
        vec![("empty", Extents::new(64 * MIB)), ("small", small), ("mixed", mixed), ("across tables", across)]
    }

    #[test]
    fn qemu_img_is_content_and_finds_the_same_disk() {
        for (name, disk) in disks() {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            write(&disk, &path("raw"));
            let qcow2 = layout(&disk);
            assert_eq!(qcow2.digest().unwrap(), layout(&disk).digest().unwrap());
            write(&qcow2, &path("qcow2"));
            let run = |args: &[&str]| Cmd::new("qemu-img").args(args).folder(folder.path()).run();
            let check = run(&["check", "-f", "qcow2", "--output=json", "qcow2"]).unwrap();
            let check: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
            assert!(check["check-errors"] == 0 && check.get("leaks").is_none() && check.get("corruptions").is_none(), "{check}");
            assert_eq!(check["image-end-offset"], qcow2.len(), "{name}");
            run(&["compare", "-f", "raw", "-F", "qcow2", "raw", "qcow2"]).unwrap();
            run(&["convert", "-f", "qcow2", "-O", "raw", "qcow2", "back"]).unwrap();
            run(&["compare", "-f", "raw", "-F", "raw", "raw", "back"]).unwrap();
            let stored = std::fs::metadata(path("qcow2")).unwrap().blocks() * 512;
            assert!(stored <= disk.data_len() + 40 * CLUSTER, "{name}: {stored} bytes stored");
        }
    }

    #[test]
    fn reference_counts_count_themselves() {
        // So many clusters that the blocks' own clusters need one more block.
        for clusters in [BLOCK_ENTRIES - 5, BLOCK_ENTRIES - 4, BLOCK_ENTRIES, 10 * BLOCK_ENTRIES] {
            let runs = [Run { first: 0, count: clusters, before: 0 }];
            let shape = Shape::of(clusters * CLUSTER, &runs);
            assert!(shape.block_clusters * BLOCK_ENTRIES >= shape.total);
            assert!((shape.block_clusters - 1) * BLOCK_ENTRIES < shape.total);
        }
    }
}
