//! A drive of NoCloud: files that people write. Its label is `cidata`.
//!
//! Format: cloud-init's "NoCloud": `meta-data`, `user-data` and `network-config`, which is of version 1 or 2, with or without
//! `network:` around it.

use super::document::{Reading, Table, quoted};
use super::network::Network;
use super::yaml::table;
use super::{ConfigDrive, bytes, cloud_config, identity, network_v1, network_v2, read_network};
use crate::backend::Files;

/// What is read.
const FILES: [&str; 3] = ["meta-data", "user-data", "network-config"];
/// What tells an instance from another; it does nothing, and needs no words.
const INSTANCE: [&str; 1] = ["instance-id"];

/// Reads the drive whose files are in `folder`, those with these `names`.
pub fn read(files: &dyn Files, folder: &str, names: &[String], drive: &mut ConfigDrive) {
    meta_data(files, &format!("{folder}/meta-data"), drive);
    read_network(files, &format!("{folder}/network-config"), drive, network_config);
    cloud_config::read(files, &format!("{folder}/user-data"), drive);
    drive.leave_files(folder, names, &FILES);
}

fn meta_data(files: &dyn Files, path: &str, drive: &mut ConfigDrive) {
    let Some(bytes) = bytes(files, path, drive) else { return };
    let mut reading = Reading::new(path, "mend the file on the drive; until then what is wrong in it is not used");
    if let Some(mut table) = table(&bytes, &mut reading) {
        let names = ["local-hostname", "hostname"].map(|key| identity::host_name(&mut table, key, &mut reading));
        drive.host_name = names.into_iter().flatten().next();
        for key in ["public-keys", "public_keys"] {
            if let Some(keys) = table.take(key) {
                drive.add_keys(identity::keys(keys, &mut reading));
            }
        }
        for key in INSTANCE {
            table.take(key);
        }
        table.leave(&mut reading);
    }
    drive.end(reading);
}

/// By its version.
fn network_config(mut table: Table, reading: &mut Reading<'_>) -> Option<Network> {
    if let Some(inner) = table.table("network", reading) {
        table.leave(reading);
        table = inner;
    }
    // An empty file, or one that says that the network is left as it is.
    if table.is_empty() {
        return None;
    }
    let version = table.text("version", reading);
    match version.as_ref().map(|version| version.value.as_str()) {
        Some("1") => network_v1::parse(table, reading),
        Some("2") => Some(network_v2::parse(table, reading)),
        None if network_v1::is_disabled(&mut table, reading) => None,
        found => {
            let at = version.as_ref().map_or(table.at, |version| version.at);
            reading.wrong(at, &table.path("version"), "1 or 2", &found.map_or("none".to_owned(), quoted));
            None
        }
    }
}
