//! The OSTree deployments on a disk: which commit, what it says of itself, how it is booted, which packages are in it.

use anyhow::{Context, Result};
use ostree::glib;
use ostree::glib::{Variant, VariantDict, VariantTy};
use serde::Serialize;

use super::disk::{Disk, Volume};
use super::resolve::resolve;
use crate::digest::Digest;
use crate::format::bls;
use crate::format::ext4::read::{Filesystem, Inode, InodeKind};
use crate::source::debian::{STATUS, control};
use crate::sysroot::{BOOT_LABEL, ROOT_LABEL};

/// The type of a commit object, as `ostree-core.h` has it.
const COMMIT: &str = "(a{sv}aya(say)sstayay)";

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Deployment {
    /// Name of its stateroot.
    pub stateroot: String,
    /// Checksum of its commit.
    pub commit: String,
    /// Which of several with this commit.
    pub serial: u32,
    /// What the commit says.
    pub version: Option<String>,
    /// The PlanId of the image, when Basalt made it.
    pub plan: Option<String>,
    /// Whose signatures of the commit are there, as they say: keys' fingerprints. Nothing is verified.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// What it runs on.
    pub architecture: Option<String>,
    /// What the commit was made from, lowest first.
    pub layers: Vec<Layer>,
    /// `PRETTY_NAME` of os-release(5).
    pub os: Option<String>,
    /// The kernel's version.
    pub kernel: Option<String>,
    /// The kernel's arguments, from its boot entry; empty when it has none.
    pub kernel_args: Vec<String>,
    /// Debian packages that are installed, by name.
    pub packages: Vec<Package>,
}

/// A layer of a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Layer {
    /// As in the plan.
    pub name: String,
    /// Of its tree.
    pub digest: String,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Package {
    /// Its name.
    pub name: String,
    /// As Debian has it.
    pub version: String,
}

/// A deployed commit as the disk's repository has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its checksum, by its name.
    pub checksum: Digest,
    /// The commit object's bytes.
    pub commit: Vec<u8>,
    /// Its detached metadata, where there are any: their bytes, and where on the disk they begin, when they lie there in one piece.
    pub metadata: Option<(Vec<u8>, Option<u64>)>,
}

/// The commits that are deployed on `disk`, each once.
///
/// # Errors
/// When the disk cannot be read.
pub fn committed(disk: &Disk) -> Result<Vec<Committed>> {
    let Some(root) = Root::of(disk)? else { return Ok(Vec::new()) };
    let start = disk.table().partitions.iter().find(|partition| partition.label == ROOT_LABEL).map_or(0, |found| found.start);
    let mut checksums: Vec<_> = root.deployments()?.into_iter().map(|(_, checksum, ..)| checksum).collect();
    checksums.sort_unstable();
    checksums.dedup();
    let one = |checksum: Digest| -> Result<Committed> {
        let small = |inode: &Inode| root.filesystem.small(inode);
        let commit = root.object(&checksum, "commit")?.map(|inode| small(&inode)).transpose()?.unwrap_or_default();
        let metadata = root.object(&checksum, crate::sign::metadata::EXTENSION)?.map(|inode| -> Result<_> {
            let place = match root.filesystem.runs(&inode)?.as_slice() {
                [run] if run.from == 0 && run.len >= inode.size => Some(start + run.at),
                _ => None,
            };
            Ok((small(&inode)?, place))
        });
        Ok(Committed { checksum, commit, metadata: metadata.transpose()? })
    };
    checksums.into_iter().map(one).collect()
}

/// The filesystem with the deployments.
pub(super) struct Root {
    pub(super) filesystem: Box<Filesystem>,
    top: Inode,
}

impl Root {
    pub(super) fn of(disk: &Disk) -> Result<Option<Self>> {
        let has = disk.table().partitions.iter().any(|partition| partition.label == ROOT_LABEL);
        match has.then(|| disk.volume(ROOT_LABEL)).transpose()? {
            Some(Volume::Ext4(filesystem)) => Ok(Some(Self { top: filesystem.root()?, filesystem })),
            _ => Ok(None),
        }
    }

    /// A metadata object of the repository.
    fn object(&self, checksum: &Digest, extension: &str) -> Result<Option<Inode>> {
        let hex = checksum.to_hex();
        let (folder, name) = hex.split_at(2);
        self.find(&self.top, &format!("/ostree/repo/objects/{folder}/{name}.{extension}"))
    }

    fn find(&self, from: &Inode, path: &str) -> Result<Option<Inode>> {
        Ok(resolve(&self.filesystem, from, path)?)
    }

    fn names(&self, path: &str) -> Result<Vec<String>> {
        let Some(folder) = self.find(&self.top, path)? else { return Ok(Vec::new()) };
        let names = self.filesystem.names(&folder)?.into_iter().map(|name| String::from_utf8_lossy(&name.name).into_owned());
        let mut names: Vec<_> = names.collect();
        names.sort();
        Ok(names)
    }

    /// The text of a file; none when there is no such file.
    fn text(&self, from: &Inode, path: &str) -> Result<Option<String>> {
        let Some(inode) = self.find(from, path)? else { return Ok(None) };
        let bytes = self.filesystem.small(&inode).with_context(|| path.to_owned())?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Stateroot, commit, serial and folder of each deployment.
    fn deployments(&self) -> Result<Vec<(String, Digest, u32, Inode)>> {
        let mut found = Vec::new();
        for stateroot in self.names("/ostree/deploy")? {
            let folder = format!("/ostree/deploy/{stateroot}/deploy");
            for name in self.names(&folder)? {
                let parsed = name.split_once('.').and_then(|(commit, serial)| Some((commit.parse().ok()?, serial.parse().ok()?)));
                let (Some((commit, serial)), Some(inode)) = (parsed, self.find(&self.top, &format!("{folder}/{name}"))?) else {
                    continue;
                };
                found.push((stateroot.clone(), commit, serial, inode));
            }
        }
        Ok(found)
    }

    /// The arguments of the boot entry that leads to `deployment`.
    fn arguments(&self, entries: &[bls::Entry], deployment: &Inode) -> Result<Vec<String>> {
        for entry in entries {
            let arguments: Vec<_> = entry.get("options").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            let Some(link) = arguments.iter().find_map(|argument| argument.strip_prefix("ostree=")) else { continue };
            if self.find(&self.top, link)?.is_some_and(|inode| inode.number == deployment.number) {
                return Ok(arguments);
            }
        }
        Ok(Vec::new())
    }
}

/// The deployments on `disk`, by stateroot and commit.
pub(super) fn all(disk: &Disk) -> Result<Vec<Deployment>> {
    let Some(root) = Root::of(disk)? else { return Ok(Vec::new()) };
    let entries = boot_entries(disk)?;
    let describe = |(stateroot, commit, serial, inode): (String, Digest, u32, Inode)| {
        describe(&root, &entries, stateroot, commit, serial, &inode)
    };
    root.deployments()?.into_iter().map(describe).collect()
}

/// The folder of the deployment that is booted by default, or of the only one.
pub(super) fn chosen(disk: &Disk, root: &Root) -> Result<Option<Inode>> {
    let deployments = root.deployments()?;
    if let Some(entry) = boot_entries(disk)?.first() {
        for (.., inode) in &deployments {
            if !root.arguments(std::slice::from_ref(entry), inode)?.is_empty() {
                return Ok(Some(inode.clone()));
            }
        }
    }
    Ok(deployments.into_iter().next().map(|(.., inode)| inode))
}

/// The bytes of the file at `path` in the deployment that is booted by default, or in the only one.
pub(super) fn file(disk: &Disk, path: &str) -> Result<Option<Vec<u8>>> {
    let Some(root) = Root::of(disk)? else { return Ok(None) };
    let found = chosen(disk, &root)?.map(|inode| root.find(&inode, path)).transpose()?.flatten();
    let found = found.filter(|inode| inode.kind == InodeKind::File);
    Ok(found.map(|inode| root.filesystem.small(&inode)).transpose()?)
}

fn describe(
    root: &Root,
    entries: &[bls::Entry],
    stateroot: String,
    commit: Digest,
    serial: u32,
    inode: &Inode,
) -> Result<Deployment> {
    let small = |inode: Option<Inode>| inode.map(|inode| root.filesystem.small(&inode)).transpose();
    let object = small(root.object(&commit, "commit")?)?;
    let metadata = small(root.object(&commit, crate::sign::metadata::EXTENSION)?)?;
    let said = Said::of(object.as_deref().unwrap_or_default());
    let os = root.text(inode, "/etc/os-release")?.or(root.text(inode, "/usr/lib/os-release")?).unwrap_or_default();
    let mut packages = Vec::new();
    for path in STATUS {
        if let Some(text) = root.text(inode, path)? {
            packages = installed(&text);
            break;
        }
    }
    Ok(Deployment {
        kernel_args: root.arguments(entries, inode)?,
        stateroot,
        commit: commit.to_hex(),
        signed_by: crate::sign::state::said_signers(metadata.as_deref()),
        serial,
        version: said.text("version"),
        plan: said.text("basalt.plan-id"),
        architecture: said.text("basalt.architecture"),
        layers: said.layers(),
        os: crate::sysroot::os_release(&os, "PRETTY_NAME"),
        kernel: said.text("ostree.linux").filter(|version| !version.is_empty()),
        packages,
    })
}

/// A commit's metadata.
struct Said(VariantDict);

impl Said {
    /// Of a commit object; of nothing when the bytes are none.
    fn of(object: &[u8]) -> Self {
        let kind = VariantTy::new(COMMIT).expect("the type of a commit is well-formed");
        let commit = Variant::from_bytes_with_type(&glib::Bytes::from(object), kind);
        Self(VariantDict::new(Some(&commit.child_value(0))))
    }

    fn text(&self, key: &str) -> Option<String> {
        self.0.lookup::<String>(key).ok().flatten()
    }

    fn layers(&self) -> Vec<Layer> {
        let layers = self.0.lookup::<Vec<(String, String)>>("basalt.layers").ok().flatten().unwrap_or_default();
        layers.into_iter().map(|(name, digest)| Layer { name, digest }).collect()
    }
}

/// The boot entries, the one that is booted by default first.
fn boot_entries(disk: &Disk) -> Result<Vec<bls::Entry>> {
    if !disk.table().partitions.iter().any(|partition| partition.label == BOOT_LABEL) {
        return Ok(Vec::new());
    }
    let Volume::Ext4(boot) = disk.volume(BOOT_LABEL)? else { return Ok(Vec::new()) };
    let Some(folder) = resolve(&boot, &boot.root()?, "/loader/entries")? else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for name in boot.names(&folder)?.into_iter().filter(|name| name.name.ends_with(b".conf")) {
        let text = boot.small(&boot.inode(name.inode)?)?;
        entries.push(bls::Entry::parse(&String::from_utf8_lossy(&text))?);
    }
    // libostree numbers them: the newest deployment has the highest version.
    let version = |entry: &bls::Entry| entry.get("version").and_then(|version| version.parse::<u64>().ok());
    entries.sort_by_key(|entry| std::cmp::Reverse(version(entry)));
    Ok(entries)
}

/// The packages of dpkg's database that are installed.
fn installed(status: &str) -> Vec<Package> {
    let is_there = |stanza: &control::Stanza| stanza.get("Status").is_some_and(|status| status.ends_with(" installed"));
    let package = |stanza: control::Stanza| {
        Some(Package { name: stanza.get("Package")?.to_owned(), version: stanza.get("Version")?.to_owned() })
    };
    let mut packages: Vec<_> = control::stanzas(status).filter(is_there).filter_map(package).collect();
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    packages
}
