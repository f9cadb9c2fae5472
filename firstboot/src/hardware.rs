//! What the machine is made of, read from `/sys` and `/proc`. What an ordinary user may not read is absent, and no fault; what is
//! broken is a fault with a reason, and the rest is still found.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use basalt_contract::Hardware;
use basalt_contract::hardware::{DMI, Interface, PciDevice};

use crate::backend::{FileError, Files};
use crate::facts::short;

const DMI_FOLDER: &str = "/sys/class/dmi/id";
/// Devices on PCI, by address.
pub const PCI_FOLDER: &str = "/sys/bus/pci/devices";
const NET_FOLDER: &str = "/sys/class/net";
const PROCESSORS: &str = "/sys/devices/system/cpu/online";
const MEMORY: &str = "/proc/meminfo";
/// What firmware says is a word or two.
const LONGEST: usize = 256;

/// Finds out; `note` hears what is broken.
pub fn collect(files: &dyn Files, mut note: impl FnMut(String)) -> Hardware {
    Hardware {
        dmi: dmi(files, &mut note),
        pci: pci(files, &mut note).map_err(&mut note).ok(),
        processors: processors(files).map_err(&mut note).ok(),
        memory_mib: memory(files).map_err(&mut note).ok(),
        interfaces: interfaces(files, &mut note).map_err(&mut note).ok(),
    }
}

/// Machines without DMI have none of it, and serial numbers are for root alone.
fn dmi(files: &dyn Files, note: &mut impl FnMut(String)) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in DMI {
        let path = format!("{DMI_FOLDER}/{name}");
        match files.read(&path) {
            Ok(bytes) if bytes.len() > LONGEST => note(format!("{path}: needed at most {LONGEST} bytes, found {}", bytes.len())),
            Ok(bytes) => {
                let text: String = String::from_utf8_lossy(&bytes).chars().filter(|c| !c.is_control()).collect();
                found.insert(name.to_owned(), text.trim().to_owned());
            }
            Err(error) if matches!(error.cause.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {}
            Err(error) => note(error.to_string()),
        }
    }
    found
}

fn pci(files: &dyn Files, note: &mut impl FnMut(String)) -> Result<BTreeMap<String, PciDevice>, String> {
    let mut found = BTreeMap::new();
    for address in names(files, PCI_FOLDER)? {
        let folder = format!("{PCI_FOLDER}/{address}");
        let number = |name: &str, digits: usize| -> Result<Option<String>, String> {
            let path = format!("{folder}/{name}");
            let Some(text) = here(files.read(&path)).map_err(|error| error.to_string())? else { return Ok(None) };
            let text = String::from_utf8_lossy(&text).trim_end().to_owned();
            let hex = text.strip_prefix("0x").filter(|hex| hex.len() == digits && hex.chars().all(|c| c.is_ascii_hexdigit()));
            let hex =
                hex.ok_or_else(|| format!("{path}: needed 0x and {digits} hexadecimal digits, found {:?}", short(&text)))?;
            Ok(Some(hex.to_ascii_lowercase()))
        };
        let device = || -> Result<Option<PciDevice>, String> {
            let (Some(vendor), Some(device), Some(class)) = (number("vendor", 4)?, number("device", 4)?, number("class", 6)?)
            else {
                return Ok(None);
            };
            let driver = driver(files, &folder).map_err(|error| error.to_string())?;
            Ok(Some(PciDevice { vendor, device, class, driver }))
        };
        match device() {
            Ok(Some(device)) => drop(found.insert(address, device)),
            Ok(None) => {}
            Err(why) => note(why),
        }
    }
    Ok(found)
}

/// The driver that has the device whose folder is `folder`.
pub fn driver(files: &dyn Files, folder: &str) -> Result<Option<String>, FileError> {
    Ok(here(files.read_link(&format!("{folder}/driver")))?.map(|path| last(&path).to_owned()))
}

fn interfaces(files: &dyn Files, note: &mut impl FnMut(String)) -> Result<BTreeMap<String, Interface>, String> {
    let mut found = BTreeMap::new();
    for name in names(files, NET_FOLDER)? {
        let folder = format!("{NET_FOLDER}/{name}");
        let interface = || -> Result<Option<Interface>, String> {
            let said = |error: FileError| error.to_string();
            // Loopback, bridges and bonds have no device.
            let Some(device) = here(files.read_link(&format!("{folder}/device"))).map_err(said)? else { return Ok(None) };
            let Some(mac) = here(files.read(&format!("{folder}/address"))).map_err(said)? else { return Ok(None) };
            let mac = String::from_utf8_lossy(&mac).trim().to_lowercase();
            // InfiniBand has 20 bytes, and a modem none.
            let pair = |pair: &str| pair.len() == 2 && pair.chars().all(|c| c.is_ascii_hexdigit());
            if !mac.is_empty() && !mac.split(':').all(pair) {
                return Err(format!("{folder}/address: needed bytes like 52:54:00:12:34:56, found {:?}", short(&mac)));
            }
            Ok(Some(Interface { mac, device: last(&device).to_owned() }))
        };
        match interface() {
            Ok(Some(interface)) => drop(found.insert(name, interface)),
            Ok(None) => {}
            Err(why) => note(why),
        }
    }
    Ok(found)
}

/// The names in a folder of the kernel's; a bus that the machine does not have has no devices.
fn names(files: &dyn Files, folder: &str) -> Result<Vec<String>, String> {
    files.list_if_there(folder).map_err(|error| error.to_string())
}

/// What is not there (any more: devices come and go) is nothing. `/sys/class/net` has files that are no folders.
fn here<T>(read: Result<T, FileError>) -> Result<Option<T>, FileError> {
    match read {
        Err(error) if matches!(error.cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        read => read.map(Some),
    }
}

fn processors(files: &dyn Files) -> Result<u32, String> {
    let text = crate::facts::line(files, PROCESSORS)?;
    let count = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        to.parse::<u32>().ok()?.checked_sub(from.parse().ok()?)?.checked_add(1)
    };
    let counts = text.split(',').map(count).try_fold(0_u32, |sum, count| sum.checked_add(count?));
    counts.ok_or_else(|| format!("{PROCESSORS}: needed processors like 0-3,32, found {:?}", short(&text)))
}

fn memory(files: &dyn Files) -> Result<u64, String> {
    let text = crate::facts::text(files, MEMORY)?;
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    value.map(|kib| kib / 1024).ok_or_else(|| format!("{MEMORY}: needed a line \"MemTotal: NUMBER kB\", found none"))
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use basalt_contract::Hardware;

    use super::collect;
    use crate::backend::real::Root;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn found(root: &Path) -> (Hardware, Vec<String>) {
        let mut faults = Vec::new();
        let hardware = collect(&Root::open(root).unwrap(), |what| faults.push(what));
        (hardware, faults)
    }

    fn machine() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for (path, text) in [
            ("sys/class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)\n"),
            ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.0/device", "0x2330\n"),
            ("sys/bus/pci/devices/0000:01:00.0/class", "0x030200\n"),
            ("sys/class/net/enp1s0/address", "52:54:00:12:34:56\n"),
            ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
            ("sys/class/net/bonding_masters", ""),
            ("sys/devices/system/cpu/online", "0-3,8\n"),
            ("proc/meminfo", "MemTotal:        2014156 kB\nMemFree: 1 kB\n"),
        ] {
            write(root, path, text);
        }
        symlink("../../../bus/pci/drivers/nvidia", root.join("sys/bus/pci/devices/0000:01:00.0/driver")).unwrap();
        symlink("../../../0000:02:00.0", root.join("sys/class/net/enp1s0/device")).unwrap();
        folder
    }

    #[test]
    fn a_machine_says_what_it_is_made_of() {
        let machine = machine();
        let (hardware, faults) = found(machine.path());
        assert_eq!(faults, [""; 0]);
        assert_eq!(hardware.dmi["product_name"], "Standard PC (Q35 + ICH9, 2009)");
        let device = &hardware.pci.unwrap()["0000:01:00.0"];
        let words = [device.vendor.as_str(), &device.device, &device.class, device.driver.as_deref().unwrap()];
        assert_eq!(words, ["10de", "2330", "030200", "nvidia"]);
        assert_eq!((hardware.processors, hardware.memory_mib), (Some(5), Some(1966)));
        let interfaces = hardware.interfaces.unwrap();
        let list: Vec<_> =
            interfaces.iter().map(|(name, found)| (name.as_str(), found.mac.as_str(), found.device.as_str())).collect();
        assert_eq!(list, [("enp1s0", "52:54:00:12:34:56", "0000:02:00.0")]);
    }

    #[test]
    fn what_is_broken_is_told_and_the_rest_is_found() {
        let machine = machine();
        for (path, text, why) in [
            ("sys/bus/pci/devices/0000:01:00.0/vendor", "nvidia", "vendor: needed 0x and 4 hexadecimal digits, found \"nvidia\""),
            ("sys/devices/system/cpu/online", "3-0", "needed processors like 0-3,32, found \"3-0\""),
            ("sys/devices/system/cpu/online", "0-4294967295", "needed processors like 0-3,32"),
            ("proc/meminfo", "garbage", "needed a line \"MemTotal: NUMBER kB\", found none"),
        ] {
            let before = fs::read(machine.path().join(path)).unwrap();
            write(machine.path(), path, text);
            let (hardware, faults) = found(machine.path());
            assert!(faults.len() == 1 && faults[0].contains(why), "{why}: {faults:?}");
            assert_eq!(hardware.dmi.len(), 1);
            fs::write(machine.path().join(path), before).unwrap();
        }
        // No bus and no DMI is no fault, no /proc is one.
        let empty = tempfile::tempdir().unwrap();
        let (hardware, faults) = found(empty.path());
        assert_eq!((hardware.pci.map(|list| list.len()), faults.len()), (Some(0), 2), "{faults:?}");
    }
}
