//! The kernel of the reference image's suite, as Debian packages it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::unpacked::unpacked;

/// Where its files are.
#[derive(Clone, Debug)]
pub struct KernelPackage {
    /// `6.12.117+deb13-amd64`
    pub release: String,
    /// `/usr/lib/modules/RELEASE`, without an index.
    pub modules: PathBuf,
    /// `/boot/vmlinuz-RELEASE`
    pub image: PathBuf,
    /// `Module.symvers` of its headers.
    pub symvers: PathBuf,
}

/// Kernel, modules and what they export, fetched once.
pub fn kernel_package() -> Result<KernelPackage> {
    let wanted =
        |name: &str| ["linux-image-6", "linux-headers-6"].iter().any(|begin| name.starts_with(begin)) && name.ends_with("-amd64");
    let root = unpacked("kernel-package", &["linux-image-amd64", "linux-headers-amd64"], wanted)?;
    let all = ["lib/modules", "usr/lib/modules"].map(|path| root.join(path)).into_iter().find(|path| path.is_dir());
    let modules = only(&all.with_context(|| format!("{} has no modules", root.display()))?)?;
    let release = modules.file_name().context("a release")?.to_string_lossy().into_owned();
    let image = root.join(format!("boot/vmlinuz-{release}"));
    let symvers = root.join(format!("usr/src/linux-headers-{release}/Module.symvers"));
    for path in [&image, &symvers] {
        ensure!(path.is_file(), "{} is not there", path.display());
    }
    Ok(KernelPackage { release, modules, image, symvers })
}

/// The one entry of a folder.
fn only(folder: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    ensure!(entries.len() == 1, "{}: needed one entry, found {}", folder.display(), entries.len());
    Ok(entries[0].path())
}
