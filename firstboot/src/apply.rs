//! Makes the node what it should be: subject by subject does what differs, looks again, and has it verified.
//!
//! The power may go at any point. Before an action's first effect and after its last one the journal is on the disk; an effect that happened
//! and was not noted differs no more, so that it is not done again. What is done and still differs has failed: nothing is tried for ever.

use basalt_contract::{Fault, Figure, Holds, Step, StepState};
use serde::Serialize;

use crate::acceptance;
use crate::backend::Outside;
use crate::desired::{self, Goal};
use crate::facts::Facts;
use crate::journal::{self, Journal, Turn};
use crate::notice::Notice;
use crate::owners;
use crate::plan::{Action, Effect, Plan};
use crate::report;
use crate::subject::{self, Node, SUBJECTS, Subject};

/// What has been done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// So many subjects are done with.
    pub done: u32,
    /// Of so many.
    pub total: u32,
    /// What differed, as far as it is known, in the order in which it is done.
    pub actions: Vec<Action>,
    /// Where each of them is.
    pub steps: Vec<Step>,
}

/// What was done, what holds, and what is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Applied {
    /// What differed, and what became of it.
    pub steps: Vec<Step>,
    /// What holds.
    pub holds: Vec<Holds>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// Everything that is not as it should be, with reasons.
    pub faults: Vec<Fault>,
    /// Whether it may be otherwise if it is tried again.
    #[serde(skip)]
    pub again: bool,
    /// Whether what is done is in force after a reboot.
    #[serde(skip)]
    pub reboot: bool,
}

/// Who hears how far it is.
pub type Listener<'a> = &'a mut (dyn FnMut(&Progress) + 'a);

/// What the node should be.
pub fn goal(outside: &Outside, facts: &Facts) -> Goal {
    desired::load(outside.files.as_ref(), &outside.credentials, &facts.hardware)
}

/// What differs now; changes nothing and waits for nobody.
pub async fn plan(outside: &Outside, facts: &Facts) -> Plan {
    let goal = goal(outside, facts);
    subject::plan(&Node { outside, facts, goal: &goal, patient: false }).await
}

/// What holds and what does not; changes nothing.
pub async fn verify(outside: &Outside, facts: &Facts) -> Applied {
    let goal = goal(outside, facts);
    let mut found = Applied { faults: goal.faults.clone(), ..Applied::default() };
    if !found.faults.is_empty() {
        return found;
    }
    let node = Node { outside, facts, goal: &goal, patient: false };
    for subject in SUBJECTS {
        if let Err(fault) = look(subject, &node, &mut found).await {
            found.faults.push(fault);
        }
    }
    found
}

async fn look(subject: &dyn Subject, node: &Node<'_>, found: &mut Applied) -> Result<(), Fault> {
    if let Some(owner) = owners::of(node.outside.files.as_ref(), subject.name()) {
        // What differs there is theirs; what does not is nothing that we can promise.
        if !subject::left(subject, node).await.is_empty() {
            found.holds.push(Holds { subject: subject.name().to_owned(), what: format!("left to {owner}") });
        }
        return Ok(());
    }
    let differing = subject.differences(node).await?;
    let next = "run `basalt-firstboot apply`";
    let fault = |action: &Action| Fault::new(subject.name(), format!("it differs: {}", action.what), next);
    found.faults.extend(differing.iter().map(fault));
    judge(subject, node, &differing, found).await
}

/// What was measured, and, where nothing differs, what holds.
async fn judge(subject: &dyn Subject, node: &Node<'_>, differing: &[Action], found: &mut Applied) -> Result<(), Fault> {
    let figures = subject.figures(node).await?;
    let outside = figures.iter().filter(|figure| figure.passed == Some(false));
    let next = "mend what is in the way, or wish for less; `basalt-firstboot accept` measures again";
    let faults: Vec<_> = outside.map(|figure| Fault::new(subject.name(), figure.to_string(), next)).collect();
    let good = differing.is_empty() && faults.is_empty();
    found.figures.extend(figures);
    found.faults.extend(faults);
    if good && let Some(what) = subject.verify(node).await? {
        found.holds.push(Holds { subject: subject.name().to_owned(), what });
    }
    Ok(())
}

/// Does what differs, looks again and verifies. `told` hears of each step.
pub async fn apply(outside: &Outside, facts: &Facts, told: Listener<'_>) -> Applied {
    let goal = goal(outside, facts);
    if !goal.faults.is_empty() {
        // What nobody seems to wish might be in the file that has a mistake.
        return Applied { faults: goal.faults, ..Applied::default() };
    }
    let node = Node { outside, facts, goal: &goal, patient: true };
    let plan_id = facts.image.as_ref().map(|image| image.plan_id.as_str());
    let total = SUBJECTS.len().try_into().unwrap_or(u32::MAX);
    let progress = Progress { total, ..Progress::default() };
    let mut pass = Pass { node, journal: journal(outside), progress, applied: Applied::default(), told };
    pass.remark();
    pass.tell().await;
    for subject in SUBJECTS {
        let first = pass.progress.steps.len();
        if let Err(fault) = pass.one(subject).await {
            pass.applied.faults.push(fault);
            pass.applied.again = true;
        }
        for step in &pass.progress.steps[first..] {
            outside.console.tell(&Notice::step(step, plan_id));
        }
        pass.progress.done += 1;
        pass.tell().await;
    }
    Applied { steps: pass.progress.steps, ..pass.applied }
}

/// The journal, or a new one where it cannot be read.
pub fn journal(outside: &Outside) -> Journal {
    let read = outside.files.read_if_there(journal::PATH).map_err(|error| error.to_string());
    read.and_then(|bytes| bytes.map_or_else(|| Ok(Journal::default()), |bytes| Journal::from_json(&bytes))).unwrap_or_else(
        |why| {
            outside.console.warn(&format!("{why}; beginning a new one"));
            Journal::default()
        },
    )
}

/// One way through all subjects.
struct Pass<'a, 'l> {
    node: Node<'a>,
    journal: Journal,
    progress: Progress,
    applied: Applied,
    told: Listener<'l>,
}

impl Pass<'_, '_> {
    /// What a config drive says that is not honoured, once in a boot.
    fn remark(&mut self) {
        let console = &self.node.outside.console;
        let boot = self.boot().to_owned();
        let notes = self.journal.untold(&self.node.goal.drive.notes, &boot);
        notes.iter().for_each(|note| console.warn(note));
        if !notes.is_empty()
            && let Err(why) = self.keep()
        {
            console.warn(&why);
        }
    }

    /// Who waits for something else than us gets a turn.
    async fn tell(&mut self) {
        (self.told)(&self.progress);
        tokio::task::yield_now().await;
    }

    /// One subject. A fault is what it cannot tell; what it cannot do is in its steps, and told as faults, too.
    async fn one(&mut self, subject: &dyn Subject) -> Result<(), Fault> {
        let first = self.progress.steps.len();
        if let Some(owner) = owners::of(self.node.outside.files.as_ref(), subject.name()) {
            let left = subject::left(subject, &self.node).await;
            self.progress.steps.extend(left.iter().map(step));
            for (index, action) in (first..).zip(&left) {
                self.at(index, action, StepState::Left, format!("{owner} owns it")).await;
            }
            return Ok(());
        }
        let actions = subject.differences(&self.node).await?;
        self.progress.steps.extend(actions.iter().map(step));
        self.progress.actions.extend(actions.iter().cloned());
        if self.applied.reboot && subject.after_reboot() && !actions.is_empty() {
            for (index, action) in (first..).zip(&actions) {
                self.at(index, action, StepState::Pending, "after the reboot".to_owned()).await;
            }
            return Ok(());
        }
        for (index, action) in actions.iter().enumerate() {
            self.act(first + index, action).await;
        }
        let left = if actions.is_empty() { vec![] } else { subject.differences(&self.node).await? };
        for (index, action) in (first..).zip(&actions).filter(|(_, action)| !left.iter().any(|other| other.name == action.name)) {
            // Who failed and had its effect nevertheless has not failed.
            if self.progress.steps[index].state == StepState::Failed {
                self.at(index, action, StepState::Done, String::new()).await;
            }
        }
        for action in &left {
            self.differs(first, action).await;
        }
        if self.journal.forget(subject.name(), &left) {
            self.keep().map_err(|why| Fault::new("journal", why, "check that /var is writable and has room"))?;
        }
        judge(subject, &self.node, &left, &mut self.applied).await
    }

    /// One action, unless it failed too often.
    async fn act(&mut self, index: usize, action: &Action) {
        match self.journal.turn(action, self.boot()) {
            Turn::Now => {}
            Turn::AfterReboot => return self.done(index, action).await,
            Turn::Waits(why) => return self.at(index, action, StepState::Waiting, why).await,
        }
        self.at(index, action, StepState::Running, String::new()).await;
        match self.effects(action).await {
            Ok(()) => self.done(index, action).await,
            Err(why) => self.at(index, action, StepState::Failed, why).await,
        }
    }

    async fn done(&mut self, index: usize, action: &Action) {
        self.applied.reboot |= action.reboot;
        let reason = if action.reboot { "in force after the reboot" } else { "" };
        self.at(index, action, StepState::Done, reason.to_owned()).await;
    }

    /// The effects, with the journal before and behind them. Without a journal nothing is begun.
    async fn effects(&mut self, action: &Action) -> Result<(), String> {
        let outside = self.node.outside;
        let boot = self.boot().to_owned();
        self.journal.begin(action, &boot, outside.clock.now());
        self.keep()?;
        let mut result = Ok(());
        for effect in &action.effects {
            result = run(outside, effect).await;
            if result.is_err() {
                break;
            }
        }
        self.journal.end(action, result.clone(), outside.clock.now());
        self.keep()?;
        result
    }

    /// It still differs: a fault, and a failure where it seemed done.
    async fn differs(&mut self, first: usize, action: &Action) {
        let Action { subject, name, what, .. } = action;
        let of = |step: &Step| step.name == action.key();
        let Some(index) = self.progress.steps.iter().skip(first).position(of).map(|index| first + index) else {
            self.applied.again = true;
            let fault = Fault::new(subject, format!("{what}: it came to differ meanwhile"), next_step(name));
            return self.applied.faults.push(fault);
        };
        if self.progress.steps[index].state == StepState::Done && action.reboot {
            return;
        }
        if self.progress.steps[index].state == StepState::Done {
            let why = "it was done, and still differs".to_owned();
            self.journal.end(action, Err(why.clone()), self.node.outside.clock.now());
            if let Err(why) = self.keep() {
                self.node.outside.console.warn(&why);
            }
            self.at(index, action, StepState::Failed, why).await;
        }
        let step = &self.progress.steps[index];
        let waits = if step.state == StepState::Waiting { "waits: " } else { "" };
        let fault = Fault::new(subject, format!("{what}: {waits}{}", step.reason), next_step(name));
        self.applied.faults.push(fault);
        self.applied.again |= self.journal.turn(action, self.boot()) == Turn::Now;
    }

    async fn at(&mut self, index: usize, action: &Action, state: StepState, reason: String) {
        let attempts = self.journal.attempts(action);
        let since = self.node.outside.clock.now();
        if let Some(step) = self.progress.steps.get_mut(index) {
            (step.state, step.reason, step.attempts, step.since) = (state, reason, attempts, since);
        }
        self.tell().await;
    }

    fn boot(&self) -> &str {
        self.node.facts.boot_id.as_deref().unwrap_or_default()
    }

    fn keep(&self) -> Result<(), String> {
        keep(self.node.outside, &self.journal)
    }
}

fn step(action: &Action) -> Step {
    let Action { what, .. } = action;
    let (state, reason) = (StepState::Pending, String::new());
    Step { name: action.key(), what: what.clone(), state, reason, attempts: 0, next_attempt: None, since: 0 }
}

fn next_step(name: &str) -> String {
    format!("see `basalt-firstboot plan`, mend what is in the way of {name}, then `basalt-firstboot apply --retry`")
}

fn keep(outside: &Outside, journal: &Journal) -> Result<(), String> {
    outside.files.replace(journal::PATH, journal.to_json().as_bytes()).map_err(|error| error.to_string())
}

/// One effect.
async fn run(outside: &Outside, effect: &Effect) -> Result<(), String> {
    match effect {
        Effect::Write { path, text } => outside.files.replace(path, text.as_bytes()).map_err(|error| error.to_string()),
        Effect::Remove { path } => outside.files.remove(path).map_err(|error| error.to_string()),
        Effect::SetHostName { name } => outside.namer.set_host_name(name).await.map_err(|error| error.to_string()),
        Effect::Start { unit } => outside.units.start(unit).await.map_err(|error| error.to_string()),
        Effect::Restart { unit } => outside.units.restart(unit).await.map_err(|error| error.to_string()),
        Effect::Reload { unit } => outside.units.reload(unit).await.map_err(|error| error.to_string()),
        Effect::SwitchProfile { profile } => outside.tuner.switch(profile).await.map_err(|error| error.to_string()),
    }
}

/// Forgets what was measured, and how often that failed: the next [`apply`] measures again.
///
/// # Errors
/// When the journal cannot be read or written, or the results cannot be taken away.
pub fn accept(outside: &Outside) -> Result<(), String> {
    outside.files.remove(acceptance::RESULTS).map_err(|error| error.to_string())?;
    retry(outside)
}

/// Forgets how often actions failed: the next [`apply`] tries them again.
///
/// # Errors
/// When the journal cannot be read or written.
pub fn retry(outside: &Outside) -> Result<(), String> {
    let read = outside.files.read_if_there(journal::PATH).map_err(|error| error.to_string())?;
    let Some(bytes) = read else { return Ok(()) };
    let mut journal = Journal::from_json(&bytes)?;
    journal.retry();
    keep(outside, &journal)
}

impl Applied {
    /// For people.
    pub fn screen(&self) -> String {
        let mut text = String::new();
        for step in &self.steps {
            text += &(report::step(step) + "\n");
        }
        if self.steps.is_empty() && self.faults.is_empty() {
            text.push_str("Nothing differs.\n");
        }
        for Holds { subject, what } in &self.holds {
            text += &format!("{subject:<20} {:<8} {what}\n", "holds");
        }
        for figure in &self.figures {
            text += &(report::figure(figure) + "\n");
        }
        for fault in &self.faults {
            text += &format!("\n{fault}\n");
        }
        text
    }
}
