//! An acceptance run: what is measured on this node, once for each deployment, and what came of it.
//!
//! ```text
//! desired state --subject--> WANTED --basalt-acceptance.service: run--> RESULTS --subject--> the report's figures
//! ```
//!
//! Thresholds are not part of a run: another threshold judges anew what was measured, and measures nothing.

use std::time::Duration;

use anyhow::bail;
use basalt_contract::desired::{Acceptance, Ready};
use basalt_contract::names;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::{Files, Outside, real};
use crate::facts::short;

/// What is to be measured: the agent writes it.
pub const WANTED: &str = "/var/lib/basalt/firstboot/acceptance-wanted.json";
/// The same with what came of it: the run writes it.
pub const RESULTS: &str = "/var/lib/basalt/firstboot/acceptance.json";
const FORMAT: u32 = 1;
/// The field's own tool for networks, and where its JSON has what the server received.
const IPERF3: &str = "iperf3";
const RECEIVED: &str = "/end/sum_received/bits_per_second";

/// What is measured in one deployment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The format of the file: 1.
    format: u32,
    /// Of the deployment that runs.
    commit: String,
    /// In this order.
    pub trials: Vec<Trial>,
}

/// A command that prints a figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What the figure is called.
    pub name: String,
    /// The program and its arguments.
    command: Vec<String>,
    /// Where the figure is in the JSON that it prints; absent: it prints one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    figure: Option<String>,
    /// It may take so many seconds.
    timeout_s: u32,
    /// What came of it; absent: nothing yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// A figure.
    Figure {
        /// What it printed.
        value: f64,
        /// When, in seconds since 1970.
        measured: u64,
    },
    /// None.
    Failure {
        /// Why.
        why: String,
    },
}

impl Run {
    /// What is to be measured of `wishes`, with what is known of it already by `known`.
    pub fn of(wishes: &[Acceptance], commit: &str, known: &Self) -> Self {
        let trials = wishes.iter().map(|wish| known.remember(commit, Trial::of(wish))).collect();
        Self { format: FORMAT, commit: commit.to_owned(), trials }
    }

    /// Reads one. Not there: nothing is measured.
    ///
    /// # Errors
    /// Says why it cannot be understood.
    pub fn read(files: &dyn Files, path: &str) -> Result<Self, String> {
        let read = files.read_if_there(path).map_err(|error| error.to_string())?;
        let Some(bytes) = read else { return Ok(Self::default()) };
        let run: Self = serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))?;
        if run.format == FORMAT { Ok(run) } else { Err(format!("{path}: needed format {FORMAT}, found {}", run.format)) }
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Without what came of it.
    #[must_use]
    pub fn forgotten(&self) -> Self {
        let trials = self.trials.iter().map(|trial| Trial { outcome: None, ..trial.clone() }).collect();
        Self { trials, ..self.clone() }
    }

    fn remember(&self, commit: &str, trial: Trial) -> Trial {
        let same = |known: &&Trial| Trial { outcome: None, ..(*known).clone() } == trial;
        self.trials.iter().filter(|_| self.commit == commit).find(same).cloned().unwrap_or(trial)
    }
}

impl Trial {
    /// What is run for `wish`.
    fn of(wish: &Acceptance) -> Self {
        let (command, figure) = match &wish.ready {
            Some(ready) => ready_one(ready.value, wish.server.as_ref().map_or("", |server| server.as_str())),
            None => {
                let words = wish.command.iter().map(|word| word.value.clone());
                (words.collect(), wish.figure.as_ref().map(|figure| figure.value.clone()))
            }
        };
        Self { name: wish.name.value.clone(), command, figure, timeout_s: wish.limit_s(), outcome: None }
    }

    /// Whether there is a figure.
    pub const fn is_measured(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Figure { .. }))
    }

    /// As somebody would wish it.
    pub fn wish(self) -> Acceptance {
        use crate::export::found;
        let Self { name, command, figure, timeout_s, .. } = self;
        let server = command.get(3).cloned().unwrap_or_default();
        let all = [Ready::DiskWrite, Ready::DiskRead, Ready::Memory, Ready::Network];
        let ready = all.into_iter().find(|ready| ready_one(*ready, &server) == (command.clone(), figure.clone()));
        let (command, figure) = if ready.is_some() { (vec![], None) } else { (command, figure) };
        Acceptance {
            name: found(name),
            ready: ready.map(found),
            server: (ready == Some(Ready::Network)).then(|| found(server)),
            command: command.into_iter().map(found).collect(),
            figure: figure.map(found),
            unit: None,
            at_least: None,
            at_most: None,
            timeout_s: Some(found(timeout_s)),
        }
    }

    /// Runs it.
    fn measure(&self) -> Result<f64, String> {
        let printed = real::command::output(&self.command, Duration::from_secs(self.timeout_s.into()))?;
        figure(&printed, self.figure.as_deref())
    }
}

/// The command of a ready one, and where its figure is.
fn ready_one(ready: Ready, server: &str) -> (Vec<String>, Option<String>) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let ours = |what| (words(&[names::AGENT_PROGRAM, "measure", what]), None);
    match ready {
        Ready::DiskWrite => ours("disk-write"),
        Ready::DiskRead => ours("disk-read"),
        Ready::Memory => ours("memory"),
        Ready::Network => (words(&[IPERF3, "--json", "--client", server, "--time", "5"]), Some(RECEIVED.to_owned())),
    }
}

/// The unit of what `wish` measures; empty: none.
pub fn unit(wish: &Acceptance) -> String {
    match wish.ready.as_ref().map(|ready| ready.value) {
        Some(Ready::DiskWrite | Ready::DiskRead | Ready::Memory) => "MB/s".to_owned(),
        Some(Ready::Network) => "bit/s".to_owned(),
        None => wish.unit.as_ref().map(|unit| unit.value.clone()).unwrap_or_default(),
    }
}

/// The figure in what a command printed: at `pointer` (RFC 6901) in JSON, else all of it.
///
/// # Errors
/// Says what was needed and printed.
pub fn figure(printed: &[u8], pointer: Option<&str>) -> Result<f64, String> {
    let text = String::from_utf8_lossy(printed);
    let Some(pointer) = pointer else {
        let number = text.trim().parse().ok().filter(|number: &f64| number.is_finite());
        return number.ok_or_else(|| format!("needed one number and nothing else, it printed {:?}", short(text.trim())));
    };
    let json: Value =
        serde_json::from_str(&text).map_err(|error| format!("needed JSON ({error}), it printed {:?}", short(&text)))?;
    let why = || real::command::error_in(&json).map(|why| format!(": {:?}", short(why))).unwrap_or_default();
    let found = json.pointer(pointer).ok_or_else(|| format!("its JSON has nothing at {pointer:?}{}", why()))?;
    found.as_f64().ok_or_else(|| format!("needed a number at {pointer:?}, found {:?}", short(&found.to_string())))
}

/// What `basalt-acceptance.service` does: one trial after the other, those that have a figure left out. After each of them the results are on the
/// disk.
///
/// # Errors
/// When it is not known what is wanted, the results cannot be written, or a trial has no figure in the end.
pub fn run(outside: &Outside) -> anyhow::Result<()> {
    let files = outside.files.as_ref();
    let wanted = Run::read(files, WANTED).map_err(anyhow::Error::msg)?;
    if wanted.trials.is_empty() {
        bail!("the agent wants nothing measured");
    }
    let known = Run::read(files, RESULTS).map_err(anyhow::Error::msg)?;
    let Run { format, commit, trials } = wanted;
    let trials = trials.into_iter().map(|trial| known.remember(&commit, trial)).collect();
    let mut run = Run { format, commit, trials };
    let mut failures = Vec::new();
    for index in 0..run.trials.len() {
        let trial = &mut run.trials[index];
        if trial.is_measured() {
            continue;
        }
        trial.outcome = Some(match trial.measure() {
            Ok(value) => {
                println!("{}: {value}", trial.name);
                Outcome::Figure { value, measured: outside.clock.now() }
            }
            Err(why) => {
                failures.push(format!("{}: {why}", trial.name));
                Outcome::Failure { why }
            }
        });
        files.replace(RESULTS, run.to_json().as_bytes())?;
    }
    if failures.is_empty() { Ok(()) } else { bail!("no figure: {}", failures.join("; ")) }
}

#[cfg(test)]
mod tests {
    use basalt_contract::desired::{check, read};
    use basalt_contract::placed::{Findings, Sources};

    use super::{Outcome, Run, figure};

    #[test]
    fn a_figure_is_one_number_or_a_place_in_json() {
        let json = r#"{"end": {"sum": [{"a/b": 1.5}, {"n": 7}]}, "word": "7", "none": null}"#;
        for (printed, pointer, found) in [
            ("12.5\n", None, Ok(12.5)),
            (" -3e2 ", None, Ok(-300.0)),
            ("", None, Err("needed one number and nothing else, it printed \"\"")),
            ("12 MB/s", None, Err("needed one number and nothing else, it printed \"12 MB/s\"")),
            ("nan", None, Err("it printed \"nan\"")),
            ("1e999", None, Err("it printed \"1e999\"")),
            (json, Some("/end/sum/0/a~1b"), Ok(1.5)),
            (json, Some("/end/sum/1/n"), Ok(7.0)),
            ("5", Some(""), Ok(5.0)),
            (json, Some("/end/sum/2"), Err("its JSON has nothing at \"/end/sum/2\"")),
            (r#"{"end": {}, "error": "no server"}"#, Some("/end/sum"), Err("nothing at \"/end/sum\": \"no server\"")),
            (json, Some("/word"), Err("needed a number at \"/word\", found \"\\\"7\\\"\"")),
            (json, Some("/none"), Err("needed a number at \"/none\", found \"null\"")),
            ("iperf3: error", Some("/a"), Err("needed JSON (expected value at line 1 column 1), it printed \"iperf3: error\"")),
        ] {
            match (figure(printed.as_bytes(), pointer), found) {
                (Ok(value), Ok(wanted)) => assert_eq!(value, wanted, "{printed}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, wanted) => panic!("{printed}, {pointer:?}: {found:?}, needed {wanted:?}"),
            }
        }
        assert!(
            figure("x".repeat(100).as_bytes(), None)
                .unwrap_err()
                .ends_with(&format!("\"{}... and 20 bytes more\"", "x".repeat(80)))
        );
        assert!(figure(b"\xff1", None).is_err());
    }

    #[test]
    fn a_run_is_of_one_deployment_and_thresholds_are_not_in_it() {
        let parsed = |text: &str| {
            let (mut sources, mut findings) = (Sources::default(), Findings::default());
            let desired = read("a.toml", text, &mut sources, &mut findings);
            check(&desired, &sources, &mut findings);
            assert_eq!(findings.into_problems(&sources), []);
            desired.acceptance
        };
        let text = "[[acceptance]]\nname = \"a\"\nready = \"network\"\nserver = \"192.0.2.1\"\n\
                    [[acceptance]]\nname = \"b\"\ncommand = [\"c\", \"d\"]\nfigure = \"/e\"\ntimeout-s = 7\n\
                    [[acceptance]]\nname = \"d\"\nready = \"memory\"\n";
        let wishes = parsed(text);
        let mut run = Run::of(&wishes, "1", &Run::default());
        run.trials[1].outcome = Some(Outcome::Figure { value: 2.5, measured: 3 });
        assert_eq!(serde_json::from_str::<Run>(&run.to_json()).unwrap(), run);
        let judged = parsed(&text.replace("timeout-s = 7\n", "timeout-s = 7\nat-least = 1\nunit = \"x\"\n"));
        assert_eq!(Run::of(&judged, "1", &run), run);
        assert_eq!(Run::of(&wishes, "2", &run).trials, run.forgotten().trials, "another deployment is measured anew");
        let other = parsed(&text.replace("\"d\"]", "\"e\"]"));
        assert_eq!(Run::of(&other, "1", &run).trials[1].outcome, None, "another command is another one");
        // As somebody would wish it, it is the same run.
        let again: Vec<_> = run.trials.iter().map(|trial| trial.clone().wish()).collect();
        assert_eq!(Run::of(&again, "1", &run), run);
        assert_eq!(again[0].server.as_ref().unwrap().value, "192.0.2.1");
    }
}
