//! Which packages a base has: those of the lock, or those of a finished base's own database (dpkg's).

use anyhow::Result;

use crate::digest::Digest;
use crate::lock::LockedPackage;
use crate::plan::Base;
use crate::source::debian::control;
use crate::tree::{Tree, TreePath};

/// dpkg's database in an image.
const STATUS: &str = "/usr/lib/sysimage/dpkg/status";
const OS_RELEASE: &str = "/usr/lib/os-release";

/// The packages of a base, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// `ID` of os-release(5): `debian`.
    pub distribution: String,
    /// `trixie`, where the plan says so.
    pub suite: Option<String>,
    /// Each of them.
    pub list: Vec<Package>,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Binary package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, `all`.
    pub architecture: String,
    /// Source package.
    pub source: String,
    /// Its version.
    pub source_version: String,
    /// Name and digest of its file, where it was unpacked for this image.
    pub file: Option<(String, Digest)>,
}

impl Packages {
    /// Those of `base`, which became part of `tree`.
    ///
    /// # Errors
    /// The tree's database cannot be read.
    pub fn of(base: &Base, tree: &Tree) -> Result<Self> {
        if let Base::Debian { suite, packages, .. } = base {
            let list = packages.iter().map(Package::from).collect();
            return Ok(Self { distribution: "debian".to_owned(), suite: Some(suite.clone()), list });
        }
        let text = |path: &str| -> Result<Option<String>> {
            let content = tree.file(&TreePath::parse(path)?).map(|content| content.bytes()).transpose()?;
            Ok(content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        let release = text(OS_RELEASE)?.unwrap_or_default();
        let id = release.lines().find_map(|line| line.strip_prefix("ID=")).map(|id| id.trim_matches(['"', '\'']).to_owned());
        let list = text(STATUS)?.map(|status| installed(&status)).unwrap_or_default();
        Ok(Self { distribution: id.unwrap_or_else(|| "linux".to_owned()), suite: None, list })
    }
}

impl From<&LockedPackage> for Package {
    fn from(locked: &LockedPackage) -> Self {
        let LockedPackage { name, version, architecture, source, source_version, filename, sha256, .. } = locked.clone();
        let file = filename.rsplit('/').next().unwrap_or(&filename).to_owned();
        Self { name, version, architecture, source, source_version, file: Some((file, sha256)) }
    }
}

/// What dpkg's database lists as installed, by name.
fn installed(status: &str) -> Vec<Package> {
    let is_there = |stanza: &control::Stanza<'_>| stanza.get("Status").is_some_and(|status| status.ends_with(" installed"));
    let package = |stanza: control::Stanza<'_>| {
        let (name, version) = (stanza.get("Package")?.to_owned(), stanza.get("Version")?.to_owned());
        // `Source: name (version)`; without it name and version are the package's.
        let mut source = stanza.get("Source").unwrap_or(&name).split_whitespace();
        let (source, of) = (source.next().unwrap_or(&name).to_owned(), source.next());
        let source_version = of.map_or_else(|| version.clone(), |of| of.trim_matches(['(', ')']).to_owned());
        let architecture = stanza.get("Architecture").unwrap_or("all").to_owned();
        Some(Package { name, version, architecture, source, source_version, file: None })
    };
    let mut packages: Vec<_> = control::stanzas(status).filter(is_there).filter_map(package).collect();
    packages.sort_by(|one, other| (&one.name, &one.architecture).cmp(&(&other.name, &other.architecture)));
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_says_is_installed() {
        let status = "Package: b\nStatus: install ok installed\nArchitecture: amd64\nSource: src (1-1)\nVersion: 1-1+b1\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                      Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n";
        let found = installed(status);
        let rows: Vec<_> = found.iter().map(|p| (p.name.as_str(), p.source.as_str(), p.source_version.as_str())).collect();
        assert_eq!(rows, [("a", "a", "2"), ("b", "src", "1-1")]);
    }
}
