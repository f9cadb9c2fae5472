//! The journal, in its own protocol, else by way of standard output and standard error; and the console, by way of agetty.
//!
//! The agent opens no console: agetty shows `/run/issue.d` above its prompt, and draws both anew when `/run/agetty.reload` changes. So the
//! sandbox needs no device, and a console that does not take our bytes (flow control on a serial line) holds up nobody.

use std::fs::OpenOptions;
use std::io::{Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::stat::fstat;

use super::journald::Journald;
use crate::backend::Console;
use crate::notice::{Kind, Notice};

/// Standard output and standard error.
pub struct Streams {
    /// Where standard error goes to the journal; then systemd reads priorities at the start of lines, too (`sd-daemon(3)`).
    journal: Option<Journald>,
    /// What agetty looks at.
    reload: PathBuf,
}

impl Streams {
    /// `journal`: which stream goes to the journal, as `$JOURNAL_STREAM` says. Journal and agetty are those of `root`.
    pub fn new(journal: Option<&str>, root: &Path) -> Self {
        // A terminal's shell may have the variable from who started it (`systemd.exec(5)`).
        let is_ours =
            journal.is_some() && fstat(stderr()).is_ok_and(|it| journal == Some(&format!("{}:{}", it.st_dev, it.st_ino)));
        Self { journal: is_ours.then(|| Journald::new(root)), reload: root.join("run/agetty.reload") }
    }
}

impl Console for Streams {
    fn tell(&self, notice: &Notice) {
        if self.journal.as_ref().is_some_and(|journal| journal.send(notice).is_ok()) {
            return;
        }
        let line = one_line(&notice.message);
        // A closed stream is no reason to stop: the report and the bus say the same.
        let _ = match notice.kind {
            Kind::Settled => writeln!(stdout(), "{line}").and_then(|()| stdout().flush()),
            Kind::Fault | Kind::Remark if self.journal.is_some() => writeln!(stderr(), "<{}>{line}", notice.urgency as u8),
            Kind::Fault | Kind::Remark => writeln!(stderr(), "{line}"),
            // Who looks at a stream sees steps elsewhere.
            Kind::Step => Ok(()),
        };
    }

    fn redraw(&self) {
        // Where no agetty is, nobody waits for this.
        let _ = OpenOptions::new().write(true).open(&self.reload).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

/// Without control characters: what was read from files cannot draw on a terminal or begin a new line.
pub fn one_line(text: &str) -> String {
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
