//! The one loop: waits for events, asks the state machine, runs its effects, publishes the state.

use std::collections::VecDeque;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basalt_contract::{Fault, names};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::agent::{self, Effect, Event, Published, State};
use crate::backend::Outside;
use crate::dbus::Bus;
use crate::{facts, tuned};

/// Runs the agent until it is told to end.
///
/// Without a bus it still finds out, reports and announces, and then ends with a failure: the supervisor may try again.
///
/// # Errors
/// When signals cannot be received, or another agent has the name on the bus (that one reports, this one must not).
pub async fn serve(outside: &Outside) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot receive signals")?;
    let mut state = State::Idle;
    let mut shown = Published::nothing();
    let (bus, fault) = match Bus::claim(shown.clone()).await {
        Ok(bus) => (Some(bus), None),
        Err(zbus::Error::NameTaken) => {
            bail!("another agent has {} on the bus; see `systemctl status {}`", names::BUS_NAME, names::AGENT_UNIT)
        }
        Err(error) => (None, Some(bus_fault(&error))),
    };
    let mut events = VecDeque::from([Event::Begun { at: outside.clock.now(), bus: fault }]);
    while state != State::Stopped {
        let event = match events.pop_front() {
            Some(event) => event,
            None if bus.is_none() => break,
            None => signals.terminate().await,
        };
        let (after, effects) = agent::next(state, event);
        state = after;
        // First the bus, then the words: who reads of an end can ask for it.
        if let Some(published) = Published::of(&state).filter(|published| *published != shown) {
            show(outside, bus.as_ref(), &published).await;
            shown = published;
        }
        for effect in effects {
            events.extend(run(outside, effect, &mut signals).await);
        }
    }
    Ok(if bus.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one effect, and gives the event that answers it.
async fn run(outside: &Outside, effect: Effect, signals: &mut Signals) -> Option<Event> {
    match effect {
        Effect::Ready => told(outside, outside.supervisor.ready()),
        Effect::Stopping => told(outside, outside.supervisor.stopping()),
        Effect::Announce(line) => outside.console.announce(&line),
        Effect::Warn(Fault { subject, what, next_step }) => outside.console.warn(&format!("{subject}: {what}; {next_step}")),
        Effect::Collect => {
            let facts = Box::new(facts::collect(outside.files.as_ref()));
            return Some(Event::Collected { at: outside.clock.now(), facts });
        }
        Effect::Tune(profile) => {
            // tuned may take minutes: whoever wants us to end does not wait for it.
            return Some(tokio::select! {
                (tuned, fault) = tuned::apply(outside.tuner.as_ref(), &profile) => Event::Tuned { at: outside.clock.now(), tuned, fault },
                end = signals.terminate() => end,
            });
        }
        Effect::WriteReport(report) => {
            // A slow disk may take its time: the bus is answered meanwhile.
            let files = outside.files.clone();
            let written = tokio::task::spawn_blocking(move || files.replace(names::REPORT_FILE, report.to_json().as_bytes()));
            return Some(match written.await {
                Ok(Ok(())) => Event::ReportWritten,
                Ok(Err(error)) => Event::ReportFailed(report_fault(error.to_string())),
                Err(error) => Event::ReportFailed(report_fault(error.to_string())),
            });
        }
    }
    None
}

/// Shows `published` on the bus and to the supervisor. Nobody listening is no reason to stop.
async fn show(outside: &Outside, bus: Option<&Bus>, published: &Published) {
    told(outside, outside.supervisor.status(&published.words()));
    if let Some(bus) = bus
        && let Err(error) = bus.publish(published.clone()).await
    {
        outside.console.warn(&format!("the bus did not take a signal: {error}"));
    }
}

fn told(outside: &Outside, result: std::io::Result<()>) {
    if let Err(error) = result {
        outside.console.warn(&format!("systemd cannot be told how we do ($NOTIFY_SOCKET): {error}"));
    }
}

fn bus_fault(error: &zbus::Error) -> Fault {
    Fault::new(
        "bus",
        format!("cannot have {} on the system bus: {error}", names::BUS_NAME),
        "check dbus.service and /usr/share/dbus-1/system.d/org.basalt.FirstBoot1.conf",
    )
}

fn report_fault(what: String) -> Fault {
    Fault::new("report", what, "check that /var is writable and has room")
}

/// The signals that end us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn terminate(&mut self) -> Event {
        tokio::select! {
            _ = self.terminate.recv() => Event::Terminate,
            _ = self.interrupt.recv() => Event::Terminate,
        }
    }
}
