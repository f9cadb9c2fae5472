//! Files of config drives.

use std::io;

use basalt_firstboot::backend::{Doing, FileError, Files};
use basalt_firstboot::config_drive::{FOLDER, NetworkFile, read};

/// Every file that is read of a drive.
const PLACES: [&str; 6] = [
    "openstack/openstack/latest/meta_data.json",
    "openstack/openstack/latest/network_data.json",
    "openstack/openstack/latest/user_data",
    "nocloud/meta-data",
    "nocloud/network-config",
    "nocloud/user-data",
];

/// A file of a drive, in every place: of a network with a mistake there is nothing, and what there is are files of systemd-networkd,
/// line for line.
pub fn config_drive(bytes: &[u8]) -> bool {
    let mut taken = false;
    for place in PLACES {
        let drive = read(&One { path: format!("{FOLDER}/{place}"), bytes }, FOLDER);
        for file in &drive.network {
            assert!(drive.faults.is_empty(), "half a network: {:?}", drive.faults);
            check(file);
        }
        assert!(drive.notes.iter().all(|note| note.starts_with(FOLDER)), "{:?}", drive.notes);
        for fault in &drive.faults {
            assert!(fault.what.starts_with(FOLDER) && !fault.next_step.is_empty(), "{fault}");
        }
        taken |= drive.host_name.is_some() || !drive.ssh_keys.is_empty() || !drive.network.is_empty();
    }
    taken
}

fn check(NetworkFile { name, text }: &NetworkFile) {
    let plain = name.bytes().all(|c| c.is_ascii_alphanumeric() || b"._-".contains(&c));
    let kind = [".link", ".netdev", ".network"].iter().any(|kind| name.ends_with(kind));
    assert!(name.starts_with("10-basalt-") && plain && kind && name.len() < 100, "{name}");
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let key = line.split_once('=').map(|(key, value)| !value.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric()));
        let is_section = line.starts_with('[') && line.ends_with(']');
        assert!((key == Some(true) || is_section) && !line.chars().any(char::is_control), "{name}: {line:?}");
    }
}

/// A drive with one file.
struct One<'a> {
    path: String,
    bytes: &'a [u8],
}

fn absent<T>(path: &str, doing: Doing) -> Result<T, FileError> {
    Err(FileError { path: path.to_owned(), doing, cause: io::ErrorKind::NotFound.into() })
}

impl Files for One<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        if path == self.path { Ok(self.bytes.to_vec()) } else { absent(path, Doing::Read) }
    }

    fn read_link(&self, path: &str) -> Result<String, FileError> {
        absent(path, Doing::ReadLink)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let name = self.path.strip_prefix(path).and_then(|rest| rest.strip_prefix('/')?.split('/').next());
        name.map_or_else(|| absent(path, Doing::List), |name| Ok(vec![name.to_owned()]))
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        absent(path, Doing::Remove)
    }

    fn replace(&self, path: &str, _: &[u8]) -> Result<(), FileError> {
        absent(path, Doing::Write)
    }
}
