//! What is measured on this node: a run in a unit of its own, once for each deployment and for what is newly wished, and its figures.
//!
//! It comes last, and after a reboot that others take: what is measured is the node as it stays.

use basalt_contract::desired::Acceptance as Wish;
use basalt_contract::{Desired, Fault, Figure};

use super::{Node, Subject, Told, file};
use crate::acceptance::{Outcome, RESULTS, Run, Trial, WANTED, unit};
use crate::backend::FileError;
use crate::plan::{Action, Effect};

/// Runs it.
const UNIT: &str = "basalt-acceptance.service";
const ANEW: &str = "run `basalt-firstboot accept`: it is measured anew";

/// The subject.
pub struct Acceptance;

impl Subject for Acceptance {
    fn name(&self) -> &'static str {
        "acceptance"
    }

    fn after_reboot(&self) -> bool {
        true
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { to_run(node) })
    }

    /// Without thresholds: those are not the node's.
    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            let run = Run::read(node.outside.files.as_ref(), WANTED).map_err(|what| fault(what, "take the file away"))?;
            Ok(Desired { acceptance: run.trials.into_iter().map(Trial::wish).collect(), ..Desired::default() })
        })
    }

    fn figures<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Figure>> {
        Box::pin(async move { figures(node) })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the run's results.
        Box::pin(async move {
            let words: Vec<_> = figures(node)?.iter().map(ToString::to_string).collect();
            Ok((!words.is_empty()).then(|| words.join("; ")))
        })
    }
}

fn fault(what: String, next_step: &str) -> Fault {
    Fault::new(Acceptance.name(), what, next_step)
}

/// What is wished, with what is known of it.
fn known(node: &Node<'_>) -> Result<Run, Fault> {
    let results = Run::read(node.outside.files.as_ref(), RESULTS).map_err(|what| fault(what, ANEW))?;
    let commit = node.facts.deployment.as_ref().map_or("", |deployment| &deployment.checksum);
    Ok(Run::of(&node.goal.desired.acceptance, commit, &results))
}

fn to_run(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let wishes = &node.goal.desired.acceptance;
    let files = node.outside.files.as_ref();
    let unread = |error: FileError| fault(error.to_string(), "let the agent read it");
    let action =
        |what, asked_by, effects| Action { subject: Acceptance.name(), name: "run", what, asked_by, effects, reboot: false };
    if wishes.is_empty() {
        let gone = [WANTED, RESULTS].map(|path| file(files, path, None).map_err(unread));
        let effects: Vec<_> = gone.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        let what = "nothing is measured, now there are results of an acceptance run".to_owned();
        return Ok(if effects.is_empty() { vec![] } else { vec![action(what, vec!["nobody wishes any".to_owned()], effects)] });
    }
    // Each file was checked by itself.
    let all: u64 = wishes.iter().map(|wish| u64::from(wish.limit_s())).sum();
    if all > u64::from(Wish::ALL_S) {
        let what = format!("needed at most {} s in all, found {all} s", Wish::ALL_S);
        return Err(fault(what, "give some of them less: timeout-s"));
    }
    let known = known(node)?;
    let text = known.forgotten().to_json();
    let wanted = file(files, WANTED, Some(text.clone())).map_err(unread)?;
    let lacking: Vec<_> = known.trials.iter().filter(|trial| !trial.is_measured()).collect();
    let asked_by: Vec<_> = wishes.iter().map(|wish| node.goal.place(&wish.name)).collect();
    if lacking.is_empty() {
        let what = "less is measured than before".to_owned();
        return Ok(wanted.map(|effect| action(what, asked_by, vec![effect])).into_iter().collect());
    }
    // The same effects whenever it is tried: the journal counts them.
    let effects = vec![Effect::Write { path: WANTED.to_owned(), text }, Effect::Start { unit: UNIT.to_owned() }];
    let names: Vec<_> = lacking.iter().map(|trial| trial.name.as_str()).collect();
    let failed = lacking.iter().filter_map(|trial| match &trial.outcome {
        Some(Outcome::Failure { why }) => Some(format!("; {} failed: {why}", trial.name)),
        _ => None,
    });
    let what = format!("an acceptance run: {}{}", names.join(", "), failed.collect::<String>());
    Ok(vec![action(what, asked_by, effects)])
}

fn figures(node: &Node<'_>) -> Result<Vec<Figure>, Fault> {
    let wishes = &node.goal.desired.acceptance;
    let trials = known(node)?.trials.into_iter();
    let figure = |(wish, trial): (&Wish, Trial)| {
        let Some(Outcome::Figure { value, measured }) = trial.outcome else { return None };
        let [at_least, at_most] = [&wish.at_least, &wish.at_most].map(|bound| bound.as_ref().map(|bound| bound.value));
        Some(Figure { name: trial.name, value, unit: unit(wish), at_least, at_most, passed: None, measured }.judged())
    };
    Ok(wishes.iter().zip(trials).filter_map(figure).collect())
}
