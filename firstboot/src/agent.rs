//! The state machine: what the agent is doing, what happened, what to do next. Pure: time and facts come in with events.
//!
//! ```text
//! Idle --Begun--> Starting --Collected--> [Tuning --Tuned-->] Reporting --ReportWritten / ReportFailed--> Settled
//!                                 any of them --Terminate--> Stopped
//! ```
//!
//! No failure stops the way: it becomes a fault of the report, and the boot goes on beside us.

use basalt_contract::{Fault, Report, State as Word, Tuned};

use crate::facts::Facts;
use crate::{VERSION, report};

/// What the agent is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    Idle,
    /// Finding out.
    Starting {
        /// When it began, in seconds since 1970.
        started: u64,
        /// What has failed so far.
        faults: Vec<Fault>,
    },
    /// tuned is being asked.
    Tuning {
        /// When it began, in seconds since 1970.
        started: u64,
        /// What was found.
        facts: Box<Facts>,
    },
    /// The report is being written.
    Reporting(Box<Report>),
    /// All is done and told.
    Settled(Box<Report>),
    /// The end.
    Stopped,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The program started, at a time in seconds since 1970; the bus may have failed us.
    Begun {
        /// Now.
        at: u64,
        /// Why the bus cannot be had.
        bus: Option<Fault>,
    },
    /// The facts are found.
    Collected {
        /// Now, in seconds since 1970.
        at: u64,
        /// What was found, and what not.
        facts: Box<Facts>,
    },
    /// tuned did what the image wants, or did not.
    Tuned {
        /// Now, in seconds since 1970.
        at: u64,
        /// What it does, where it answered.
        tuned: Option<Tuned>,
        /// What did not work.
        fault: Option<Fault>,
    },
    /// The report is on the disk.
    ReportWritten,
    /// The report could not be written.
    ReportFailed(Fault),
    /// Somebody wants us to end.
    Terminate,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Tell the supervisor that we can be asked.
    Ready,
    /// Find out; answers [`Event::Collected`].
    Collect,
    /// Have tuned make these profiles active and verify them; answers [`Event::Tuned`].
    Tune(String),
    /// Write the report's file; answers [`Event::ReportWritten`] or [`Event::ReportFailed`].
    WriteReport(Box<Report>),
    /// Put a fault into the journal.
    Warn(Fault),
    /// Say the one line about this boot.
    Announce(String),
    /// Tell the supervisor that we end.
    Stopping,
}

/// What follows from `event` in `state`. An event that `state` does not wait for changes nothing.
pub fn next(state: State, event: Event) -> (State, Vec<Effect>) {
    match (state, event) {
        (State::Stopped, _) => (State::Stopped, vec![]),
        (_, Event::Terminate) => (State::Stopped, vec![Effect::Stopping]),
        (State::Idle, Event::Begun { at, bus: None }) => {
            (State::Starting { started: at, faults: vec![] }, vec![Effect::Ready, Effect::Collect])
        }
        (State::Idle, Event::Begun { at, bus: Some(fault) }) => {
            (State::Starting { started: at, faults: vec![fault] }, vec![Effect::Collect])
        }
        // Without a bus there is nobody to ask.
        (State::Starting { started, faults }, Event::Collected { facts, .. }) if faults.is_empty() && facts.tuned.is_some() => {
            let profile = facts.tuned.clone().unwrap_or_default();
            (State::Tuning { started, facts }, vec![Effect::Tune(profile)])
        }
        (State::Starting { started, faults }, Event::Collected { at, facts }) => conclude(started, at, faults, *facts, None),
        (State::Tuning { started, facts }, Event::Tuned { at, tuned, fault }) => {
            conclude(started, at, fault.into_iter().collect(), *facts, tuned)
        }
        (State::Reporting(report), Event::ReportWritten) => settle(report),
        (State::Reporting(mut report), Event::ReportFailed(fault)) => {
            report.faults.push(fault);
            report.state = Word::Degraded;
            settle(report)
        }
        (state, _) => (state, vec![]),
    }
}

fn conclude(started: u64, finished: u64, mut faults: Vec<Fault>, facts: Facts, tuned: Option<Tuned>) -> (State, Vec<Effect>) {
    faults.extend(facts.faults);
    let report = Box::new(Report {
        format: Report::FORMAT,
        state: if faults.is_empty() { Word::Configured } else { Word::Degraded },
        faults,
        image: facts.image,
        boot_id: facts.boot_id,
        machine_id: facts.machine_id,
        deployment: facts.deployment,
        tuned,
        agent_version: VERSION.to_owned(),
        started,
        finished,
    });
    (State::Reporting(report.clone()), vec![Effect::WriteReport(report)])
}

fn settle(report: Box<Report>) -> (State, Vec<Effect>) {
    let warnings = report.faults.iter().cloned().map(Effect::Warn);
    let effects = warnings.chain([Effect::Announce(report::summary(&report))]).collect();
    (State::Settled(report), effects)
}

/// What everybody may know about a state: the values of the D-Bus properties. Empty text where nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the property of its name, documented in basalt_contract::names::property")]
pub struct Published {
    pub state: Word,
    pub reason: String,
    pub plan_id: String,
    pub image_name: String,
    pub image_version: String,
    pub boot_id: String,
    pub deployment: String,
    pub report: String,
}

impl Published {
    /// What is shown before anything is known.
    pub const fn nothing() -> Self {
        Self {
            state: Word::Starting,
            reason: String::new(),
            plan_id: String::new(),
            image_name: String::new(),
            image_version: String::new(),
            boot_id: String::new(),
            deployment: String::new(),
            report: String::new(),
        }
    }

    /// What `state` shows; absent: what was shown last stays. A report that is still being written is not shown: nobody hears of
    /// an end that the disk does not know.
    pub fn of(state: &State) -> Option<Self> {
        match state {
            State::Idle | State::Starting { .. } | State::Tuning { .. } | State::Reporting(_) => Some(Self::nothing()),
            State::Settled(report) => Some(Self::of_report(report)),
            State::Stopped => None,
        }
    }

    fn of_report(report: &Report) -> Self {
        let mut published = Self {
            state: report.state,
            reason: report::reason(report),
            boot_id: report.boot_id.clone().unwrap_or_default(),
            report: report.to_json(),
            ..Self::nothing()
        };
        if let Some(image) = &report.image {
            published.plan_id.clone_from(&image.plan_id);
            published.image_name.clone_from(&image.name);
            published.image_version.clone_from(&image.version);
        }
        if let Some(deployment) = &report.deployment {
            published.deployment.clone_from(&deployment.checksum);
        }
        published
    }

    /// State and reason in a few words.
    pub fn words(&self) -> String {
        if self.reason.is_empty() { self.state.to_string() } else { format!("{}: {}", self.state, self.reason) }
    }
}

#[cfg(test)]
mod tests {
    use basalt_contract::{Fault, Report, State as Word, Tuned};

    use super::{Effect, Event, Published, State, next};
    use crate::facts::Facts;

    fn fault(subject: &str) -> Fault {
        Fault { subject: subject.to_owned(), what: format!("{subject} is broken"), next_step: "mend it".to_owned() }
    }

    /// The kinds of effects, as words: what a table can show.
    fn words(effects: &[Effect]) -> Vec<&'static str> {
        let word = |effect: &Effect| match effect {
            Effect::Ready => "ready",
            Effect::Collect => "collect",
            Effect::Tune(_) => "tune",
            Effect::WriteReport(_) => "write",
            Effect::Warn(_) => "warn",
            Effect::Announce(_) => "announce",
            Effect::Stopping => "stopping",
        };
        effects.iter().map(word).collect()
    }

    fn begun(bus: Option<Fault>) -> Event {
        Event::Begun { at: 10, bus }
    }

    fn collected(faults: Vec<Fault>) -> Event {
        Event::Collected { at: 12, facts: Box::new(Facts { faults, ..Facts::default() }) }
    }

    fn wanting(profile: &str) -> Event {
        Event::Collected { at: 12, facts: Box::new(Facts { tuned: Some(profile.to_owned()), ..Facts::default() }) }
    }

    fn tuned(fault: Option<Fault>) -> Event {
        let tuned = Tuned { profile: "a".to_owned(), was: None, verified: fault.is_none() };
        Event::Tuned { at: 14, tuned: Some(tuned), fault }
    }

    #[test]
    fn every_way_through() {
        use Event::{ReportFailed, ReportWritten, Terminate};
        // events, effects in order, last word
        let cases: [(Vec<Event>, &[&str], Option<Word>); 9] = [
            (vec![begun(None)], &["ready", "collect"], Some(Word::Starting)),
            (vec![begun(None), collected(vec![])], &["ready", "collect", "write"], Some(Word::Starting)),
            (
                vec![begun(None), collected(vec![]), ReportWritten],
                &["ready", "collect", "write", "announce"],
                Some(Word::Configured),
            ),
            (vec![begun(None), wanting("a")], &["ready", "collect", "tune"], Some(Word::Starting)),
            (
                vec![begun(None), wanting("a"), tuned(None), ReportWritten],
                &["ready", "collect", "tune", "write", "announce"],
                Some(Word::Configured),
            ),
            (
                vec![begun(None), wanting("a"), tuned(Some(fault("tuned"))), ReportWritten],
                &["ready", "collect", "tune", "write", "warn", "announce"],
                Some(Word::Degraded),
            ),
            (
                vec![begun(None), collected(vec![fault("image")]), ReportWritten],
                &["ready", "collect", "write", "warn", "announce"],
                Some(Word::Degraded),
            ),
            (
                vec![begun(None), collected(vec![]), ReportFailed(fault("report"))],
                &["ready", "collect", "write", "warn", "announce"],
                Some(Word::Degraded),
            ),
            (
                vec![begun(Some(fault("bus"))), collected(vec![fault("image")]), ReportWritten, Terminate],
                &["collect", "write", "warn", "warn", "announce", "stopping"],
                None,
            ),
        ];
        for (events, wanted, word) in cases {
            let mut state = State::Idle;
            let mut found = vec![];
            for event in events.clone() {
                let (after, effects) = next(state, event);
                state = after;
                found.extend(words(&effects));
            }
            assert_eq!((found.as_slice(), Published::of(&state).map(|published| published.state)), (wanted, word), "{events:?}");
        }
    }

    #[test]
    fn the_report_has_times_and_all_faults_in_order() {
        let (state, _) = next(State::Idle, begun(Some(fault("bus"))));
        let (_, effects) = next(state, collected(vec![fault("image")]));
        let [Effect::WriteReport(report)] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!((report.started, report.finished, report.state), (10, 12, Word::Degraded));
        assert_eq!(report.faults, [fault("bus"), fault("image")]);
        assert_eq!(Report::from_json(report.to_json().as_bytes()).unwrap(), **report);
    }

    #[test]
    fn the_report_has_what_tuned_said_and_without_a_bus_nobody_asks_it() {
        let (starting, _) = next(State::Idle, begun(None));
        let (tuning, _) = next(starting, wanting("a"));
        let (_, effects) = next(tuning, tuned(None));
        let [Effect::WriteReport(report)] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!((report.finished, report.tuned.as_ref().map(|tuned| tuned.verified)), (14, Some(true)));
        let (starting, _) = next(State::Idle, begun(Some(fault("bus"))));
        let (_, effects) = next(starting, wanting("a"));
        assert_eq!(words(&effects), ["write"]);
    }

    #[test]
    fn every_state_can_be_ended_and_nothing_follows_the_end() {
        let (starting, _) = next(State::Idle, begun(None));
        let (reporting, _) = next(starting.clone(), collected(vec![]));
        let (settled, _) = next(reporting.clone(), Event::ReportWritten);
        let (tuning, _) = next(starting.clone(), wanting("a"));
        for state in [State::Idle, starting, tuning, reporting, settled] {
            assert_eq!(next(state, Event::Terminate), (State::Stopped, vec![Effect::Stopping]));
        }
        for event in [begun(None), collected(vec![]), Event::ReportWritten, Event::Terminate] {
            assert_eq!(next(State::Stopped, event), (State::Stopped, vec![]));
        }
    }

    #[test]
    fn an_event_out_of_turn_changes_nothing() {
        let (starting, _) = next(State::Idle, begun(None));
        let (reporting, _) = next(starting.clone(), collected(vec![]));
        let (settled, _) = next(reporting.clone(), Event::ReportWritten);
        let (tuning, _) = next(starting.clone(), wanting("a"));
        let cases = [
            (starting.clone(), tuned(None)),
            (tuning, collected(vec![])),
            (State::Idle, Event::ReportWritten),
            (State::Idle, collected(vec![])),
            (starting.clone(), begun(None)),
            (starting, Event::ReportFailed(fault("report"))),
            (reporting.clone(), collected(vec![fault("image")])),
            (settled.clone(), Event::ReportFailed(fault("report"))),
            (settled, begun(None)),
        ];
        for (state, event) in cases {
            assert_eq!(next(state.clone(), event), (state, vec![]));
        }
    }
}
