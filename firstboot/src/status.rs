//! What `basalt-firstboot status` answers: the running agent's word, else its last report, and always which of the two.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use basalt_contract::names::{self, property};
use basalt_contract::{Report, State};
use serde::Serialize;

use crate::backend::Files;
use crate::dbus::{Reader, Told};
use crate::{facts, report};

/// An answer, and where it comes from.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Where it comes from.
    pub source: Source,
    /// The state; that of a file is the one in which the agent ended.
    pub state: State,
    /// Absent while the agent is starting.
    pub report: Option<Report>,
}

/// Where an answer comes from.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Source {
    /// The running agent.
    Bus,
    /// Its last report.
    File {
        /// Why the agent was not asked, or did not answer.
        because: String,
        /// Whether the report is of this boot; absent: it cannot be told.
        this_boot: Option<bool>,
    },
}

/// An agent that is waited for is asked when it says that something is different, and after so much time.
const PAUSE: Duration = Duration::from_secs(5);

/// How to ask.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// Until the agent is done, and has nothing left that it tries again.
    pub wait: bool,
    /// And whoever waits sees each step.
    pub watch: bool,
    /// No longer than this.
    pub limit: Option<Duration>,
}

/// Asks the running agent, else reads the file. With patience an agent that is not done is asked until it is; `shown` gets a line for
/// whatever changes on the way.
///
/// # Errors
/// When neither the agent nor its report answers, or the agent is not done in time.
pub async fn ask(files: &dyn Files, patience: Patience, mut shown: impl FnMut(&str)) -> anyhow::Result<Status> {
    let mut last = Vec::new();
    let begun = Instant::now();
    let silent = |error: zbus::Error| read(files, format!("the agent does not answer on the bus ({error})"));
    let mut reader = match Reader::new().await {
        Ok(reader) => reader,
        Err(error) => return silent(error),
    };
    loop {
        let told = match reader.ask().await {
            Ok(told) => told,
            Err(error) => return silent(error),
        };
        let status = match from_bus(&told.texts) {
            Ok(status) => status,
            Err(why) => return read(files, format!("the agent does not answer on the bus ({why})")),
        };
        if patience.watch {
            let lines = lines(&status, &told);
            for line in lines.iter().filter(|line| !last.contains(*line)) {
                shown(line);
            }
            last = lines;
        }
        if !(patience.wait || patience.watch) || status.done() {
            return Ok(status);
        }
        let left = patience.limit.map_or(PAUSE, |limit| limit.saturating_sub(begun.elapsed()));
        if left.is_zero() {
            bail!("the agent is not done after {} s: {}", begun.elapsed().as_secs(), lines(&status, &told).join(", "));
        }
        reader.changed(left.min(PAUSE)).await;
    }
}

/// What is to be seen of an agent: its state, and each step.
fn lines(status: &Status, told: &Told) -> Vec<String> {
    let (done, total) = told.progress;
    let steps = told.steps.iter().map(|(name, state)| format!("{name:<20} {state}"));
    [format!("{:<20} {done} of {total}", status.state)].into_iter().chain(steps).collect()
}

/// Reads the file; `because` says why the agent is not asked.
///
/// # Errors
/// When there is no report, or it cannot be understood.
pub fn read(files: &dyn Files, because: String) -> anyhow::Result<Status> {
    let last = files.read(names::REPORT_FILE).map_err(anyhow::Error::from);
    let report = last.and_then(|bytes| Report::from_json(&bytes).context(names::REPORT_FILE)).with_context(|| {
        format!("{because}, and its last report cannot be read; see `systemctl status {}`", names::AGENT_UNIT)
    })?;
    let this_boot = report.boot_id.as_ref().and_then(|boot| Some(*boot == facts::boot_id(files).ok()?));
    Ok(Status { source: Source::File { because, this_boot }, state: report.state, report: Some(report) })
}

fn from_bus(values: &HashMap<String, String>) -> Result<Status, String> {
    let value = |name: &str| values.get(name).ok_or_else(|| format!("it has no property {name}"));
    let state = value(property::STATE)?.parse().map_err(|error: basalt_contract::UnknownState| error.to_string())?;
    let report = match value(property::REPORT)?.as_str() {
        "" => None,
        json => Some(Report::from_json(json.as_bytes()).map_err(|error| error.to_string())?),
    };
    Ok(Status { source: Source::Bus, state, report })
}

impl Status {
    /// Whether the agent is done, and tries nothing again by itself.
    fn done(&self) -> bool {
        self.state.settled() && self.report.as_ref().is_none_or(|report| report.next_attempt.is_none())
    }

    /// For people.
    pub fn screen(&self) -> String {
        let source = match &self.source {
            Source::Bus => "Source      the running agent\n".to_owned(),
            Source::File { because, this_boot } => {
                let boot = match this_boot {
                    Some(true) => "of this boot",
                    Some(false) => "of an EARLIER boot",
                    None => "of a boot that cannot be compared with this one",
                };
                format!("Source      the last report, {boot}: {because}\n")
            }
        };
        let rest = self.report.as_ref().map_or_else(|| format!("State       {}\n", self.state), report::screen);
        source + &rest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::fs;

    use basalt_contract::State;

    use super::{Source, from_bus, read};
    use crate::backend::Files;
    use crate::backend::real::Root;

    const REPORT: &str = include_str!("../contract/fixtures/report-1.json");

    #[test]
    fn the_file_says_of_which_boot_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        let error = format!("{:#}", read(&root, "stopped".to_owned()).unwrap_err());
        assert!(error.starts_with("stopped, and its last report cannot be read") && error.contains("report.json"), "{error}");

        root.replace("/var/lib/basalt/firstboot/report.json", REPORT.as_bytes()).unwrap();
        let cases = [
            (None, None, "cannot be compared"),
            (Some("2f6d3ee1-6b0f-4a52-9d0f-7f0c7a3e5a11\n"), Some(true), "of this boot"),
            (Some("00000000-6b0f-4a52-9d0f-7f0c7a3e5a11\n"), Some(false), "of an EARLIER boot"),
        ];
        for (boot_id, wanted, words) in cases {
            if let Some(boot_id) = boot_id {
                fs::create_dir_all(folder.path().join("proc/sys/kernel/random")).unwrap();
                fs::write(folder.path().join("proc/sys/kernel/random/boot_id"), boot_id).unwrap();
            }
            let status = read(&root, "stopped".to_owned()).unwrap();
            assert!(status.screen().contains(words) && status.screen().contains("stopped"), "{}", status.screen());
            assert_eq!(status.source, Source::File { because: "stopped".to_owned(), this_boot: wanted });
        }
    }

    #[test]
    fn the_bus_may_answer_before_there_is_a_report_or_nonsense() {
        let values = |state: &str, report: &str| {
            HashMap::from([("State".to_owned(), state.to_owned()), ("Report".to_owned(), report.to_owned())])
        };
        let status = from_bus(&values("starting", "")).unwrap();
        assert_eq!((status.state, status.report.is_none()), (State::Starting, true));
        assert_eq!(from_bus(&values("configured", REPORT)).unwrap().report.unwrap().started, 1_780_000_100);
        assert!(from_bus(&values("perfect", "")).unwrap_err().contains("unknown state"));
        assert!(from_bus(&HashMap::new()).unwrap_err().contains("no property State"));
    }
}
