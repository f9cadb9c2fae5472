//! Pins the kernel modules that are named by the kernel: the image or the packages of the mapping that is for the base's kernel. They stay
//! as they are until the kernel changes, the recipe names others, or a person asks for newer ones.

use anyhow::{Context, Result};

use super::{Inputs, Mode, Question, TREE_KIND};
use crate::failure::{self, Failure, Kind};
use crate::kmod::release::{Release, Spelling};
use crate::layer::{cache, kernel_modules};
use crate::lock::{LockedBase, LockedImage, LockedPackage, Section};
use crate::recipe::{KernelModule, ModuleOrigin, Recipe};

/// What `mode` means for the base, and the kernel modules that a person wants newer. A name of a module is no package's.
pub(super) fn split(recipe: &Recipe, mode: &Mode) -> (Mode, Vec<String>) {
    let Mode::Update(names) = mode else { return (mode.clone(), Vec::new()) };
    let is_module = |name: &String| recipe.kernel_modules.iter().any(|module| module.name == *name);
    let (modules, packages): (Vec<_>, Vec<_>) = names.iter().cloned().partition(is_module);
    match packages.is_empty() && !modules.is_empty() {
        true => (Mode::Build, modules),
        false => (Mode::Update(packages), modules),
    }
}

/// What the source of one entry is pinned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinnedModules {
    /// No mapping is for the kernel.
    None,
    /// It lies here: the lock has it whatever the kernel.
    Local,
    /// An image.
    Image(LockedImage),
    /// Packages.
    Packages(Vec<LockedPackage>),
}

/// Fills in what `section` says of the kernel and of modules that follow it. Its base and files are pinned already.
pub(super) fn pin(
    inputs: Inputs<'_>,
    old: Option<&Section>,
    section: &mut Section,
    mode: &Mode,
    updated: &[String],
) -> Result<()> {
    let modules = &inputs.recipe.kernel_modules;
    if !modules.iter().flat_map(|module| &module.mappings).any(|(_, origin)| origin.follows_kernel()) {
        return Ok(());
    }
    let kernel = kernel(inputs, old, section)?;
    for module in modules {
        let all = matches!(mode, Mode::Update(names) if names.is_empty());
        let kept = old.filter(|_| !all && !updated.contains(&module.name));
        let pinned = one(inputs, module, &kernel, kept, *mode == Mode::Locked)
            .map_err(|error| failure::about(error, "kernel-module", &module.name))?;
        section.take(pinned);
    }
    section.kernel = Some(kernel.to_string());
    Ok(())
}

impl Section {
    /// Adds what an entry is pinned to. Two entries may share it.
    pub fn take(&mut self, pinned: PinnedModules) {
        match pinned {
            PinnedModules::None | PinnedModules::Local => {}
            PinnedModules::Image(image) => {
                if !self.module_images.iter().any(|other| other.from == image.from) {
                    self.module_images.push(image);
                }
            }
            PinnedModules::Packages(packages) => {
                for package in packages {
                    if !self.module_packages.iter().any(|other| other.name == package.name) {
                        self.module_packages.push(package);
                    }
                }
            }
        }
    }
}

/// Pins the modules of one entry for `kernel`: as `kept` has them, else as they are now. With `locked` nobody is asked.
///
/// # Errors
/// There are none, or they cannot be asked for; [`Kind::Input`] for what `locked` does not allow.
pub fn one(
    inputs: Inputs<'_>,
    module: &KernelModule,
    kernel: &Release,
    kept: Option<&Section>,
    locked: bool,
) -> Result<PinnedModules> {
    let Some(place) = module.mapping_for(kernel)? else { return Ok(PinnedModules::None) };
    let fail = |why: String| Failure::new(Kind::Invalid, format!("kernel module {}: {why}", module.name));
    let refused = |what: &str| {
        let what = format!("recipe {} differs from its lock:\n  kernel modules: needed {what}, found none", inputs.recipe.name);
        Failure::new(Kind::Input, what).hint("run `basalt lock RECIPE` to accept this, or undo the change")
    };
    match &module.mappings[place].1 {
        ModuleOrigin::Path(_) | ModuleOrigin::Deb(_) => Ok(PinnedModules::Local),
        ModuleOrigin::Image(template) => {
            let source = template.fill(kernel, module.named()).map_err(fail)?;
            let from = source.to_string();
            let same = kept.and_then(|kept| kept.module_images.iter().find(|image| image.from == from));
            match same.filter(|_| source.local().is_none()) {
                Some(image) => Ok(PinnedModules::Image(image.clone())),
                None if locked && source.local().is_none() => Err(refused(&from).into()),
                None => {
                    let asked = inputs.resolver.image(&source, &inputs.recipe.folder, inputs.architecture);
                    let (image, _) = asked.with_context(|| format!("kernel module {}, for the kernel {kernel}", module.name))?;
                    Ok(PinnedModules::Image(image))
                }
            }
        }
        ModuleOrigin::Packages(names) => {
            let fill = |name: &String| kernel.fill(name, module.named(), Spelling::AsIs).map_err(|unfit| fail(unfit.to_string()));
            let names = names.iter().map(fill).collect::<Result<Vec<_>, _>>()?;
            let known = |name: &String| kept?.module_packages.iter().find(|package| package.name == *name).cloned();
            if let Some(packages) = names.iter().map(known).collect::<Option<Vec<_>>>() {
                return Ok(PinnedModules::Packages(packages));
            }
            if locked {
                return Err(refused(&names.join(", ")).into());
            }
            let question = question(inputs).ok_or_else(|| fail("needed a base that is made of packages".to_owned()))?;
            let asked = inputs.resolver.named(&question, &names);
            Ok(PinnedModules::Packages(asked.with_context(|| format!("kernel module {}, for the kernel {kernel}", module.name))?))
        }
    }
}

/// Where the base's packages come from.
pub fn question(inputs: Inputs<'_>) -> Option<Question> {
    let debian = inputs.recipe.base.debian()?;
    let base = crate::lock::LockedDebian::of(inputs.recipe, inputs.architecture)?;
    let keyring = debian.keyring.as_ref().map(|path| inputs.recipe.local(path));
    let architecture = inputs.architecture;
    Some(Question { architecture, base, mirror: debian.mirror.clone(), keyring, headers: false, prefer: None })
}

/// The release of the base's kernel: packages say it in their names; an image that has not changed says what it said before.
fn kernel(inputs: Inputs<'_>, old: Option<&Section>, section: &Section) -> Result<Release> {
    match &section.base {
        LockedBase::Debian(_) => {
            let mut names: Vec<_> = section.packages.iter().filter_map(LockedPackage::kernel).collect();
            names.dedup();
            let [name] = names[..] else {
                let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                let what = format!("kernel modules: needed one kernel among the packages to choose modules for, found {found}");
                let hint = "add one kernel to the packages of the recipe; `path` and `deb` do without";
                return Err(Failure::new(Kind::Invalid, what).hint(hint).into());
            };
            Ok(Release::parse(name)?)
        }
        LockedBase::Oci(image) => {
            let same = old.filter(|old| matches!(&old.base, LockedBase::Oci(other) if other.manifest == image.manifest));
            match same.and_then(|old| old.kernel.as_deref()) {
                Some(known) => Ok(Release::parse(known)?),
                None => kernel_modules::release(&inputs.resolver.base(image, section.date)?),
            }
        }
        LockedBase::Tree(tree) => {
            let entry = inputs.store.entry(TREE_KIND, &tree.digest);
            let entry = entry.with_context(|| format!("the base's tree {} is not in the cache", tree.digest))?;
            kernel_modules::release(&cache::read(&entry)?)
        }
    }
}
