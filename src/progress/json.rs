//! Events as JSON lines: `{"version":1,"event":"stage-started",...}`.

use std::io::Write;
use std::sync::Mutex;

use serde::Serialize;

use super::{Event, Sink, VERSION};

/// Writes each event as one line of JSON. Advances are written at most ten times a second.
pub struct JsonLines<W> {
    out: Mutex<(W, Option<std::time::Instant>)>,
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out: Mutex::new((out, None)) }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    version: u32,
    #[serde(flatten)]
    event: &'a Event,
}

impl<W: Write + Send> Sink for JsonLines<W> {
    fn event(&self, event: Event) {
        let Ok(mut guard) = self.out.lock() else { return };
        let (out, last) = &mut *guard;
        if matches!(event, Event::StageAdvanced { .. }) {
            if last.is_some_and(|last| last.elapsed().as_millis() < 100) {
                return;
            }
            *last = Some(std::time::Instant::now());
        }
        // A reader that went away must not stop the build.
        if let Ok(text) = serde_json::to_string(&Line { version: VERSION, event: &event }) {
            let _ = writeln!(out, "{text}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_version_and_kind() {
        let sink = JsonLines::new(Vec::new());
        sink.event(Event::StageFinished { stage: "base".into(), cached: true, millis: 3 });
        let (bytes, _) = sink.out.into_inner().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, "{\"version\":1,\"event\":\"stage-finished\",\"stage\":\"base\",\"cached\":true,\"millis\":3}\n");
    }
}
