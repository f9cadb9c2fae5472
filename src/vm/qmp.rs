//! QEMU's own line: reset, power button, screen shots. <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::feed::{Feed, Stopped};
use crate::failure::{Failure, Kind};
use crate::host::interrupt;

/// A QMP connection.
pub struct Qmp {
    feed: Feed,
    stream: UnixStream,
    count: u64,
}

/// QEMU answers at once, also under a loaded host.
const LIMIT: Duration = Duration::from_secs(30);

impl Qmp {
    /// Greets QEMU on a fresh connection.
    pub(super) fn new(stream: UnixStream) -> Result<Self, Failure> {
        let reader = stream.try_clone().map_err(|error| failed("greeting", &error.to_string()))?;
        let mut qmp = Self { feed: Feed::of(reader), stream, count: 0 };
        qmp.execute("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and answers what it returned. Events that come meanwhile are dropped.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, Failure> {
        self.count += 1;
        let request = json!({"execute": command, "arguments": arguments, "id": self.count});
        writeln!(self.stream, "{request}").map_err(|error| failed(command, &error.to_string()))?;
        let deadline = Instant::now() + LIMIT;
        loop {
            let line = self.feed.line(deadline).map_err(|why| match why {
                Stopped::Interrupted => interrupt::failure(),
                Stopped::Closed => failed(command, "QEMU is gone"),
                Stopped::Late => failed(command, &format!("no answer within {} s", LIMIT.as_secs())),
            })?;
            if let Some(answer) = answer(&line, self.count) {
                return answer.map_err(|error| failed(command, &error));
            }
        }
    }

    /// Presses the power button.
    pub fn power_button(&mut self) -> Result<(), Failure> {
        self.execute("system_powerdown", json!({})).map(drop)
    }

    /// Presses the reset button: the guest is not asked.
    pub fn reset(&mut self) -> Result<(), Failure> {
        self.execute("system_reset", json!({})).map(drop)
    }

    /// Writes what the screen shows to `file` (PPM). Needs a machine with a screen.
    pub fn screen(&mut self, file: &Path) -> Result<(), Failure> {
        self.execute("screendump", json!({"filename": file})).map(drop)
    }
}

fn failed(command: &str, why: &str) -> Failure {
    Failure::new(Kind::Failed, format!("QMP {command}: {why}"))
}

/// What `line` says about the request `id`; none when it is about something else (greeting, event).
fn answer(line: &str, id: u64) -> Option<Result<Value, String>> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    if value.get("id")?.as_u64()? != id {
        return None;
    }
    Some(match value.get("error") {
        Some(error) => Err(error.get("desc").and_then(Value::as_str).unwrap_or("unknown error").to_owned()),
        None => Ok(value.get_mut("return").map(Value::take).unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_events() {
        for (line, expected) in [
            (r#"{"QMP": {"version": {}, "capabilities": []}}"#, None),
            (r#"{"timestamp": {"seconds": 1}, "event": "RESET", "data": {"guest": true}}"#, None),
            (r#"{"return": {}, "id": 6}"#, None),
            (r#"{"return": {"running": true}, "id": 7}"#, Some(Ok(json!({"running": true})))),
            (r#"{"id": 7, "error": {"class": "GenericError", "desc": "no screen"}}"#, Some(Err("no screen".to_owned()))),
            ("not JSON", None),
        ] {
            assert_eq!(answer(line, 7), expected, "{line}");
        }
    }
}
