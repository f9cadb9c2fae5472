//! What survives a power cut: which actions were begun, done and failed. Pure; `apply` keeps it on the disk.
//!
//! What is to be done is always found out anew: an action that was begun and has had its effect differs no more, and is not planned again. The
//! journal is for the other question, whether to try once more. An action that failed three times waits, with its reason, until
//! what is wished changes or somebody says `retry`; so does one during which the machine went down ten times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::{Action, Effect};

/// Where it lies.
pub const PATH: &str = "/var/lib/basalt/firstboot/journal.json";
/// The format that is written. Another one is that of another version of the agent: it is passed over, and nothing is lost but counts.
const FORMAT: u32 = 1;
/// So often an action may fail.
pub const FAILURES: u32 = 3;
/// So often the machine may go down in the middle of one.
pub const INTERRUPTIONS: u32 = 10;

/// What became of every action that differed when the agent looked last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    format: u32,
    /// By `subject/name`.
    entries: BTreeMap<String, Entry>,
    /// What was to be told once in a boot.
    #[serde(default, skip_serializing_if = "Told::is_empty")]
    told: Told,
}

/// What was told in one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    boot: String,
    lines: Vec<String>,
}

impl Told {
    const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// What became of one action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it was: another action of the same name is another one.
    effects: Vec<Effect>,
    /// Where it is.
    pub state: Stage,
    /// How often it failed.
    pub failures: u32,
    /// How often it was begun and never ended.
    pub interruptions: u32,
    /// Why it failed the last time.
    pub reason: Option<String>,
    /// In which boot it was begun; empty: that was not known.
    #[serde(default)]
    boot: String,
    /// Since when it is there, in seconds since 1970.
    pub since: u64,
}

/// Whether it is an action's turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is.
    Now,
    /// It is done, and the reboot that it takes has not been.
    AfterReboot,
    /// It is not tried, and why.
    Waits(String),
}

impl Entry {
    /// For people.
    pub fn words(&self) -> String {
        let stage = match self.state {
            Stage::Begun => "begun, and not ended",
            Stage::Done => "done, and not seen to hold",
            Stage::Failed => "failed",
        };
        let why = self.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{stage}{why}; failed {} times, interrupted {} times", self.failures, self.interruptions)
    }
}

/// Where an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Some of its effects may have happened.
    Begun,
    /// All of them have.
    Done,
    /// One of them did not.
    Failed,
}

impl Default for Journal {
    fn default() -> Self {
        Self { format: FORMAT, entries: BTreeMap::new(), told: Told::default() }
    }
}

impl Journal {
    /// Reads it. What cannot be understood is nothing: it is told, and begun anew.
    ///
    /// # Errors
    /// Says why it cannot be understood.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        let journal: Self = serde_json::from_slice(json).map_err(|error| format!("{PATH}: {error}"))?;
        if journal.format == FORMAT {
            Ok(journal)
        } else {
            Err(format!("{PATH}: needed format {FORMAT}, found {}", journal.format))
        }
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// What is known of an action.
    pub fn entry(&self, action: &Action) -> Option<&Entry> {
        self.entries.get(&action.key()).filter(|entry| entry.effects == action.effects)
    }

    /// What is known by a name.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Whether it is an action's turn, in the boot `boot` (empty: it is not known).
    pub fn turn(&self, action: &Action, boot: &str) -> Turn {
        match self.entry(action) {
            Some(entry) if entry.failures >= FAILURES => {
                let why = entry.reason.as_deref().unwrap_or("for an unknown reason");
                Turn::Waits(format!("it failed {} times, the last time: {why}", entry.failures))
            }
            Some(entry) if entry.state == Stage::Begun && entry.interruptions >= INTERRUPTIONS => {
                Turn::Waits(format!("the machine went down {} times in the middle of it", entry.interruptions + 1))
            }
            Some(entry) if entry.state == Stage::Done && action.reboot => {
                if entry.boot == boot && !boot.is_empty() {
                    Turn::AfterReboot
                } else {
                    Turn::Waits("it was done, and after a reboot it still differs".to_owned())
                }
            }
            _ => Turn::Now,
        }
    }

    /// An action begins. One that had begun before, and did not end, was interrupted.
    pub fn begin(&mut self, action: &Action, boot: &str, now: u64) {
        let known = self.entry(action);
        let (failures, reason) = known.map_or((0, None), |entry| (entry.failures, entry.reason.clone()));
        let interruptions = known.map_or(0, |entry| entry.interruptions + u32::from(entry.state == Stage::Begun));
        let (effects, boot) = (action.effects.clone(), boot.to_owned());
        let entry = Entry { effects, state: Stage::Begun, failures, interruptions, reason, boot, since: now };
        self.entries.insert(action.key(), entry);
    }

    /// An action that had begun ends. One that is done is not known to hold yet: its failures still count.
    pub fn end(&mut self, action: &Action, result: Result<(), String>, now: u64) {
        let Some(entry) = self.entries.get_mut(&action.key()) else { return };
        entry.since = now;
        match result {
            Ok(()) => (entry.state, entry.interruptions) = (Stage::Done, 0),
            Err(why) => (entry.state, entry.failures, entry.reason) = (Stage::Failed, entry.failures + 1, Some(why)),
        }
    }

    /// How often an action was begun without success.
    pub fn attempts(&self, action: &Action) -> u32 {
        self.entry(action).map_or(0, |entry| entry.failures + entry.interruptions)
    }

    /// Somebody says: once more. Actions that wait wait no longer.
    pub fn retry(&mut self) {
        for entry in self.entries.values_mut() {
            (entry.state, entry.failures, entry.interruptions) = (Stage::Failed, 0, 0);
        }
    }

    /// Those of `lines` that were not told in the boot `boot` (empty: it is not known, and they are told again). They are from now on.
    pub fn untold(&mut self, lines: &[String], boot: &str) -> Vec<String> {
        if self.told.boot != boot || boot.is_empty() {
            self.told = Told { boot: boot.to_owned(), lines: vec![] };
        }
        let untold: Vec<_> = lines.iter().filter(|line| !self.told.lines.contains(line)).cloned().collect();
        self.told.lines.extend(untold.iter().cloned());
        untold
    }

    /// Forgets the actions of a subject that do not differ: they hold, or nobody wishes them any more. Answers whether there were any.
    pub fn forget(&mut self, subject: &str, differing: &[Action]) -> bool {
        let differing: Vec<_> = differing.iter().map(Action::key).collect();
        let known = self.entries.len();
        self.entries.retain(|name, _| name.split('/').next() != Some(subject) || differing.contains(name));
        self.entries.len() < known
    }
}

#[cfg(test)]
mod tests {
    use super::{FAILURES, INTERRUPTIONS, Journal, Stage, Turn};
    use crate::plan::{Action, Effect};

    fn action(text: &str) -> Action {
        let effects = vec![Effect::Write { path: "/etc/a".to_owned(), text: text.to_owned() }];
        Action { subject: "a", name: "b", what: String::new(), asked_by: vec![], effects, reboot: false }
    }

    fn waits(journal: &Journal, action: &Action) -> String {
        match journal.turn(action, "b") {
            Turn::Waits(why) => why,
            turn => panic!("{turn:?}"),
        }
    }

    #[test]
    fn what_takes_a_reboot_gets_one() {
        let action = Action { reboot: true, ..action("x") };
        let mut journal = Journal::default();
        journal.begin(&action, "b", 1);
        assert_eq!(journal.turn(&action, "c"), Turn::Now, "the power went in the middle of it");
        journal.end(&action, Ok(()), 2);
        assert_eq!(journal.turn(&action, "b"), Turn::AfterReboot);
        assert!(matches!(journal.turn(&action, "c"), Turn::Waits(why) if why.ends_with("after a reboot it still differs")));
        assert!(matches!(journal.turn(&action, ""), Turn::Waits(_)), "which boot this is is not known: no loop");
        journal.retry();
        assert_eq!(journal.turn(&action, "c"), Turn::Now);
    }

    #[test]
    fn what_failed_three_times_waits_until_something_changes() {
        let mut journal = Journal::default();
        for time in 0..FAILURES {
            assert_eq!(journal.turn(&action("x"), "b"), Turn::Now);
            journal.begin(&action("x"), "b", time.into());
            journal.end(&action("x"), Err("no room".to_owned()), time.into());
        }
        assert_eq!(waits(&journal, &action("x")), "it failed 3 times, the last time: no room");
        assert_eq!(journal.turn(&action("y"), "b"), Turn::Now, "another wish");
        let mut again = journal.clone();
        again.retry();
        assert_eq!(again.turn(&action("x"), "b"), Turn::Now);
        assert!(!journal.forget("b", &[]) && !journal.forget("a", &[action("x")]) && journal.forget("a", &[]));
        assert_eq!(journal, Journal::default());
    }

    #[test]
    fn what_is_done_and_does_not_hold_fails() {
        let mut journal = Journal::default();
        for time in 0..FAILURES {
            journal.begin(&action("x"), "b", time.into());
            journal.end(&action("x"), Ok(()), time.into());
            journal.end(&action("x"), Err("it still differs".to_owned()), time.into());
        }
        assert_eq!(journal.attempts(&action("x")), 3);
        assert!(waits(&journal, &action("x")).ends_with("it still differs"));
    }

    #[test]
    fn what_the_machine_does_not_survive_waits() {
        let mut journal = Journal::default();
        for _ in 0..=INTERRUPTIONS {
            assert_eq!(journal.turn(&action("x"), "b"), Turn::Now);
            journal.begin(&action("x"), "b", 1);
        }
        assert_eq!(waits(&journal, &action("x")), "the machine went down 11 times in the middle of it");
        // One that ends well begins at nothing.
        let mut journal = Journal::default();
        journal.begin(&action("x"), "b", 1);
        journal.begin(&action("x"), "b", 2);
        journal.end(&action("x"), Ok(()), 3);
        let entry = journal.entry(&action("x")).unwrap();
        assert_eq!((entry.state, entry.interruptions, entry.since), (Stage::Done, 0, 3));
    }

    #[test]
    fn what_is_to_be_told_once_in_a_boot_is() {
        let [a, b] = ["a", "b"].map(str::to_owned);
        let mut journal = Journal::default();
        assert_eq!(journal.untold(std::slice::from_ref(&a), "1"), ["a"]);
        assert_eq!(journal.untold(&[a.clone(), b.clone()], "1"), ["b"]);
        journal = Journal::from_json(journal.to_json().as_bytes()).unwrap();
        assert!(journal.untold(&[a.clone(), b], "1").is_empty());
        for boot in ["2", "", ""] {
            assert_eq!(journal.untold(std::slice::from_ref(&a), boot), ["a"], "{boot:?}");
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_another_format_is_not() {
        let mut journal = Journal::default();
        journal.begin(&action("x"), "b", 1);
        assert_eq!(Journal::from_json(journal.to_json().as_bytes()).unwrap(), journal);
        let other = journal.to_json().replacen("\"format\": 1", "\"format\": 2", 1);
        assert!(Journal::from_json(other.as_bytes()).unwrap_err().ends_with("needed format 1, found 2"));
        assert!(Journal::from_json(b"{").is_err());
    }
}
