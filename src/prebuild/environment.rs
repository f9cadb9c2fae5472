//! What modules are built in: the headers of a recipe's kernel, the compiler that they name, make, and what goes with it, pinned like a base's
//! packages in a lock of its own beside the recipe's.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::lock::{LockedBase, LockedDebian, LockedPackage, Section};
use crate::recipe::Recipe;
use crate::source::debian;

/// What a build needs, with `dkms.conf` or without; the compiler comes with the headers.
const TOOLS: [&str; 7] = ["binutils", "dkms", "kmod", "make", "patch", "xz-utils", "zstd"];

/// A kernel of Debian's archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// `6.12.48+deb13-amd64`.
    pub release: String,
    /// The package with its headers.
    pub headers: String,
    /// Of kernel and headers.
    pub version: String,
    /// The source package of the kernel.
    pub source: String,
    /// The archive that has it.
    pub archive: String,
}

impl Kernel {
    /// The one that the lock of `recipe` pins.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: its base is not made of packages; it has no kernel, or two.
    pub fn of(recipe: &Recipe, section: &Section) -> Result<Self, Failure> {
        let invalid =
            |what: String, hint: &str| Failure::new(Kind::Invalid, format!("recipe {}: {what}", recipe.name)).hint(hint);
        if recipe.base.debian().is_none() {
            let what =
                "needed a base of kind debian, whose archive has the kernel's headers and compiler, found another".to_owned();
            return Err(invalid(what, "build the modules where that base comes from, and name them by `path`"));
        }
        let mut kernels = section.packages.iter().filter_map(|package| Some((package.headers()?, package)));
        match (kernels.next(), kernels.next()) {
            (Some((headers, package)), None) => {
                let release = headers.trim_start_matches("linux-headers-").to_owned();
                Ok(Self {
                    release,
                    headers,
                    version: package.version.clone(),
                    source: package.source.clone(),
                    archive: package.archive.clone(),
                })
            }
            (found, _) => {
                let what = format!("needed one kernel in its lock, found {}", if found.is_some() { "more" } else { "none" });
                Err(invalid(what, "see the packages of the lock that begin with linux-image-"))
            }
        }
    }

    /// What is asked of the archive, to build for this kernel. None where the base of `recipe` is not made of packages.
    pub fn question(&self, recipe: &Recipe, architecture: Architecture) -> Option<debian::Request> {
        let base = recipe.base.debian()?;
        let own = ["", "-updates", "-security"].map(|of| format!("{}{of}", base.suite));
        let headers =
            if own.contains(&self.archive) { self.headers.clone() } else { format!("{}/{}", self.headers, self.archive) };
        let mut packages: Vec<_> = TOOLS.map(str::to_owned).into_iter().chain([headers]).collect();
        packages.sort_unstable();
        Some(debian::Request {
            suite: base.suite.clone(),
            components: base.components.clone(),
            architecture,
            packages,
            mirror: base.mirror.clone(),
            keyring: base.keyring.as_ref().map(|path| recipe.local(path)),
            headers: false,
            prefer: None,
        })
    }

    /// What `old` has for `question`, unless the kernel is another now.
    pub fn pinned<'s>(&self, question: &debian::Request, old: Option<&'s Section>) -> Option<&'s Section> {
        old.filter(|section| {
            matches!(&section.base, LockedBase::Debian(debian) if *debian == as_locked(question)) && self.fits(&section.packages)
        })
    }

    /// The section of a lock for the answer to `question`.
    ///
    /// # Errors
    /// [`Kind::Input`]: the archive has other headers today.
    pub fn section(&self, question: &debian::Request, resolved: debian::Resolved) -> Result<Section, Failure> {
        if !self.fits(&resolved.packages) {
            let found =
                resolved.packages.iter().find(|package| package.name == self.headers).map_or("none", |found| &found.version);
            let what = format!("needed {} {}, found {found} in the archive", self.headers, self.version);
            let hint = format!("take the archive's kernel: basalt lock RECIPE --update {}", self.source);
            return Err(Failure::new(Kind::Input, what).hint(hint));
        }
        let mut section = Section {
            date: resolved.date,
            base: LockedBase::Debian(as_locked(question)),
            agent: None,
            update_client: None,
            overlays: Vec::new(),
            kernel_modules: Vec::new(),
            tuned: Vec::new(),
            kernel: None,
            module_images: Vec::new(),
            module_packages: Vec::new(),
            files: Vec::new(),
            packages: resolved.packages,
            headers: Vec::new(),
        };
        section.sort();
        Ok(section)
    }

    fn fits(&self, packages: &[LockedPackage]) -> bool {
        packages.iter().any(|package| package.name == self.headers && package.version == self.version)
    }
}

fn as_locked(question: &debian::Request) -> LockedDebian {
    LockedDebian { suite: question.suite.clone(), components: question.components.clone(), requested: question.packages.clone() }
}

/// Where the lock of a recipe's builds lies: `NAME.kmod.lock` beside `NAME.toml`.
pub fn lock_path(recipe: &Path) -> PathBuf {
    recipe.with_extension("kmod.lock")
}
