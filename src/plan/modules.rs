//! Where the kernel modules of a plan come from. Pure.
//!
//! An image or a package that is named by the kernel is pinned for one kernel only: the one of the base. Of mappings for other kernels
//! the plan has those that lie here.

use serde::{Deserialize, Serialize};

use super::{KernelMatch, Key, Layer, LayerContent, ModuleMapping};
use crate::digest::Digest;
use crate::kmod::mapping::Matcher;
use crate::kmod::release::{Named, Release, Spelling, Unfit};
use crate::lock::{LockedImage, LockedPackage, Section};
use crate::recipe::{KernelModule, ModuleOrigin};

/// Where modules come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModuleSource {
    /// A local folder or archive, imported into the store when it was locked: the digest of its tree.
    Tree(Digest),
    /// A container image. Where to fetch it is not part of the identity.
    Image(LockedImage),
    /// A Debian package that lay here: a blob of the store.
    Deb(Key),
    /// Packages of the base's archive.
    Packages(Vec<LockedPackage>),
}

impl ModuleSource {
    /// The key of the store's entry with its tree, where that is all that is left of it.
    pub fn tree(&self) -> Option<&Digest> {
        match self {
            Self::Tree(digest) => Some(digest),
            Self::Image(_) | Self::Deb(_) | Self::Packages(_) => None,
        }
    }

    /// Its blobs of the store.
    pub fn blobs(&self) -> Vec<Digest> {
        match self {
            Self::Tree(_) => Vec::new(),
            Self::Image(image) => image.blobs().map(|blob| blob.sha256).collect(),
            Self::Deb(deb) => vec![deb.sha256],
            Self::Packages(packages) => packages.iter().map(|package| package.sha256).collect(),
        }
    }

    /// The digest of what lay here when it was locked, which nobody can fetch.
    pub fn local(&self) -> Option<&Digest> {
        match self {
            Self::Tree(digest) => Some(digest),
            Self::Deb(deb) => Some(&deb.sha256),
            Self::Image(_) | Self::Packages(_) => None,
        }
    }
}

impl KernelMatch {
    /// The rule itself.
    ///
    /// # Errors
    /// No regular expression: a checked recipe has none such.
    pub fn matcher(&self) -> Result<Matcher, Unfit> {
        match self {
            // It matches everything.
            Self::Any => Matcher::regexp(""),
            Self::Literal(text) => Ok(Matcher::Literal(text.clone())),
            Self::Regexp(pattern) => Matcher::regexp(pattern),
        }
    }
}

/// As people would say it.
impl std::fmt::Display for KernelMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("each kernel"),
            Self::Literal(text) => write!(f, "the kernel {text}"),
            Self::Regexp(pattern) => write!(f, "kernels like {pattern}"),
        }
    }
}

impl KernelModule {
    /// What templates call it.
    pub fn named(&self) -> Named<'_> {
        Named { name: &self.name, namespace: self.namespace.as_deref() }
    }

    /// The mapping for a kernel, counted from 0: the first that matches.
    ///
    /// # Errors
    /// As [`KernelMatch::matcher`].
    pub fn mapping_for(&self, kernel: &Release) -> Result<Option<usize>, Unfit> {
        for (place, (matches, _)) in self.mappings.iter().enumerate() {
            if matches.matcher()?.matches(kernel) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }
}

/// The mappings of `module` with what `lock` pins.
///
/// # Errors
/// What the lock lacks.
pub fn mappings(module: &KernelModule, lock: &Section) -> Result<Vec<ModuleMapping>, String> {
    let kernel = lock.kernel.as_deref().map(Release::parse).transpose().map_err(|unfit| unfit.to_string())?;
    let chosen =
        kernel.as_ref().map(|kernel| module.mapping_for(kernel)).transpose().map_err(|unfit| unfit.to_string())?.flatten();
    let mut mappings = Vec::new();
    for (place, (matches, origin)) in module.mappings.iter().enumerate() {
        if origin.follows_kernel() && kernel.is_none() {
            return Err(format!("the kernel's release, which kernel module {} depends on", module.name));
        }
        let source = match (origin, &kernel) {
            (ModuleOrigin::Path(path), _) => {
                let locked = lock.kernel_modules.iter().find(|locked| locked.name == *path);
                ModuleSource::Tree(locked.ok_or_else(|| format!("kernel modules {path}"))?.digest)
            }
            (ModuleOrigin::Deb(path), _) => {
                let locked = lock.files.iter().find(|locked| locked.name == *path).ok_or_else(|| format!("file {path}"))?;
                ModuleSource::Deb(Key { sha256: locked.sha256, size: locked.size })
            }
            (ModuleOrigin::Image(template), Some(kernel)) if chosen == Some(place) => {
                let from = template.fill(kernel, module.named())?.to_string();
                let locked = lock.module_images.iter().find(|image| image.from == from);
                ModuleSource::Image(locked.ok_or_else(|| format!("kernel modules {from}"))?.clone())
            }
            (ModuleOrigin::Packages(names), Some(kernel)) if chosen == Some(place) => {
                ModuleSource::Packages(packages(names, kernel, module.named(), lock)?)
            }
            // For another kernel, or behind the one that counts.
            (ModuleOrigin::Image(_) | ModuleOrigin::Packages(_), _) => continue,
        };
        mappings.push(ModuleMapping { kernel: matches.clone(), source });
    }
    Ok(mappings)
}

fn packages(names: &[String], kernel: &Release, module: Named<'_>, lock: &Section) -> Result<Vec<LockedPackage>, String> {
    let find = |name: &String| {
        let name = kernel.fill(name, module, Spelling::AsIs).map_err(|unfit| unfit.to_string())?;
        let locked = lock.module_packages.iter().find(|locked| locked.name == name);
        locked.cloned().ok_or_else(|| format!("package {name}"))
    };
    names.iter().map(find).collect()
}

/// Where an image of modules is fetched from decides no byte.
pub(super) fn forget_places(layer: &mut Layer) {
    let LayerContent::KernelModules(modules) = &mut layer.content else { return };
    for mapping in modules.sets.iter_mut().flat_map(|set| &mut set.mappings) {
        if let ModuleSource::Image(image) = &mut mapping.source {
            image.from.clear();
        }
    }
}
