//! Whether every kernel module of a recipe has a build that another kernel loads: asked before that kernel comes, and answered by the proof
//! of a build, without an image.
//!
//! ```text
//! words --Wanted--> which kernel --kernel::bring--> its files    recipe, lock --pinned for its release--> sources --proof--> Report
//! ```
//!
//! The lock stays as it is. What nobody can tell counts as a misfit, as in a build.

pub mod kernel;

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::failure::{Failure, Kind, failure_in, kind_of};
use crate::kmod::release::Release;
use crate::layer::kernel_modules::source::{self, Sources};
use crate::layer::kernel_modules::table::Table;
use crate::layer::kernel_modules::target::Target;
use crate::layer::{self, kernel_modules};
use crate::lock::{self, Inputs, Section};
use crate::plan::{self, Base, KernelModules, Key, LayerContent, ModuleSet, Plan};
use crate::progress::Sink;
use crate::recipe::KernelModule;
use crate::registry;
use crate::sign::ModuleSigners;
use crate::source::Network;
use crate::tree::Tree;
use kernel::Other;

/// The version of the report's JSON.
pub const VERSION: u32 = 1;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The recipe, and who knows what is current.
    pub inputs: Inputs<'a>,
    /// Its lock, of the kernel that it has now.
    pub section: &'a Section,
    /// Its plan, of the kernel that it has now.
    pub plan: &'a Plan,
    /// The other kernel.
    pub kernel: &'a Other,
    /// What that exports, where somebody says it: a blob of the store.
    pub symvers: Option<&'a Key>,
    /// Which network may be used.
    pub network: Network<'a>,
    /// Told what happens.
    pub sink: &'a dyn Sink,
}

/// An entry of the recipe that has no modules for the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Missing {
    /// Which.
    pub entry: String,
    /// For which kernels its mapping is, and what the recipe names there. None: no mapping is for this kernel.
    pub mapping: Option<String>,
    /// What is missing.
    pub why: String,
    /// The next step.
    pub next: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// Where the kernel is from.
    pub from: String,
    /// Whether everything is there and fits.
    pub fits: bool,
    /// The kernel, and the modules that there are.
    #[serde(flatten)]
    pub table: Table,
    /// Entries of the recipe that have none.
    pub missing: Vec<Missing>,
}

/// Answers.
///
/// # Errors
/// Nobody can tell: the kernel does not say what it exports, a registry is out of reach.
pub fn examine(asked: Asked<'_>) -> Result<Report> {
    let from = asked.kernel.name.clone();
    if asked.inputs.recipe.kernel_modules.is_empty() {
        let kernel = Target::of_package(&asked.kernel.tree)?.release.to_string();
        let table = Table { kernel, modules: Vec::new() };
        return Ok(Report { version: VERSION, from, fits: true, table, missing: Vec::new() });
    }
    let trees = firmware(asked)?;
    let mut target = Target::of_package(&asked.kernel.tree)?;
    target.firmware = trees.as_ref().map(|trees| trees.iter().chain([&asked.kernel.tree]).collect());
    let mut missing = Vec::new();
    let sets = sets(asked, &target.release, &mut missing)?;
    let wanted = KernelModules {
        sets,
        symvers: asked.symvers.cloned(),
        headers: asked.kernel.headers.clone(),
        ..asked.plan.kernel_modules().cloned().unwrap_or_default()
    };
    exports(&wanted, &target)?;
    let mirror = match &asked.plan.base {
        Base::Debian { mirror, .. } => mirror.as_deref(),
        Base::Oci(_) | Base::Tree { .. } => None,
    };
    kernel_modules::bring(&wanted, mirror, asked.inputs.store, asked.network, asked.sink)?;
    let mut sources = Sources::default();
    let mut good = Vec::new();
    for (number, set) in wanted.sets.iter().enumerate() {
        let added = target.removed([set]).and_then(|removed| {
            source::add(number, set, &target, asked.inputs.store, &mut sources)?;
            Ok(removed)
        });
        match added {
            Ok(removed) => good.extend(removed),
            Err(error) if matches!(kind_of(&error), Kind::Verification | Kind::Invalid | Kind::Input) => {
                missing.push(told(asked.recipe_entry(&set.name), &target.release, &error));
            }
            Err(error) => return Err(error),
        }
    }
    let table = kernel_modules::examine(&wanted, &target, &sources, &good, asked.inputs.store)?;
    let fits = table.is_good() && missing.is_empty();
    Ok(Report { version: VERSION, from, fits, table, missing })
}

impl<'a> Asked<'a> {
    fn recipe_entry(&self, name: &str) -> Option<&'a KernelModule> {
        self.inputs.recipe.kernel_modules.iter().find(|module| module.name == name)
    }
}

/// The entries of the recipe with what is pinned for `kernel`; those without are told.
fn sets(asked: Asked<'_>, kernel: &Release, missing: &mut Vec<Missing>) -> Result<Vec<ModuleSet>> {
    let mut section = Section {
        kernel: Some(kernel.to_string()),
        module_images: Vec::new(),
        module_packages: Vec::new(),
        ..asked.section.clone()
    };
    let mut sets = Vec::new();
    for module in &asked.inputs.recipe.kernel_modules {
        match lock::pin_modules(asked.inputs, module, kernel, Some(asked.section), false) {
            Ok(lock::PinnedModules::None) => {
                let failure = source::unmapped(&module.name, kernel.as_str()).into();
                missing.push(told(Some(module), kernel, &failure));
                continue;
            }
            Ok(pinned) => section.take(pinned),
            // There is none such, as far as anybody who was asked can tell.
            Err(error) if !asked.network.offline && (registry::is_missing(&error) || kind_of(&error) == Kind::Input) => {
                missing.push(told(Some(module), kernel, &error));
                continue;
            }
            Err(error) => return Err(error),
        }
        let mappings = plan::mappings(module, &section).map_err(|lacks| anyhow::anyhow!("the lock lacks {lacks}"))?;
        // Who signs them is the plan's to know; nothing is signed here.
        let planned = asked.plan.kernel_modules().and_then(|all| all.sets.iter().find(|set| set.name == module.name));
        let sign = planned.and_then(|set| set.sign.clone());
        sets.push(ModuleSet { mappings, sign, ..module.set.clone() });
    }
    Ok(sets)
}

fn told(module: Option<&KernelModule>, kernel: &Release, error: &anyhow::Error) -> Missing {
    let place = module.and_then(|module| module.mapping_for(kernel).ok().flatten());
    let mapping = module.zip(place).map(|(module, place)| {
        let (matches, origin) = &module.mappings[place];
        format!("for {matches}: {origin}")
    });
    let failure = failure_in(error);
    Missing {
        entry: module.map(|module| module.name.clone()).unwrap_or_default(),
        mapping,
        why: failure.map_or_else(|| error.to_string(), |failure| failure.what.clone()),
        next: failure.and_then(|failure| failure.hint.clone()),
    }
}

/// Fails before anything is fetched when nobody knows what the kernel exports.
fn exports(wanted: &KernelModules, target: &Target<'_>) -> Result<()> {
    if wanted.symvers.is_some() || !wanted.headers.is_empty() || target.symvers()?.is_some() {
        return Ok(());
    }
    let what = format!("needed what the kernel {} exports (Module.symvers), found it nowhere", target.release);
    let hint = "name the Module.symvers or the .deb of its headers: --symvers FILE";
    Err(Failure::new(Kind::Input, what).hint(hint).into())
}

/// What the image will have of firmware beside the kernel's own files. None: its base is not in the cache.
fn firmware(asked: Asked<'_>) -> Result<Option<Vec<Tree>>> {
    let (plan, store) = (asked.plan, asked.inputs.store);
    let mut trees = Vec::new();
    if !asked.kernel.whole {
        if !layer::base::is_cached(plan, store) {
            return Ok(None);
        }
        trees.push(layer::base::produce(plan, store, asked.sink)?.tree);
    }
    for wanted in &plan.layers {
        if matches!(wanted.content, LayerContent::Overlay { .. } | LayerContent::Files { .. }) {
            trees.push(layer::produce(wanted, &[], store, &ModuleSigners::default())?.tree);
        }
    }
    Ok(Some(trees))
}

impl Report {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("kernel {}, from {}\n", self.table.kernel, self.from);
        if !self.table.modules.is_empty() {
            let _ = write!(text, "\n{}", self.table);
        }
        for one in &self.missing {
            let _ = write!(text, "\n{}", one.entry);
            if let Some(mapping) = &one.mapping {
                let _ = write!(text, ", {mapping}");
            }
            let _ = write!(text, "\n  {}\n", one.why.replace('\n', "\n  "));
            if let Some(next) = &one.next {
                let _ = writeln!(text, "  next: {next}");
            }
        }
        let misfits = self.table.misfits();
        if !misfits.is_empty() {
            let _ = writeln!(text, "{misfits}");
        }
        if self.fits {
            text.push_str("\nevery module fits\n");
        }
        text
    }

    /// The failure, unless everything fits.
    ///
    /// # Errors
    /// [`Kind::Verification`].
    pub fn judge(&self) -> Result<(), Failure> {
        if self.fits {
            return Ok(());
        }
        let bad = self.table.modules.iter().filter(|row| !row.is_good()).count();
        let (kernel, all, missing) = (&self.table.kernel, self.table.modules.len(), self.missing.len());
        let refused = (bad > 0).then(|| format!("would not load {bad} of {all} modules"));
        let none = (missing > 0).then(|| {
            let plural = if missing == 1 { "y has" } else { "ies have" };
            format!("{missing} entr{plural} no build for it")
        });
        let what = [refused, none].into_iter().flatten().collect::<Vec<_>>().join("; ");
        let what = format!("the kernel {kernel}: {what}");
        Err(Failure::new(Kind::Verification, what)
            .hint("build what is missing for this kernel, or keep the kernel back: basalt lock keeps it until --update"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::kernel_modules::table::Row;

    #[test]
    fn what_is_missing_is_told_with_its_mapping_and_the_next_step() {
        let row = Row::new(Some("a".into()), "m".into(), "updates/a/m.ko".into(), Vec::new(), &[]);
        let table = Table { kernel: "6.12.9-amd64".into(), modules: vec![row] };
        let good = Report { version: VERSION, from: "linux-image-amd64 6.12.9-1".into(), fits: true, table, missing: vec![] };
        assert!(good.text().ends_with("\nevery module fits\n") && good.judge().is_ok(), "{}", good.text());
        let one = Missing {
            entry: "nvidia".into(),
            mapping: Some("for each kernel: r.example.org/nvidia:${KERNEL_FULL_VERSION}".into()),
            why: "r.example.org/nvidia:6.12.9-amd64: it has no such image\n  manifest unknown".into(),
            next: Some("check name and tag".into()),
        };
        let bad = Report { fits: false, missing: vec![one], ..good };
        let text = bad.text();
        assert!(text.starts_with("kernel 6.12.9-amd64, from linux-image-amd64 6.12.9-1\n\nmodule"), "{text}");
        let end = "\nnvidia, for each kernel: r.example.org/nvidia:${KERNEL_FULL_VERSION}\n  r.example.org/nvidia:6.12.9-amd64: it has no \
                   such image\n    manifest unknown\n  next: check name and tag\n";
        assert!(text.ends_with(end), "{text}");
        assert_eq!(bad.judge().unwrap_err().kind, Kind::Verification);
    }
}
