//! One profile: a `tuned.conf`, its options taken apart into what belongs to a unit itself and what belongs to its plugin.

use std::sync::Arc;

use super::Origin;
use super::ini::{Document, Entry, Section};
use super::python::{is_word, join, normpath};

/// The section with what is said of the profile itself.
const MAIN: &str = "main";
const PROFILE_DIR: &str = "${i:PROFILE_DIR}";

/// A profile as its file has it, and later several of them merged.
#[derive(Clone, Debug)]
pub struct Profile {
    /// `[main]`.
    pub main: Vec<(String, Value)>,
    /// Every other section.
    pub units: Vec<Unit>,
}

/// A text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Before variables are expanded.
    pub text: String,
    /// Where.
    pub origin: Origin,
    /// The place of the active profile for which it was loaded.
    pub active: usize,
}

/// The value of an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(Written),
    /// Of the option `script`: paths, one after the other.
    Scripts(Vec<Written>),
}

impl Value {
    /// Where it is written: of scripts, the last one.
    pub fn last(&self) -> Option<&Written> {
        match self {
            Self::Text(written) => Some(written),
            Self::Scripts(scripts) => scripts.last(),
        }
    }
}

/// A section that is not `[main]`. What may be missing is none.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Of the section.
    pub name: String,
    /// Its header, in the profile that came first.
    pub origin: Origin,
    /// `priority`
    pub priority: Option<Written>,
    /// `type`; none: its name.
    pub kind: Option<Written>,
    /// `enabled`
    pub enabled: bool,
    /// `replace`: nothing of the unit before it stays.
    pub replace: bool,
    /// `drop`: options of the unit before it that go.
    pub drop: Vec<String>,
    /// `devices`; none: all.
    pub devices: Option<Written>,
    /// What is kept when a later unit does not say it: `devices_udev_regex`, `cpuinfo_regex`, `uname_regex`, `script_pre`,
    /// `script_post`.
    pub kept: [Option<Written>; 5],
    /// Everything else.
    pub options: Vec<(String, Value)>,
}

/// The options of [`Unit::kept`], in its order.
pub const KEPT: [&str; 5] = ["devices_udev_regex", "cpuinfo_regex", "uname_regex", "script_pre", "script_post"];

impl Profile {
    /// Of a file: its path, its text, and for which active profile it is loaded.
    pub fn new(file: &Arc<str>, document: Document, active: usize) -> Self {
        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let (mut main, mut units) = (Vec::new(), Vec::new());
        for section in document.sections {
            let origin = Origin { file: Arc::clone(file), line: section.line };
            let (name, options) = options(section, file, folder, active);
            if name == MAIN {
                main = options;
            } else {
                units.push(Unit::new(name, origin, options));
            }
        }
        Self { main, units }
    }

    /// Takes `include` out of `[main]`.
    pub fn take_include(&mut self) -> Option<Written> {
        let place = self.main.iter().position(|(name, _)| name == "include")?;
        match self.main.remove(place).1 {
            Value::Text(written) => Some(written),
            Value::Scripts(_) => None,
        }
    }
}

fn options(section: Section, file: &Arc<str>, folder: &str, active: usize) -> (String, Vec<(String, Value)>) {
    let option = |Entry { name, value, line }: Entry| {
        let text = in_folder(&value.unwrap_or_default(), folder);
        let origin = Origin { file: Arc::clone(file), line };
        let value = if name == "script" {
            Value::Scripts(vec![Written { text: normpath(&join(folder, &text)), origin, active }])
        } else {
            Value::Text(Written { text, origin, active })
        };
        (name, value)
    };
    (section.name, section.options.into_iter().map(option).collect())
}

/// With the profile's folder in the place of `${i:PROFILE_DIR}`, where no backslash stands before it.
fn in_folder(text: &str, folder: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(PROFILE_DIR) {
        out.push_str(before);
        out.push_str(if before.ends_with('\\') { PROFILE_DIR } else { folder });
        rest = after;
    }
    out + rest
}

impl Unit {
    fn new(name: String, origin: Origin, mut options: Vec<(String, Value)>) -> Self {
        let mut take = |wanted: &str| {
            let place = options.iter().position(|(name, _)| name == wanted)?;
            match options.remove(place).1 {
                Value::Text(written) => Some(written),
                Value::Scripts(_) => None,
            }
        };
        let yes = |written: &Written| matches!(written.text.as_str(), "True" | "true" | "1");
        Self {
            name,
            origin,
            priority: take("priority"),
            kind: take("type"),
            enabled: take("enabled").as_ref().is_none_or(yes),
            replace: take("replace").as_ref().is_some_and(yes),
            drop: take("drop").map(|written| dropped(&written.text)).unwrap_or_default(),
            devices: take("devices"),
            kept: KEPT.map(take),
            options,
        }
    }

    /// The plugin that it is for.
    pub fn plugin(&self) -> &str {
        self.kind.as_ref().map_or(&self.name, |kind| &kind.text)
    }
}

/// The names in `drop`. A comma or semicolon parts them only behind a letter, a digit or `_`.
fn dropped(text: &str) -> Vec<String> {
    let (mut names, mut rest, mut from) = (Vec::new(), text, 0);
    while let Some(at) = rest[from..].find([',', ';']).map(|at| from + at) {
        let name = rest[..at].trim_end_matches(super::python::is_space);
        if name.ends_with(is_word) {
            names.push(name.to_owned());
            rest = rest[at + 1..].trim_start_matches(super::python::is_space);
            from = 0;
        } else {
            from = at + 1;
        }
    }
    names.push(rest.to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::super::ini::{Format, parse};
    use super::*;

    #[test]
    fn a_unit_is_taken_apart() {
        let text = "[main]\ninclude=x\n[disk-nvme]\ntype=disk\nenabled=0\nreplace=1\ndrop=a, b;c\nx=${i:PROFILE_DIR}/y \\${i:PROFILE_DIR}\n\
                    script=../a.sh\nuname_regex=z\n";
        let mut profile = Profile::new(&"/p/a/tuned.conf".into(), parse(text, Format::Profile).unwrap(), 0);
        assert_eq!(profile.take_include().map(|written| (written.text, written.origin.line)), Some(("x".into(), 2)));
        let unit = &profile.units[0];
        assert_eq!((unit.plugin(), unit.enabled, unit.replace, unit.origin.line), ("disk", false, true, 3));
        assert_eq!(unit.drop, ["a", "b", "c"]);
        assert_eq!(unit.kept[2].as_ref().map(|regex| regex.text.as_str()), Some("z"));
        let texts: Vec<_> = unit.options.iter().filter_map(|(_, value)| value.last()).map(|value| value.text.as_str()).collect();
        assert_eq!(texts, ["/p/a/y \\${i:PROFILE_DIR}", "/p/a.sh"]);
    }

    #[test]
    fn names_to_drop() {
        for (text, names) in [("a,b", vec!["a", "b"]), ("", vec![""]), ("a*, b", vec!["a*, b"]), ("a ;, b", vec!["a", ", b"])] {
            assert_eq!(dropped(text), names, "{text}");
        }
    }
}
