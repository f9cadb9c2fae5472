//! Which of several modules of one name counts: the configuration that depmod.d(5) describes.

use regex::Regex;

use super::ModulePath;

/// A place in a `search` command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A folder in the kernel's folder of modules, and all below it.
    Folder(String),
    /// `built-in`: every folder that is not named.
    BuiltIn,
}

/// An `override` command that is for this kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The module's name, spelled as its file is, without ending.
    pub module: String,
    /// The folder whose module counts.
    pub folder: String,
}

/// Where depmod(8) looks first. The default is `search updates built-in`, depmod's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchOrder {
    /// In order; the first one counts most.
    pub places: Vec<Place>,
    /// In order; of two for the same module the last one counts.
    pub overrides: Vec<Override>,
}

/// A command that is not understood, or one for modules that lie elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}, line {line}: {why}")]
pub struct BadCommand {
    /// The name that the file was given with.
    pub file: String,
    /// Counted from 1; of a wrapped command, its last line.
    pub line: usize,
    /// What was needed, and what was found.
    pub why: String,
}

impl Default for SearchOrder {
    fn default() -> Self {
        Self { places: vec![Place::Folder("updates".to_owned()), Place::BuiltIn], overrides: Vec::new() }
    }
}

impl SearchOrder {
    /// Reads the files of `depmod.d`, name and text each, in the order of their names (of two with one name, only the first
    /// folder's). `kernel`: the release that the folder of modules is named after. The default when nothing is said.
    ///
    /// # Errors
    /// The first command that is not understood; `external` and `exclude`, which this program does not know.
    pub fn parse(files: &[(&str, &str)], kernel: &str) -> Result<Self, BadCommand> {
        let mut order = Self { places: Vec::new(), overrides: Vec::new() };
        for (file, text) in files {
            let mut command = String::new();
            for (index, line) in text.lines().enumerate() {
                if let Some(start) = line.strip_suffix('\\') {
                    command.push_str(start);
                    continue;
                }
                command.push_str(line);
                let bad = |why| BadCommand { file: (*file).to_owned(), line: index + 1, why };
                order.read(&std::mem::take(&mut command), kernel).map_err(bad)?;
            }
        }
        if order.places.is_empty() {
            order.places = Self::default().places;
        }
        Ok(order)
    }

    fn read(&mut self, command: &str, kernel: &str) -> Result<(), String> {
        let words: Vec<&str> = command.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            [] => {}
            [first, ..] if first.starts_with('#') => {}
            ["search", ref places @ ..] => self.places.extend(places.iter().map(|place| match *place {
                "built-in" => Place::BuiltIn,
                folder => Place::Folder(folder.to_owned()),
            })),
            ["override", module, release, folder] => {
                let matches = |error| format!("needed a kernel's release as a regular expression, found {release:?}: {error}");
                if release == "*" || Regex::new(&format!("(?-u){release}")).map_err(matches)?.is_match(kernel) {
                    self.overrides.push(Override { module: module.to_owned(), folder: folder.to_owned() });
                }
            }
            _ => return Err(format!("needed search FOLDER... or override MODULE RELEASE FOLDER, found {command:?}")),
        }
        Ok(())
    }

    /// Which of two files with one module counts, whichever depmod finds first; none when that decides.
    pub(super) fn better<'a>(&self, a: &'a ModulePath, b: &'a ModulePath) -> Option<&'a ModulePath> {
        match (self.stays(a, b), self.stays(b, a)) {
            (true, false) => Some(a),
            (false, true) => Some(b),
            _ => None,
        }
    }

    /// Whether depmod, which knows of `old`, leaves it at that when it finds `new`.
    fn stays(&self, old: &ModulePath, new: &ModulePath) -> bool {
        for Override { module, folder } in self.overrides.iter().rev() {
            let path = format!("{folder}/{module}");
            if new.bare() == path || old.bare() == path {
                return new.bare() != path;
            }
        }
        let within =
            |path: &ModulePath, folder: &str| path.as_str().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let (mut built_in, mut of_old, mut of_new) = (None, None, None);
        for (rank, place) in self.places.iter().rev().enumerate() {
            match place {
                Place::BuiltIn => built_in = Some(rank),
                Place::Folder(folder) if within(new, folder) => of_new = Some(rank),
                // When both lie there, depmod looks no further than at the new one.
                Place::Folder(folder) if within(old, folder) => of_old = Some(rank),
                Place::Folder(_) => {}
            }
        }
        of_new.or(built_in) <= of_old.or(built_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_counts() {
        let path = |text| ModulePath::parse(text).unwrap();
        let parse = |text| SearchOrder::parse(&[("a.conf", text)], "6.12.1-amd64").unwrap();
        let default = SearchOrder::default();
        let ubuntu = parse("search updates ubuntu \\\n built-in\n");
        let overridden = parse("# why\n\noverride foo-x ^6[.] extra\noverride foo-x ^5 kernel\noverride foo-x * weak\n");
        assert_eq!(parse("# nothing\n"), default);
        assert_eq!(overridden.overrides.len(), 2);
        let kernel = "kernel/fs/foo-x.ko";
        for (order, a, b, best) in [
            (&default, "updates/foo-x.ko", kernel, Some("updates/foo-x.ko")),
            (&default, "extra/foo-x.ko", kernel, None),
            (&default, "updatesx/foo-x.ko", kernel, None),
            (&default, "updates/a/foo-x.ko", "updates/foo-x.ko", None),
            (&ubuntu, "ubuntu/foo-x.ko", kernel, Some("ubuntu/foo-x.ko")),
            (&ubuntu, "ubuntu/foo-x.ko", "updates/foo-x.ko", Some("updates/foo-x.ko")),
            (&overridden, "extra/foo-x.ko", "updates/foo-x.ko", Some("extra/foo-x.ko")),
            (&overridden, "extra/foo-x.ko", "weak/foo-x.ko", Some("weak/foo-x.ko")),
            (&overridden, "extra/x/foo-x.ko", kernel, None),
        ] {
            assert_eq!(order.better(&path(a), &path(b)).map(ModulePath::as_str), best, "{a} {b}");
            assert_eq!(order.better(&path(b), &path(a)).map(ModulePath::as_str), best, "{b} {a}");
        }
    }

    #[test]
    fn a_bad_command_is_named() {
        for text in ["search a\nexternal * /x\n", "\nexclude x\n", "search a\noverride x ( y\n", "\noverride x y\n"] {
            let error = SearchOrder::parse(&[("a.conf", text)], "6.12").unwrap_err();
            assert_eq!((error.file.as_str(), error.line), ("a.conf", 2), "{error}");
        }
    }
}
