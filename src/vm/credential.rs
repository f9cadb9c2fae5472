//! systemd credentials for a guest: the way in from outside, with no change to the image. <https://systemd.io/CREDENTIALS/>
//!
//! Each becomes a string of SMBIOS type 11 that QEMU reads from a file: nothing of it stands on a command line that others can see.
//! systemd takes them in with Secure Boot on, too, and again at each boot.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::arguments::value;
use crate::failure::{Failure, Kind};

/// Credentials by name. Shown without their values.
#[derive(Clone, Default)]
pub struct Credentials(BTreeMap<String, Vec<u8>>);

/// All strings together must fit the SMBIOS table of a 32-bit entry point (64 KiB with everything else in it).
const BYTES_MAX: usize = 48 << 10;
/// SMBIOS counts the strings of one structure in a byte.
const COUNT_MAX: usize = 255;

impl Credentials {
    /// Adds one. `name` is what systemd calls it: `ssh.authorized_keys.root`.
    pub fn set(&mut self, name: &str, content: impl Into<Vec<u8>>) {
        self.0.insert(name.to_owned(), content.into());
    }

    /// Adds a unit that the guest starts with `target`, once it is past its initramfs.
    pub fn set_unit(&mut self, unit: &str, content: &str, target: &str) {
        self.set(&format!("systemd.extra-unit.{unit}"), content);
        let stem = unit.split('.').next().unwrap_or(unit);
        self.set(&format!("systemd.unit-dropin.{target}~{stem}"), format!("[Unit]\nWants={unit}\n"));
    }

    /// Writes one file each to `folder`, readable by us alone, and answers QEMU's arguments.
    pub(super) fn write(&self, folder: &Path) -> Result<Vec<OsString>, Failure> {
        let strings: Vec<_> = self.0.iter().map(|(name, content)| string(name, content)).collect::<Result<_, _>>()?;
        let total: usize = strings.iter().map(String::len).sum();
        if total > BYTES_MAX || strings.len() > COUNT_MAX {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "{} credentials of {total} bytes do not fit SMBIOS: at most {COUNT_MAX} of {BYTES_MAX} bytes",
                    strings.len()
                ),
            )
            .hint("give large data by a data disk"));
        }
        let mut arguments = Vec::new();
        for (index, string) in strings.iter().enumerate() {
            let path = folder.join(format!("credential.{index}"));
            write_private(&path, string)
                .map_err(|error| Failure::new(Kind::Failed, format!("{}: cannot be written: {error}", path.display())))?;
            arguments.push("-smbios".into());
            arguments.push(value("type=11,path=", &path));
        }
        Ok(arguments)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn string(name: &str, content: &[u8]) -> Result<String, Failure> {
    // As in systemd's credential_name_valid(): a file name that can stand before "=".
    let valid = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '=' | ':');
    if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.chars().all(valid) {
        return Err(Failure::new(Kind::Usage, format!("{name:?} is no name of a credential")));
    }
    Ok(format!("io.systemd.credential.binary:{name}={}", STANDARD.encode(content)))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_in_a_private_file_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut credentials = Credentials::default();
        credentials.set("passwd.hashed-password.root", "$6$secret");
        let arguments = credentials.write(folder.path()).unwrap();
        let path = folder.path().join("credential.0");
        assert_eq!(arguments, ["-smbios".into(), OsString::from(format!("type=11,path={}", path.display()))]);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "io.systemd.credential.binary:passwd.hashed-password.root=JDYkc2VjcmV0"
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{credentials:?}"), r#"{"passwd.hashed-password.root"}"#);
    }

    #[test]
    fn a_unit_is_wanted_by_a_target() {
        let mut credentials = Credentials::default();
        credentials.set_unit("my.service", "[Service]\n", "basic.target");
        let names: Vec<_> = credentials.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["systemd.extra-unit.my.service", "systemd.unit-dropin.basic.target~my"]);
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (name, len) in [("", 0), ("a/b", 0), ("a=b", 0), ("a:b", 0), (".a", 0), ("a b", 0), ("big", BYTES_MAX)] {
            let mut credentials = Credentials::default();
            credentials.set(name, vec![b'x'; len]);
            assert_eq!(credentials.write(folder.path()).unwrap_err().kind, Kind::Usage, "{name}");
        }
    }
}
