//! What the image promises of its modules, for the agent to verify on a node.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use basalt_contract::{ModulesInfo, PromisedModule};

use super::proof;
use super::source::Sources;
use super::target::Target;
use crate::format::module::canonical;
use crate::format::modules_index::{Index, ModulePath};
use crate::host::parallel;
use crate::kmod::Facts;
use crate::plan::KernelModules;
use crate::source::debian::{STATUS, control};
use crate::tree::TreePath;

/// By which a kernel can share the memory of processes with a GPU (HMM).
const DEVICE_PRIVATE: &str = "CONFIG_DEVICE_PRIVATE=y";
const FABRIC_MANAGER: &str = "nvidia-fabricmanager";

/// What holds on each node; `index` is the image's.
///
/// # Errors
/// Modules that cannot be read.
pub fn all(wanted: &KernelModules, target: &Target<'_>, sources: &Sources, index: &Index) -> Result<ModulesInfo> {
    let brought = parallel::map(&sources.modules, |found| {
        Facts::read(found.path.as_str(), &found.content.bytes()?, None).with_context(|| found.path.to_string())
    })?;
    let named: BTreeSet<_> = brought.iter().flat_map(|facts| &facts.firmware).filter(|name| !proof::is_pattern(name)).collect();
    let (firmware, lacking) = named.into_iter().cloned().partition(|name| proof::firmware(target, sources, name).is_some());
    let blacklist: BTreeSet<_> = wanted.sets.iter().flat_map(|set| &set.blacklist).map(|name| canonical(name)).collect();
    Ok(ModulesInfo {
        format: ModulesInfo::FORMAT,
        kernel: target.release.to_string(),
        load: load(wanted, target, &brought, index)?,
        blacklist: blacklist.into_iter().collect(),
        firmware,
        lacking,
        device_private: device_private(target)?,
        fabric_manager: fabric_manager(target)?,
    })
}

/// What is loaded in the initramfs and after it, each once. A name that nobody has is promised, too: the node says that it is not loaded.
fn load(wanted: &KernelModules, target: &Target<'_>, brought: &[Facts], index: &Index) -> Result<Vec<PromisedModule>> {
    let built_in = target.built_in()?;
    let facts = |path: &ModulePath| {
        let ours = brought.iter().find(|facts| facts.path == path.as_str());
        ours.map_or_else(|| target.facts(path), |facts| Ok(facts.clone()))
    };
    // Debian's NVIDIA modules have another name in the kernel than their files.
    let file_of = |own: &str| brought.iter().find(|facts| facts.own == own).and_then(|facts| index.path(&facts.name));
    let sets = || wanted.sets.iter();
    let names = sets().flat_map(|set| &set.load_early).chain(sets().flat_map(|set| &set.load)).map(|name| canonical(name));
    let mut load: Vec<PromisedModule> = Vec::new();
    for name in names.filter(|name| !built_in.contains(name)) {
        let mut promised = PromisedModule { name: name.clone(), ..PromisedModule::default() };
        if let Some(path) = index.path(&name).or_else(|| file_of(&name)) {
            promised.name = facts(path)?.own;
            for needed in index.dependencies(&path.name()).unwrap_or_default().into_iter().chain([path]) {
                let needed = facts(needed)?;
                let devices: Vec<_> = needed.aliases.into_iter().filter(|alias| alias.starts_with("pci:")).collect();
                if !devices.is_empty() {
                    promised.devices.insert(needed.own, devices);
                }
            }
        }
        if load.iter().all(|other| other.name != promised.name) {
            load.push(promised);
        }
    }
    Ok(load)
}

fn device_private(target: &Target<'_>) -> Result<Option<bool>> {
    let places = [target.path("config")?, TreePath::parse(&format!("/boot/config-{}", target.release))?];
    let Some(content) = places.iter().find_map(|path| target.below.file(path)) else { return Ok(None) };
    Ok(Some(String::from_utf8_lossy(&content.bytes()?).lines().any(|line| line == DEVICE_PRIVATE)))
}

/// The upstream version of the package that is installed: `nvidia-fabricmanager`, or with the driver's branch behind it.
fn fabric_manager(target: &Target<'_>) -> Result<Option<String>> {
    for path in STATUS {
        let Some(content) = target.below.file(&TreePath::parse(path)?) else { continue };
        let bytes = content.bytes()?;
        let text = String::from_utf8_lossy(&bytes);
        let is_it = |stanza: &control::Stanza<'_>| {
            let name = stanza.get("Package").and_then(|name| name.strip_prefix(FABRIC_MANAGER));
            let is_installed = stanza.get("Status").is_some_and(|status| status.ends_with(" installed"));
            is_installed && name.is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit() || c == '-'))
        };
        let version = control::stanzas(&text).find(is_it).and_then(|stanza| stanza.get("Version"));
        let upstream = |version: &str| {
            let version = version.split_once(':').map_or(version, |(_, version)| version);
            version.rsplit_once('-').map_or(version, |(version, _)| version).to_owned()
        };
        return Ok(version.map(upstream));
    }
    Ok(None)
}
