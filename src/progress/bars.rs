//! Events for people: a bar for the running stage on a terminal, else one line where a stage ends (or nothing, when piped).

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Event, Sink, Unit};

/// Draws on stderr. Where stderr is no terminal, only warnings and notes are written.
pub struct Bars {
    terminal: bool,
    running: Mutex<Option<ProgressBar>>,
}

impl Bars {
    /// Draws bars when `terminal`.
    pub fn new(terminal: bool) -> Self {
        Self { terminal, running: Mutex::new(None) }
    }

    fn say(&self, text: &str) {
        match self.running.lock().ok().and_then(|bar| bar.clone()) {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn start(&self, stage: &str, detail: &str, total: Option<u64>, unit: Unit) {
        if !self.terminal {
            return;
        }
        let counts = match unit {
            Unit::Bytes => "{bytes}/{total_bytes} {bytes_per_sec} {eta} left",
            Unit::Items => "{pos}/{len} {eta} left",
            Unit::None => "{elapsed}",
        };
        let template = match total {
            Some(_) if unit != Unit::None => format!("{{prefix:>9}} [{{bar:24}}] {counts} {{wide_msg}}"),
            _ => "{prefix:>9} {spinner} {elapsed} {wide_msg}".to_owned(),
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(stage.to_owned());
        bar.set_message(detail.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Ok(mut running) = self.running.lock() {
            *running = Some(bar);
        }
    }

    fn finish(&self, stage: &str, cached: bool, millis: u64) {
        let Some(bar) = self.running.lock().ok().and_then(|mut running| running.take()) else { return };
        let detail = bar.message();
        bar.finish_and_clear();
        let how = if cached { "cached".to_owned() } else { format!("{}.{} s", millis / 1000, millis % 1000 / 100) };
        eprintln!("{stage:>9} {detail} ({how})");
    }
}

impl Sink for Bars {
    fn event(&self, event: Event) {
        match event {
            Event::StageStarted { stage, detail, total, unit } => self.start(&stage, &detail, total, unit),
            Event::StageAdvanced { done, .. } => {
                if let Some(bar) = self.running.lock().ok().and_then(|bar| bar.clone()) {
                    bar.set_position(done);
                }
            }
            Event::StageFinished { stage, cached, millis } => self.finish(&stage, cached, millis),
            Event::Warning { message } => self.say(&format!("warning: {message}")),
            Event::Note { message } => self.say(&message),
        }
    }
}
