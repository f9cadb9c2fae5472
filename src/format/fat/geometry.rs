//! How many bytes of a volume are table and how many are clusters.
//!
//! Source: Microsoft's "FAT32 File System Specification" 1.03. The number of clusters alone decides which FAT it is, so a FAT32
//! has a smallest size.

/// Sectors before the first table: boot sector, FSInfo, their copies, and room as every formatter leaves it.
pub(super) const RESERVED_SECTORS: u64 = 32;
/// Where FSInfo stands, in sectors.
pub(super) const FSINFO_SECTOR: u16 = 1;
/// Where the copy of the boot sector stands; that of FSInfo follows it.
pub(super) const BACKUP_SECTOR: u16 = 6;
/// Two tables, the second a copy of the first.
pub(super) const TABLES: u64 = 2;
/// The first cluster has this number: two entries of the table mean something else.
pub(super) const FIRST_CLUSTER: u32 = 2;
/// With fewer it would be a FAT16. The specification asks to stay 16 away from that border.
const CLUSTERS_MIN: u64 = 65_525 + 16;
/// Cluster numbers have 28 bits, of which the highest are marks.
const CLUSTERS_MAX: u64 = 0x0fff_fff5;
/// Bytes of an entry of the table.
const ENTRY_LEN: u64 = 4;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The shape of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes of a sector.
    pub sector: u64,
    /// Sectors in all.
    pub sectors: u64,
    /// Bytes of a cluster.
    pub cluster: u64,
    /// Sectors of one table.
    pub table_sectors: u64,
    /// How many clusters there are.
    pub clusters: u64,
}

impl Geometry {
    /// The shape of `size` bytes (what is beyond the last whole sector stays unused). None when that is no FAT32.
    pub fn of(size: u64, sector: u64) -> Option<Self> {
        let sectors = size / sector;
        let cluster = cluster_len(size).max(sector);
        let per_cluster = cluster / sector;
        let usable = sectors.checked_sub(RESERVED_SECTORS)?;
        // A table needs (clusters + 2) entries, and each sector that the tables take is lost to clusters. Rounded up.
        let most = usable / per_cluster + 1;
        let table_sectors = ((most + u64::from(FIRST_CLUSTER)) * ENTRY_LEN).div_ceil(sector + TABLES * ENTRY_LEN / per_cluster);
        let clusters = usable.checked_sub(TABLES * table_sectors)? / per_cluster;
        let fits = (CLUSTERS_MIN..=CLUSTERS_MAX).contains(&clusters) && sectors <= u64::from(u32::MAX);
        debug_assert!(!fits || table_sectors * sector >= (clusters + u64::from(FIRST_CLUSTER)) * ENTRY_LEN);
        fits.then_some(Self { sector, sectors, cluster, table_sectors, clusters })
    }

    /// First byte of the tables.
    pub const fn tables_at(&self) -> u64 {
        RESERVED_SECTORS * self.sector
    }

    /// Bytes of one table.
    pub const fn table_len(&self) -> u64 {
        self.table_sectors * self.sector
    }

    /// First byte of a cluster.
    pub const fn cluster_at(&self, number: u32) -> u64 {
        self.tables_at() + TABLES * self.table_len() + (number - FIRST_CLUSTER) as u64 * self.cluster
    }

    /// How many clusters `len` bytes take.
    pub const fn clusters_of(&self, len: u64) -> u64 {
        len.div_ceil(self.cluster)
    }
}

/// Bytes of a cluster for a volume of `size` bytes, as Microsoft's formatter chooses.
const fn cluster_len(size: u64) -> u64 {
    match size {
        _ if size <= 260 * MIB => 512,
        _ if size <= 8 * GIB => 4 << 10,
        _ if size <= 16 * GIB => 8 << 10,
        _ if size <= 32 * GIB => 16 << 10,
        _ => 32 << 10,
    }
}

/// The smallest whole number of MiB that is a FAT32 for which `fits` holds.
pub(super) fn smallest(sector: u64, fits: impl Fn(&Geometry) -> bool) -> Option<u64> {
    (1..=(u64::from(u32::MAX) * sector) / MIB)
        .map(|mib| mib * MIB)
        .find(|size| Geometry::of(*size, sector).is_some_and(|geometry| fits(&geometry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_an_entry_for_every_cluster() {
        for sector in [512, 4096] {
            let mut size = 20 * MIB;
            while size < 40 * GIB {
                if let Some(shape) = Geometry::of(size, sector) {
                    assert!(shape.table_len() >= (shape.clusters + 2) * ENTRY_LEN, "{shape:?}");
                    assert!(shape.table_len() < (shape.clusters + 2) * ENTRY_LEN + 32 * sector, "wasteful: {shape:?}");
                    let end = shape.cluster_at(FIRST_CLUSTER) + shape.clusters * shape.cluster;
                    assert!(end <= size && size - end < 32 * shape.cluster + 16 * sector, "{shape:?}");
                }
                size += size / 7 + 1;
            }
        }
    }

    #[test]
    fn the_smallest_sizes() {
        for (sector, mib) in [(512, 33), (4096, 257)] {
            assert_eq!(smallest(sector, |_| true), Some(mib * MIB), "{sector}");
        }
    }
}
