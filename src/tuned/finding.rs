//! What should be told of profiles that can be loaded: what is left to the node, and what is surely not what was meant.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Origin;

/// Something that is told, and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// File and line.
    pub origin: Origin,
    /// What it is.
    #[serde(flatten)]
    pub what: What,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// It works so, and somebody may want to know.
    Note,
    /// tuned does something else than what is written, or nothing.
    Warning,
    /// The same, on every node, and nobody can have meant it.
    Error,
}

/// What is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// A function that only the node can answer.
    #[error("the function {function:?} is left to the node")]
    LeftToNode {
        /// Its name.
        function: String,
    },
    /// An `include` that only the node can read: what it names is missing from what was merged.
    #[error("the profile to include, {name:?}, is left to the node: what it sets is not known here")]
    IncludeLeftToNode {
        /// What is written.
        name: String,
    },
    /// A unit that is there on some nodes only.
    #[error("the unit [{unit}] is for nodes whose {of} matches {regex:?}")]
    Conditional {
        /// The unit.
        unit: String,
        /// `uname` or `cpuinfo`
        of: &'static str,
        /// What must match.
        regex: String,
    },
    /// A function that this tuned does not have.
    #[error("there is no function {function:?}: its text stays")]
    UnknownFunction {
        /// Its name.
        function: String,
    },
    /// A function that cannot use its arguments.
    #[error("the function {function:?} cannot use these arguments: its text stays")]
    BadArguments {
        /// Its name.
        function: String,
    },
    /// Braces that do not fit.
    #[error("a brace has no other one: functions behind it are not evaluated")]
    Unpaired,
    /// A variable that is nowhere set.
    #[error("the variable {name:?} is not set: its name stays")]
    Undefined {
        /// Its name.
        name: String,
    },
    /// A variable that no value can use.
    #[error("{name:?} cannot be a variable's name: needed letters, digits and _, not digits alone")]
    BadVariable {
        /// Its name.
        name: String,
    },
    /// A file of variables that is not there.
    #[error("there is no file {path} with variables")]
    NoVariables {
        /// The file.
        path: String,
    },
    /// A file of variables that is not read, because another profile includes one, too.
    #[error("the file of variables {path} takes the place of {other}, which is not read")]
    VariablesReplaced {
        /// The file that is read.
        path: String,
        /// The one that is not.
        other: String,
    },
    /// A profile that need not be there, and is not.
    #[error("there is no profile {profile:?}, which need not be there; looked for it in {}", .searched.join(", "))]
    OptionalMissing {
        /// Its name.
        profile: String,
        /// Where it could have been.
        searched: Vec<String>,
    },
    /// Profiles that include each other: the last one is not loaded again.
    #[error("profiles include each other: {}", .chain.join(" -> "))]
    Cycle {
        /// From the first to itself.
        chain: Vec<String>,
    },
    /// An active profile that another one before it includes: it does not win over that one.
    #[error("the active profile {profile:?} was loaded before, for another one, and does not win over it")]
    AlreadyLoaded {
        /// Its name.
        profile: String,
    },
    /// The name of an active profile that tuned ignores.
    #[error("{name:?} is no name of a profile (letters, digits, _ . -), and is ignored")]
    IgnoredName {
        /// What is written.
        name: String,
    },
    /// An option that a section has twice.
    #[error("[{section}] {option} is also on line {first}, which has no effect")]
    Duplicate {
        /// Its section.
        section: String,
        /// Its name.
        option: String,
        /// The line without effect.
        first: usize,
    },
    /// A unit of a type that this tuned does not have.
    #[error("the unit [{unit}] needs the plugin {plugin:?}, which this tuned does not have")]
    UnknownPlugin {
        /// The unit.
        unit: String,
        /// Its type.
        plugin: String,
    },
    /// An option that the plugin does not know.
    #[error("[{unit}] {option}: the plugin {plugin:?} has no such option")]
    UnknownOption {
        /// The unit.
        unit: String,
        /// Its type.
        plugin: String,
        /// The option.
        option: String,
    },
    /// A priority that is no number: tuned breaks off.
    #[error("[{unit}] priority: needed a whole number, found {found:?}")]
    BadPriority {
        /// The unit.
        unit: String,
        /// What is written.
        found: String,
    },
    /// A script that tuned ignores.
    #[error("the script {path} is not in a folder with profiles, and is not run")]
    ScriptOutside {
        /// Its path.
        path: String,
    },
    /// A key that tuned finds no file for.
    #[error("sysctl {key:?}: {why}")]
    BadSysctl {
        /// The key.
        key: String,
        /// Why not.
        why: &'static str,
    },
    /// Two keys for one setting, with two values.
    #[error("sysctl {key:?} is {value:?}, and {other:?} {other_value:?} at {at}: they are one setting")]
    SameSysctl {
        /// The later key.
        key: String,
        /// Its value.
        value: String,
        /// The earlier key.
        other: String,
        /// Its value.
        other_value: String,
        /// Where.
        at: Origin,
    },
    /// Two active profiles want two values.
    #[error("[{unit}] {option} is {value:?}, and {other_value:?} at {at}, of another active profile: the later one wins")]
    Contradiction {
        /// The unit.
        unit: String,
        /// The option.
        option: String,
        /// The value that wins.
        value: String,
        /// The value that loses.
        other_value: String,
        /// Where that is.
        at: Origin,
    },
    /// Quotes that come into the kernel's command line.
    #[error("{option}: tuned takes quotes away only around all arguments together: they stay here")]
    Quotes {
        /// The option.
        option: String,
    },
    /// Arguments that are to be taken away, and are not there.
    #[error("{option}: no profile before adds the argument {argument:?}, so that nothing is taken away")]
    DeletesNothing {
        /// The option.
        option: String,
        /// What is not there.
        argument: String,
    },
    /// A kernel argument with two values.
    #[error("the kernel argument {argument:?} contradicts {other:?} at {at}")]
    TwoValues {
        /// The later one.
        argument: String,
        /// The earlier one.
        other: String,
        /// Where.
        at: Origin,
    },
    /// Another unit of the boot loader takes a unit's arguments away.
    #[error("the arguments of [{unit}] are lost: of several units for the boot loader, [{winner}] wins")]
    ArgumentsLost {
        /// The unit.
        unit: String,
        /// The unit that wins.
        winner: String,
    },
    /// What an OSTree host cannot do.
    #[error("[{unit}] {option}: an OSTree host takes no initramfs from tuned")]
    Initramfs {
        /// The unit.
        unit: String,
        /// The option.
        option: String,
    },
}

impl What {
    /// How much it matters.
    pub fn weight(&self) -> Weight {
        match self {
            Self::LeftToNode { .. }
            | Self::Conditional { .. }
            | Self::OptionalMissing { .. }
            | Self::AlreadyLoaded { .. }
            | Self::DeletesNothing { .. } => Weight::Note,
            Self::BadSysctl { .. } | Self::BadPriority { .. } => Weight::Error,
            _ => Weight::Warning,
        }
    }
}
