//! The one loop: waits for events, asks the state machine, runs its effects, publishes the state.

use std::future::pending;
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use basalt_contract::{Fault, Report, names};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::agent::{self, Effect, Event, Published, State};
use crate::apply::{self, Progress};
use crate::backend::{Outside, UnitState};
use crate::dbus::{Bus, Refusal, Request, Wish};
use crate::facts::{self, Facts};
use crate::notice::Notice;
use crate::{export, metrics, report};

/// What agetty shows above its prompt, `issue(5)`.
const ISSUE: &str = "/run/issue.d/50-basalt.issue";
/// What Cluster API looks for: the contract of its bootstrap providers.
const COMPLETE: &str = "/run/cluster-api/bootstrap-success.complete";
/// What waits for the node to be what it should be, and what is reached then.
const WAITER: &str = "basalt-configured.service";
const TARGET: &str = "basalt-configured.target";
/// So many wishes may wait to be looked at.
const WISHES: usize = 16;

/// Runs the agent until it is told to end.
///
/// Without a bus it still applies, reports and announces, and then ends with a failure: the supervisor may try again.
///
/// # Errors
/// When signals cannot be received, or another agent has the name on the bus (that one reports, this one must not).
pub async fn serve(outside: &Outside) -> anyhow::Result<ExitCode> {
    let signals = Signals::new().context("cannot receive signals")?;
    let shown = Published::nothing();
    let (sender, requests) = mpsc::channel(WISHES);
    let (bus, fault) = match Bus::claim(shown.clone(), sender).await {
        Ok(bus) => (Some(bus), None),
        Err(zbus::Error::NameTaken) => {
            bail!("another agent has {} on the bus; see `systemctl status {}`", names::BUS_NAME, names::AGENT_UNIT)
        }
        Err(error) => (None, Some(bus_fault(&error))),
    };
    let code = if bus.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let begun = Event::Begun { at: outside.clock.now(), bus: fault };
    let state = State::Idle;
    let mut agent =
        Agent { outside, bus, signals, requests, state, shown, work: None, reading: None, reaching: None, wake: None };
    agent.happens(begun).await;
    while agent.state != State::Stopped && (agent.bus.is_some() || !agent.state.idle()) {
        agent.turn().await;
    }
    Ok(code)
}

type Work<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
type Answer = oneshot::Sender<Result<String, Refusal>>;

/// The agent while it runs.
struct Agent<'a> {
    outside: &'a Outside,
    bus: Option<Bus>,
    signals: Signals,
    requests: mpsc::Receiver<Request>,
    state: State,
    shown: Published,
    /// The node is made what it should be: what is heard of it on the way, and what comes of it.
    work: Option<(mpsc::UnboundedReceiver<Progress>, Work<'a, Event>)>,
    /// Somebody is answered.
    reading: Option<Work<'a, ()>>,
    /// Who waited for the node in vain is told that it is done.
    reaching: Option<Work<'a, ()>>,
    /// When a pause is over.
    wake: Option<Instant>,
}

/// What is waited for.
enum Waited {
    Event(Event),
    Request(Request),
    Beside,
}

impl Agent<'_> {
    /// Waits for one thing, and does what follows from it.
    async fn turn(&mut self) {
        let at = || self.outside.clock.now();
        let waited = tokio::select! {
            // Whoever wants us to end does not wait for tuned, which may take minutes; who looks sees all that happened.
            biased;
            end = self.signals.terminate() => Waited::Event(end),
            event = worked(&mut self.work) => Waited::Event(event),
            Some(request) = self.requests.recv() => Waited::Request(request),
            () = done(&mut self.reading) => Waited::Beside,
            () = done(&mut self.reaching) => Waited::Beside,
            () = until(self.wake) => Waited::Event(Event::Due { at: at() }),
        };
        match waited {
            Waited::Event(event) => {
                match event {
                    Event::Applied { .. } => self.work = None,
                    Event::Due { .. } => self.wake = None,
                    _ => {}
                }
                self.happens(event).await;
            }
            Waited::Request(Request { wish, answer }) => self.asked(wish, answer).await,
            Waited::Beside => {}
        }
    }

    /// Somebody wants something.
    async fn asked(&mut self, wish: Wish, answer: Answer) {
        let outside = self.outside;
        // Who asked and went away wants no answer.
        if !self.state.idle() || self.reading.is_some() {
            return drop(answer.send(Err(Refusal::Busy)));
        }
        if let Wish::Apply(also) = wish {
            self.wake = None;
            self.happens(Event::Asked { at: outside.clock.now(), also }).await;
            return drop(answer.send(Ok(String::new())));
        }
        self.reading = Some(Box::pin(async move {
            let facts = facts::collect(outside.files.as_ref());
            let text = match wish {
                Wish::Apply(_) => Ok(String::new()),
                Wish::Plan => serde_json::to_string(&apply::plan(outside, &facts).await).map_err(|error| error.to_string()),
                Wish::Verify => serde_json::to_string(&apply::verify(outside, &facts).await).map_err(|error| error.to_string()),
                Wish::Export => export::export(outside, &facts).await,
            };
            drop(answer.send(text.map_err(Refusal::Failed)));
        }));
    }

    /// What follows from an event, and from what answers it at once.
    async fn happens(&mut self, event: Event) {
        let mut event = Some(event);
        while let Some(now) = event.take() {
            let (state, effects) = agent::next(std::mem::replace(&mut self.state, State::Idle), now);
            self.state = state;
            // First the bus, then the words: who reads of an end can ask for it.
            if let Some(published) = Published::of(&self.state).filter(|published| *published != self.shown) {
                self.show(published).await;
            }
            for effect in effects {
                // At most one effect of each event is answered at once.
                event = self.run(effect).await.or(event);
            }
        }
    }

    /// Runs one effect, and gives the event that answers it, if it is answered at once.
    async fn run(&mut self, effect: Effect) -> Option<Event> {
        let outside = self.outside;
        match effect {
            Effect::Ready => self.told(outside.supervisor.ready()),
            Effect::Stopping => self.told(outside.supervisor.stopping()),
            Effect::Announce(report) => {
                self.put(ISSUE, &report::issue(&report));
                if outside.files.list(metrics::FOLDER).is_ok() {
                    self.put(&format!("{}/{}", metrics::FOLDER, metrics::NAME), &metrics::text(&report));
                }
                outside.console.redraw();
                outside.console.tell(&Notice::settled(&report));
            }
            Effect::Complete => {
                self.put(COMPLETE, "success\n");
                self.reaching = Some(Box::pin(reach(outside)));
            }
            Effect::Tell(notice) => outside.console.tell(&notice),
            Effect::Wake(pause) => self.wake = Some(Instant::now() + pause),
            Effect::Forgive => self.forgotten(apply::retry(outside)),
            Effect::Forget => self.forgotten(apply::accept(outside)),
            Effect::Collect => return Some(Event::Collected(Box::new(facts::collect(outside.files.as_ref())))),
            Effect::Reboot => {
                let Err(error) = outside.units.reboot().await else { return None };
                let next = "see `systemd-inhibit --list`, then reboot the machine";
                return Some(Event::RebootFailed(Fault::new("reboot", format!("the machine does not boot anew: {error}"), next)));
            }
            Effect::Apply(facts) => self.work = Some(work(outside, facts)),
            Effect::WriteReport(report) => return Some(write(outside, *report).await),
        }
        None
    }

    /// Shows `published` on the bus and to the supervisor. Nobody listening is no reason to stop.
    async fn show(&mut self, published: Published) {
        self.told(self.outside.supervisor.status(&published.words()));
        if let Some(bus) = &self.bus
            && let Err(error) = bus.publish(published.clone()).await
        {
            self.outside.console.warn(&format!("the bus did not take a signal: {error}"));
        }
        self.shown = published;
    }

    /// Writes what others read, if they do: the report says the same.
    fn put(&self, path: &str, text: &str) {
        if let Err(error) = self.outside.files.replace(path, text.as_bytes()) {
            self.outside.console.warn(&error.to_string());
        }
    }

    fn forgotten(&self, result: Result<(), String>) {
        if let Err(why) = result {
            self.outside.console.warn(&why);
        }
    }

    fn told(&self, result: std::io::Result<()>) {
        if let Err(error) = result {
            self.outside.console.warn(&format!("systemd cannot be told how we do ($NOTIFY_SOCKET): {error}"));
        }
    }
}

/// Makes the node what it should be, beside the loop.
fn work(outside: &Outside, facts: Box<Facts>) -> (mpsc::UnboundedReceiver<Progress>, Work<'_, Event>) {
    let (sender, heard) = mpsc::unbounded_channel();
    let work = Box::pin(async move {
        // The loop ends no earlier than this: it always listens.
        let applied = apply::apply(outside, &facts, &mut |progress| drop(sender.send(progress.clone()))).await;
        Event::Applied { at: outside.clock.now(), applied: Box::new(applied) }
    });
    (heard, work)
}

/// How far the work is, or what came of it.
async fn worked(work: &mut Option<(mpsc::UnboundedReceiver<Progress>, Work<'_, Event>)>) -> Event {
    let Some((heard, work)) = work else { return pending().await };
    tokio::select! {
        biased;
        Some(progress) = heard.recv() => Event::Progressed(Box::new(progress)),
        event = work => event,
    }
}

/// Work that is done is there no more.
async fn done(work: &mut Option<Work<'_, ()>>) {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
    *work = None;
}

/// A node that was not what it should be has become so: what waited for it in vain is reached after all.
async fn reach(outside: &Outside) {
    let failed = outside.units.state(WAITER).await.is_ok_and(|state| state == UnitState::Not("failed".to_owned()));
    if failed && let Err(error) = outside.units.start(TARGET).await {
        outside.console.warn(&format!("{TARGET} cannot be reached: {error}"));
    }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => pending().await,
    }
}

/// A slow disk may take its time: the bus is answered meanwhile.
async fn write(outside: &Outside, report: Report) -> Event {
    let files = outside.files.clone();
    let written = tokio::task::spawn_blocking(move || files.replace(names::REPORT_FILE, report.to_json().as_bytes()));
    match written.await {
        Ok(Ok(())) => Event::ReportWritten,
        Ok(Err(error)) => Event::ReportFailed(report_fault(error.to_string())),
        Err(error) => Event::ReportFailed(report_fault(error.to_string())),
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
