//! Kernel arguments have one owner: whoever wants one declares it, and one list comes of all declarations.
//!
//! ```text
//! recipe, kernel modules, tuned's profiles ... --[Declaration]--> resolve --> [KernelArgument], each with all who asked for it
//!                                                                        \--> Contradictions: two values, and who wants them
//! ```
//!
//! Builder and agent use this one: the builder for what is known when an image is built, the agent for what a node adds.
//!
//! What is asked for twice is there once. Order: that of the first declarations, except that `hugepages=` without a size comes before
//! those with one. Whether there is a contradiction, which arguments there are and who asked for each does not depend on the order.
//! Which arguments may have several values is a table: [`rules`].
//!
//! Architecture invariant: no I/O, and nothing here knows what a recipe or a profile is.

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Who asks for something, in words for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// `recipe`, `tuned profile basalt-node`, `kernel-module nvidia`.
    pub by: String,
    /// Where that says so: `gpu-node.toml:12`, `/usr/lib/tuned/profiles/basalt-node/tuned.conf:40`, `blacklist`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

impl Source {
    /// Without a place.
    pub fn new(by: impl Into<String>) -> Self {
        Self { by: by.into(), at: None }
    }

    /// With a place.
    #[must_use]
    pub fn at(self, at: impl Into<String>) -> Self {
        Self { at: Some(at.into()), ..self }
    }
}

/// Whether `text` is one argument, `name` or `name=value`, that anybody may declare.
///
/// # Errors
/// Says what was needed and found.
pub fn one(text: &str) -> Result<(), String> {
    if text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '"' || !c.is_ascii()) {
        return Err(format!("needed one kernel argument without white space or quotes, found {text:?}"));
    }
    match text.split('=').next() {
        Some(name @ ("root" | "ostree")) => Err(format!("needed no {name:?}, which Basalt sets itself, found {text:?}")),
        Some("") => Err(format!("needed a name before \"=\", found {text:?}")),
        _ => Ok(()),
    }
}

/// `recipe: gpu-node.toml:12`
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.by)?;
        self.at.as_ref().map_or(Ok(()), |at| write!(f, ": {at}"))
    }
}

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// An argument: one word; a size of large pages and their number are two: `hugepagesz=1G hugepages=4`.
    pub text: String,
    /// Who declares it.
    pub source: Source,
}

impl Declaration {
    /// The declarations of one who lists `words` in this order: a size of large pages and the number behind it stay together.
    pub fn list(words: impl IntoIterator<Item = (String, Source)>) -> Vec<Self> {
        let mut list: Vec<Self> = Vec::new();
        for (text, source) in words {
            // Other arguments between the two change nothing for the kernel.
            let last = list.iter_mut().rev().find(|known| rules::is_size(&known.text) || rules::is_number(&known.text));
            match last.filter(|known| rules::is_bare_size(&known.text) && rules::is_number(&text)) {
                Some(size) => size.text = format!("{} {text}", size.text),
                None => list.push(Self { text, source }),
            }
        }
        list
    }
}

/// An argument, and everybody who asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KernelArgument {
    /// As in [`Declaration`].
    pub text: String,
    /// In the order in which they asked; none twice.
    pub asked_by: Vec<Source>,
}

impl KernelArgument {
    /// The words of the kernel's command line that it is.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split(' ')
    }

    /// Whether `word` is one of them.
    pub fn has(&self, word: &str) -> bool {
        self.words().any(|own| own == word)
    }

    /// What was declared.
    pub fn declarations(&self) -> impl Iterator<Item = Declaration> {
        self.asked_by.iter().map(|source| Declaration { text: self.text.clone(), source: source.clone() })
    }
}

/// `"iommu=pt" (recipe: gpu-node.toml:12, tuned profile basalt-node)`
impl fmt::Display for KernelArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.text, each(&self.asked_by, ", "))
    }
}

/// An argument that can have one value, and is to have several.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel argument {name} can have one value, and is asked for as {}", each(.values, " and "))]
pub struct Contradiction {
    /// `iommu`, or what of it: `pci (realloc)`.
    pub name: String,
    /// At least two, which are not all one value.
    pub values: Vec<KernelArgument>,
}

/// Every contradiction, by name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", each(.0, "\n"))]
pub struct Contradictions(pub Vec<Contradiction>);

fn each(list: &[impl fmt::Display], between: &str) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

impl Contradictions {
    /// What to do about it.
    pub const NEXT: &'static str = "the kernel would take one of them: leave out all but one";
}

/// One list of all declarations: see the [module](self).
///
/// # Errors
/// Every contradiction, with all who want one of the values.
pub fn resolve(declarations: impl IntoIterator<Item = Declaration>) -> Result<Vec<KernelArgument>, Contradictions> {
    let mut arguments: Vec<KernelArgument> = Vec::new();
    for Declaration { text, source } in declarations {
        match arguments.iter_mut().find(|known| known.text == text) {
            Some(known) if known.asked_by.contains(&source) => {}
            Some(known) => known.asked_by.push(source),
            None => arguments.push(KernelArgument { text, asked_by: vec![source] }),
        }
    }
    let contradictions = contradictions(&arguments);
    if !contradictions.is_empty() {
        return Err(Contradictions(contradictions));
    }
    // Behind a size it would be read as a number of that size.
    let first = arguments.iter().position(|argument| rules::is_size(&argument.text)).unwrap_or(arguments.len());
    let (alone, others): (Vec<_>, Vec<_>) =
        arguments.split_off(first).into_iter().partition(|argument| rules::is_number(&argument.text));
    arguments.extend(alone);
    arguments.extend(others);
    Ok(arguments)
}

fn contradictions(arguments: &[KernelArgument]) -> Vec<Contradiction> {
    let mut wanted: BTreeMap<String, Vec<(String, &KernelArgument)>> = BTreeMap::new();
    for argument in arguments {
        for (name, value) in rules::settings(&argument.text) {
            wanted.entry(name).or_default().push((value, argument));
        }
    }
    // What one text says twice is its own affair.
    let contradict = |(one, by): &(String, &KernelArgument), (other, by_other): &(String, &KernelArgument)| {
        one != other && by.text != by_other.text
    };
    wanted.retain(|_, values| values.iter().any(|one| values.iter().any(|other| contradict(one, other))));
    let disputed = wanted.into_iter().map(|(name, values)| {
        let mut values: Vec<_> = values.into_iter().map(|(_, argument)| argument.clone()).collect();
        values.dedup();
        Contradiction { name, values }
    });
    disputed.collect()
}
