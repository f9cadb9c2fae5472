//! Why something did not work, in the kinds that the exit code tells apart, with the next step.
//!
//! Core modules have typed errors of their own where a caller chooses by them. At the edges they become a [`Failure`]: what is
//! wrong and where, needed and found, and what to do. `cli::run` turns it into text and an exit code: the only place that does.

use std::fmt;

/// What kind of failure; decides the exit code. The numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something went wrong while working. Exit code 1.
    Failed,
    /// The command line is wrong. Exit code 2.
    Usage,
    /// A recipe (or fragment, or an overlay it names) is invalid. Exit code 3.
    Invalid,
    /// An input is missing, or its digest is not the one in the lock. Exit code 4.
    Input,
    /// A program, or something of the machine, that is needed is missing. Exit code 5.
    Tool,
    /// A verification did not pass: a check of a booted image, a proof. Exit code 6.
    Verification,
    /// SIGINT or SIGTERM. Exit code 130.
    Interrupted,
}

impl Kind {
    /// The exit code of the program.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::Input => 4,
            Self::Tool => 5,
            Self::Verification => 6,
            Self::Interrupted => 130,
        }
    }

    /// The word for it in `--json`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Invalid => "invalid",
            Self::Input => "input",
            Self::Tool => "tool",
            Self::Verification => "verification",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What is wrong, of which kind, and the next step.
#[derive(Debug)]
pub struct Failure {
    /// Decides the exit code.
    pub kind: Kind,
    /// What and where, needed and found. One sentence or a few lines.
    pub what: String,
    /// The next step, where we know one.
    pub hint: Option<String>,
    /// What of the recipe it is about, for whoever has the recipe and can say where that stands.
    pub about: Option<Mention>,
    /// What `--json` has of it beside the words: a key and its value.
    pub details: Option<Box<(&'static str, serde_json::Value)>>,
}

/// A value of a recipe: a plan keeps what was written, not where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The dotted key: `systemd.enable`, `overlay`.
    pub key: &'static str,
    /// The value, or the name that the value has.
    pub value: String,
}

impl Failure {
    /// A failure of `kind`.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), hint: None, about: None, details: None }
    }

    /// With the next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With `value` under `key` for programs.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: serde_json::Value) -> Self {
        self.details = Some(Box::new((key, value)));
        self
    }

    /// About the value `value` of the recipe's `key`.
    #[must_use]
    pub fn about(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.about = Some(Mention { key, value: value.into() });
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {}

/// The kind of `error`: that of the outermost [`Failure`] in its chain, else [`Kind::Failed`].
pub fn kind_of(error: &anyhow::Error) -> Kind {
    failure_in(error).map_or(Kind::Failed, |failure| failure.kind)
}

/// `error`, about the value `value` of the recipe's `key` unless it is about another already.
#[must_use]
pub fn about(mut error: anyhow::Error, key: &'static str, value: &str) -> anyhow::Error {
    if let Some(failure) = error.downcast_mut::<Failure>() {
        failure.about.get_or_insert_with(|| Mention { key, value: value.to_owned() });
    }
    error
}

/// The outermost [`Failure`] in the chain of `error`. anyhow keeps the type of a context, so both places are looked at.
pub fn failure_in(error: &anyhow::Error) -> Option<&Failure> {
    error.downcast_ref::<Failure>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}
