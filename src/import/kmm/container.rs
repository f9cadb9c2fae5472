//! `spec.moduleLoader.container`: which images for which kernels, and what modprobe is told.

use std::collections::BTreeMap;

use super::take::{Notes, Table};
use crate::format::module::canonical;
use crate::recipe::{ImageTemplate, names, secrets};
use crate::tree::TreePath;

/// Where KMM looks for modules in an image unless it is told otherwise.
const DIR: &str = "/opt";
const BUILD: &str =
    "the recipe names images that are built: build and push them as before (for each kernel, before `basalt lock`)";
const TLS: &str =
    "the way to a registry is no part of a recipe: --cert-dir FOLDER with the authority's certificate at lock and build";

/// For which kernels an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// `literal` or `regexp`.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// The image.
    pub from: ImageTemplate,
}

/// All of it that a recipe can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    /// In order: the first that matches counts.
    pub mappings: Vec<Mapping>,
    /// `dirName`, where it is not what it is anyway.
    pub dir: Option<String>,
    /// `firmwarePath`
    pub firmware: Option<String>,
    /// Loaded at boot, in this order.
    pub load: Vec<String>,
    /// Module to parameters.
    pub parameters: BTreeMap<String, String>,
    /// `inTreeModulesToRemove`
    pub remove: Vec<String>,
    /// Who signs them: the secret with the certificate.
    pub certificate: Option<String>,
}

impl Container {
    /// Whether an image's name has the namespace in it.
    pub fn needs_namespace(&self) -> bool {
        self.mappings.iter().any(|mapping| mapping.from.needs_namespace())
    }

    /// Takes everything out of `table`.
    pub fn take(mut table: Table, notes: &mut Notes) -> Self {
        let mut taken = Self::default();
        table.leave(
            "version",
            "for upgrades one node at a time: an image has one version, and its nodes one after another",
            notes,
        );
        table.leave("imagePullPolicy", "the lock pins images by digest", notes);
        table.leave("registryTLS", TLS, notes);
        table.leave("build", BUILD, notes);
        taken.certificate = sign(&mut table, notes);
        if let Some(modprobe) = table.table("modprobe", notes) {
            taken.modprobe(modprobe, notes);
        }
        let image = table.text("containerImage", notes);
        let remove = removed(&mut table, notes);
        let mut lists = Vec::new();
        for mapping in table.tables("kernelMappings", notes) {
            let (mapping, list, certificate) = mapped(mapping, image.as_deref(), notes);
            // Its own list takes the place of the one for all.
            lists.push(if list.is_empty() { remove.clone() } else { list });
            taken.mappings.extend(mapping);
            taken.certificate = taken.certificate.or(certificate);
        }
        taken.remove = match lists.first() {
            Some(first) if lists.iter().all(|list| list == first) => first.clone(),
            Some(_) => {
                let why = "mappings differ in it, and a recipe has one list for all kernels: the one of all mappings was taken; for another \
                           write a [[kernel-module]] of its own";
                table.note("kernelMappings[].inTreeModulesToRemove", why, notes);
                remove
            }
            None => remove,
        };
        if taken.mappings.is_empty() {
            let why = "no image is left for any kernel: name the modules' source in the recipe (from, path, deb or packages)";
            table.note("kernelMappings", why, notes);
        }
        table.rest(notes);
        taken
    }

    fn modprobe(&mut self, mut table: Table, notes: &mut Notes) {
        let name = table.text("moduleName", notes).filter(|name| by_rule(&table, "moduleName", name, names::module, notes));
        let mut order = table.texts("modulesLoadingOrder", notes);
        order.retain(|name| by_rule(&table, "modulesLoadingOrder", name, names::module, notes));
        // KMM names users first; a node loads what they use first.
        self.load = if order.is_empty() { name.clone().into_iter().collect() } else { order.into_iter().rev().collect() };
        let parameters = table.texts("parameters", notes).join(" ");
        if !parameters.is_empty() && by_rule(&table, "parameters", &parameters, names::module_parameters, notes) {
            match &name {
                Some(name) => drop(self.parameters.insert(canonical(name), parameters)),
                None => table.note("parameters", "nobody knows of which module: write parameters = { NAME = \"...\" }", notes),
            }
        }
        let is_path = |path: &String| path.starts_with('/') && TreePath::parse(path).is_ok();
        for (key, place) in [("dirName", &mut self.dir), ("firmwarePath", &mut self.firmware)] {
            let path = table.text(key, notes);
            if let Some(path) = path.as_ref().filter(|path| !is_path(path)) {
                table.note(key, format!("needed an absolute path, found {path:?}"), notes);
            }
            *place = path.filter(is_path);
        }
        self.dir.take_if(|dir| dir == DIR);
        let why = "systemd-modules-load loads by name alone: what options are for must be so without them";
        table.leave("args", why, notes);
        let why = "options of modprobe say no names that a recipe could check: write load = [...] with what they load";
        table.leave("rawArgs", why, notes);
        table.rest(notes);
    }
}

/// One of `kernelMappings`, its list of the kernel's own modules that go, and the secret of its certificate.
fn mapped(mut table: Table, image: Option<&str>, notes: &mut Notes) -> (Option<Mapping>, Vec<String>, Option<String>) {
    table.leave("build", BUILD, notes);
    table.leave("registryTLS", TLS, notes);
    let certificate = sign(&mut table, notes);
    let list = removed(&mut table, notes);
    let (literal, regexp) = (table.text("literal", notes), table.text("regexp", notes));
    let kernel = match (literal, regexp) {
        (Some(value), None) => by_rule(&table, "literal", &value, names::release, notes).then_some(("literal", value)),
        (None, Some(value)) => by_rule(&table, "regexp", &value, names::release_pattern, notes).then_some(("regexp", value)),
        _ => {
            table.note("literal", "needed exactly one of literal and regexp: this mapping is left out", notes);
            None
        }
    };
    let own = table.text("containerImage", notes);
    let from = match own.as_deref().or(image) {
        Some(text) if text.starts_with("oci:") || text.starts_with("oci-archive:") => {
            Err(format!("needed a registry's image, found {text:?}"))
        }
        Some(text) => ImageTemplate::parse("", text),
        None => Err("needed here or in container, found none".to_owned()),
    };
    let from = from.map_err(|why| table.note("containerImage", format!("{why}: this mapping is left out"), notes)).ok();
    table.rest(notes);
    (kernel.zip(from).map(|((key, value), from)| Mapping { key, value, from }), list, certificate)
}

/// The kernel's own modules that go: a list today, one in old documents.
fn removed(table: &mut Table, notes: &mut Notes) -> Vec<String> {
    let mut names = table.texts("inTreeModulesToRemove", notes);
    names.extend(table.text("inTreeModuleToRemove", notes));
    names.retain(|name| by_rule(table, "inTreeModulesToRemove", name, names::module, notes));
    names
}

/// Notes what is to be done for signed modules; answers the name of the secret with the certificate.
fn sign(table: &mut Table, notes: &mut Notes) -> Option<String> {
    let mut sign = table.table("sign", notes)?;
    let secret =
        |table: &mut Table, key: &str, notes: &mut Notes| table.table(key, notes).and_then(|mut it| it.text("name", notes));
    let certificate =
        secret(&mut sign, "certSecret", notes).filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c)));
    let why = match &certificate {
        Some(name) => format!(
            "no key belongs into a recipe. Images must have signed modules; their certificate, which nodes trust: kubectl get secret {name} \
             --output jsonpath='{{.data.cert}}' | base64 --decode > {name}.der, then [kernel] module-keys"
        ),
        None => "no key belongs into a recipe. Images must have signed modules; name their certificate as [kernel] module-keys"
            .to_owned(),
    };
    table.note("sign", why, notes);
    certificate
}

/// Whether a value follows the rule that a recipe has for it, and is no secret; notes why it does not.
fn by_rule(table: &Table, key: &str, value: &str, rule: fn(&str) -> names::Verdict, notes: &mut Notes) -> bool {
    if let Some(what) = secrets::found_in(value) {
        table.note(key, format!("{what} is in it: left out; {}", secrets::HINT), notes);
        return false;
    }
    rule(value).map_err(|why| table.note(key, format!("{why}: left out"), notes)).is_ok()
}
