//! A drive of OpenStack: Nova's, or Ironic's for bare metal. Its label is `config-2`.
//!
//! Format: Nova's "Metadata" in its user guide: `openstack/latest/meta_data.json`, `network_data.json` and `user_data`. The
//! folders of older versions say the same, and are not looked at.

use super::document::{Reading, Table};
use super::yaml::table;
use super::{ConfigDrive, bytes, cloud_config, identity, network_data, read_network};
use crate::backend::Files;

/// What is read.
const FILES: [&str; 3] = ["meta_data.json", "network_data.json", "user_data"];

/// Reads the drive whose files are in `folder`, those with these `names`.
pub fn read(files: &dyn Files, folder: &str, names: &[String], drive: &mut ConfigDrive) {
    meta_data(files, &format!("{folder}/meta_data.json"), drive);
    read_network(files, &format!("{folder}/network_data.json"), drive, network_data::parse);
    cloud_config::read(files, &format!("{folder}/user_data"), drive);
    drive.leave_files(folder, names, &FILES);
}

fn meta_data(files: &dyn Files, path: &str, drive: &mut ConfigDrive) {
    let Some(bytes) = bytes(files, path, drive) else { return };
    let mut reading = Reading::new(path, "mend the file on the drive; until then what is wrong in it is not used");
    if let Some(mut table) = table(&bytes, &mut reading) {
        drive.host_name = identity::host_name(&mut table, "hostname", &mut reading);
        if let Some(keys) = table.take("public_keys") {
            drive.add_keys(identity::keys(keys, &mut reading));
        }
        for key in table.tables("keys", &mut reading) {
            of_a_pair(key, &mut reading, drive);
        }
        table.leave(&mut reading);
    }
    drive.end(reading);
}

/// A key with its name and type; X.509 certificates are Windows'.
fn of_a_pair(mut pair: Table, reading: &mut Reading<'_>, drive: &mut ConfigDrive) {
    pair.take("name");
    let kind = pair.text("type", reading).map(|kind| kind.value);
    if kind.as_deref() == Some("ssh")
        && let Some(data) = pair.take("data")
    {
        drive.add_keys(identity::keys(data, reading));
    }
    pair.leave(reading);
}
