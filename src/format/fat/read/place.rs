//! What of the volume a byte belongs to: for messages about two volumes that differ.

use super::super::geometry::FIRST_CLUSTER;
use super::super::record::ENTRY_LEN;
use super::{BadFat, Entry, Root, Volume};

/// Where fields of a folder's entry begin.
const ENTRY: [(u64, &str); 9] = [
    (0, "name"),
    (11, "attributes"),
    (13, "time of making"),
    (18, "date of the last access"),
    (20, "first cluster"),
    (22, "time and date"),
    (26, "first cluster"),
    (28, "length"),
    (32, ""),
];

impl Volume {
    /// What the byte `at` belongs to, in words: `/EFI/BOOT/BOOTX64.EFI, byte 7`, `the entry 3 of /EFI: time and date`.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn describe(&self, at: u64) -> Result<String, BadFat> {
        let Some(inside) = at.checked_sub(self.data_at) else {
            return Ok(match self.root {
                Root::At { first, len } if at >= first && at < first + len => in_folder("/", at - first),
                _ if at < 512 => format!("boot sector, byte {at}"),
                _ if at < self.tables_at => format!("reserved sectors, byte {at}"),
                _ => format!("table of clusters, byte {}", at - self.tables_at),
            });
        };
        let cluster = inside / self.cluster + u64::from(FIRST_CLUSTER);
        let inside = inside % self.cluster;
        if let Root::Cluster(first) = self.root
            && let Some(before) = self.before(first, cluster)?
        {
            return Ok(in_folder("/", before + inside));
        }
        let mut left: Vec<(String, Entry)> = self.root()?.into_iter().map(|entry| (format!("/{}", entry.name), entry)).collect();
        // No more entries than clusters, else folders are in themselves.
        for _ in 0..self.clusters {
            let Some((path, entry)) = left.pop() else { break };
            let before = if entry.first == 0 { None } else { self.before(entry.first, cluster)? };
            match before {
                Some(before) if entry.is_folder => return Ok(in_folder(&path, before + inside)),
                Some(before) => return Ok(format!("{path}, byte {}", before + inside)),
                None if entry.is_folder => {
                    left.extend(self.folder(&entry)?.into_iter().map(|inner| (format!("{path}/{}", inner.name), inner)));
                }
                None => {}
            }
        }
        Ok(format!("a cluster that nothing uses ({cluster})"))
    }

    /// Bytes of a file before `cluster`, when that is one of its own.
    fn before(&self, first: u32, cluster: u64) -> Result<Option<u64>, BadFat> {
        let place = self.chain(first)?.iter().position(|number| u64::from(*number) == cluster);
        Ok(place.map(|place| place as u64 * self.cluster))
    }
}

fn in_folder(path: &str, at: u64) -> String {
    let (number, inside) = (at / ENTRY_LEN as u64, at % ENTRY_LEN as u64);
    let field = ENTRY.iter().rev().find(|(start, _)| *start <= inside).map_or("", |(_, name)| name);
    format!("entry {number} of the folder {path}: {field}")
}
