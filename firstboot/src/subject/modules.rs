//! Kernel modules that are loaded: those of the image, and what this node is wished to load beside them.
//!
//! systemd loads both, the agent none itself. What nobody wishes any more stays loaded until the next boot. A module of the image may refuse to be
//! loaded where its hardware is not: that is no fault.

use std::collections::BTreeSet;

use basalt_contract::desired::{Modules as Wishes, module_name};
use basalt_contract::glob::glob;
use basalt_contract::{Desired, Fault, ModulesInfo, PromisedModule, names};

use super::{Node, Subject, Told, file, text};
use crate::backend::{FileError, Files};
use crate::export::found;
use crate::facts;
use crate::hardware::PCI_FOLDER;
use crate::plan::{Action, Effect};

/// Format: `modules-load.d(5)`.
const PATH: &str = "/etc/modules-load.d/50-basalt.conf";
const UNIT: &str = "systemd-modules-load.service";
/// Modules that are there, built in or loaded: `Documentation/ABI/testing/sysfs-module` of Linux.
pub const FOLDER: &str = "/sys/module";
const RELEASE: &str = "/proc/sys/kernel/osrelease";
const READ: &str = "let the agent read it";

/// The subject.
pub struct Modules;

impl Subject for Modules {
    fn name(&self) -> &'static str {
        "modules"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { load(node) })
    }

    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            let told = text(node.outside.files.as_ref(), PATH).map_err(|what| fault(what, READ))?.unwrap_or_default();
            let load: Vec<_> = told.lines().filter(|line| !line.starts_with('#')).map(|line| found(line.to_owned())).collect();
            if let Some(Err(why)) = load.iter().map(|name| module_name(name)).find(Result::is_err) {
                return Err(fault(format!("{PATH}: {}", facts::short(&why)), "take the file away"));
            }
            Ok(Desired { modules: Wishes { load }, ..Desired::default() })
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        Box::pin(async move {
            // What differed not was read from the kernel.
            let wanted = wanted(node)?;
            let (useless, loaded): (Vec<_>, Vec<_>) = wanted.iter().partition(|module| module.without.is_some());
            let names = |list: Vec<&Wanted<'_>>| list.iter().map(|module| module.name.as_str()).collect::<Vec<_>>().join(" ");
            let parts = [("loaded:", names(loaded)), ("not loaded, as their devices are not here:", names(useless))];
            let parts: Vec<_> =
                parts.iter().filter(|(_, names)| !names.is_empty()).map(|(word, names)| format!("{word} {names}")).collect();
            Ok((!parts.is_empty()).then(|| parts.join("; ")))
        })
    }
}

/// A module that is to be loaded.
struct Wanted<'a> {
    /// As the kernel names it.
    name: String,
    /// Where that is said.
    place: String,
    is_loaded: bool,
    /// It is not loaded, and neither is a device of this module here, which is itself or one that it depends on.
    without: Option<&'a str>,
}

fn load(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let wishes = &node.goal.desired.modules.load;
    fits(node)?;
    let text: String = wishes.iter().map(|wish| format!("{}\n", wish.value)).collect();
    let text = (!wishes.is_empty()).then(|| format!("# Written by {}: from desired state.\n{text}", names::AGENT_UNIT));
    let mut effects: Vec<_> =
        file(node.outside.files.as_ref(), PATH, text).map_err(|error| fault(error.to_string(), READ))?.into_iter().collect();
    let wanted = wanted(node)?;
    let missing: Vec<_> = wanted.iter().filter(|module| !module.is_loaded && module.without.is_none()).collect();
    let mut asked_by: Vec<_> = missing.iter().map(|module| module.place.clone()).collect();
    let mut parts = Vec::new();
    match effects.first() {
        Some(Effect::Remove { .. }) => {
            asked_by.push("nobody wishes any".to_owned());
            parts.push(format!("no modules beside the image's, now there are some in {PATH}, loaded until the next boot"));
        }
        Some(_) => {
            asked_by.extend(wishes.iter().map(|wish| node.goal.place(wish)));
            parts.push(format!("{} modules in {PATH}", wishes.len()));
        }
        None => {}
    }
    if !missing.is_empty() {
        let list: Vec<_> = missing.iter().map(|module| module.name.as_str()).collect();
        parts.push(format!("not loaded: {}", list.join(" ")));
        effects.push(Effect::Restart { unit: UNIT.to_owned() });
    }
    if effects.is_empty() {
        return Ok(vec![]);
    }
    asked_by.sort();
    asked_by.dedup();
    Ok(vec![Action { subject: Modules.name(), name: "load", what: parts.join("; "), asked_by, effects, reboot: false }])
}

/// That the image's modules are for the kernel that runs, and that nothing is wished which the image never loads.
fn fits(node: &Node<'_>) -> Result<(), Fault> {
    let Some(ModulesInfo { kernel, blacklist, .. }) = &node.facts.modules else { return Ok(()) };
    let running = facts::line(node.outside.files.as_ref(), RELEASE).map_err(|what| fault(what, "check that /proc is mounted"))?;
    if running != *kernel {
        let what = format!("needed the kernel {kernel}, for which the image has modules, found {running}");
        return Err(fault(what, "boot the image's own kernel; see `ostree admin status`"));
    }
    match node.goal.desired.modules.load.iter().find(|wish| blacklist.contains(&canonical(wish))) {
        None => Ok(()),
        Some(wish) => {
            let what = format!(
                "{}: needed a module that may be loaded, found {}, which the image never loads",
                node.goal.place(wish),
                wish.value
            );
            Err(fault(what, "wish it no more, or boot an image that does not blacklist it"))
        }
    }
}

/// The image's and the wished ones, each once.
fn wanted<'a>(node: &'a Node<'_>) -> Result<Vec<Wanted<'a>>, Fault> {
    let files = node.outside.files.as_ref();
    let promised = node.facts.modules.iter().flat_map(|info| &info.load);
    let promised = promised.map(|module| (module.name.clone(), names::MODULES_FILE.to_owned(), Some(module)));
    let wishes = node.goal.desired.modules.load.iter();
    let wished = wishes.map(|wish| (canonical(wish), node.goal.place(wish), None));
    let (mut known, mut here, mut wanted) = (BTreeSet::new(), None, Vec::new());
    for (name, place, promise) in promised.chain(wished) {
        if !known.insert(name.clone()) {
            continue;
        }
        let is_loaded = is_loaded(files, &name).map_err(|error| fault(error.to_string(), READ))?;
        let without = match promise {
            Some(promise) if !is_loaded && !promise.devices.is_empty() => {
                let here = match &mut here {
                    Some(here) => here,
                    None => here.insert(devices(node)?),
                };
                without(promise, here)
            }
            _ => None,
        };
        wanted.push(Wanted { name, place, is_loaded, without });
    }
    Ok(wanted)
}

/// The module whose devices are not `here`: `promise` itself, or one that it depends on.
fn without<'a>(promise: &'a PromisedModule, here: &[String]) -> Option<&'a str> {
    let is_here = |alias: &String| here.iter().any(|device| glob(alias, device));
    promise.devices.iter().find(|(_, aliases)| !aliases.iter().any(is_here)).map(|(name, _)| name.as_str())
}

/// What each device on PCI calls itself, for the aliases of modules.
fn devices(node: &Node<'_>) -> Result<Vec<String>, Fault> {
    let Some(list) = &node.facts.hardware.pci else {
        return Err(fault(format!("cannot tell which devices are in this machine: {PCI_FOLDER} cannot be read"), READ));
    };
    let mut found = Vec::new();
    for address in list.keys() {
        let told = text(node.outside.files.as_ref(), &format!("{PCI_FOLDER}/{address}/modalias"));
        // Devices come and go.
        found.extend(told.map_err(|what| fault(what, READ))?.map(|line| line.trim_end().to_owned()));
    }
    Ok(found)
}

/// Whether the kernel has a module: loaded, and through with its beginning, or built in with something to show.
pub fn is_loaded(files: &dyn Files, name: &str) -> Result<bool, FileError> {
    let state = files.read_if_there(&format!("{FOLDER}/{name}/initstate"))?;
    state.map_or_else(|| files.is_there(&format!("{FOLDER}/{name}")), |state| Ok(state.trim_ascii() == b"live"))
}

/// A name as the kernel writes it.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn fault(what: String, next_step: &str) -> Fault {
    Fault::new(Modules.name(), what, next_step)
}
