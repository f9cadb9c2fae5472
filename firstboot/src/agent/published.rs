//! What everybody may know about a state.

use basalt_contract::{Report, State as Word, Step};

use super::{End, State};
use crate::apply::Progress;
use crate::facts::Facts;
use crate::report;

/// The values of the D-Bus properties. Empty where nothing is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each field is the property of its name, documented in basalt_contract::names::property")]
pub struct Published {
    pub state: Word,
    pub reason: String,
    pub progress: (u32, u32),
    pub steps: Vec<Step>,
    pub plan: String,
    pub facts: String,
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
            progress: (0, 0),
            steps: Vec::new(),
            plan: String::new(),
            facts: String::new(),
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
            State::Idle | State::Looking { again: false, .. } => Some(Self::nothing()),
            State::Looking { again: true, .. } => Some(Self { state: Word::Applying, ..Self::nothing() }),
            State::Applying { facts, progress, .. } => Some(Self::nothing().with(Word::Applying, facts, progress)),
            State::Reporting(_) | State::Stopped => None,
            State::Settled(end) => {
                let End { facts, progress, report, .. } = &**end;
                Some(Self::nothing().with(report.state, facts, progress).told(report))
            }
        }
    }

    fn with(mut self, state: Word, facts: &Facts, progress: &Progress) -> Self {
        let image = facts.image.clone();
        (self.state, self.progress, self.steps) = (state, (progress.done, progress.total), progress.steps.clone());
        (self.plan, self.facts) = (json(&progress.actions), json(facts));
        self.boot_id = facts.boot_id.clone().unwrap_or_default();
        (self.plan_id, self.image_name, self.image_version) =
            image.map(|image| (image.plan_id, image.name, image.version)).unwrap_or_default();
        self.deployment = facts.deployment.clone().map(|deployment| deployment.checksum).unwrap_or_default();
        self
    }

    fn told(mut self, report: &Report) -> Self {
        (self.reason, self.report) = (report::reason(report), report.to_json());
        self
    }

    /// State and reason in a few words.
    pub fn words(&self) -> String {
        let (done, total) = self.progress;
        match self.state {
            Word::Applying if total > 0 => format!("{}: {done} of {total}", self.state),
            _ if self.reason.is_empty() => self.state.to_string(),
            _ => format!("{}: {}", self.state, self.reason),
        }
    }
}

/// As D-Bus tells what has no type of its own there.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
