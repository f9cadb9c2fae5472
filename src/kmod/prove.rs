//! The proof: whether a kernel loads modules, by its own rules, for each module everything that stands in the way.
//!
//! The kernel stops at the first obstacle; a person who mends a module wants all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::facts::{Facts, LAYOUT, Need};
use super::keyring::Signed;
use super::symbols::{Symbol, Symbols};
use crate::format::module::Machine;

/// What modules are proven against.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `6.12.117+deb13-amd64`
    pub release: String,
    /// For which processor.
    pub machine: Machine,
    /// What its own modules say.
    pub vermagic: String,
    /// What it and its modules export.
    pub symbols: Symbols,
    /// Modules that are part of it.
    pub built_in: BTreeSet<String>,
    /// Its own modules, by name.
    pub modules: BTreeSet<String>,
    /// Whether it loads signed modules only.
    pub signed_only: bool,
}

/// Something that stands in the way of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Finding {
    /// It is for another processor.
    Machine {
        /// The kernel's.
        needed: String,
        /// The module's.
        found: String,
    },
    /// It was built for another kernel.
    Vermagic {
        /// The kernel's.
        needed: String,
        /// The module's; empty where it does not say.
        found: String,
    },
    /// Nobody exports a symbol that it needs.
    Symbol {
        /// Which.
        symbol: String,
    },
    /// A symbol's type is another than it was built against.
    Checksum {
        /// Which.
        symbol: String,
        /// Who exports it.
        owner: String,
        /// As it is exported.
        needed: u32,
        /// As the module has it.
        found: u32,
    },
    /// It says nothing of a symbol's type, so that nobody can tell whether it fits.
    NoChecksum {
        /// Which.
        symbol: String,
        /// Who exports it.
        owner: String,
    },
    /// A symbol is for those who import its namespace.
    Namespace {
        /// Which.
        symbol: String,
        /// Not imported.
        namespace: String,
    },
    /// A symbol is for modules under the GPL only.
    Gpl {
        /// Which.
        symbol: String,
        /// The module's licence.
        license: String,
    },
    /// A module that it says it needs is not there.
    Depends {
        /// Which.
        module: String,
    },
    /// It has the name of a part of the kernel: modprobe would do nothing, the kernel refuse it.
    BuiltIn,
    /// Another module of this name is laid over the image, too.
    Twice {
        /// Where the other one lies.
        other: String,
    },
    /// It may ask for a file that the image does not have.
    Firmware {
        /// Below the folders of firmware.
        file: String,
    },
    /// The kernel loads signed modules only: it has no signature, a stranger's, or one of other bytes.
    Signature {
        /// What is wrong.
        why: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine { needed, found } => write!(f, "built for {found}, the kernel runs on {needed}"),
            Self::Vermagic { needed, found } if found.is_empty() => write!(f, "says no vermagic, the kernel has {needed:?}"),
            Self::Vermagic { needed, found } => write!(f, "vermagic: needed {needed:?}, found {found:?}"),
            Self::Symbol { symbol } => write!(f, "{symbol}: exported by nobody"),
            Self::Checksum { symbol, owner, needed, found } => {
                write!(f, "{symbol}: {owner} exports it with CRC {needed:#010x}, the module was built against {found:#010x}")
            }
            Self::NoChecksum { symbol, owner } => {
                write!(f, "{symbol}: the module has no CRC for it, {owner} exports it with one")
            }
            Self::Namespace { symbol, namespace } => {
                write!(f, "{symbol}: in the namespace {namespace}, which the module does not import")
            }
            Self::Gpl { symbol, license } => {
                write!(f, "{symbol}: for modules under the GPL only, the module's licence is {license:?}")
            }
            Self::Depends { module } => write!(f, "depends on the module {module}, which is not there"),
            Self::BuiltIn => f.write_str("the kernel has a part of this name built in"),
            Self::Twice { other } => write!(f, "{other} is a module of the same name"),
            Self::Firmware { file } => write!(f, "may ask for the firmware {file}, which the image does not have"),
            Self::Signature { why } => f.write_str(why),
        }
    }
}

/// Every [`Finding::kind`].
pub const KINDS: [&str; 12] = [
    "machine",
    "vermagic",
    "symbol",
    "checksum",
    "no-checksum",
    "namespace",
    "gpl",
    "depends",
    "built-in",
    "twice",
    "firmware",
    "signature",
];

impl Finding {
    /// One word for it, as in JSON and in a recipe's `allow`.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Machine { .. } => "machine",
            Self::Vermagic { .. } => "vermagic",
            Self::Symbol { .. } => "symbol",
            Self::Checksum { .. } => "checksum",
            Self::NoChecksum { .. } => "no-checksum",
            Self::Namespace { .. } => "namespace",
            Self::Gpl { .. } => "gpl",
            Self::Depends { .. } => "depends",
            Self::BuiltIn => "built-in",
            Self::Twice { .. } => "twice",
            Self::Firmware { .. } => "firmware",
            Self::Signature { .. } => "signature",
        }
    }
}

/// Everything that stands in the way of each module, in their order. Modules see each other's symbols; of those whose name a module of the
/// kernel has, the kernel's is forgotten.
pub fn prove(kernel: &Kernel, modules: &[Facts]) -> Vec<Vec<Finding>> {
    let mut symbols = kernel.symbols.clone();
    symbols.forget(&modules.iter().map(|facts| facts.name.as_str()).filter(|name| kernel.modules.contains(*name)).collect());
    for facts in modules {
        for gift in &facts.gives {
            let owner = facts.name.as_str().into();
            symbols.insert(&gift.name, Symbol { crc: gift.crc, gpl: gift.gpl, namespace: gift.namespace.clone(), owner });
        }
    }
    let mut paths = BTreeMap::<&str, Vec<&str>>::new();
    for facts in modules {
        for name in BTreeSet::from([&facts.name, &facts.own]) {
            paths.entry(name).or_default().push(&facts.path);
        }
    }
    modules.iter().map(|facts| Proof { kernel, symbols: &symbols, paths: &paths, facts, findings: Vec::new() }.run()).collect()
}

/// The proof of one module.
struct Proof<'a> {
    kernel: &'a Kernel,
    symbols: &'a Symbols,
    /// Of all that are proven, by the names of file and module.
    paths: &'a BTreeMap<&'a str, Vec<&'a str>>,
    facts: &'a Facts,
    findings: Vec<Finding>,
}

impl Proof<'_> {
    /// In the kernel's order.
    fn run(mut self) -> Vec<Finding> {
        self.signature();
        self.machine();
        self.vermagic();
        self.names();
        self.layout();
        for need in &self.facts.needs {
            self.need(need);
        }
        self.findings
    }

    fn signature(&mut self) {
        if !self.kernel.signed_only {
            return;
        }
        let why = match &self.facts.signed {
            Signed::By(_) => return,
            Signed::NotAsked | Signed::Nobody => "is not signed, and the kernel loads signed modules only".to_owned(),
            Signed::Stranger(who) => format!("is signed by a key that the image does not trust: {who}"),
            Signed::Altered(who) => {
                format!("is not what {who} signed: it was altered, stripped or signed by another key of that name")
            }
            Signed::Broken(why) => format!("has a signature that the kernel does not read: {why}"),
        };
        self.findings.push(Finding::Signature { why });
    }

    fn machine(&mut self) {
        let (needed, found) = (self.kernel.machine, self.facts.machine);
        if needed != found {
            self.findings.push(Finding::Machine { needed: needed.to_string(), found: found.to_string() });
        }
    }

    /// `same_magic`: with checksums on both sides the release does not matter, the words behind it do.
    fn vermagic(&mut self) {
        let found = self.facts.vermagic.as_deref().unwrap_or_default();
        let words = |magic: &'_ str| magic.split_once(' ').map(|(_, words)| words.to_owned()).unwrap_or_default();
        let needed = &self.kernel.vermagic;
        let same = match self.facts.versioned {
            true => !found.is_empty() && words(found) == words(needed),
            false => found == needed,
        };
        if !same {
            self.findings.push(Finding::Vermagic { needed: needed.clone(), found: found.to_owned() });
        }
    }

    fn names(&mut self) {
        let facts = self.facts;
        if self.kernel.built_in.contains(&facts.name) {
            self.findings.push(Finding::BuiltIn);
        }
        let named = [&facts.name, &facts.own].into_iter().filter_map(|name| self.paths.get(name.as_str())).flatten();
        let same: BTreeSet<_> = named.filter(|path| **path != facts.path).collect();
        self.findings.extend(same.into_iter().map(|other| Finding::Twice { other: (*other).to_owned() }));
        let there = |name: &str| {
            self.paths.contains_key(name) || self.kernel.modules.contains(name) || self.kernel.built_in.contains(name)
        };
        let missing = facts.depends.iter().filter(|name| !there(name)).cloned();
        self.findings.extend(missing.map(|module| Finding::Depends { module }));
    }

    /// The loader's own structures are versioned as a symbol that nobody imports.
    fn layout(&mut self) {
        if self.facts.versioned {
            self.need(&Need { name: LAYOUT.into(), weak: true, crc: self.facts.layout });
        }
    }

    fn need(&mut self, need: &Need) {
        let name = || need.name.to_string();
        let Some(symbol) = self.symbols.get(&need.name) else {
            if !need.weak {
                self.findings.push(Finding::Symbol { symbol: name() });
            }
            return;
        };
        if symbol.gpl && !self.facts.gpl {
            let license = self.facts.license.clone().unwrap_or_default();
            self.findings.push(Finding::Gpl { symbol: name(), license });
        }
        let owner = || symbol.owner.to_string();
        match (symbol.crc, need.crc) {
            (Some(needed), Some(found)) if needed != found => {
                self.findings.push(Finding::Checksum { symbol: name(), owner: owner(), needed, found });
            }
            (Some(_), None) => self.findings.push(Finding::NoChecksum { symbol: name(), owner: owner() }),
            _ => {}
        }
        if !symbol.namespace.is_empty() && !self.facts.namespaces.iter().any(|found| **found == *symbol.namespace) {
            self.findings.push(Finding::Namespace { symbol: name(), namespace: symbol.namespace.to_string() });
        }
    }
}
