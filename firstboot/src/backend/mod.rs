//! The outside as the agent sees it: traits, so that the same agent runs on a node, under a folder, and against a simulation.
//!
//! How to add one: a trait here, one file in `real/`, a field in [`Outside`].

pub mod real;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use crate::notice::Notice;

/// Files below the agent's root. Paths are absolute and mean places below that root, symbolic links included.
pub trait Files: Send + Sync {
    /// All bytes of a file of at most [`READ_LIMIT`] bytes.
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError>;
    /// The same, where it is there.
    fn read_if_there(&self, path: &str) -> Result<Option<Vec<u8>>, FileError> {
        match self.read(path) {
            Err(error) if error.cause.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }
    /// Whether there is something. Where there are links, that to which they lead.
    fn is_there(&self, path: &str) -> Result<bool, FileError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(self.list_if_there(folder)?.iter().any(|other| other == name))
    }
    /// The target of a symbolic link, as written.
    fn read_link(&self, path: &str) -> Result<String, FileError>;
    /// The names in a folder, in order.
    fn list(&self, path: &str) -> Result<Vec<String>, FileError>;
    /// The same; in a folder that is not there, there are none.
    fn list_if_there(&self, path: &str) -> Result<Vec<String>, FileError> {
        match self.list(path) {
            Err(error) if error.cause.kind() == io::ErrorKind::NotFound => Ok(vec![]),
            listed => listed,
        }
    }
    /// Takes a file away; when it returns, it is gone from the disk. One that is not there is no error.
    fn remove(&self, path: &str) -> Result<(), FileError>;
    /// Puts a file of mode 0644 in place, folders included, so that after a power cut there is the old or the new one, whole.
    /// When it returns, the new one is on the disk.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), FileError>;
}

/// The most that is read of one file: what the agent reads is small, and a broken file must not fill the memory.
pub const READ_LIMIT: u64 = 1 << 20;

/// The node's clock.
pub trait Clock {
    /// Seconds since 1970.
    fn now(&self) -> u64;
}

/// Where people look.
pub trait Console {
    /// What is told once: the journal gets all of it with its fields, where there is one.
    fn tell(&self, notice: &Notice);
    /// What is above the login prompt has changed: the prompt is to be drawn anew.
    fn redraw(&self);
    /// Something to look at.
    fn warn(&self, line: &str) {
        self.tell(&Notice::remark(line));
    }
}

/// Who started us and wants to know how we do: systemd.
pub trait Supervisor {
    /// The bus name is ours and can be asked.
    fn ready(&self) -> io::Result<()>;
    /// A few words for `systemctl status`.
    fn status(&self, words: &str) -> io::Result<()>;
    /// We are about to end.
    fn stopping(&self) -> io::Result<()>;
}

/// What somebody on the bus answers, in time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, PeerError>> + Send + 'a>>;

/// Who tunes the node: tuned.
pub trait Tuner: Send + Sync {
    /// The active profiles, with one space between two; empty: none.
    fn active(&self) -> Answer<'_, String>;
    /// Makes others active.
    fn switch<'a>(&'a self, profile: &'a str) -> Answer<'a, ()>;
    /// Whether the node is what the active profiles say, but for what it does not have.
    fn verify(&self) -> Answer<'_, bool>;
}

/// Who knows the node's name: systemd-hostnamed.
pub trait Namer: Send + Sync {
    /// Sets the static host name, which is the kernel's at once.
    fn set_host_name<'a>(&'a self, name: &'a str) -> Answer<'a, ()>;
}

/// Who runs units: systemd.
pub trait Units: Send + Sync {
    /// Starts a unit, and waits until its job has ended well.
    fn start<'a>(&'a self, unit: &'a str) -> Answer<'a, ()>;
    /// Stops a unit if it runs, starts it, and waits until its job has ended well.
    fn restart<'a>(&'a self, unit: &'a str) -> Answer<'a, ()>;
    /// Has a unit, if it runs, read its configuration again, and waits until its job has ended well.
    fn reload<'a>(&'a self, unit: &'a str) -> Answer<'a, ()>;
    /// Where a unit is.
    fn state<'a>(&'a self, unit: &'a str) -> Answer<'a, UnitState>;
    /// The machine boots anew, unless somebody inhibits that.
    fn reboot(&self) -> Answer<'_, ()>;
}

/// Where a unit is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// There is none of this name.
    Absent,
    /// Somebody has forbidden it.
    Masked,
    /// It runs, or has done what it does once.
    Active,
    /// It does not: systemd's word (`inactive`, `failed`, `activating`, or what is wrong with its file).
    Not(String),
}

/// Why somebody on the bus did not do it.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Nobody has the name, and nobody can be started for it.
    #[error("{0} is not on the system bus")]
    Absent(&'static str),
    /// Somebody has the name, or could, and says nothing for so long.
    #[error("{0} does not answer within {seconds} s", seconds = .1.as_secs())]
    Silent(&'static str, Duration),
    /// It says no, in its own words.
    #[error("{0}")]
    Refused(String),
    /// The bus failed, or its answer is none.
    #[error("{0}")]
    Bus(String),
}

/// Everything outside that the loop needs, but for the bus.
pub struct Outside {
    /// Files below the root.
    pub files: Arc<dyn Files>,
    /// The clock.
    pub clock: Box<dyn Clock>,
    /// The console and the journal.
    pub console: Box<dyn Console>,
    /// systemd.
    pub supervisor: Box<dyn Supervisor>,
    /// tuned.
    pub tuner: Box<dyn Tuner>,
    /// systemd-hostnamed.
    pub namer: Box<dyn Namer>,
    /// systemd.
    pub units: Box<dyn Units>,
    /// The folder of the credentials that the agent was given.
    pub credentials: String,
}

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {doing}: {cause}")]
pub struct FileError {
    /// As the agent names it, without its root.
    pub path: String,
    /// What was tried.
    pub doing: Doing,
    /// Why not.
    pub cause: io::Error,
}

/// What was tried with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Reading the file.
    Read,
    /// Reading the link.
    ReadLink,
    /// Reading the names in the folder.
    List,
    /// Making its folder.
    MakeFolder,
    /// Writing it.
    Write,
    /// Taking it away.
    Remove,
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "cannot read it",
            Self::ReadLink => "cannot read the link",
            Self::List => "cannot read the folder",
            Self::MakeFolder => "cannot make its folder",
            Self::Write => "cannot write it",
            Self::Remove => "cannot take it away",
        })
    }
}
