//! Every way through the states.

use basalt_contract::{Fault, Report, State as Word, Step, StepState};

use super::{Also, Effect, Event, PAUSES, Published, State, next};
use crate::apply::{Applied, Progress};
use crate::facts::Facts;

fn fault(subject: &str) -> Fault {
    Fault { subject: subject.to_owned(), what: format!("{subject} is broken"), next_step: "mend it".to_owned() }
}

/// The kinds of effects, as words: what a table can show.
fn words(effects: &[Effect]) -> Vec<&'static str> {
    let word = |effect: &Effect| match effect {
        Effect::Ready => "ready",
        Effect::Forgive => "forgive",
        Effect::Forget => "forget",
        Effect::Collect => "collect",
        Effect::Apply(_) => "apply",
        Effect::WriteReport(_) => "write",
        Effect::Tell(_) => "warn",
        Effect::Announce(_) => "announce",
        Effect::Complete => "complete",
        Effect::Reboot => "reboot",
        Effect::Wake(_) => "wake",
        Effect::Stopping => "stopping",
    };
    effects.iter().map(word).collect()
}

fn begun(bus: Option<Fault>) -> Event {
    Event::Begun { at: 10, bus }
}

fn collected(faults: Vec<Fault>) -> Event {
    Event::Collected(Box::new(Facts { faults, ..Facts::default() }))
}

fn progressed() -> Event {
    Event::Progressed(Box::new(Progress { done: 1, total: 4, ..Progress::default() }))
}

fn failed_step() -> Step {
    let (name, what, reason) = ("a/b".to_owned(), "c".to_owned(), "d".to_owned());
    Step { name, what, state: StepState::Failed, reason, attempts: 1, next_attempt: None, since: 11 }
}

fn applied(faults: Vec<Fault>, again: bool) -> Event {
    let steps = if faults.is_empty() { vec![] } else { vec![failed_step()] };
    Event::Applied { at: 12, applied: Box::new(Applied { faults, again, steps, ..Applied::default() }) }
}

fn asked(also: Also) -> Event {
    Event::Asked { at: 20, also }
}

/// The state after these events, and all effects.
fn after(events: &[Event]) -> (State, Vec<Effect>) {
    events.iter().cloned().fold((State::Idle, vec![]), |(state, mut all), event| {
        let (state, effects) = next(state, event);
        all.extend(effects);
        (state, all)
    })
}

/// Until a report is written, with this at its end.
fn first_pass(end: Event) -> Vec<Event> {
    vec![begun(None), collected(vec![]), end, Event::ReportWritten]
}

#[test]
fn every_way_through() {
    use Event::{Due, ReportFailed, ReportWritten, Terminate};
    let good = || applied(vec![], false);
    let bad = |again| applied(vec![fault("tuned")], again);
    let ended = |end: Event, more: &[Event]| [&first_pass(end)[..], more].concat();
    let first = ["ready", "collect", "apply", "write"];
    // events, effects behind those of every first pass, last word
    let cases: [(Vec<Event>, &[&str], Option<Word>); 11] = [
        (vec![begun(None), collected(vec![]), good()], &[], None),
        (ended(good(), &[]), &["announce", "complete"], Some(Word::Configured)),
        (
            vec![begun(None), collected(vec![]), progressed(), good(), ReportWritten],
            &["announce", "complete"],
            Some(Word::Configured),
        ),
        (vec![begun(None), collected(vec![fault("image")]), good(), ReportWritten], &["warn", "announce"], Some(Word::Degraded)),
        (
            vec![begun(None), collected(vec![]), good(), ReportFailed(fault("report"))],
            &["warn", "announce"],
            Some(Word::Degraded),
        ),
        (ended(bad(false), &[Due { at: 50 }]), &["warn", "announce"], Some(Word::Degraded)),
        (ended(bad(true), &[]), &["warn", "announce", "wake"], Some(Word::Degraded)),
        (
            ended(bad(true), &[Due { at: 50 }, collected(vec![]), good(), ReportWritten]),
            &["warn", "announce", "wake", "collect", "apply", "write", "announce", "complete"],
            Some(Word::Configured),
        ),
        (ended(good(), &[asked(Also::Nothing)]), &["announce", "complete", "collect"], Some(Word::Applying)),
        (ended(good(), &[asked(Also::Failed), Terminate]), &["announce", "complete", "forgive", "collect", "stopping"], None),
        (ended(good(), &[asked(Also::Measured)]), &["announce", "complete", "forget", "collect"], Some(Word::Applying)),
    ];
    for (events, wanted, word) in cases {
        let (state, effects) = after(&events);
        let wanted = [&first[..], wanted].concat();
        assert_eq!((words(&effects), Published::of(&state).map(|published| published.state)), (wanted, word), "{events:?}");
    }
    let (state, effects) = after(&[begun(Some(fault("bus"))), collected(vec![]), good(), ReportWritten]);
    assert_eq!(
        words(&effects),
        ["collect", "apply", "write", "warn", "announce"],
        "without a bus nobody is told that we can be asked"
    );
    assert_eq!(Published::of(&state).unwrap().state, Word::Degraded);
    assert_eq!(Published::of(&after(&[begun(None)]).0).unwrap().state, Word::Starting);
    let (applying, _) = after(&[begun(None), collected(vec![]), progressed()]);
    assert_eq!(Published::of(&applying).unwrap().words(), "applying: 1 of 4");
}

#[test]
fn it_is_tried_again_twice_and_then_when_somebody_asks() {
    let bad = || applied(vec![fault("tuned")], true);
    let mut events = first_pass(bad());
    let again = [Event::Due { at: 50 }, collected(vec![]), bad(), Event::ReportWritten];
    for pause in PAUSES {
        let (state, effects) = after(&events);
        assert_eq!(effects.last(), Some(&Effect::Wake(pause)));
        let State::Settled(end) = state else { panic!() };
        let at = Some(12 + pause.as_secs());
        assert_eq!((end.report.next_attempt, end.report.steps[0].next_attempt), (at, at));
        events.extend(again.clone());
    }
    let (state, effects) = after(&events);
    assert_eq!(words(&effects).last(), Some(&"announce"));
    let State::Settled(end) = &state else { panic!() };
    assert_eq!((end.report.next_attempt, end.report.steps[0].next_attempt), (None, None));
    assert_eq!(next(state.clone(), Event::Due { at: 60 }), (state, vec![]));
    events.extend([asked(Also::Failed), collected(vec![]), bad(), Event::ReportWritten]);
    assert_eq!(words(&after(&events).1).last(), Some(&"wake"), "who asks begins anew");
}

#[test]
fn one_reboot_when_all_is_done_and_who_refuses_it_is_told() {
    let done = Applied { again: true, reboot: true, faults: vec![fault("tuned")], ..Applied::default() };
    let mut events = first_pass(Event::Applied { at: 12, applied: Box::new(done) });
    let (state, effects) = after(&events);
    assert_eq!(words(&effects)[3..], ["write", "warn", "announce", "reboot"]);
    assert_eq!(Published::of(&state).unwrap().state, Word::Rebooting);
    events.extend([Event::RebootFailed(fault("reboot")), Event::ReportWritten]);
    let (state, effects) = after(&events);
    assert_eq!(words(&effects)[7..], ["write", "warn", "warn", "announce"]);
    assert_eq!(Published::of(&state).unwrap().state, Word::Degraded);
}

#[test]
fn the_report_has_times_and_all_faults_in_order() {
    let (_, effects) = after(&[begun(Some(fault("bus"))), collected(vec![fault("image")]), applied(vec![fault("tuned")], false)]);
    let Some(Effect::WriteReport(report)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!((report.started, report.finished, report.state), (10, 12, Word::Degraded));
    assert_eq!(report.faults, [fault("bus"), fault("image"), fault("tuned")]);
    assert_eq!(report.steps, [failed_step()]);
    assert_eq!(Report::from_json(report.to_json().as_bytes()).unwrap(), **report);
}

/// Every state, by a way to it.
fn states() -> Vec<State> {
    let all = first_pass(applied(vec![], false));
    (0..=all.len())
        .map(|length| after(&all[..length]).0)
        .chain([after(&[&all[..], &[asked(Also::Nothing)]].concat()).0])
        .collect()
}

#[test]
fn every_state_can_be_ended_and_nothing_follows_the_end() {
    for state in states() {
        assert_eq!(next(state, Event::Terminate), (State::Stopped, vec![Effect::Stopping]));
    }
    for event in [begun(None), collected(vec![]), Event::ReportWritten, asked(Also::Failed), Event::Terminate] {
        assert_eq!(next(State::Stopped, event), (State::Stopped, vec![]));
    }
}

#[test]
fn an_event_out_of_turn_changes_nothing() {
    let waited_for = |state: &State, event: &Event| {
        matches!(
            (state, event),
            (State::Idle, Event::Begun { .. })
                | (State::Looking { .. }, Event::Collected(_))
                | (State::Applying { .. }, Event::Progressed(_) | Event::Applied { .. })
                | (State::Reporting(_), Event::ReportWritten | Event::ReportFailed(_))
                | (State::Settled(_), Event::Asked { .. })
        )
    };
    let events = [
        begun(None),
        collected(vec![fault("image")]),
        progressed(),
        applied(vec![], false),
        Event::ReportWritten,
        Event::ReportFailed(fault("report")),
        asked(Also::Nothing),
        Event::Due { at: 50 },
        Event::RebootFailed(fault("reboot")),
    ];
    for state in states() {
        for event in events.iter().filter(|event| !waited_for(&state, event)) {
            assert_eq!(next(state.clone(), event.clone()), (state.clone(), vec![]), "{event:?}");
        }
    }
}
