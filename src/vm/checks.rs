//! Checks of a booted image: programs that run in the guest, and what they must answer.

use std::fmt;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::channel::Output;
use super::running::Running;
use crate::failure::Failure;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What it shows, for people.
    pub name: String,
    /// Program and arguments. No shell sees them.
    pub run: Vec<String>,
    /// What must come out.
    #[serde(default)]
    pub expect: Expect,
}

/// What a check's program must answer. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// The exit status.
    #[serde(default)]
    pub status: i32,
    /// The whole standard output, but for white space at both ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// A text somewhere in the standard output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// Whether all held.
    pub passed: bool,
    /// What was needed and found, when it did not pass.
    pub why: Option<String>,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// How all checks ended. Shown as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One for each check, in their order.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Whether all passed.
    pub fn passed(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.passed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.outcomes.iter().map(|outcome| outcome.name.chars().count()).max().unwrap_or(0);
        for outcome in &self.outcomes {
            let word = if outcome.passed { "ok" } else { "FAILED" };
            writeln!(f, "{word:<6}  {:<width$}  {:>6.1} s", outcome.name, outcome.millis as f64 / 1000.0)?;
            for line in outcome.why.iter().flat_map(|why| why.lines()) {
                writeln!(f, "        {line}")?;
            }
        }
        let failed = self.outcomes.iter().filter(|outcome| !outcome.passed).count();
        write!(f, "{} of {} checks passed", self.outcomes.len() - failed, self.outcomes.len())
    }
}

/// Runs `checks` in the guest, one after the other, each for at most `timeout`. A check that fails does not stop the others; a guest
/// that does not answer does.
pub fn run(guest: &mut Running, checks: &[Check], timeout: Duration) -> Result<Report, Failure> {
    let mut report = Report::default();
    for check in checks {
        let started = Instant::now();
        let output = guest.run(&check.run, timeout)?;
        let why = differs(&check.expect, &output);
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.outcomes.push(Outcome { name: check.name.clone(), passed: why.is_none(), why, millis });
    }
    Ok(report)
}

/// What was needed and found, unless all holds.
fn differs(expect: &Expect, output: &Output) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let text = text.trim();
    let mut lines = Vec::new();
    if output.status != expect.status {
        lines.push(format!("needed exit status {}, found {}", expect.status, output.status));
        let stderr = output.error_text();
        lines.extend((!stderr.is_empty()).then(|| format!("stderr: {stderr}")));
    }
    if let Some(wanted) = expect.equals.as_ref().filter(|wanted| wanted.trim() != text) {
        lines.push(format!("needed output {:?}, found {text:?}", wanted.trim()));
    }
    if let Some(wanted) = expect.contains.as_ref().filter(|wanted| !text.contains(wanted.as_str())) {
        lines.push(format!("needed {wanted:?} in the output, found {text:?}"));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_given_must_hold() {
        let output = |status, stdout: &str, stderr: &str| Output { status, stdout: stdout.into(), stderr: stderr.into() };
        let expect = |status, equals: Option<&str>, contains: Option<&str>| Expect {
            status,
            equals: equals.map(Into::into),
            contains: contains.map(Into::into),
        };
        for (expect, output, why) in [
            (Expect::default(), output(0, "anything", ""), None),
            (Expect::default(), output(1, "", "no\n"), Some("needed exit status 0, found 1\nstderr: no")),
            (expect(3, None, None), output(3, "", ""), None),
            (expect(0, Some("running\n"), None), output(0, "running\n", ""), None),
            (expect(0, Some("running"), None), output(0, "degraded\n", ""), Some(r#"needed output "running", found "degraded""#)),
            (expect(0, None, Some("b")), output(0, "abc", ""), None),
            (expect(0, None, Some("x")), output(0, "abc", ""), Some(r#"needed "x" in the output, found "abc""#)),
        ] {
            assert_eq!(differs(&expect, &output).as_deref(), why);
        }
    }

    #[test]
    fn the_report_is_a_table() {
        let outcome = |name: &str, why: Option<&str>| Outcome {
            name: name.into(),
            passed: why.is_none(),
            why: why.map(Into::into),
            millis: 1500,
        };
        let report = Report { outcomes: vec![outcome("short", None), outcome("much longer", Some("needed\nfound"))] };
        assert!(!report.passed());
        assert_eq!(
            report.to_string(),
            "ok      short           1.5 s\nFAILED  much longer     1.5 s\n        needed\n        found\n1 of 2 checks passed"
        );
        assert!(Report::default().passed());
    }

    #[test]
    fn a_check_is_read_as_written() {
        let check: Check =
            toml::from_str("name = 'up'\nrun = ['systemctl', 'is-system-running']\nexpect.equals = 'running'").unwrap();
        assert_eq!((check.expect.status, check.expect.equals.as_deref()), (0, Some("running")));
    }
}
