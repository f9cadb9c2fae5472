//! What is told once: a line for people, and fields for programs that read systemd's journal. Pure.

use basalt_contract::names::journal;
use basalt_contract::{Fault, Report, State, Step, StepState};

use crate::report;

/// What is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is.
    pub kind: Kind,
    /// For people.
    pub message: String,
    /// How much it matters.
    pub urgency: Urgency,
    /// For programs, beside what every notice has.
    pub fields: Vec<(&'static str, String)>,
}

/// What a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The node is settled: the one line about this boot.
    Settled,
    /// Something is not as it should be.
    Fault,
    /// A step has ended, well or not.
    Step,
    /// Something to look at.
    Remark,
}

/// How much it matters. On the wire: a priority of `syslog(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// To look at.
    Warning = 4,
    /// To know.
    Information = 6,
}

impl Kind {
    /// By what the journal finds it.
    pub const fn message_id(self) -> Option<&'static str> {
        match self {
            Self::Settled => Some(journal::SETTLED),
            Self::Fault => Some(journal::FAULT),
            Self::Step => Some(journal::STEP),
            Self::Remark => None,
        }
    }
}

impl Notice {
    /// How a boot ended.
    pub fn settled(report: &Report) -> Self {
        let urgency = if report.state == State::Degraded { Urgency::Warning } else { Urgency::Information };
        Self { kind: Kind::Settled, message: report::summary(report), urgency, fields: of_report(report) }
    }

    /// One fault of a report.
    pub fn fault(fault: &Fault, report: &Report) -> Self {
        let Fault { subject, what, next_step } = fault;
        let mut fields = of_report(report);
        fields.extend([(journal::field::SUBJECT, subject.clone()), (journal::field::NEXT_STEP, next_step.clone())]);
        let message = format!("{subject}: {what}; {next_step}");
        Self { kind: Kind::Fault, message, urgency: Urgency::Warning, fields }
    }

    /// A step that has ended, on a node of the plan `plan_id`.
    pub fn step(step: &Step, plan_id: Option<&str>) -> Self {
        let Step { name, what, state, reason, attempts, .. } = step;
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let subject = name.split('/').next().unwrap_or(name);
        let mut fields = vec![
            (journal::field::SUBJECT, subject.to_owned()),
            (journal::field::STEP, name.clone()),
            (journal::field::STEP_STATE, state.to_string()),
            (journal::field::ATTEMPTS, attempts.to_string()),
        ];
        fields.extend(plan_id.map(|plan| (journal::field::PLAN_ID, plan.to_owned())));
        let urgency = if *state == StepState::Done { Urgency::Information } else { Urgency::Warning };
        Self { kind: Kind::Step, message: format!("{name}: {state}: {what}{reason}"), urgency, fields }
    }

    /// Something to look at.
    pub fn remark(line: &str) -> Self {
        Self { kind: Kind::Remark, message: line.to_owned(), urgency: Urgency::Warning, fields: vec![] }
    }
}

fn of_report(report: &Report) -> Vec<(&'static str, String)> {
    let plan = report.image.as_ref().map(|image| (journal::field::PLAN_ID, image.plan_id.clone()));
    [(journal::field::STATE, report.state.to_string())].into_iter().chain(plan).collect()
}
