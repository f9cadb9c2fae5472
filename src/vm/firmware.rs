//! UEFI firmware for a guest: OVMF as Debian's package `ovmf` lays it down, and a copy of its variables for each machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Kind};
use crate::format::uefi_variables;

/// Whether the firmware starts only what is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecureBoot {
    /// Signed programs only, with the keys of Microsoft enrolled, as machines are sold.
    #[default]
    On,
    /// Any program.
    Off,
}

/// The files of one firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The program: never written.
    pub code: PathBuf,
    /// Its variables (boot order, keys) as delivered: copied for each machine.
    pub variables: PathBuf,
}

/// Where distributions put it.
const FOLDERS: [&str; 2] = ["/usr/share/OVMF", "/usr/share/edk2/ovmf"];

impl Firmware {
    /// The firmware of this host.
    pub fn find(secure_boot: SecureBoot) -> Result<Self, Failure> {
        Self::find_in(&FOLDERS.map(Path::new), secure_boot)
    }

    fn find_in(folders: &[&Path], secure_boot: SecureBoot) -> Result<Self, Failure> {
        let (code, variables) = match secure_boot {
            SecureBoot::On => ("OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd"),
            SecureBoot::Off => ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"),
        };
        folders
            .iter()
            .map(|folder| Self { code: folder.join(code), variables: folder.join(variables) })
            .find(|firmware| firmware.code.is_file() && firmware.variables.is_file())
            .ok_or_else(|| {
                let looked: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
                Failure::new(
                    Kind::Tool,
                    format!("UEFI firmware is not installed: no {code} and {variables} in {}", looked.join(", ")),
                )
                .hint("apt install ovmf")
            })
    }

    /// Makes a machine's own copy of the variables, in which its owner trusts `certificates` (DER), unless it has one.
    pub(super) fn copy_variables(&self, certificates: &[Vec<u8>], to: &Path) -> Result<(), Failure> {
        if to.exists() {
            return Ok(());
        }
        let failed = |error| Failure::new(Kind::Failed, format!("{}: cannot be copied: {error}", self.variables.display()));
        // Read and written, not copied: the copy must be writable whatever the mode of the original is.
        let mut bytes = fs::read(&self.variables).map_err(failed)?;
        uefi_variables::enrol(&mut bytes, certificates).map_err(|bad| {
            let what = format!("{}: a certificate cannot be enrolled: {bad}", self.variables.display());
            Failure::new(Kind::Input, what).hint("begin with variables as they come with OVMF")
        })?;
        fs::write(to, bytes).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_both() {
        for secure_boot in [SecureBoot::On, SecureBoot::Off] {
            let firmware = Firmware::find(secure_boot).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let copy = folder.path().join("variables");
            firmware.copy_variables(&[], &copy).unwrap();
            fs::write(&copy, "changed").unwrap();
            firmware.copy_variables(&[], &copy).unwrap();
            assert_eq!(fs::read(&copy).unwrap(), b"changed", "the machine's own copy stays");
        }
    }

    #[test]
    fn an_owner_trusts_certificates_beside_those_of_the_firmware() {
        let firmware = Firmware::find(SecureBoot::On).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("variables");
        firmware.copy_variables(&[b"certificate".to_vec()], &copy).unwrap();
        let bytes = fs::read(&copy).unwrap();
        assert!(uefi_variables::owners(&bytes).unwrap().unwrap().ends_with(b"certificate"));
        assert_eq!(uefi_variables::owners(&fs::read(&firmware.variables).unwrap()).unwrap(), None);
    }

    #[test]
    fn missing_firmware_names_the_package() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Firmware::find_in(&[folder.path()], SecureBoot::On).unwrap_err();
        assert_eq!((failure.kind, failure.hint.as_deref()), (Kind::Tool, Some("apt install ovmf")));
    }
}
