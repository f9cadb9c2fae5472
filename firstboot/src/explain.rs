//! All that is known of one action: who asked for it, what is done about it, what became of it.

use std::fmt::Write as _;

use anyhow::bail;
use serde::Serialize;

use crate::apply;
use crate::backend::Outside;
use crate::facts::Facts;
use crate::journal::{Entry, Turn};
use crate::plan::{Action, Effect};

/// All that is known of one action.
#[derive(Debug, Serialize)]
pub struct Explained {
    /// As `plan` names it.
    pub name: String,
    /// What differs now; absent: nothing.
    pub action: Option<Action>,
    /// What the journal knows of it.
    pub journal: Option<Entry>,
    /// Why it is not tried now; absent: it would be.
    pub waits: Option<String>,
}

/// Looks for `name` in what differs now and in the journal.
///
/// # Errors
/// When nothing is known by that name: says what is.
pub async fn explain(outside: &Outside, facts: &Facts, name: &str) -> anyhow::Result<Explained> {
    let plan = apply::plan(outside, facts).await;
    let journal = apply::journal(outside);
    let names: Vec<String> = plan.actions.iter().map(Action::key).collect();
    let action = plan.actions.into_iter().find(|action| action.key() == name);
    let known = journal.named(name).cloned();
    if action.is_none() && known.is_none() {
        let list = if names.is_empty() { "nothing differs".to_owned() } else { format!("what differs: {}", names.join(", ")) };
        bail!("{name}: nothing differs by this name; {list}");
    }
    let boot = facts.boot_id.as_deref().unwrap_or_default();
    let waits = action.as_ref().and_then(|action| match journal.turn(action, boot) {
        Turn::Now => None,
        Turn::AfterReboot => Some("it is done, and in force after a reboot".to_owned()),
        Turn::Waits(why) => Some(why),
    });
    Ok(Explained { name: name.to_owned(), action, journal: known, waits })
}

impl Explained {
    /// For people.
    pub fn screen(&self) -> String {
        let mut text = format!("{:<11} {}\n", "Action", self.name);
        let mut row = |word: &str, what: &str| {
            let _ = writeln!(text, "{word:<11} {what}");
        };
        match &self.action {
            Some(Action { what, asked_by, effects, .. }) => {
                row("Differs", what);
                for place in asked_by {
                    row("Asked by", place);
                }
                for effect in effects {
                    row("Effect", &self::effect(effect));
                }
            }
            None => row("Differs", "no"),
        }
        if let Some(entry) = &self.journal {
            row("Journal", &entry.words());
        }
        if let Some(why) = &self.waits {
            row("Waits", why);
            row("Next", "mend what is in the way, then `basalt-firstboot apply --retry`");
        }
        text
    }
}

fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Write { path, text } => {
            format!(
                "write {path} ({} lines):{}",
                text.lines().count(),
                text.lines().map(|line| format!("\n{:<13} {line}", "")).collect::<String>()
            )
        }
        Effect::Remove { path } => format!("remove {path}"),
        Effect::Start { unit } => format!("systemd starts {unit}"),
        Effect::Restart { unit } => format!("systemd starts {unit} anew"),
        Effect::Reload { unit } => format!("systemd reloads {unit}"),
        Effect::SetHostName { name } => format!("systemd-hostnamed sets the static host name {name}"),
        Effect::SwitchProfile { profile } => format!("tuned switches to the profile {profile}"),
    }
}
