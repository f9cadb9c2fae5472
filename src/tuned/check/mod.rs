//! What of merged units this image's tuned cannot make anything of.

mod sysctl;

use std::collections::{BTreeMap, BTreeSet};

use super::finding::{Finding, What};
use super::python::int;
use super::{Folders, MergedUnit, Root, Setting};

/// Where Debian's package has its modules.
const MODULES: &str = "/usr/lib/python3/dist-packages/tuned";

/// What the tuned of an image has. None: not known, and not checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    /// Its plugins by name (`sysctl`), and the options of each.
    pub plugins: Option<BTreeMap<String, Options>>,
    /// Its built-in functions by name (`cpulist_pack`).
    pub functions: Option<BTreeSet<String>>,
}

/// The options of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Options {
    /// Any, or not known.
    Any,
    /// These.
    Named(BTreeSet<String>),
}

impl Installed {
    /// Told by the names of the modules in `root`: what options plugins have is not known then. Nothing is known where there is no
    /// tuned.
    pub fn of(root: &dyn Root) -> Self {
        let modules = |folder: &str, prefix: &str| -> Option<BTreeSet<String>> {
            let name = |file: &String| Some(file.strip_prefix(prefix)?.strip_suffix(".py")?.to_owned());
            let names: BTreeSet<_> = root.names(&format!("{MODULES}/{folder}")).iter().filter_map(name).collect();
            (!names.is_empty()).then_some(names)
        };
        let plugins = modules("plugins", "plugin_");
        Self {
            plugins: plugins.map(|names| names.into_iter().map(|name| (name, Options::Any)).collect()),
            functions: modules("profiles/functions", "function_"),
        }
    }
}

/// Looks at every unit, and tells what is strange.
pub fn check(units: &[MergedUnit], folders: &Folders, installed: &Installed, findings: &mut Vec<Finding>) {
    for unit in units {
        plugin(unit, installed, findings);
        for (of, regex) in [("uname", &unit.uname_regex), ("cpuinfo", &unit.cpuinfo_regex)] {
            if let Some(Setting { value, origin, .. }) = regex {
                let what = What::Conditional { unit: unit.name.clone(), of, regex: value.clone() };
                findings.push(Finding { origin: origin.clone(), what });
            }
        }
        if let Some(Setting { value, origin, .. }) = unit.priority.as_ref().filter(|priority| int(&priority.value).is_none()) {
            let what = What::BadPriority { unit: unit.name.clone(), found: value.clone() };
            findings.push(Finding { origin: origin.clone(), what });
        }
        let scripts = unit.scripts.iter().flatten().chain(&unit.script_pre).chain(&unit.script_post);
        for Setting { value, origin, .. } in scripts.filter(|script| !folders.hold(&script.value)) {
            findings.push(Finding { origin: origin.clone(), what: What::ScriptOutside { path: value.clone() } });
        }
    }
    sysctl::check(units, findings);
}

fn plugin(unit: &MergedUnit, installed: &Installed, findings: &mut Vec<Finding>) {
    let Some(plugins) = &installed.plugins else { return };
    let (name, plugin) = (unit.name.clone(), unit.plugin.clone());
    match plugins.get(&unit.plugin) {
        None => findings.push(Finding { origin: unit.origin.clone(), what: What::UnknownPlugin { unit: name, plugin } }),
        Some(Options::Any) => {}
        Some(Options::Named(known)) => {
            let is_cmdline = |option: &str| plugin == "bootloader" && option.starts_with("cmdline");
            for (option, setting) in unit.options.iter().filter(|(option, _)| !known.contains(option) && !is_cmdline(option)) {
                let what = What::UnknownOption { unit: name.clone(), plugin: plugin.clone(), option: option.clone() };
                findings.push(Finding { origin: setting.origin.clone(), what });
            }
        }
    }
}
