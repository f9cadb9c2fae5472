//! From files to one recipe as written: reads TOML, follows `include`, makes paths relative to the recipe's folder.
//!
//! What reads a file is passed in, so that a whole recipe can stand in memory.

use std::collections::BTreeSet;
use std::io;

use serde::Deserialize;
use toml::de::DeTable;

use super::image::ImageSource;
use super::local;
use super::merge::{self, Part};
use super::module_source::ImageTemplate;
use super::problem::Problems;
use super::shape;
use super::written::Written;
use super::{Findings, Place, Placed, Problem, Sources};
use crate::failure::Kind;

/// How deep fragments may include fragments: more is a cycle through symbolic links.
const DEPTH: usize = 16;
/// A recipe of more bytes is a mistake.
const LARGEST: usize = 4 << 20;

/// Reads the file with this name, relative to the recipe's folder.
pub(super) type Reader<'a> = &'a dyn Fn(&str) -> io::Result<String>;

/// Everything that was read, merged.
pub(super) struct Loaded {
    pub sources: Sources,
    pub findings: Findings,
    pub written: Written,
    /// Dotted paths of what the recipe itself has, but wrongly.
    pub dropped: BTreeSet<String>,
}

/// Reads the recipe `name` and all that it includes. `shown` is the folder as messages name it, with its `/`, or nothing.
///
/// Fails when the recipe itself cannot be read, or a file is not TOML: then nothing more can be said.
pub(super) fn load(name: &str, shown: &str, reader: Reader<'_>) -> Result<Loaded, Problems> {
    let text = read(reader, name).map_err(|error| Problems {
        kind: Kind::Input,
        list: vec![Problem {
            file: format!("{shown}{name}"),
            at: None,
            what: format!("cannot be read: {error}"),
            hint: Some(
                match error.kind() {
                    io::ErrorKind::NotFound => "name an existing recipe (a .toml file)",
                    io::ErrorKind::IsADirectory => "name the recipe in it (a .toml file)",
                    io::ErrorKind::PermissionDenied => "let this user read it: chmod +r, and +x for the folders above",
                    _ => "name a recipe (a .toml file, text in UTF-8)",
                }
                .to_owned(),
            ),
        }],
    })?;
    let mut loader = Loader {
        shown,
        reader,
        schema: super::schema_value(),
        sources: Sources::default(),
        findings: Findings::default(),
        dropped: BTreeSet::new(),
        chain: Vec::new(),
        seen: BTreeSet::new(),
        broken: false,
    };
    let part = loader.file(name, &text);
    let Loader { sources, mut findings, dropped, broken, .. } = loader;
    if broken {
        return Err(Problems::of(findings, &sources));
    }
    let written = merge::merge(part, &sources, &mut findings);
    Ok(Loaded { sources, findings, written, dropped })
}

fn read(reader: Reader<'_>, name: &str) -> io::Result<String> {
    let text = reader(name)?;
    if text.len() > LARGEST {
        return Err(io::Error::other(format!("needed at most {LARGEST} bytes, found {}", text.len())));
    }
    Ok(text)
}

struct Loader<'a> {
    shown: &'a str,
    reader: Reader<'a>,
    schema: serde_json::Value,
    sources: Sources,
    findings: Findings,
    dropped: BTreeSet<String>,
    /// Files that are being read, outermost first.
    chain: Vec<String>,
    /// Files that have been read: a fragment that is included twice counts once, at its first place.
    seen: BTreeSet<String>,
    /// Whether a file is not TOML.
    broken: bool,
}

impl Loader<'_> {
    fn file(&mut self, name: &str, text: &str) -> Part {
        let start = self.sources.add(&format!("{}{name}", self.shown), text);
        self.seen.insert(name.to_owned());
        let mut written = self.parse(text, start);
        let include = std::mem::take(&mut written.include);
        self.rebase(name, &mut written);
        self.chain.push(name.to_owned());
        let includes = include.iter().filter_map(|path| self.include(name, path)).collect();
        self.chain.pop();
        Part { written, includes }
    }

    fn parse(&mut self, text: &str, start: usize) -> Written {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            self.broken = true;
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            self.findings.add(Place(start + at), format!("not TOML: {}", error.message()));
        }
        if !errors.is_empty() {
            return Written::default();
        }
        super::secrets::look(table.get_ref(), start, &mut self.findings);
        let fitted = shape::fit(table, start, &self.schema, &mut self.findings);
        if self.chain.is_empty() {
            self.dropped = fitted.dropped;
        }
        Written::deserialize(toml::de::Deserializer::from(fitted.table)).unwrap_or_else(|error| {
            let at = error.span().map_or(start, |span| span.start);
            self.findings.add(Place(at), error.message());
            Written::default()
        })
    }

    fn include(&mut self, name: &str, path: &Placed<String>) -> Option<Part> {
        let inner = match local::join(name, path) {
            Ok(inner) => inner,
            Err(why) => {
                self.findings.add(path.place, format!("include: {why}"));
                return None;
            }
        };
        if let Some(first) = self.chain.iter().position(|outer| *outer == inner) {
            let mut circle: Vec<_> = self.chain[first..].to_vec();
            circle.push(inner);
            self.findings.add_with_hint(
                path.place,
                format!("include goes in a circle: {}", circle.join(" -> ")),
                "take one of these includes out",
            );
            return None;
        }
        if self.chain.len() >= DEPTH {
            self.findings.add(path.place, format!("include: needed at most {DEPTH} files in one chain, found more"));
            return None;
        }
        if self.seen.contains(&inner) {
            return None;
        }
        match read(self.reader, &inner) {
            Ok(text) => Some(self.file(&inner, &text)),
            Err(error) => {
                let chain = self.chain.join(" -> ");
                let what = format!("include {:?}: {}{inner} cannot be read: {error}", path.value, self.shown);
                self.findings.add_with_hint(
                    path.place,
                    what,
                    format!("included by {chain}; paths are relative to the including file"),
                );
                None
            }
        }
    }

    /// Makes every local path of the file `name` relative to the recipe's folder.
    fn rebase(&mut self, name: &str, written: &mut Written) {
        if let Some(from) = &mut written.base.from {
            match ImageSource::parse(name, &from.value) {
                Ok(source) => from.value = source.to_string(),
                Err(why) => self.findings.add(from.place, format!("base.from: {why}")),
            }
        }
        let images = written.kernel_modules.iter_mut().flat_map(|module| {
            module.from.as_mut().into_iter().chain(module.kernel_mappings.iter_mut().filter_map(|mapping| mapping.from.as_mut()))
        });
        for from in images {
            match ImageTemplate::parse(name, &from.value) {
                Ok(template) => from.value = template.to_string(),
                Err(why) => self.findings.add(from.place, format!("kernel-module.from: {why}")),
            }
        }
        let overlays = written.overlays.iter_mut().filter_map(|overlay| overlay.path.as_mut());
        let files = written.files.iter_mut().filter_map(|file| file.source.as_mut());
        let networks = written.networks.iter_mut().filter_map(|network| network.source.as_mut());
        let keyring = written.base.keyring.as_mut().filter(|path| !path.starts_with('/'));
        let keys = written.sign.commit.as_mut().into_iter().chain(written.sign.image.as_mut());
        let base = written.base.path.as_mut();
        let modules = written.kernel_modules.iter_mut().flat_map(|module| {
            let mapped = module.kernel_mappings.iter_mut().flat_map(|mapping| mapping.path.iter_mut().chain(&mut mapping.deb));
            let signer = module.sign.as_mut().map(|sign| &mut sign.certificate);
            module.path.iter_mut().chain(&mut module.deb).chain(mapped).chain(signer)
        });
        let kernel = written.kernel.symvers.as_mut().into_iter().chain(&mut written.kernel.module_keys);
        let tuned = written.tuned.iter_mut().flat_map(|tuned| &mut tuned.profiles);
        let paths = overlays.chain(files).chain(networks).chain(keys).chain(written.agent.path.as_mut());
        let paths = paths.chain(keyring).chain(base).chain(modules).chain(kernel).chain(tuned);
        for path in paths {
            match local::join(name, &path.value) {
                Ok(joined) => path.value = joined,
                Err(why) => {
                    self.findings.add_with_hint(path.place, why, "so the recipe builds the same on every machine");
                }
            }
        }
    }
}
