//! The console and the journal, by way of standard output and standard error.
//!
//! The unit says `StandardOutput=journal+console` and `StandardError=journal`: so the sandbox needs no device, and a console that
//! does not take our bytes (flow control on a serial line) holds up journald's forwarding, not the agent.

use std::io::{Write, stderr, stdout};

use crate::backend::Console;

/// Standard output and standard error.
pub struct Streams {
    /// Whether systemd reads priorities at the start of lines (`sd-daemon(3)`).
    priorities: bool,
}

impl Streams {
    /// `journal`: standard error goes to the journal.
    pub const fn new(journal: bool) -> Self {
        Self { priorities: journal }
    }
}

impl Console for Streams {
    fn announce(&self, line: &str) {
        // A closed stream is no reason to stop: the report and the bus say the same.
        let _ = writeln!(stdout(), "{}", one_line(line)).and_then(|()| stdout().flush());
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
