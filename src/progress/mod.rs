//! What happens while Basalt works, as typed events to one sink. Bars on a terminal and JSON lines are two readers of it.

mod bars;
mod json;

use serde::Serialize;

pub use bars::Bars;
pub use json::JsonLines;

/// The version of the JSON form of [`Event`]. It grows when a reader of the old form would be misled.
pub const VERSION: u32 = 1;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A stage begins. Stages are not nested.
    StageStarted {
        /// Its name: `fetch`, `base`, `commit`, `disk` ...
        stage: String,
        /// What it works on, for people.
        detail: String,
        /// How much there is to do, where it is known.
        total: Option<u64>,
        /// What `total` and `done` count.
        unit: Unit,
    },
    /// The running stage got on.
    StageAdvanced {
        /// Its name.
        stage: String,
        /// How much is done, of `total`.
        done: u64,
    },
    /// A stage ended well.
    StageFinished {
        /// Its name.
        stage: String,
        /// Whether nothing had to be done: the result was in the cache.
        cached: bool,
        /// How long it took, in milliseconds.
        millis: u64,
    },
    /// Something a person should know that is no failure.
    Warning {
        /// One sentence, and the next step.
        message: String,
    },
    /// Something a person may like to know.
    Note {
        /// One sentence.
        message: String,
    },
}

/// What a stage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Packages, files: things.
    Items,
    /// Nothing: the stage only begins and ends.
    None,
}

/// Takes events. Must not block for long and must not fail: progress is never the reason why a build stops.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// Drops everything.
#[derive(Debug, Default)]
pub struct Quiet;

impl Sink for Quiet {
    fn event(&self, _: Event) {}
}

/// A running stage. Dropped without [`Stage::finish`], it just stops (the failure is told elsewhere).
pub struct Stage<'a> {
    sink: &'a dyn Sink,
    name: &'static str,
    started: std::time::Instant,
    done: u64,
}

impl<'a> Stage<'a> {
    /// Begins a stage and tells the sink.
    pub fn start(sink: &'a dyn Sink, name: &'static str, detail: impl Into<String>, total: Option<u64>, unit: Unit) -> Self {
        sink.event(Event::StageStarted { stage: name.into(), detail: detail.into(), total, unit });
        Self { sink, name, started: std::time::Instant::now(), done: 0 }
    }

    /// `more` units are done.
    pub fn advance(&mut self, more: u64) {
        self.done += more;
        self.sink.event(Event::StageAdvanced { stage: self.name.into(), done: self.done });
    }

    /// The stage ended well.
    pub fn finish(self, cached: bool) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.sink.event(Event::StageFinished { stage: self.name.into(), cached, millis });
    }
}
