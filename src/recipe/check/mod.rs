//! Judges a merged recipe as a whole, and turns it into a [`Recipe`]. Pure but for [`inputs`], which looks at local files.
//!
//! Each function takes what was written and gives the checked value, noting what is wrong on the way. Where something is wrong it
//! gives a stand-in, so that the rest is checked too; a recipe with one finding is never handed out.

mod base;
mod files;
mod firstboot;
mod inputs;
mod kernel_arguments;
mod modules;
mod people;
mod tuned;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::Findings;
use super::defaults;
use super::load::Loaded;
use super::names::{self, Verdict};
use super::problem::Problems;
use super::written::{self, Written};
use super::{Agent, File, Origin, Recipe, Sign};
use super::{Place, Placed};
use crate::architecture::Architecture;
use crate::plan::{Check, Disk, Firstboot, Format, Settings};
use crate::tree::TreePath;

/// Whether local files and folders are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LocalInputs {
    /// They must be there and fit for an image.
    Examine,
    /// The disk is not touched.
    Ignore,
}

/// Checks everything that was loaded.
pub(super) fn all(loaded: Loaded, folder: &Path, inputs: LocalInputs) -> Result<Recipe, Problems> {
    let Loaded { sources, mut findings, written, dropped } = loaded;
    let mut checker = Checker { findings: &mut findings, dropped: &dropped };
    let mut recipe = checker.recipe(&written, folder);
    recipe.kernel_args = kernel_arguments::declarations("recipe", &written.kernel.args, &sources, folder);
    kernel_arguments::examine(&written, &recipe, &mut findings);
    firstboot::examine(&written, &recipe, &sources, &mut findings);
    if inputs == LocalInputs::Examine {
        inputs::examine(&written, &recipe, &mut findings);
    }
    if findings.is_empty() { Ok(recipe) } else { Err(Problems::of(findings, &sources)) }
}

struct Checker<'a> {
    findings: &'a mut Findings,
    /// What was written, but wrongly: not missing.
    dropped: &'a BTreeSet<String>,
}

impl Checker<'_> {
    fn recipe(&mut self, written: &Written, folder: &Path) -> Recipe {
        let mut base = self.base(&written.base, &written.packages);
        // Another's base has a client of its own, or none: only packages can be added that it needs.
        let by_itself = written.update.image.is_some() && base.debian().is_some();
        let update_client = written.update.client.as_ref().map_or(by_itself, |client| client.value);
        if let (true, Origin::Debian(debian)) = (update_client, &mut base.origin) {
            debian.packages.extend(defaults::UPDATE_PACKAGES.map(str::to_owned));
            debian.packages.sort_unstable();
        }
        let outputs = self.outputs(&written.outputs);
        let agent = self.agent(&written.agent, base.minimal);
        let mut files = self.files(&written.files);
        let settings = self.settings(written, &mut files, &base);
        Recipe {
            folder: folder.to_owned(),
            name: self.needed("name", written.name.as_ref(), "gpu-node", names::image),
            version: self.needed("version", written.version.as_ref(), "1.0", names::version),
            architectures: self.architectures(written.architectures.as_ref()),
            overlays: self.overlays(&written.overlays, base.minimal, agent.is_some()),
            agent,
            files,
            kernel_args: Vec::new(),
            kernel_modules: self.kernel_modules(&written.kernel_modules, base.debian().is_some()),
            module_proof: self.module_proof(&written.kernel, &written.kernel_modules),
            tuned: written.tuned.as_ref().map(|tuned| self.tuned(tuned, &base)),
            settings,
            disk: self.disk(&written.disk),
            update: self.one("update.image", written.update.image.as_ref(), names::image_reference),
            sign: Sign { commit: text(written.sign.commit.as_ref()), image: text(written.sign.image.as_ref()) },
            update_client,
            outputs,
            checks: written.checks.iter().map(|check| self.check(check)).collect(),
            base,
        }
    }

    /// A value by its rule. None when it is not there, or wrong.
    fn one(&mut self, key: &str, value: Option<&Placed<String>>, rule: fn(&str) -> Verdict) -> Option<String> {
        let value = value?;
        self.by_rule(key, value, rule).map(|()| value.value.clone())
    }

    /// A value that a recipe must have.
    fn needed(&mut self, key: &str, value: Option<&Placed<String>>, example: &str, rule: fn(&str) -> Verdict) -> String {
        if value.is_none() && !self.dropped.contains(key) {
            let hint = format!("write {key} = {example:?} at the top of the recipe");
            self.findings.add_with_hint(Place(0), format!("key {key:?} is missing"), hint);
        }
        self.one(key, value, rule).unwrap_or_default()
    }

    fn list(&mut self, key: &str, values: &[Placed<String>], rule: fn(&str) -> Verdict) -> Vec<String> {
        values.iter().filter_map(|value| self.one(key, Some(value), rule)).collect()
    }

    fn by_rule<T>(&mut self, key: &str, value: &Placed<String>, rule: fn(&str) -> Verdict<T>) -> Option<T> {
        rule(value).map_err(|why| self.findings.add(value.place, format!("{key}: {why}"))).ok()
    }

    fn architectures(&mut self, written: Option<&Placed<Vec<Placed<Architecture>>>>) -> Vec<Architecture> {
        let Some(written) = written else { return vec![Architecture::Amd64] };
        if written.is_empty() {
            self.findings.add(written.place, "architectures: needed at least one, found none");
        }
        for architecture in written.iter().filter(|architecture| architecture.value != Architecture::Amd64) {
            let what = format!("architectures: {} is not built yet", architecture.value);
            self.findings.add_with_hint(architecture.place, what, "its boot chain is not tested; write [\"amd64\"]");
        }
        distinct(written.iter().map(|architecture| architecture.value))
    }

    fn outputs(&mut self, written: &written::Outputs) -> Vec<Format> {
        let Some(formats) = &written.formats else { return vec![Format::Raw] };
        if formats.is_empty() {
            self.findings.add(formats.place, "outputs.formats: needed at least one, found none");
        }
        distinct(formats.iter().map(|format| format.value))
    }

    fn agent(&mut self, written: &written::Agent, minimal: bool) -> Option<Agent> {
        let enable = written.enable.as_ref().map(|enable| enable.value);
        match (&written.path, enable) {
            (Some(path), Some(false)) => {
                self.findings.add(path.place, "agent.path: needed none, because enable is false");
                None
            }
            (Some(path), _) => Some(Agent::Local(path.value.clone())),
            (None, enable) => enable.unwrap_or(!minimal).then_some(Agent::Shipped),
        }
    }

    fn disk(&mut self, written: &written::Disk) -> Disk {
        let sector_size = written.sector_size.as_ref().map_or(512, |size| size.value);
        if let Some(size) = &written.sector_size
            && !matches!(size.value, 512 | 4096)
        {
            self.findings.add(size.place, format!("disk.sector-size: needed 512 or 4096, found {}", size.value));
        }
        // FAT32 needs 65,525 clusters, and a cluster has at least one sector.
        let least_esp = if sector_size == 4096 { 272 } else { 64 };
        Disk {
            sector_size,
            esp_size: self.size("disk.esp-size", written.esp_size.as_ref(), least_esp),
            boot_size: self.size("disk.boot-size", written.boot_size.as_ref(), 128),
            root_size: self.size("disk.root-size", written.root_size.as_ref(), 512),
        }
    }

    /// A partition's size: whole MiB, and at least `least` MiB. What the content needs is known only when it is there.
    fn size(&mut self, key: &str, written: Option<&Placed<String>>, least: u64) -> Option<u64> {
        let written = written?;
        let bytes = self.by_rule(key, written, names::size)??;
        if bytes % (1 << 20) != 0 {
            self.findings.add(written.place, format!("{key}: needed a multiple of 1M, found {:?}", written.value));
        } else if bytes >> 20 < least {
            self.findings.add(written.place, format!("{key}: needed at least {least}M, found {:?}", written.value));
        }
        Some(bytes)
    }

    fn settings(&mut self, written: &Written, files: &mut BTreeMap<TreePath, File>, base: &super::Base) -> Settings {
        let enable = self.units("systemd.enable", &written.systemd.enable);
        let disable = self.units("systemd.disable", &written.systemd.disable);
        let mask = self.units("systemd.mask", &written.systemd.mask);
        for unit in written.systemd.enable.iter().filter(|unit| disable.contains(&unit.value) || mask.contains(&unit.value)) {
            let also = if disable.contains(&unit.value) { "disabled" } else { "masked" };
            self.findings.add(unit.place, format!("systemd.enable: {:?} is also {also}; needed one of the two", unit.value));
        }
        Settings {
            enable,
            disable,
            mask,
            users: self.users(&written.users, base),
            root_ssh_keys: self.list("ssh.root-keys", &written.ssh.root_keys, names::ssh_key),
            host_name: self.one("host-name", written.host_name.as_ref(), names::host),
            network: self.networks(&written.networks, files),
            firstboot: written.firstboot.as_ref().map(|desired| Firstboot(Box::new(desired.value.clone()))).unwrap_or_default(),
        }
    }

    fn units(&mut self, key: &str, units: &[Placed<String>]) -> Vec<String> {
        distinct(self.list(key, units, names::unit))
    }

    fn check(&mut self, written: &written::Check) -> Check {
        if written.name.trim().is_empty() || written.name.contains('\n') {
            self.findings.add(written.name.place, "check.name: needed one line that says what is checked");
        }
        if written.run.first().is_none_or(|program| program.is_empty()) {
            self.findings.add(written.run.place, "check.run: needed a program and its arguments, found none");
        } else if written.run.iter().any(|word| word.contains('\0')) {
            self.findings.add(written.run.place, "check.run: needed text without NUL");
        }
        if !(0..=255).contains(&written.status) {
            self.findings.add(written.run.place, format!("check.status: needed 0 to 255, found {}", written.status));
        }
        Check {
            name: written.name.value.clone(),
            run: written.run.value.clone(),
            status: written.status,
            stdout: written.stdout.clone(),
            contains: written.contains.clone(),
        }
    }
}

fn text(value: Option<&Placed<String>>) -> Option<String> {
    value.map(|value| value.value.clone())
}

/// Each value once, at its first place.
fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    for value in values {
        if !list.contains(&value) {
            list.push(value);
        }
    }
    list
}
