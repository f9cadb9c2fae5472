//! An index with modules added and removed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use super::{Entry, Index, Module, ModulePath, SearchOrder, WeakDeps, graph, order};

/// Fewer modules than this are in an index of depmod's.
const TOO_MANY: usize = 65535;
/// What the kernel's loader itself provides.
const LOADER: [&str; 3] = ["__this_module", "_GLOBAL_OFFSET_TABLE_", "TOC."];

/// The new index, and what there is to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extended {
    /// The index.
    pub index: Index,
    /// What new modules import, and no module exports. Most of it is the kernel's own: its `System.map` or `Module.symvers` has it.
    pub unresolved: Vec<Unresolved>,
    /// Modules that do not count, for others of their names; new ones too.
    pub passed_over: Vec<ModulePath>,
    /// Old modules of which the order of some lines in `modules.dep` depends, in a way that no text file says: several dependencies
    /// of such a module have it as the last user in depmod's order, for the first time, and the one that it imports from last comes
    /// first. Each order loads as well as the other. Given to [`Index::with`] like new ones, they are known.
    pub guessed: Vec<ModulePath>,
}

/// A symbol that no module exports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Who imports it.
    pub module: ModulePath,
    /// Its name.
    pub symbol: String,
}

/// A dependency that the text files of the old index do not decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// The module: reading its file says what it imports.
    pub module: ModulePath,
    /// What it depended on, as far as known.
    pub dependency: ModulePath,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (depended on {})", self.module, self.dependency)
    }
}

/// Why there is no such index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtendError {
    /// A module to be removed is not in the index.
    #[error("{0} cannot be removed: the index has no such module")]
    NotThere(ModulePath),
    /// A path is given to two new modules.
    #[error("{0} is added twice")]
    Twice(ModulePath),
    /// A new module has something that no index can hold.
    #[error("{path}: {why}")]
    Module {
        /// The module.
        path: ModulePath,
        /// What was needed, and what was found.
        why: String,
    },
    /// Files with one module, of which depmod takes what it happens to find first.
    #[error(
        "{first} and {second} are the same module, and the search order prefers neither: put one into updates/, or remove the other"
    )]
    Ambiguous {
        /// A file.
        first: ModulePath,
        /// Another one.
        second: ModulePath,
    },
    /// What the text files do not say.
    #[error(
        "what these modules depend on is unknown until their files are read, since what they depended on is removed, or replaced by \
         modules that export other symbols: {}",
        listed(.0)
    )]
    Unknown(Vec<Unknown>),
    /// Modules that depend on each other.
    #[error("the modules {} depend on each other", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// More than depmod takes.
    #[error("needed fewer than {TOO_MANY} modules, found {0}")]
    TooMany(usize),
}

fn listed(unknown: &[Unknown]) -> String {
    unknown.iter().map(Unknown::to_string).collect::<Vec<_>>().join(", ")
}

/// A module of the new index.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// By its place in the old one.
    Old(usize, &'a ModulePath),
    New(&'a Module),
}

impl<'a> Source<'a> {
    fn path(self) -> &'a ModulePath {
        match self {
            Self::Old(_, path) => path,
            Self::New(module) => &module.path,
        }
    }
}

impl Index {
    /// The index that depmod would make with `removed` gone from the disk and `added` there. What is added at a path that the index
    /// has replaces that file.
    ///
    /// # Errors
    /// What contradicts itself, and what cannot be known.
    pub fn with(&self, removed: &[ModulePath], added: &[Module], search: &SearchOrder) -> Result<Extended, ExtendError> {
        let (mut sources, passed_over) = self.sources(removed, added, search)?;
        if sources.len() >= TOO_MANY {
            return Err(ExtendError::TooMany(sources.len()));
        }
        order::sort(&mut sources, &self.order, |source| source.path());
        let change = Change::new(self, &sources);
        let (edges, open) = change.edges();
        let sorted =
            graph::sort(&edges).map_err(|cycle| ExtendError::Cycle(cycle.iter().map(|node| change.name(*node)).collect()))?;
        let closures = graph::closures(&edges, &sorted.rank);
        change.check(open, &closures)?;
        let guessed = change.guessed(&sorted.released);
        let unresolved = change.unresolved();
        let symbols = change.owners.iter().map(|(symbol, node)| ((*symbol).to_owned(), *node)).collect();
        let entries = sources.iter().zip(closures).map(|(source, dependencies)| Entry { dependencies, ..self.entry_of(*source) });
        let index = Self { entries: entries.collect(), symbols, ..self.clone() };
        Ok(Extended { index, unresolved, passed_over, guessed })
    }

    /// What is on the disk afterwards and counts, by name; and what does not count.
    fn sources<'a>(
        &'a self,
        removed: &[ModulePath],
        added: &'a [Module],
        search: &SearchOrder,
    ) -> Result<(Vec<Source<'a>>, Vec<ModulePath>), ExtendError> {
        let mut files: BTreeMap<&ModulePath, Source<'a>> = BTreeMap::new();
        files.extend(self.entries.iter().enumerate().map(|(place, entry)| (&entry.path, Source::Old(place, &entry.path))));
        for path in removed {
            files.remove(path).ok_or_else(|| ExtendError::NotThere(path.clone()))?;
        }
        for module in added {
            if let Some(why) = module.problem() {
                return Err(ExtendError::Module { path: module.path.clone(), why });
            }
            if let Some(Source::New(_)) = files.insert(&module.path, Source::New(module)) {
                return Err(ExtendError::Twice(module.path.clone()));
            }
        }
        let mut named: BTreeMap<String, Vec<Source<'a>>> = BTreeMap::new();
        for (path, source) in files {
            named.entry(path.name()).or_default().push(source);
        }
        let (mut sources, mut passed_over) = (Vec::new(), Vec::new());
        for candidates in named.into_values() {
            let best = best(&candidates, search)?;
            passed_over.extend(candidates.iter().map(|source| source.path()).filter(|path| *path != best.path()).cloned());
            sources.push(best);
        }
        Ok((sources, passed_over))
    }

    fn entry_of(&self, source: Source<'_>) -> Entry {
        match source {
            Source::Old(place, _) => self.entries[place].clone(),
            Source::New(module) => Entry {
                aliases: module.aliases.clone(),
                softdeps: module.softdeps.clone(),
                // An older depmod does not know them.
                weakdeps: if self.weak == WeakDeps::Listed { module.weakdeps.clone() } else { Vec::new() },
                ..Entry::new(module.path.clone())
            },
        }
    }
}

/// The one that counts, in whatever order depmod finds them: it is better than each other one.
fn best<'a>(candidates: &[Source<'a>], search: &SearchOrder) -> Result<Source<'a>, ExtendError> {
    let mut best = candidates[0];
    for other in &candidates[1..] {
        if search.better(best.path(), other.path()) != Some(best.path()) {
            best = *other;
        }
    }
    for other in candidates.iter().filter(|other| other.path() != best.path()) {
        if search.better(best.path(), other.path()) != Some(best.path()) {
            let (first, second) = (best.path().min(other.path()), best.path().max(other.path()));
            return Err(ExtendError::Ambiguous { first: first.clone(), second: second.clone() });
        }
    }
    Ok(best)
}

/// An edge that is there perhaps: the module (by place among the new ones), its dependency (by place in the old index), and where
/// that edge would lead now.
type Open = (usize, usize, BTreeSet<usize>);

/// The way from the old index to the new one. Nodes are places in the latter.
struct Change<'a> {
    old: &'a Index,
    sources: &'a [Source<'a>],
    /// Where the old ones are now.
    nodes: HashMap<usize, usize>,
    /// Who exports a symbol now.
    owners: BTreeMap<&'a str, usize>,
    /// Of each old one: who exports now what it has exported.
    heirs: Vec<BTreeSet<Option<usize>>>,
    /// The edges between the old ones that must be.
    direct: Vec<Vec<usize>>,
}

impl<'a> Change<'a> {
    fn new(old: &'a Index, sources: &'a [Source<'a>]) -> Self {
        let places = sources.iter().enumerate();
        let nodes: HashMap<usize, usize> = places
            .filter_map(|(node, source)| match source {
                Source::Old(place, _) => Some((*place, node)),
                Source::New(_) => None,
            })
            .collect();
        let mut exports: Vec<Vec<&str>> = vec![Vec::new(); old.entries.len()];
        for (symbol, place) in &old.symbols {
            exports[*place].push(symbol);
        }
        let mut owners = BTreeMap::new();
        for (node, source) in sources.iter().enumerate() {
            match source {
                Source::Old(place, _) => owners.extend(exports[*place].iter().map(|symbol| (*symbol, node))),
                Source::New(module) => owners.extend(module.exports.iter().map(|symbol| (symbol.as_str(), node))),
            }
        }
        let heirs = exports.iter().map(|symbols| symbols.iter().map(|symbol| owners.get(symbol).copied()).collect());
        let closures: Vec<&[usize]> = old.entries.iter().map(|entry| &entry.dependencies[..]).collect();
        Self { old, sources, nodes, heirs: heirs.collect(), direct: graph::direct(&closures), owners }
    }

    fn name(&self, node: usize) -> String {
        self.sources[node].path().name()
    }

    /// Who has taken the place of an old module, where all that it has exported leads to one.
    fn heir(&self, place: usize) -> Option<usize> {
        let heirs = &self.heirs[place];
        match heirs.first() {
            Some(heir) if heirs.len() == 1 => *heir,
            Some(_) => None,
            // It exports nothing that counts, and yet something depends on it.
            None => self.nodes.get(&place).copied(),
        }
    }

    /// What each module imports from directly, as far as the order and the closures depend on it; and what remains to be checked.
    fn edges(&self) -> (Vec<Vec<usize>>, Vec<Open>) {
        let (mut edges, mut open) = (Vec::new(), Vec::new());
        for (node, source) in self.sources.iter().enumerate() {
            edges.push(match source {
                Source::New(module) => {
                    let owners = module.imports.iter().filter_map(|symbol| self.owners.get(bare(symbol)));
                    once(owners.copied())
                }
                Source::Old(place, _) => {
                    let direct = &self.direct[*place];
                    for used in &self.old.entries[*place].dependencies {
                        let heirs = match self.heir(*used) {
                            Some(heir) => BTreeSet::from([heir]),
                            // None is certain: it imports something from there, of which nobody says what.
                            None if direct.contains(used) => BTreeSet::from([usize::MAX]),
                            None => self.heirs[*used].iter().filter_map(|heir| *heir).collect(),
                        };
                        open.push((node, *used, heirs));
                    }
                    once(direct.iter().filter_map(|used| self.heir(*used)))
                }
            });
        }
        (edges, open)
    }

    /// What is not sure to be there is there in another way, or unknown.
    fn check(&self, open: Vec<Open>, closures: &[Vec<usize>]) -> Result<(), ExtendError> {
        let within: Vec<HashSet<usize>> = closures.iter().map(|closure| closure.iter().copied().collect()).collect();
        let unknown = open.into_iter().filter(|(node, _, heirs)| !heirs.iter().all(|heir| within[*node].contains(heir)));
        let unknown = unknown.map(|(node, used, _)| Unknown {
            module: self.sources[node].path().clone(),
            dependency: self.old.entries[used].path.clone(),
        });
        let unknown: Vec<_> = unknown.collect();
        if unknown.is_empty() { Ok(()) } else { Err(ExtendError::Unknown(unknown)) }
    }

    /// The old modules that release several others, and have not released these together before.
    fn guessed(&self, released: &[Vec<usize>]) -> Vec<ModulePath> {
        let Ok(before) = graph::sort(&self.direct) else { return Vec::new() };
        let known = |place: usize, group: &[usize]| {
            let before: HashSet<Option<usize>> = before.released[place].iter().map(|used| self.heir(*used)).collect();
            group.len() < 2 || group.iter().all(|used| before.contains(&Some(*used)))
        };
        let guessed = self.sources.iter().zip(released).filter_map(|(source, group)| match source {
            Source::Old(place, path) if !known(*place, group) => Some((*path).clone()),
            _ => None,
        });
        guessed.collect()
    }

    fn unresolved(&self) -> Vec<Unresolved> {
        let mut unresolved = Vec::new();
        for source in self.sources {
            let Source::New(module) = source else { continue };
            let known = |symbol: &str| self.owners.contains_key(symbol) || LOADER.contains(&symbol);
            let symbols: BTreeSet<&str> =
                module.imports.iter().map(|symbol| bare(symbol)).filter(|symbol| !known(symbol)).collect();
            let symbols = symbols.into_iter().map(|symbol| Unresolved { module: module.path.clone(), symbol: symbol.to_owned() });
            unresolved.extend(symbols);
        }
        unresolved
    }
}

/// The name that a symbol is exported by: ppc64 imports `.foo`, which is `foo`.
fn bare(symbol: &str) -> &str {
    symbol.strip_prefix('.').unwrap_or(symbol)
}

/// Each once, in the order in which they come first.
fn once(nodes: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut seen = HashSet::new();
    nodes.filter(|node| seen.insert(*node)).collect()
}
