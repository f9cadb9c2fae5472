//! From names of profiles to [`Merged`].

use std::collections::BTreeSet;

use super::expand::{self, expand};
use super::merge::merge;
use super::merged::{Merged, MergedUnit, Setting, Variable};
use super::profile::{Profile, Unit, Value, Written};
use super::python::unquote;
use super::variables::Variables;
use super::{Finding, Folders, Installed, LoadError, Root, check, kernel_arguments, load};

/// Loads the profiles in `names`, which spaces part, merges them (a later one wins) and expands what can be known here.
///
/// # Errors
/// What tuned would refuse: a profile or parent that is missing, a line that it cannot read, an assertion that does not hold.
pub fn evaluate(root: &dyn Root, folders: &Folders, names: &str, installed: &Installed) -> Result<Merged, LoadError> {
    let functions = installed.functions.as_ref();
    let load::Chain { names, profiles, mut findings } = load::load(root, folders, names, functions)?;
    let (loaded, profiles): (Vec<_>, Vec<_>) = profiles.into_iter().unzip();
    let all = profiles.into_iter().reduce(|mut below, over| {
        merge(&mut below, over, &mut findings);
        below
    });
    let Profile { main, mut units } = all.unwrap_or(Profile { main: Vec::new(), units: Vec::new() });

    let place = units.iter().position(|unit| unit.name == "variables");
    let (variables, set) = match place.map(|place| units.remove(place)) {
        Some(unit) => {
            let (variables, set, told) = expand::variables(&unit, root, functions)?;
            findings.extend(told);
            (variables, set)
        }
        None => Default::default(),
    };
    let variable = |one: expand::Set| Variable { name: one.name, value: one.value, left: one.left, origin: one.origin };
    let mut expander = Expander { variables: &variables, functions, findings };
    let kernel_arguments = kernel_arguments::arguments(&units, &mut expander)?;
    let merged: Vec<MergedUnit> = units.into_iter().map(|unit| expander.unit(unit)).collect::<Result<_, _>>()?;
    let mut findings = expander.findings;
    check::check(&merged, folders, installed, &mut findings);
    // The kernel's command line has been expanded as one text, and by its options.
    let mut told: Vec<Finding> = Vec::new();
    for finding in findings {
        if !told.contains(&finding) {
            told.push(finding);
        }
    }
    let main = main.into_iter().filter_map(|(name, value)| Some((name, as_written(value.last()?.clone())))).collect();
    let variables = set.into_iter().map(variable).collect();
    Ok(Merged { name: names.join(" "), profiles: loaded, main, variables, units: merged, kernel_arguments, findings: told })
}

/// A text that tuned does not expand.
fn as_written(written: Written) -> Setting {
    Setting { value: written.text.clone(), raw: written.text, left: Vec::new(), origin: written.origin }
}

/// Expands what units say, and keeps what is told of it.
pub struct Expander<'a> {
    /// All that are set.
    pub variables: &'a Variables,
    /// Which functions there are; none: all that are known.
    pub functions: Option<&'a BTreeSet<String>>,
    /// What is told.
    pub findings: Vec<Finding>,
}

impl Expander<'_> {
    /// `text`, written where `written` is, as it is when expanded.
    ///
    /// # Errors
    /// What makes tuned break off.
    pub fn setting(&mut self, written: &Written, text: &str) -> Result<Setting, LoadError> {
        let expansion = expand(self.variables, text, &written.origin, self.functions)?;
        self.findings.extend(expansion.findings);
        let (raw, origin) = (written.text.clone(), written.origin.clone());
        Ok(Setting { value: expansion.text, raw, left: expansion.left, origin })
    }

    fn unit(&mut self, unit: Unit) -> Result<MergedUnit, LoadError> {
        let plugin = unit.plugin().to_owned();
        let mut expand =
            |written: &Option<Written>| written.as_ref().map(|written| self.setting(written, &written.text)).transpose();
        let devices = expand(&unit.devices)?;
        let [devices_udev_regex, cpuinfo_regex, uname_regex, script_pre, script_post] = unit.kept;
        let (cpuinfo_regex, uname_regex) = (expand(&cpuinfo_regex)?, expand(&uname_regex)?);
        let (mut options, mut scripts) = (Vec::new(), None);
        for (name, value) in unit.options {
            match value {
                Value::Scripts(all) => scripts = Some(all.into_iter().map(as_written).collect()),
                Value::Text(written) => {
                    // This plugin takes quotes away before it expands anything.
                    let text = if plugin == "sysctl" { unquote(&written.text) } else { &written.text };
                    options.push((name, self.setting(&written, text)?));
                }
            }
        }
        Ok(MergedUnit {
            name: unit.name,
            plugin,
            enabled: unit.enabled,
            priority: unit.priority.map(as_written),
            devices,
            devices_udev_regex: devices_udev_regex.map(as_written),
            cpuinfo_regex,
            uname_regex,
            script_pre: script_pre.map(as_written),
            script_post: script_post.map(as_written),
            options,
            scripts,
            origin: unit.origin,
        })
    }
}
