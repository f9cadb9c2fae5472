//! A recipe and its lock become a plan. Pure: no network, no clock, no disk.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use basalt_contract::kernel_arguments::{self, Contradictions};

use super::kernel_arguments::contradictory;
use super::{
    Base, FileContent, FileSpec, KernelModules, Key, Layer, LayerContent, ModuleSet, ModuleSigner, Plan, Trust, Tuned,
    TunedSource, VERSION, modules,
};
use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::lock::{LockedBase, LockedDebian, LockedFile, LockedPackage, Section};
use crate::recipe::{Content, Debian, KernelModule, ModuleSign, Origin, Recipe, defaults};
use crate::sign::simple;

/// The lock does not know an input of the recipe, or knows another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("recipe {recipe}: the lock is stale: needed {needed}, found {found}")]
pub struct StaleLock {
    /// The recipe's name.
    pub recipe: String,
    /// What the recipe names.
    pub needed: String,
    /// What the lock has.
    pub found: String,
}

impl From<StaleLock> for Failure {
    fn from(stale: StaleLock) -> Self {
        Self::new(Kind::Input, stale.to_string()).hint("run `basalt lock RECIPE`")
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub enum Unresolved {
    /// The lock is another recipe's.
    Stale(#[from] StaleLock),
    /// Kernel arguments that cannot all be had.
    Contradictory(#[from] Contradictions),
}

impl From<Unresolved> for Failure {
    fn from(why: Unresolved) -> Self {
        match why {
            Unresolved::Stale(stale) => stale.into(),
            Unresolved::Contradictory(contradictions) => contradictory(&contradictions),
        }
    }
}

/// The plan of `recipe` for `architecture`, with the inputs that `lock` pins. Layers, lowest first: the base, overlays (those that come
/// with Basalt are the recipe's first), agent, update client, kernel modules, files, tuned's profiles, keys, settings.
///
/// # Errors
/// When the lock was made for another recipe: an input is missing in it, or its packages answer another question; when two kernel
/// arguments contradict each other.
pub fn resolve(recipe: &Recipe, lock: &Section, architecture: Architecture) -> Result<Plan, Unresolved> {
    let stale = |needed: String, found: &str| StaleLock { recipe: recipe.name.clone(), needed, found: found.to_owned() };
    let base = base(recipe, lock, architecture).map_err(|(needed, found)| stale(needed, &found))?;
    let mut layers = Vec::new();
    for overlay in &recipe.overlays {
        let name = overlay.source.lock_name();
        let locked = lock.overlays.iter().find(|locked| locked.name == name);
        let digest = locked.ok_or_else(|| stale(format!("overlay {name}"), "none"))?.digest;
        layers.push(Layer {
            name: format!("overlay {}", overlay.source.name()),
            replaces: overlay.replaces.clone(),
            content: LayerContent::Overlay { digest },
        });
    }
    match (&recipe.agent, &lock.agent) {
        (Some(_), Some(LockedFile { sha256, size, .. })) => layers.push(Layer {
            name: "agent".to_owned(),
            replaces: Vec::new(),
            content: LayerContent::Agent { sha256: *sha256, size: *size },
        }),
        (Some(_), None) => return Err(stale("the first-boot agent".to_owned(), "none").into()),
        (None, _) => {}
    }
    match (recipe.update_client, &lock.update_client) {
        (true, Some(LockedFile { sha256, size, .. })) => layers.push(Layer {
            name: "update-client".to_owned(),
            replaces: Vec::new(),
            content: LayerContent::UpdateClient { sha256: *sha256, size: *size },
        }),
        (true, None) => return Err(stale("the update client".to_owned(), "none").into()),
        (false, _) => {}
    }
    layers.extend(kernel_modules(recipe, lock).map_err(|needed| stale(needed, "none"))?);
    if let Some(layer) = files(recipe, lock).map_err(|name| stale(format!("file {name}"), "none"))? {
        layers.push(layer);
    }
    layers.extend(tuned(recipe, lock).map_err(|name| stale(format!("tuned's profiles {name}"), "none"))?);
    layers.extend(trust(recipe, lock).map_err(|name| stale(format!("file {name}"), "none"))?);
    layers.push(settings(recipe));
    Ok(Plan {
        version: VERSION,
        name: recipe.name.clone(),
        image_version: recipe.version.clone(),
        architecture,
        time: lock.date,
        base,
        layers,
        kernel_args: kernel_arguments::resolve(recipe.kernel_arguments())?,
        disk: recipe.disk.clone(),
        update: recipe.update.clone(),
        checks: recipe.checks.clone(),
        outputs: recipe.outputs.clone(),
    })
}

/// The base that the lock pins. Fails with what the recipe needs and what the lock has.
fn base(recipe: &Recipe, lock: &Section, architecture: Architecture) -> Result<Base, (String, String)> {
    match (&recipe.base.origin, &lock.base) {
        (Origin::Debian(debian), LockedBase::Debian(locked)) => {
            same_question(debian, &recipe.base.requested(architecture), locked)?;
            let mut packages = lock.packages.clone();
            packages.sort_by(|a, b| a.name.cmp(&b.name));
            let Debian { suite, users, groups, mirror, .. } = debian.clone();
            Ok(Base::Debian { suite, packages, users, groups, mirror })
        }
        (Origin::Image(from), LockedBase::Oci(image)) if from.to_string() == image.from => Ok(Base::Oci(image.clone())),
        (Origin::Tree(path), LockedBase::Tree(tree)) if *path == tree.path => Ok(Base::Tree { digest: tree.digest }),
        (origin, locked) => {
            let needed = match origin {
                Origin::Debian(debian) => format!("a base of Debian {}", debian.suite),
                Origin::Image(from) => format!("base {from}"),
                Origin::Tree(path) => format!("base {path}"),
            };
            let found = match locked {
                LockedBase::Debian(debian) => format!("Debian {}", debian.suite),
                LockedBase::Oci(image) => image.from.clone(),
                LockedBase::Tree(tree) => tree.path.clone(),
            };
            Err((needed, found))
        }
    }
}

fn same_question(debian: &Debian, requested: &[String], locked: &LockedDebian) -> Result<(), (String, String)> {
    if locked.suite != debian.suite {
        return Err((format!("suite {}", debian.suite), locked.suite.clone()));
    }
    if locked.components != debian.components {
        return Err((format!("components {}", debian.components.join(" ")), locked.components.join(" ")));
    }
    if locked.requested == requested {
        return Ok(());
    }
    let other = |from: &[String], of: &[String]| from.iter().find(|name| !of.contains(name)).cloned();
    Err(match other(requested, &locked.requested) {
        Some(package) => (format!("package {package}"), "none".to_owned()),
        None => {
            let extra = other(&locked.requested, requested).unwrap_or_else(|| "other packages".to_owned());
            ("no such package".to_owned(), extra)
        }
    })
}

/// The files of the recipe. Fails with the name that the lock lacks.
fn files<'r>(recipe: &'r Recipe, lock: &Section) -> Result<Option<Layer>, &'r str> {
    let blob = |name: &'r str| -> Result<FileContent, &'r str> {
        let locked = lock.files.iter().find(|locked| locked.name == name).ok_or(name)?;
        Ok(FileContent::Blob { sha256: locked.sha256, size: locked.size })
    };
    let mut files = BTreeMap::new();
    let mut replaces = Vec::new();
    for (path, file) in &recipe.files {
        let content = match &file.content {
            Content::Text(text) => FileContent::Text(text.clone()),
            Content::Source(name) => blob(name)?,
            Content::Symlink(target) => FileContent::Symlink(target.clone()),
        };
        let xattrs = file.xattrs.iter().map(|(name, value)| (name.clone(), STANDARD.encode(value))).collect();
        files.insert(path.clone(), FileSpec { mode: file.mode, uid: file.uid, gid: file.gid, xattrs, content });
        if file.replaces {
            replaces.push(path.clone());
        }
    }
    let layer = |files| Layer { name: "files".to_owned(), replaces, content: LayerContent::Files { files } };
    Ok((!files.is_empty()).then(|| layer(files)))
}

/// The kernel modules of the recipe. Fails with what the lock lacks.
fn kernel_modules(recipe: &Recipe, lock: &Section) -> Result<Option<Layer>, String> {
    if recipe.kernel_modules.is_empty() {
        return Ok(None);
    }
    let blob = |name: &String| {
        let locked = lock.files.iter().find(|locked| locked.name == *name).ok_or_else(|| format!("file {name}"))?;
        Ok::<_, String>(Key { sha256: locked.sha256, size: locked.size })
    };
    let set = |module: &KernelModule| {
        let signer = |sign: &ModuleSign| Ok::<_, String>(ModuleSigner { certificate: blob(&sign.certificate)?, hash: sign.hash });
        let sign = module.sign.as_ref().map(signer).transpose()?;
        Ok::<_, String>(ModuleSet { mappings: modules::mappings(module, lock)?, sign, ..module.set.clone() })
    };
    let content = KernelModules {
        sets: recipe.kernel_modules.iter().map(set).collect::<Result<_, _>>()?,
        symvers: recipe.module_proof.symvers.as_ref().map(blob).transpose()?,
        headers: if recipe.wants_headers() { headers(lock)? } else { Vec::new() },
        keys: recipe.module_proof.keys.iter().map(blob).collect::<Result<_, _>>()?,
        secure_boot: recipe.module_proof.secure_boot,
    };
    let content = LayerContent::KernelModules(content);
    Ok(Some(Layer { name: "kernel-modules".to_owned(), replaces: Vec::new(), content }))
}

/// The headers of each kernel that the lock pins.
fn headers(lock: &Section) -> Result<Vec<LockedPackage>, String> {
    let found = lock.packages.iter().filter_map(|kernel| kernel.headers_among(lock.headers.iter()));
    found.map(|found| found.cloned().map_err(|missing| format!("package {missing}"))).collect()
}

/// The profiles of the recipe. Fails with the name that the lock lacks.
fn tuned(recipe: &Recipe, lock: &Section) -> Result<Option<Layer>, String> {
    let Some(tuned) = &recipe.tuned else { return Ok(None) };
    let source = |name: String| match lock.tuned.iter().find(|locked| locked.name == name) {
        Some(locked) => Ok(TunedSource { name, digest: locked.digest }),
        None => Err(name),
    };
    let sources = recipe.tuned_sources().iter().map(|one| source(one.lock_name())).collect::<Result<_, _>>()?;
    let content = LayerContent::Tuned(Tuned { sources, active: tuned.active.clone(), variables: tuned.variables.clone() });
    Ok(Some(Layer { name: "tuned".to_owned(), replaces: Vec::new(), content }))
}

/// The keys of the recipe. Fails with the name that the lock lacks.
fn trust<'r>(recipe: &'r Recipe, lock: &Section) -> Result<Option<Layer>, &'r str> {
    let key = |name: &'r Option<String>| -> Result<Option<Key>, &'r str> {
        let Some(name) = name else { return Ok(None) };
        let locked = lock.files.iter().find(|locked| locked.name == *name).ok_or(name.as_str())?;
        Ok(Some(Key { sha256: locked.sha256, size: locked.size }))
    };
    let (commit, image) = (key(&recipe.sign.commit)?, key(&recipe.sign.image)?);
    if commit.is_none() && image.is_none() {
        return Ok(None);
    }
    let repository = recipe.update.as_deref().filter(|_| image.is_some()).map(|image| simple::repository(image).to_owned());
    let replaces = crate::layer::trust::replaced();
    Ok(Some(Layer { name: "trust".to_owned(), replaces, content: LayerContent::Trust(Trust { commit, image, repository }) }))
}

fn settings(recipe: &Recipe) -> Layer {
    let mut settings = recipe.settings.clone();
    let decided = |unit: &str| {
        let units = [&recipe.settings.enable, &recipe.settings.disable, &recipe.settings.mask];
        units.into_iter().flatten().any(|known| known == unit)
    };
    let undecided = |units: &[&str]| units.iter().copied().filter(|unit| !decided(unit)).map(str::to_owned).collect::<Vec<_>>();
    // What the units of another base are called is for it to say.
    if !recipe.base.minimal && recipe.base.debian().is_some() {
        settings.enable.extend(undecided(&defaults::ENABLED));
        settings.mask.extend(undecided(&defaults::MASKED));
    }
    if recipe.agent.is_some() {
        settings.enable.extend(undecided(&[defaults::AGENT_UNIT]));
    }
    if recipe.tuned.is_some() {
        settings.enable.extend(undecided(&[defaults::TUNED_UNIT]));
    }
    Layer { name: "settings".to_owned(), replaces: Vec::new(), content: LayerContent::Settings(settings) }
}

#[cfg(test)]
mod tests;
