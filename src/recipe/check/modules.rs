//! Checks `[[kernel-module]]` and what modules are proven against.

use std::collections::BTreeSet;

use super::super::Placed;
use super::super::{ImageTemplate, KernelModule, ModuleOrigin, ModuleProof, ModuleSign, names, written};
use super::{Checker, Place};
use crate::format::module::canonical;
use crate::plan::{KernelMatch, ModuleSet};

/// What an entry, or one of its mappings, says of its source.
struct Named<'w> {
    path: Option<&'w Placed<String>>,
    from: Option<&'w Placed<String>>,
    deb: Option<&'w Placed<String>>,
    packages: &'w [Placed<String>],
}

impl Named<'_> {
    /// The keys that are there.
    fn keys(&self) -> Vec<&'static str> {
        let there = [
            ("path", self.path.is_some()),
            ("from", self.from.is_some()),
            ("deb", self.deb.is_some()),
            ("packages", !self.packages.is_empty()),
        ];
        there.into_iter().filter_map(|(key, there)| there.then_some(key)).collect()
    }
}

impl Checker<'_> {
    /// `archive`: whether the base is made of packages.
    pub(super) fn kernel_modules(&mut self, written: &[written::KernelModule], archive: bool) -> Vec<KernelModule> {
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
                dir: module.dir_name.as_ref().and_then(|path| self.target("kernel-module.dir-name", path)),
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
            let namespace = self.one("kernel-module.namespace", module.namespace.as_ref(), names::image);
            let mappings = self.mappings(module, archive);
            let sign = module.sign.as_ref().map(|sign| ModuleSign {
                certificate: sign.certificate.value.clone(),
                hash: sign.hash.as_ref().map(|hash| hash.value),
            });
            modules.push(KernelModule { name, namespace, mappings, sign, set: ModuleSet { parameters, ..set } });
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

    fn mappings(&mut self, module: &written::KernelModule, archive: bool) -> Vec<(KernelMatch, ModuleOrigin)> {
        let place = module.name.place;
        let named = Named {
            path: module.path.as_ref(),
            from: module.from.as_ref(),
            deb: module.deb.as_ref(),
            packages: &module.packages,
        };
        let mut keys = named.keys();
        keys.extend((!module.kernel_mappings.is_empty()).then_some("kernel-mappings"));
        match keys[..] {
            ["kernel-mappings"] => {}
            [_] => return self.origin(module, &named, archive).map(|origin| (KernelMatch::Any, origin)).into_iter().collect(),
            _ => {
                let found = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
                let what = format!(
                    "kernel-module: needed exactly one of \"path\", \"from\", \"deb\", \"packages\" and \"kernel-mappings\", found {found}"
                );
                self.findings.add(place, what);
                return Vec::new();
            }
        }
        let mut mappings = Vec::new();
        for mapping in &module.kernel_mappings {
            let literal = self.one("kernel-mappings.literal", mapping.literal.as_ref(), names::release);
            let regexp = self.one("kernel-mappings.regexp", mapping.regexp.as_ref(), names::release_pattern);
            let named = Named {
                path: mapping.path.as_ref(),
                from: mapping.from.as_ref(),
                deb: mapping.deb.as_ref(),
                packages: &mapping.packages,
            };
            let place = place_of(mapping).unwrap_or(place);
            let kernel = match (&mapping.literal, &mapping.regexp) {
                (Some(_), None) => literal.map(KernelMatch::Literal),
                (None, Some(_)) => regexp.map(KernelMatch::Regexp),
                _ => {
                    let what = "kernel-mappings: needed exactly one of \"literal\" and \"regexp\"";
                    self.findings.add(place, what);
                    None
                }
            };
            let keys = named.keys();
            if keys.len() != 1 {
                let found = if keys.is_empty() { "none".to_owned() } else { keys.join(", ") };
                let what =
                    format!("kernel-mappings: needed exactly one of \"path\", \"from\", \"deb\" and \"packages\", found {found}");
                self.findings.add(place, what);
                continue;
            }
            mappings.extend(kernel.zip(self.origin(module, &named, archive)));
        }
        mappings
    }

    /// Where modules come from: there is exactly one key. The form of an image's name was looked at when it was read.
    fn origin(&mut self, module: &written::KernelModule, named: &Named<'_>, archive: bool) -> Option<ModuleOrigin> {
        if let Some(from) = named.from {
            let template = ImageTemplate::parse("", &from.value).ok()?;
            if template.needs_namespace() && module.namespace.is_none() {
                let what = "kernel-module.from: needed a namespace for ${MOD_NAMESPACE}, found none";
                self.findings.add_with_hint(from.place, what, "write namespace = \"...\" in its [[kernel-module]]");
            }
            return Some(ModuleOrigin::Image(template));
        }
        if let Some(name) = named.packages.first() {
            if !archive {
                let hint = "name the package's file: deb = \"FILE.deb\"";
                let what = "kernel-module.packages: goes with a base of kind \"debian\"";
                self.findings.add_with_hint(name.place, what, hint);
            }
            return Some(ModuleOrigin::Packages(self.list("kernel-module.packages", named.packages, names::package_of_kernel)));
        }
        let path = named.path.map(|path| ModuleOrigin::Path(path.value.clone()));
        path.or_else(|| named.deb.map(|path| ModuleOrigin::Deb(path.value.clone())))
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

/// Where a mapping stands.
fn place_of(mapping: &written::KernelMapping) -> Option<Place> {
    let texts = [&mapping.path, &mapping.from, &mapping.deb, &mapping.literal, &mapping.regexp];
    texts.into_iter().flatten().chain(&mapping.packages).map(|text| text.place).next()
}

#[cfg(test)]
mod tests {
    use crate::plan::KernelMatch;
    use crate::recipe::{self, ModuleOrigin, Recipe};

    fn read(entry: &str) -> Result<Recipe, String> {
        let text = format!("name = \"case\"\nversion = \"1\"\n[[kernel-module]]\nname = \"m\"\n{entry}\n");
        recipe::parse("case.toml", &text).map_err(|problems| problems.to_string())
    }

    #[test]
    fn modules_come_from_one_place_for_each_kernel() {
        let recipe = read(
            "namespace = \"gpu\"\ndir-name = \"/srv\"\nkernel-mappings = [\n{ literal = \"6.12.1-amd64\", deb = \"a.deb\" },\n\
             { regexp = \"^6\", from = \"docker://r.example.org/$MOD_NAMESPACE:1\" },\n{ regexp = \"^5\", packages = [\"b-$KERNEL_X\"] },\n\
             { regexp = \".\", path = \"./c\" }]",
        )
        .unwrap();
        let [module] = &recipe.kernel_modules[..] else { panic!("{:?}", recipe.kernel_modules) };
        let found: Vec<_> = module.mappings.iter().map(|(kernel, origin)| format!("{kernel}: {origin}")).collect();
        assert_eq!(
            found,
            [
                "the kernel 6.12.1-amd64: a.deb",
                "kernels like ^6: r.example.org/$MOD_NAMESPACE:1",
                "kernels like ^5: packages b-$KERNEL_X",
                "kernels like .: c",
            ]
        );
        assert_eq!((recipe.module_sources(), recipe.local_files()), (vec!["c"], vec!["a.deb"]));
        let one = read("from = \"oci:images/x:${KERNEL_FULL_VERSION}\"").unwrap();
        let (kernel, origin) = &one.kernel_modules[0].mappings[0];
        assert!(*kernel == KernelMatch::Any && matches!(origin, ModuleOrigin::Image(_)), "{origin}");
    }

    #[test]
    fn what_is_no_source_is_told_with_its_place() {
        for (entry, place, expected) in [
            ("", "4:8", "needed exactly one of \"path\", \"from\", \"deb\", \"packages\" and \"kernel-mappings\", found none"),
            ("path = \"a\"\ndeb = \"b\"", "4:8", "found path, deb"),
            ("kernel-mappings = [{ literal = \"6.12.1\" }]", "5:32", "\"deb\" and \"packages\", found none"),
            (
                "kernel-mappings = [{ literal = \"6.12.1\", regexp = \".\", path = \"a\" }]",
                "5:",
                "needed exactly one of \"literal\"",
            ),
            ("from = \"r.example.org/a:$KERNEL\"", "5:8", "kernel-module.from: \"r.example.org/a:$KERNEL\": needed one of"),
            ("from = \"r.example.org/$MOD_NAMESPACE:1\"", "5:8", "needed a namespace for ${MOD_NAMESPACE}"),
            ("from = \"drivers\"", "5:8", "needed registry/path:tag"),
            ("deb = \"/a.deb\"", "5:7", "needed a path relative to this file"),
            ("packages = [\"A\"]", "5:13", "kernel-module.packages: needed a Debian package's name"),
            ("dir-name = \"opt\"\npath = \"a\"", "5:12", "kernel-module.dir-name: needed an absolute path"),
            ("packages = [\"a-b\"]\n[base]\nkind = \"tree\"\npath = \"x\"", "5:13", "goes with a base of kind \"debian\""),
        ] {
            let told = read(entry).unwrap_err();
            let found = told.lines().any(|line| line.starts_with(&format!("case.toml:{place}")) && line.contains(expected));
            assert!(found, "{entry}: {place} {expected}\n{told}");
        }
    }
}
