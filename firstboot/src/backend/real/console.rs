//! The journal, by way of standard output and standard error, and the console, by way of agetty.
//!
//! The agent opens no console: agetty shows `/run/issue.d` above its prompt, and draws both anew when `/run/agetty.reload` changes. So the
//! sandbox needs no device, and a console that does not take our bytes (flow control on a serial line) holds up nobody.

use std::fs::OpenOptions;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::backend::Console;

/// Standard output and standard error.
pub struct Streams {
    /// Whether systemd reads priorities at the start of lines (`sd-daemon(3)`).
    priorities: bool,
    /// What agetty looks at.
    reload: PathBuf,
}

impl Streams {
    /// `journal`: standard error goes to the journal. agetty is that of `root`.
    pub fn new(journal: bool, root: &Path) -> Self {
        Self { priorities: journal, reload: root.join("run/agetty.reload") }
    }
}

impl Console for Streams {
    fn announce(&self, line: &str) {
        // A closed stream is no reason to stop: the report and the bus say the same.
        let _ = writeln!(stdout(), "{}", one_line(line)).and_then(|()| stdout().flush());
    }

    fn redraw(&self) {
        // Where no agetty is, nobody waits for this.
        let _ = OpenOptions::new().write(true).open(&self.reload).and_then(|file| file.set_modified(SystemTime::now()));
    }

    fn warn(&self, line: &str) {
        let priority = if self.priorities { "<4>" } else { "" };
        let _ = writeln!(stderr(), "{priority}{}", one_line(line));
    }
}

/// Without control characters: what was read from files cannot draw on a terminal or begin a new line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(one_line("a\nb\x1b[2Jc"), "a b [2Jc");
    }
}
