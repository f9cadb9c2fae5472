//! The state machine: what the agent is doing, what happened, what to do next. Pure: time and facts come in with events.
//!
//! ```text
//! Idle --Begun--> Looking --Collected--> Applying --Applied--> Reporting --ReportWritten / ReportFailed--> Settled
//!                    ^                                                                                       |
//!                    +------------------------------- Asked (somebody), Due (a pause is over) ---------------+
//! any of them --Terminate--> Stopped
//! ```
//!
//! Settled for a reboot it waits for the end; where the machine does not boot anew, that is reported, too (Reporting again).
//!
//! No failure stops the way: it becomes a fault of the report, and the boot goes on beside us. What may go better is tried again after
//! a pause, in three passes at most; then somebody has to ask.

mod published;
#[cfg(test)]
mod tests;

use std::time::Duration;

use basalt_contract::{Fault, Report, State as Word, StepState};

pub use self::published::Published;
use crate::VERSION;
use crate::apply::{Applied, Progress};
use crate::facts::Facts;
use crate::notice::Notice;

/// After the first pass of a boot, and after the second.
const PAUSES: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(120)];

/// One way from looking to reporting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// How many there were before it, since the agent began or since somebody asked.
    pub number: usize,
    /// When it began, in seconds since 1970.
    pub started: u64,
    /// Why the bus cannot be had.
    pub bus: Option<Fault>,
}

/// What the agent is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Nothing yet.
    Idle,
    /// Finding out.
    Looking {
        /// Which pass.
        pass: Pass,
        /// Whether the node was told of once: then it is not starting any more.
        again: bool,
    },
    /// Making the node what it should be.
    Applying {
        /// Which pass.
        pass: Pass,
        /// What was found.
        facts: Box<Facts>,
        /// How far it is.
        progress: Box<Progress>,
    },
    /// The report is being written.
    Reporting(Box<End>),
    /// All is done and told.
    Settled(Box<End>),
    /// The end.
    Stopped,
}

/// What a pass ends with.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Which pass.
    pub pass: Pass,
    /// What was found.
    pub facts: Facts,
    /// How far it came.
    pub progress: Progress,
    /// What is told.
    pub report: Report,
    /// When it is tried again.
    pub pause: Option<Duration>,
    /// Whether the machine is to boot anew.
    pub reboot: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The program started, at a time in seconds since 1970; the bus may have failed us.
    Begun {
        /// Now.
        at: u64,
        /// Why the bus cannot be had.
        bus: Option<Fault>,
    },
    /// The facts are found.
    Collected(Box<Facts>),
    /// One step further.
    Progressed(Box<Progress>),
    /// The pass is through.
    Applied {
        /// Now, in seconds since 1970.
        at: u64,
        /// What came of it.
        applied: Box<Applied>,
    },
    /// The report is on the disk.
    ReportWritten,
    /// The report could not be written.
    ReportFailed(Fault),
    /// The machine does not boot anew.
    RebootFailed(Fault),
    /// Somebody wants the node to be made what it should be.
    Asked {
        /// Now, in seconds since 1970.
        at: u64,
        /// What beside that.
        also: Also,
    },
    /// The pause is over.
    Due {
        /// Now, in seconds since 1970.
        at: u64,
    },
    /// Somebody wants us to end.
    Terminate,
}

/// What somebody asks for beside what differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Also {
    /// Nothing.
    Nothing,
    /// What failed too often.
    Failed,
    /// That too, and what was measured.
    Measured,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Tell the supervisor that we can be asked.
    Ready,
    /// Forget how often actions failed.
    Forgive,
    /// Forget what was measured, and how often actions failed.
    Forget,
    /// Find out; answers [`Event::Collected`].
    Collect,
    /// Make the node what it should be; answers [`Event::Progressed`] and at last [`Event::Applied`].
    Apply(Box<Facts>),
    /// Write the report's file; answers [`Event::ReportWritten`] or [`Event::ReportFailed`].
    WriteReport(Box<Report>),
    /// Put something into the journal.
    Tell(Notice),
    /// Show what became of it, on the console and in the journal.
    Announce(Box<Report>),
    /// Tell who bootstraps nodes that this one is done.
    Complete,
    /// Have the machine boot anew; answers [`Event::RebootFailed`], or the end.
    Reboot,
    /// Answer [`Event::Due`] after a while.
    Wake(Duration),
    /// Tell the supervisor that we end.
    Stopping,
}

impl State {
    /// Whether somebody's wish can be taken now.
    pub const fn idle(&self) -> bool {
        matches!(self, Self::Settled(_))
    }
}

/// What follows from `event` in `state`. An event that `state` does not wait for changes nothing.
pub fn next(state: State, event: Event) -> (State, Vec<Effect>) {
    match (state, event) {
        (State::Stopped, _) => (State::Stopped, vec![]),
        (_, Event::Terminate) => (State::Stopped, vec![Effect::Stopping]),
        (State::Idle, Event::Begun { at, bus }) => {
            // Without a bus nobody can ask us: the supervisor is not told that somebody could.
            let ready = if bus.is_none() { vec![Effect::Ready] } else { vec![] };
            let pass = Pass { number: 0, started: at, bus };
            (State::Looking { pass, again: false }, [ready, vec![Effect::Collect]].concat())
        }
        (State::Looking { pass, .. }, Event::Collected(facts)) => {
            let effects = vec![Effect::Apply(facts.clone())];
            (State::Applying { pass, facts, progress: Box::default() }, effects)
        }
        (State::Applying { pass, facts, .. }, Event::Progressed(progress)) => (State::Applying { pass, facts, progress }, vec![]),
        (State::Applying { pass, facts, progress }, Event::Applied { at, applied }) => {
            conclude(pass, *facts, *progress, *applied, at)
        }
        (State::Reporting(end), Event::ReportWritten) => settle(end),
        (State::Reporting(mut end), Event::ReportFailed(fault)) => {
            end.report.faults.push(fault);
            end.report.state = Word::Degraded;
            settle(end)
        }
        (State::Settled(mut end), Event::RebootFailed(fault)) if end.reboot => {
            end.reboot = false;
            end.report.faults.push(fault);
            end.report.state = Word::Degraded;
            let effects = vec![Effect::WriteReport(Box::new(end.report.clone()))];
            (State::Reporting(end), effects)
        }
        (State::Settled(end), Event::Asked { at, also }) => {
            let first = match also {
                Also::Nothing => vec![],
                Also::Failed => vec![Effect::Forgive],
                Also::Measured => vec![Effect::Forget],
            };
            once_more(Pass { number: 0, started: at, ..end.pass }, first)
        }
        (State::Settled(end), Event::Due { at }) if end.pause.is_some() => {
            once_more(Pass { number: end.pass.number + 1, started: at, ..end.pass }, vec![])
        }
        (state, _) => (state, vec![]),
    }
}

fn once_more(pass: Pass, mut effects: Vec<Effect>) -> (State, Vec<Effect>) {
    effects.push(Effect::Collect);
    (State::Looking { pass, again: true }, effects)
}

fn conclude(pass: Pass, facts: Facts, progress: Progress, applied: Applied, at: u64) -> (State, Vec<Effect>) {
    // What else failed is tried again in the next boot.
    let pause = PAUSES.get(pass.number).copied().filter(|_| applied.again && !applied.reboot);
    let next_attempt = pause.map(|pause| at + pause.as_secs());
    let mut steps = applied.steps;
    for step in steps.iter_mut().filter(|step| step.state == StepState::Failed) {
        step.next_attempt = next_attempt;
    }
    let faults: Vec<_> = pass.bus.iter().cloned().chain(facts.faults.iter().cloned()).chain(applied.faults).collect();
    let report = Report {
        format: Report::FORMAT,
        state: match (applied.reboot, faults.is_empty()) {
            (true, _) => Word::Rebooting,
            (false, true) => Word::Configured,
            (false, false) => Word::Degraded,
        },
        faults,
        image: facts.image.clone(),
        boot_id: facts.boot_id.clone(),
        machine_id: facts.machine_id.clone(),
        deployment: facts.deployment.clone(),
        holds: applied.holds,
        figures: applied.figures,
        steps: steps.clone(),
        next_attempt,
        agent_version: VERSION.to_owned(),
        started: pass.started,
        finished: at,
    };
    let effects = vec![Effect::WriteReport(Box::new(report.clone()))];
    let progress = Progress { steps, ..progress };
    (State::Reporting(Box::new(End { pass, facts, progress, report, pause, reboot: applied.reboot })), effects)
}

fn settle(end: Box<End>) -> (State, Vec<Effect>) {
    let fault = |fault| Effect::Tell(Notice::fault(fault, &end.report));
    let mut effects: Vec<_> = end.report.faults.iter().map(fault).collect();
    effects.push(Effect::Announce(Box::new(end.report.clone())));
    effects.extend((end.report.state == Word::Configured).then_some(Effect::Complete));
    effects.extend(end.pause.map(Effect::Wake));
    effects.extend(end.reboot.then_some(Effect::Reboot));
    (State::Settled(end), effects)
}
