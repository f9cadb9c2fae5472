//! tuned's profile: the one that is wished, else the image's.

use basalt_contract::Fault;

use super::{Differences, Node, Subject};
use crate::plan::{Action, Effect};

/// The subject.
pub struct Tuned;

impl Subject for Tuned {
    fn name(&self) -> &'static str {
        "tuned"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Differences<'a> {
        Box::pin(async move {
            let wish = node.goal.desired.tuned.profile.as_ref().map(|wish| (wish.value.clone(), node.goal.place(wish)));
            let image = || Some((node.facts.tuned.clone()?, basalt_contract::names::TUNED_FILE.to_owned()));
            let Some((profile, place)) = wish.or_else(image) else { return Ok(vec![]) };
            let active =
                node.outside.tuner.active().await.map_err(|error| {
                    Fault::new(Tuned.name(), format!("cannot be asked: {error}"), "see `systemctl status tuned`")
                })?;
            if active == profile {
                return Ok(vec![]);
            }
            let was = if active.is_empty() { "none" } else { &active };
            Ok(vec![Action {
                subject: Tuned.name(),
                name: "profile",
                what: format!("the profile {profile}, now {was}"),
                asked_by: vec![place],
                effects: vec![Effect::SwitchProfile { profile }],
            }])
        })
    }
}
