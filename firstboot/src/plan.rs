//! What is to be done: what differs between the node and its goal, subject by subject. Pure.

use std::fmt::Write as _;

use basalt_contract::Fault;
use serde::{Deserialize, Serialize};

/// One thing that differs, and what makes it right. Done twice it changes nothing the second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Action {
    /// Whose it is: `identity`.
    pub subject: &'static str,
    /// Which of the subject's, for people and for `explain`: `host-name`.
    pub name: &'static str,
    /// What is so and what is wished, in words.
    pub what: String,
    /// Where the wish stands.
    pub asked_by: Vec<String>,
    /// What is done, in this order.
    pub effects: Vec<Effect>,
    /// Whether it is so only after a reboot: one for all, when everything else is done.
    pub reboot: bool,
}

impl Action {
    /// Its name among all: `identity/host-name`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.subject, self.name)
    }
}

/// One change of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Effect {
    /// A file of mode 0644 is put in place, folders included.
    Write {
        /// Where.
        path: String,
        /// All of it.
        text: String,
    },
    /// A file is taken away.
    Remove {
        /// Where.
        path: String,
    },
    /// systemd-hostnamed sets the static host name, which is the kernel's at once.
    SetHostName {
        /// The name.
        name: String,
    },
    /// systemd starts a unit, and its job ends well.
    Start {
        /// Its name.
        unit: String,
    },
    /// systemd stops a unit that runs, and starts it, and its job ends well.
    Restart {
        /// Its name.
        unit: String,
    },
    /// A unit that runs reads its configuration again.
    Reload {
        /// Its name.
        unit: String,
    },
    /// tuned makes profiles active.
    SwitchProfile {
        /// With one space between two.
        profile: String,
    },
}

/// What differs, and who else owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// What would be done.
    pub action: Action,
    /// Who owns it, and by what sign that is known.
    pub owner: String,
}

/// All that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In the order in which they are done.
    pub actions: Vec<Action>,
    /// What differs and is left as it is, because somebody else owns it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Left>,
    /// What could not be planned.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// For people.
    pub fn screen(&self) -> String {
        let mut text = String::new();
        for action in &self.actions {
            let Action { what, asked_by, .. } = action;
            let _ = writeln!(text, "{:<25} {what}\n{:<25} asked for by {}", action.key(), "", asked_by.join(", "));
        }
        for Left { action, owner } in &self.left {
            let _ = writeln!(text, "{:<25} {}\n{:<25} left to {owner}", action.key(), action.what, "");
        }
        if self.actions.is_empty() {
            text.push_str(if self.faults.is_empty() && self.left.is_empty() {
                "Nothing differs.\n"
            } else {
                "Nothing else differs.\n"
            });
        }
        for fault in &self.faults {
            let _ = writeln!(text, "\n{fault}");
        }
        text
    }
}
