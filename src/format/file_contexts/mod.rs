//! SELinux's `file_contexts`: which label a path gets. What files with such rules mean is described in selabel_file(5); this is what
//! libselinux makes of them, so that a label written here is the one that restorecon(8) would write.
//!
//! ```text
//! file_contexts, .homedirs, .local --FileContexts::parse--> rules    .subs, .subs_dist --> substitutions    label(path, kind)
//! ```
//!
//! A rule is a regular expression for the whole path, perhaps a kind of file, and a label. A path is first substituted: once by
//! `.subs`, then once by `.subs_dist`. Among the rules that match, one without meta characters wins, otherwise the last one.
//!
//! What libselinux takes from PCRE2 is compiled by `regex`, whose time is linear. What the two would read differently (lookaround,
//! possessive quantifiers, ranges that look like set operations) is refused.

pub(crate) mod pattern;
mod rule;
mod substitution;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use rule::{Matcher, Rule};
use substitution::Substitution;

/// Ends of the names of the files with rules, in their order: a later one wins.
pub const RULES: [&str; 3] = ["", ".homedirs", ".local"];
/// Ends of the names of the files with substitutions, in the order in which they are applied.
pub const SUBSTITUTIONS: [&str; 2] = [".subs", ".subs_dist"];

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `--`
    Regular,
    /// `-d`
    Directory,
    /// `-l`
    Symlink,
    /// `-c`
    Character,
    /// `-b`
    Block,
    /// `-p`
    Pipe,
    /// `-s`
    Socket,
}

/// A file of a policy: the name for messages, and its text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// `/etc/selinux/default/contexts/files/file_contexts`
    pub name: &'a str,
    /// All of it.
    pub text: &'a str,
}

/// A line that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {why}")]
pub struct BadRule {
    /// The name of its [`Source`].
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What was needed, and what was found.
    pub why: String,
}

/// The rules of a policy, ready to be asked.
#[derive(Debug)]
pub struct FileContexts {
    rules: Vec<Rule>,
    /// Rules without meta characters, by the path that they are for.
    exact: HashMap<String, Vec<usize>>,
    /// The other ones, by what every path that they match begins with.
    prefixes: HashMap<String, Vec<usize>>,
    /// The lengths of those beginnings.
    lengths: BTreeSet<usize>,
    substitutions: [Vec<Substitution>; 2],
}

impl FileContexts {
    /// Reads `rules` (a file each, in the order of [`RULES`]) and `substitutions` (one text for each of [`SUBSTITUTIONS`]).
    ///
    /// # Errors
    /// The first line that cannot be understood.
    pub fn parse(rules: &[Source<'_>], substitutions: [&str; 2]) -> Result<Self, BadRule> {
        let mut contexts = Self {
            rules: Vec::new(),
            exact: HashMap::new(),
            prefixes: HashMap::new(),
            lengths: BTreeSet::new(),
            substitutions: substitutions.map(substitution::parse),
        };
        for source in rules {
            for (index, line) in source.text.lines().enumerate() {
                let bad = |why| BadRule { file: source.name.to_owned(), line: index + 1, why };
                if let Some(rule) = Rule::parse(line).map_err(bad)? {
                    contexts.add(rule);
                }
            }
        }
        Ok(contexts)
    }

    fn add(&mut self, rule: Rule) {
        let number = self.rules.len();
        match &rule.matcher {
            Matcher::Exact(path) => self.exact.entry(path.clone()).or_default().push(number),
            Matcher::Pattern { prefix, .. } => {
                self.lengths.insert(prefix.len());
                self.prefixes.entry(prefix.clone()).or_default().push(number);
            }
        }
        self.rules.push(rule);
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The label of what stands at `path`, which begins with `/` and has no `/` at its end or twice. None where no rule matches, or
    /// the one that wins says `<<none>>`.
    pub fn label(&self, path: &str, kind: FileKind) -> Option<&str> {
        let substituted = self.substituted(path);
        let path = substituted.as_deref().unwrap_or(path);
        let rule = self.exact_rule(path, kind).or_else(|| self.last_rule(path, kind))?;
        rule.label.as_deref()
    }

    fn substituted(&self, path: &str) -> Option<String> {
        let [own, distribution] = &self.substitutions;
        let first = substitution::apply(own, path);
        let second = substitution::apply(distribution, first.as_deref().unwrap_or(path));
        second.or(first)
    }

    fn exact_rule(&self, path: &str, kind: FileKind) -> Option<&Rule> {
        let numbers = self.exact.get(path)?;
        numbers.iter().rev().map(|number| &self.rules[*number]).find(|rule| rule.is_for(kind))
    }

    fn last_rule(&self, path: &str, kind: FileKind) -> Option<&Rule> {
        let beginnings = self.lengths.range(..=path.len()).filter_map(|length| path.get(..*length));
        let mut numbers: Vec<usize> = beginnings.filter_map(|prefix| self.prefixes.get(prefix)).flatten().copied().collect();
        numbers.sort_unstable();
        let rules = numbers.into_iter().rev().map(|number| &self.rules[number]);
        rules.into_iter().find(|rule| rule.is_for(kind) && rule.matches(path))
    }
}
