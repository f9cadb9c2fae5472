//! From names to profiles: each one behind those that it includes.
//!
//! A file is loaded once. So a profile that includes its own name gets the one in the folder before, and what includes itself over
//! others is loaded without an end.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::finding::{Finding, What};
use super::folders::read;
use super::profile::{Profile, Written};
use super::variables::Variables;
use super::{Folders, LoadError, Loaded, Origin, Root, expand, ini, python};

/// What is loaded.
pub struct Chain {
    /// The names that tuned takes, in their order.
    pub names: Vec<String>,
    /// Parents before those that include them.
    pub profiles: Vec<(Loaded, Profile)>,
    /// What is told of it.
    pub findings: Vec<Finding>,
}

/// Loads the profiles in `names`, which spaces part, and all that they include.
///
/// # Errors
/// What makes tuned refuse them.
pub fn load(root: &dyn Root, folders: &Folders, names: &str, functions: Option<&BTreeSet<String>>) -> Result<Chain, LoadError> {
    let asked = names;
    let (good, bad): (Vec<&str>, Vec<&str>) = python::words(names).partition(|name| is_safe(name));
    let names: Vec<String> = good.into_iter().map(str::to_owned).collect();
    let chain = Chain { names: names.clone(), profiles: Vec::new(), findings: Vec::new() };
    let mut loader = Loader { root, folders, functions, seen: Vec::new(), way: Vec::new(), chain };
    for (active, name) in names.iter().enumerate() {
        loader.load(name, None, active)?;
    }
    let mut chain = loader.chain;
    let Some((first, _)) = chain.profiles.first() else { return Err(LoadError::NoProfile(asked.to_owned())) };
    let origin = Origin { file: Arc::clone(&first.file), line: 1 };
    let ignored = |name: &str| Finding { origin: origin.clone(), what: What::IgnoredName { name: name.to_owned() } };
    let ignored: Vec<_> = bad.into_iter().map(ignored).collect();
    chain.findings.extend(ignored);
    Ok(chain)
}

fn is_safe(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

struct Loader<'a> {
    root: &'a dyn Root,
    folders: &'a Folders,
    functions: Option<&'a BTreeSet<String>>,
    /// Files that are loaded, or being loaded.
    seen: Vec<Arc<str>>,
    /// Names and files from the active profile to the one that is being loaded.
    way: Vec<(String, Arc<str>)>,
    chain: Chain,
}

impl Loader<'_> {
    fn load(&mut self, name: &str, asked_by: Option<&Written>, active: usize) -> Result<(), LoadError> {
        let (name, optional) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
        let Some((file, text)) = self.find(name, optional, asked_by)? else { return Ok(()) };
        self.seen.push(Arc::clone(&file));
        let syntax = |lines| LoadError::Syntax { file: file.to_string(), lines };
        let document = ini::parse(&text, ini::Format::Profile).map_err(syntax)?;
        for ini::Duplicate { section, option, first, last } in &document.duplicates {
            let what = What::Duplicate { section: section.clone(), option: option.clone(), first: *first };
            self.tell(Origin { file: Arc::clone(&file), line: *last }, what);
        }
        let mut profile = Profile::new(&file, document, active);
        self.way.push((name.to_owned(), Arc::clone(&file)));
        if let Some(include) = profile.take_include() {
            self.include(&include, active)?;
        }
        self.way.pop();
        self.chain.profiles.push((Loaded { name: name.to_owned(), file }, profile));
        Ok(())
    }

    /// The parents that `include` names. tuned has no variables yet when it reads it.
    fn include(&mut self, include: &Written, active: usize) -> Result<(), LoadError> {
        let expanded = expand::expand(&Variables::default(), &include.text, &include.origin, self.functions)?;
        if !expanded.left.is_empty() {
            self.tell(include.origin.clone(), What::IncludeLeftToNode { name: expanded.text });
            return Ok(());
        }
        self.chain.findings.extend(expanded.findings);
        for name in expanded.text.split([',', ';']) {
            self.load(python::strip(name), Some(include), active)?;
        }
        Ok(())
    }

    /// The file of `name` and its text; none where it is loaded already, or need not be there.
    fn find(&mut self, name: &str, optional: bool, asked_by: Option<&Written>) -> Result<Option<(Arc<str>, String)>, LoadError> {
        let searched = self.folders.configs(name);
        let mut seen = None;
        for path in &searched {
            if let Some(file) = self.seen.iter().find(|file| ***file == **path) {
                seen = Some(Arc::clone(file));
            } else if let Some(text) = read(self.root, path)? {
                return Ok(Some((path.as_str().into(), text)));
            }
        }
        let asked_by = asked_by.map(|written| written.origin.clone());
        match (seen, asked_by) {
            (Some(file), Some(origin)) => {
                if let Some(place) = self.way.iter().position(|(_, own)| *own == file) {
                    let chain = self.way[place..].iter().map(|(name, _)| name.clone()).chain([name.to_owned()]).collect();
                    self.tell(origin, What::Cycle { chain });
                }
            }
            (Some(file), None) => self.tell(Origin { file, line: 1 }, What::AlreadyLoaded { profile: name.to_owned() }),
            (None, Some(origin)) if optional => {
                self.tell(origin, What::OptionalMissing { profile: name.to_owned(), searched });
            }
            (None, None) if optional => {}
            (None, asked_by) => return Err(LoadError::Missing { profile: name.to_owned(), asked_by, searched }),
        }
        Ok(None)
    }

    fn tell(&mut self, origin: Origin, what: What) {
        self.chain.findings.push(Finding { origin, what });
    }
}
