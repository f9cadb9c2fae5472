//! A repository of exactly the locked packages, in a folder: what apt needs to find them there, and nothing else.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::interrupt;
use crate::lock::LockedPackage;
use crate::source::debian::control::stanzas;
use crate::store::Store;

/// Fills `folder`: a link to each package's blob, and `Packages`. Answers how many bytes the packages say they take installed.
pub fn fill(folder: &Path, packages: &[LockedPackage], store: &Store) -> Result<u64> {
    let mut list = String::new();
    let mut installed = 0;
    for package in packages {
        interrupt::check()?;
        let blob = store.blob_path(&package.sha256);
        let file = format!("{}.deb", package.name);
        symlink(&blob, folder.join(&file)).with_context(|| format!("package {}", package.name))?;
        let output = Cmd::new("dpkg-deb").arg("-f").arg(&blob).run()?;
        let control = String::from_utf8(output.stdout).with_context(|| format!("package {}: its control file", package.name))?;
        installed += checked(&control, package)? * 1024;
        let _ =
            write!(list, "{}\nFilename: ./{file}\nSize: {}\nSHA256: {}\n\n", control.trim_end(), package.size, package.sha256);
    }
    fs::write(folder.join("Packages"), list)?;
    Ok(installed)
}

/// That the file is the package which the lock says it is. Answers its installed size in KiB.
fn checked(control: &str, package: &LockedPackage) -> Result<u64> {
    let stanza = stanzas(control).next();
    let field = |name| stanza.and_then(|stanza| stanza.get(name)).unwrap_or_default();
    let found = (field("Package"), field("Version"), field("Architecture"));
    let needed = (package.name.as_str(), package.version.as_str(), package.architecture.as_str());
    if found != needed {
        return Err(Failure::new(
            Kind::Input,
            format!(
                "the file {} is locked as {} {} ({}), but is {} {} ({})",
                package.sha256, needed.0, needed.1, needed.2, found.0, found.1, found.2
            ),
        )
        .hint("the lock was edited by hand: write it again with `basalt lock --update`")
        .into());
    }
    Ok(field("Installed-Size").parse().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    #[test]
    fn a_file_must_be_what_the_lock_says() {
        let package = LockedPackage {
            name: "a".into(),
            version: "1".into(),
            architecture: "all".into(),
            sha256: Digest::of(b""),
            size: 0,
            filename: String::new(),
            archive: String::new(),
            source: String::new(),
            source_version: String::new(),
        };
        assert_eq!(checked("Package: a\nVersion: 1\nArchitecture: all\nInstalled-Size: 7\n", &package).unwrap(), 7);
        for control in ["Package: a\nVersion: 2\nArchitecture: all\n", "Package: b\nVersion: 1\nArchitecture: all\n", ""] {
            let error = checked(control, &package).unwrap_err();
            assert_eq!(crate::failure::kind_of(&error), Kind::Input, "{control:?}");
        }
    }
}
