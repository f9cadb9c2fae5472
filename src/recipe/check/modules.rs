//! Checks `[[kernel-module]]` and what modules are proven against.

use std::collections::BTreeSet;

use super::super::place::Placed;
use super::super::{KernelModule, ModuleProof, ModuleSign, names, written};
use super::Checker;
use crate::format::module::canonical;
use crate::plan::{KernelMatch, ModuleSet};

impl Checker<'_> {
    pub(super) fn kernel_modules(&mut self, written: &[written::KernelModule]) -> Vec<KernelModule> {
        let mut seen = BTreeSet::new();
        let mut modules = Vec::new();
        for module in written {
            let Some(name) = self.one("kernel-module.name", Some(&module.name), names::image) else { continue };
            if !seen.insert(name.clone()) {
                self.findings.add(module.name.place, format!("kernel-module.name: {name:?} is named twice; needed once"));
            }
            let set = ModuleSet {
                name: name.clone(),
                mappings: Vec::new(),
                firmware: module.firmware.as_ref().and_then(|path| self.target("kernel-module.firmware", path)),
                load: self.modules("load", &module.load),
                load_early: self.modules("load-early", &module.load_early),
                sign: None,
                compress: module.compress.as_ref().map(|packing| packing.value),
                parameters: Default::default(),
                blacklist: self.modules("blacklist", &module.blacklist),
                remove: self.modules("in-tree-modules-to-remove", &module.in_tree_modules_to_remove),
                allow: self.list("kernel-module.allow", &module.allow, names::finding),
            };
            let parameters = self.parameters(module);
            let sign = module.sign.as_ref().map(|sign| ModuleSign {
                certificate: sign.certificate.value.clone(),
                hash: sign.hash.as_ref().map(|hash| hash.value),
            });
            modules.push(KernelModule { name, mappings: self.mappings(module), sign, set: ModuleSet { parameters, ..set } });
        }
        modules
    }

    /// Names of modules, as the kernel spells them.
    fn modules(&mut self, key: &str, written: &[Placed<String>]) -> Vec<String> {
        let names = self.list(&format!("kernel-module.{key}"), written, names::module);
        super::distinct(names.iter().map(|name| canonical(name)))
    }

    fn parameters(&mut self, module: &written::KernelModule) -> std::collections::BTreeMap<String, String> {
        let mut parameters = std::collections::BTreeMap::new();
        for (name, value) in &module.parameters {
            if let Err(why) = names::module(name) {
                self.findings.add(value.place, format!("kernel-module.parameters: {why}"));
            }
            if let Some(text) = self.one(&format!("kernel-module.parameters.{name}"), Some(value), names::module_parameters) {
                parameters.insert(canonical(name), text);
            }
        }
        parameters
    }

    fn mappings(&mut self, module: &written::KernelModule) -> Vec<(KernelMatch, String)> {
        match (&module.path, module.kernel_mappings.is_empty()) {
            (Some(path), true) => return vec![(KernelMatch::Any, path.value.clone())],
            (None, false) => {}
            (path, _) => {
                let found = if path.is_some() { "both" } else { "neither" };
                let what = format!("kernel-module: needed exactly one of \"path\" and \"kernel-mappings\", found {found}");
                self.findings.add(module.name.place, what);
                return Vec::new();
            }
        }
        let mut mappings = Vec::new();
        for mapping in &module.kernel_mappings {
            let literal = self.one("kernel-mappings.literal", mapping.literal.as_ref(), names::release);
            let regexp = self.one("kernel-mappings.regexp", mapping.regexp.as_ref(), names::release_pattern);
            let kernel = match (&mapping.literal, &mapping.regexp) {
                (Some(_), None) => literal.map(KernelMatch::Literal),
                (None, Some(_)) => regexp.map(KernelMatch::Regexp),
                _ => {
                    let what = "kernel-mappings: needed exactly one of \"literal\" and \"regexp\"";
                    self.findings.add(mapping.path.place, what);
                    None
                }
            };
            mappings.extend(kernel.map(|kernel| (kernel, mapping.path.value.clone())));
        }
        mappings
    }

    pub(super) fn module_proof(&mut self, kernel: &written::Kernel, modules: &[written::KernelModule]) -> ModuleProof {
        if let (Some(symvers), true) = (&kernel.symvers, modules.is_empty()) {
            let what = "kernel.symvers: needed none, because the recipe has no [[kernel-module]]";
            self.findings.add(symvers.place, what);
        }
        if let (Some(key), true) = (kernel.module_keys.first(), modules.is_empty()) {
            let what = "kernel.module-keys: needed none, because the recipe has no [[kernel-module]]";
            self.findings.add(key.place, what);
        }
        ModuleProof {
            symvers: super::text(kernel.symvers.as_ref()),
            keys: kernel.module_keys.iter().map(|key| key.value.clone()).collect(),
            secure_boot: kernel.secure_boot.as_ref().is_none_or(|secure_boot| secure_boot.value),
        }
    }
}
