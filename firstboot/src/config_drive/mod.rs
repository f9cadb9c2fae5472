//! What a config drive says: the host name, root's SSH keys and the network, without any desired state of ours.
//!
//! ```text
//!                 ┌ meta_data.json, meta-data ───────> host name, keys
//! drive ──yaml──> document ─ user_data, user-data ───> host name, keys                     (cloud_config)
//!                 └ network_data.json, network-config > Network ──networkd──> files for systemd-networkd
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`yaml`] | JSON and YAML as values that know where they stand |
//! | [`document`] | what parsers take from them |
//! | [`values`] | addresses, names and numbers that can be right |
//! | [`identity`] | host names and SSH keys that can be right |
//! | [`openstack`], [`network_data`] | a drive labelled `config-2` |
//! | [`nocloud`], [`network_v1`], [`network_v2`] | a drive labelled `cidata` |
//! | [`cloud_config`] | user data of both |
//! | [`network`], [`settings`], [`check`] | our one model of a network, and what must be so in it |
//! | [`networkd`] | the model as `.link`, `.netdev` and `.network` files |
//!
//! Who mounts the drives is no matter of this module; it reads what is below a folder, and changes nothing. Two drives at once are
//! none: which one counts would be a guess. A network with one mistake is none: half a network is worse than the default.
//!
//! Architecture invariant: what a drive says that we do not honour is told by its name. Values that are not honoured are never
//! told: they may be passwords.

mod check;
pub mod cloud_config;
pub mod document;
pub mod identity;
pub mod network;
pub mod network_data;
pub mod network_v1;
pub mod network_v2;
pub mod networkd;
pub mod nocloud;
pub mod openstack;
pub mod settings;
pub mod values;
pub mod yaml;

use std::io::ErrorKind;

use basalt_contract::Fault;
use basalt_contract::placed::{Place, Placed, Position, Sources};

use crate::backend::Files;
use document::Reading;
pub use networkd::NetworkFile;

/// Where drives are mounted: `openstack` and `nocloud` below it.
pub const FOLDER: &str = "/run/basalt/config-drive";
const SUBJECT: &str = "config-drive";
/// A file of more bytes is a mistake: what a drive says fits into a hundredth of it, and the agent is small.
const LARGEST: usize = 256 << 10;

/// So many faults of a file are told, and as many names of what is not honoured: a journal is for people.
const MOST_TOLD: usize = 40;

/// What a config drive says, as far as we honour it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDrive {
    /// The host name.
    pub host_name: Option<Said<String>>,
    /// Public keys, as a line of `authorized_keys` each, none twice.
    pub ssh_keys: Vec<Said<String>>,
    /// The network, whole; empty: the drive says nothing of it, or something wrong.
    pub network: Vec<NetworkFile>,
    /// What is passed over, by its name, and what was taken in another way than it is written.
    pub notes: Vec<String>,
    /// What cannot be read or understood.
    pub faults: Vec<Fault>,
}

/// A value and where a drive says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said<T> {
    /// What is said.
    pub value: T,
    /// File, line and column.
    pub position: Position,
}

impl<T> Said<T> {
    /// The same as a wish among those of desired state. The drive's text is not kept for it: it may hold secrets.
    pub fn placed(self, sources: &mut Sources) -> Placed<T> {
        let Position { file, line, column } = self.position;
        let before = "\n".repeat(line.saturating_sub(1)) + &" ".repeat(column.saturating_sub(1));
        let start = sources.add(&file, &before);
        Placed { value: self.value, place: Place(start + before.len()) }
    }
}

/// Reads the drives that are mounted below `folder`: see [`FOLDER`]. Not there: nothing is said.
pub fn read(files: &dyn Files, folder: &str) -> ConfigDrive {
    let mut drive = ConfigDrive::default();
    let openstack = format!("{folder}/openstack/openstack/latest");
    let nocloud = format!("{folder}/nocloud");
    let there = [names(files, &openstack, &mut drive), names(files, &nocloud, &mut drive)];
    match there {
        [Some(_), Some(_)] => {
            let what = format!("needed one config drive, found two: {openstack} and {nocloud}");
            drive.faults.push(Fault::new(SUBJECT, what, "take one away; until then none of them is used"));
        }
        [Some(names), None] => openstack::read(files, &openstack, &names, &mut drive),
        [None, Some(names)] => nocloud::read(files, &nocloud, &names, &mut drive),
        [None, None] => {}
    }
    drive
}

impl ConfigDrive {
    /// Nobody is told the same key twice.
    fn add_keys(&mut self, keys: Vec<Said<String>>) {
        for key in keys {
            if !self.ssh_keys.iter().any(|known| known.value == key.value) {
                self.ssh_keys.push(key);
            }
        }
    }

    /// What reading one file has brought to light.
    fn end(&mut self, reading: Reading<'_>) {
        let Reading { file, mut faults, left, mut remarks, .. } = reading;
        let more = faults.len().saturating_sub(MOST_TOLD);
        faults.truncate(MOST_TOLD);
        if let Some(last) = faults.last_mut().filter(|_| more > 0) {
            last.what += &format!("; and {more} more like it");
        }
        remarks.truncate(MOST_TOLD);
        self.faults.extend(faults);
        self.notes.extend(remarks);
        self.leave(file, &left.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// What is on the drive that we do not read.
    fn leave_files(&mut self, folder: &str, names: &[String], known: &[&str]) {
        let left: Vec<_> = names.iter().map(String::as_str).filter(|name| !known.contains(name)).collect();
        self.leave(folder, &left);
    }

    /// What is not honoured of `whole`.
    fn leave(&mut self, whole: &str, names: &[&str]) {
        let (told, more) = names.split_at(names.len().min(MOST_TOLD));
        if !told.is_empty() {
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            self.notes.push(format!("{whole}: not honoured: {}{more}", told.join(", ")));
        }
    }
}

/// The files of a drive; none: there is no drive.
fn names(files: &dyn Files, folder: &str, drive: &mut ConfigDrive) -> Option<Vec<String>> {
    match files.list(folder) {
        Ok(names) => Some(names).filter(|names| !names.is_empty()),
        Err(error) if matches!(error.cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(error) => {
            drive.faults.push(Fault::new(SUBJECT, error.to_string(), "look at the drive: see `journalctl -k`"));
            None
        }
    }
}

/// A file's bytes, where it is.
fn bytes(files: &dyn Files, path: &str, drive: &mut ConfigDrive) -> Option<Vec<u8>> {
    match files.read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.cause.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            drive.faults.push(Fault::new(SUBJECT, error.to_string(), "look at the drive: see `journalctl -k`"));
            None
        }
    }
}

/// The files of the network that a document says; none when anything in it is wrong.
fn read_network(
    files: &dyn Files,
    path: &str,
    drive: &mut ConfigDrive,
    parse: fn(document::Table, &mut Reading<'_>) -> Option<network::Network>,
) {
    let Some(bytes) = bytes(files, path, drive) else { return };
    let mut reading = Reading::new(path, "mend the file on the drive; until then nothing of its network is used");
    if let Some(table) = yaml::table(&bytes, &mut reading) {
        let network = parse(table, &mut reading);
        if let Some(network) = network.and_then(|network| check::checked(network, &mut reading)) {
            drive.network = networkd::files(&network, path);
        }
    }
    drive.end(reading);
}

#[cfg(test)]
mod tests;
