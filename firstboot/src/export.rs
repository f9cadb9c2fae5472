//! What the node is today, as desired state: what to wish elsewhere for another one like it.

use basalt_contract::Desired;
use basalt_contract::placed::{Place, Placed};

use crate::apply::goal;
use crate::backend::Outside;
use crate::facts::Facts;
use crate::subject::{Node, SUBJECTS};

/// Asks every subject. What one cannot tell is a comment: nothing is left out without a word.
pub async fn export(outside: &Outside, facts: &Facts) -> Result<String, String> {
    let goal = goal(outside, facts);
    let node = Node { outside, facts, goal: &goal, patient: false };
    let (mut desired, mut untold) = (Desired::default(), String::new());
    for subject in SUBJECTS {
        match subject.export(&node).await {
            Ok(part) => desired = desired.under(part),
            Err(fault) => untold += &format!("# {}: cannot tell: {}\n", fault.subject, fault.what.replace('\n', " ")),
        }
    }
    let text = toml::to_string(&desired).map_err(|error| error.to_string())?;
    Ok(untold + &text)
}

/// A value that nobody wrote anywhere.
pub fn found<T>(value: T) -> Placed<T> {
    Placed { value, place: Place(0) }
}
