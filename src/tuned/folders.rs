//! The folders with profiles: which there are, and in which a profile is.

use super::python::{is_space, join, normpath};
use super::{LoadError, Root, ini, python};

/// Where tuned's own settings are.
const SETTINGS: &str = "/etc/tuned/tuned-main.conf";

/// Folders with a folder for each profile; the last one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders(pub Vec<String>);

impl Folders {
    /// `/usr/lib/tuned/profiles`, `/etc/tuned/profiles`: as Debian 13 has them.
    pub fn current() -> Self {
        Self(vec!["/usr/lib/tuned/profiles".into(), "/etc/tuned/profiles".into()])
    }

    /// `/usr/lib/tuned`, `/etc/tuned`: as Debian 12 has them.
    pub fn older() -> Self {
        Self(vec!["/usr/lib/tuned".into(), "/etc/tuned".into()])
    }

    /// Those of the tuned in `root`: what `profile_dirs` of `tuned-main.conf` names, otherwise the current ones if the first of them
    /// is there, and the older ones if not.
    ///
    /// # Errors
    /// `tuned-main.conf` cannot be read.
    pub fn of(root: &dyn Root) -> Result<Self, LoadError> {
        let text = read(root, SETTINGS)?.unwrap_or_default();
        let document =
            ini::parse(&text, ini::Format::Variables).map_err(|lines| LoadError::Syntax { file: SETTINGS.to_owned(), lines })?;
        let options = document.sections.into_iter().flat_map(|section| section.options);
        let named = options.filter(|option| option.name == "profile_dirs").find_map(|option| option.value);
        Ok(match named {
            Some(list) if !list.is_empty() => {
                Self(list.split([',', ';']).map(|folder| folder.trim_matches(is_space).to_owned()).collect())
            }
            _ if root.names("/usr/lib/tuned/profiles").is_empty() => Self::older(),
            _ => Self::current(),
        })
    }

    /// The names of all profiles, sorted.
    pub fn profiles(&self, root: &dyn Root) -> Vec<String> {
        let names = |folder: &String| {
            let is_profile = |name: &String| matches!(root.read(&config(folder, name)), Ok(Some(_)));
            root.names(folder).into_iter().filter(is_profile).collect::<Vec<_>>()
        };
        let mut all: Vec<String> = self.0.iter().flat_map(names).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Where the `tuned.conf` of `profile` could be, the folder that wins first. Of a name with slashes the last part counts.
    pub(super) fn configs(&self, profile: &str) -> Vec<String> {
        let name = profile.rsplit('/').next().unwrap_or(profile);
        self.0.iter().rev().map(|folder| config(folder, name)).collect()
    }

    /// Whether a path begins as one of them does.
    pub(super) fn hold(&self, path: &str) -> bool {
        self.0.iter().any(|folder| path.starts_with(folder.as_str()))
    }
}

fn config(folder: &str, name: &str) -> String {
    normpath(&join(&join(folder, name), "tuned.conf"))
}

/// The text of a file; none where there is none.
///
/// # Errors
/// It cannot be read, or is no text.
pub(super) fn read(root: &dyn Root, path: &str) -> Result<Option<String>, LoadError> {
    let bytes = root.read(path).map_err(|source| LoadError::Unreadable { path: path.to_owned(), source })?;
    bytes.map(|bytes| python::text(bytes).ok_or_else(|| LoadError::NotText(path.to_owned()))).transpose()
}
