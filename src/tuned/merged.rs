//! What profiles come to.

use std::sync::Arc;

use serde::Serialize;

use super::{Finding, KernelArguments, Origin};

/// Profiles, merged and expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// The names of the active profiles, with spaces between them.
    pub name: String,
    /// Every profile that was loaded, parents before those that include them.
    pub profiles: Vec<Loaded>,
    /// `[main]`, without `include`.
    pub main: Vec<(String, Setting)>,
    /// In the order in which they are set; the last of a name is the one that units see.
    pub variables: Vec<Variable>,
    /// In the order of their first mention.
    pub units: Vec<MergedUnit>,
    /// What `[bootloader]` says.
    pub kernel_arguments: KernelArguments,
    /// In the order of the files.
    pub findings: Vec<Finding>,
}

impl Merged {
    /// The unit `name`.
    pub fn unit(&self, name: &str) -> Option<&MergedUnit> {
        self.units.iter().find(|unit| unit.name == name)
    }
}

/// A profile and its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loaded {
    /// As it was asked for.
    pub name: String,
    /// Its `tuned.conf`.
    pub file: Arc<str>,
}

/// A text, and what it is when expanded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// With the values of variables and functions, as far as they are known here.
    pub value: String,
    /// As written.
    pub raw: String,
    /// The functions in it that are left to the node: the value is known only where there are none.
    pub left: Vec<String>,
    /// File and line.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// As far as it is known here.
    pub value: String,
    /// The functions in it that are left to the node.
    pub left: Vec<String>,
    /// File and line.
    #[serde(flatten)]
    pub origin: Origin,
}

/// A unit: settings for one plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MergedUnit {
    /// Of its sections.
    pub name: String,
    /// `type`: the plugin that it is for.
    pub plugin: String,
    /// `enabled`: whether tuned makes anything of it.
    pub enabled: bool,
    /// `priority`; none: tuned's default, 0.
    pub priority: Option<Setting>,
    /// `devices`; none: every one (`*`).
    pub devices: Option<Setting>,
    /// `devices_udev_regex`.
    pub devices_udev_regex: Option<Setting>,
    /// `cpuinfo_regex`: only for nodes whose /proc/cpuinfo matches.
    pub cpuinfo_regex: Option<Setting>,
    /// `uname_regex`: only for nodes whose uname(2) matches.
    pub uname_regex: Option<Setting>,
    /// `script_pre`.
    pub script_pre: Option<Setting>,
    /// `script_post`.
    pub script_post: Option<Setting>,
    /// What its plugin gets, each once, in order.
    pub options: Vec<(String, Setting)>,
    /// `script`: paths, in the order in which they run. Some only where the option is written.
    pub scripts: Option<Vec<Setting>>,
    /// Of the section that came first.
    #[serde(flatten)]
    pub origin: Origin,
}

impl MergedUnit {
    /// The value of `option`.
    pub fn option(&self, option: &str) -> Option<&Setting> {
        self.options.iter().find(|(name, _)| name == option).map(|(_, setting)| setting)
    }

    /// Whether only some nodes have it.
    pub fn is_conditional(&self) -> bool {
        self.cpuinfo_regex.is_some() || self.uname_regex.is_some()
    }
}
