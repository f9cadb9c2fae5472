//! The serial console of a machine: wait for a text, send keys, show its end in an error.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::feed::{Feed, Stopped};

/// A serial console. It belongs to one run of QEMU; a machine that is started again has a new one.
pub struct Console {
    feed: Feed,
    keys: UnixStream,
    /// What [`Console::expect`] has read already.
    read: usize,
}

/// The text did not come.
#[derive(Debug, thiserror::Error)]
#[error("the console did not show {wanted:?} {}", match .why { Stopped::Late => format!("within {} s", .within.as_secs()), Stopped::Closed => "before QEMU ended".into(), Stopped::Interrupted => "before we were interrupted".into() })]
pub(super) struct NotShown {
    wanted: String,
    within: Duration,
    pub(super) why: Stopped,
}

/// Ctrl-N: the next entry of GRUB's menu. It is one byte: firmware and GRUB both read the serial line, and an arrow key's three could
/// go to different readers.
pub const KEY_NEXT: &str = "\x0e";

impl Console {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self { feed: Feed::of(stream.try_clone()?), keys: stream, read: 0 })
    }

    /// Sends keys, as a terminal would.
    pub fn send(&mut self, keys: &str) -> io::Result<()> {
        self.keys.write_all(keys.as_bytes())
    }

    /// Waits for `text` after what an earlier call found; answers all that came in between.
    pub(super) fn expect(&mut self, text: &str, timeout: Duration) -> Result<String, NotShown> {
        let from = self.read;
        // Where the search goes on: a long wait does not read everything again with each byte.
        let mut searched = from;
        let found = self.feed.wait(Instant::now() + timeout, |bytes| {
            let end = find(&bytes[searched..], text.as_bytes()).map(|at| searched + at + text.len());
            searched = from.max((bytes.len() + 1).saturating_sub(text.len()));
            end.map(|end| (end, String::from_utf8_lossy(&bytes[from..end]).into_owned()))
        });
        let (end, shown) = found.map_err(|why| NotShown { wanted: text.to_owned(), within: timeout, why })?;
        self.read = end;
        Ok(shown)
    }

    /// Everything it showed, without escape sequences.
    pub fn text(&self) -> String {
        plain(&self.feed.bytes())
    }

    /// Its last `count` lines, without escape sequences and empty lines.
    pub fn tail(&self, count: usize) -> String {
        let text = self.text();
        let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Takes what came, for a terminal; waits for at least one byte.
    pub(super) fn take(&self, deadline: Instant) -> Result<Vec<u8>, Stopped> {
        self.feed.take(deadline)
    }

    /// Another handle to send keys by.
    pub(super) fn keys(&self) -> io::Result<UnixStream> {
        self.keys.try_clone()
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len().max(1)).position(|window| window == wanted)
}

/// The text without ANSI escape sequences (`ESC [ ... letter`, `ESC ] ... BEL`, `ESC` and one character) and control characters.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut chars = text.chars().peekable();
    let mut out = String::with_capacity(text.len());
    while let Some(c) = chars.next() {
        match c {
            '\x1b' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                Some(']') => while chars.next().is_some_and(|c| c != '\x07') {},
                _ => {}
            },
            '\n' | '\t' => out.push(c),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_text_is_found_across_pieces_and_only_once() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let mut console = Console::new(host).unwrap();
        let writer = std::thread::spawn(move || {
            for piece in ["GRUB  ver", "sion\r\nlogin", ": "] {
                guest.write_all(piece.as_bytes()).unwrap();
            }
            guest
        });
        assert_eq!(console.expect("version", Duration::from_secs(10)).unwrap(), "GRUB  version");
        assert_eq!(console.expect("login: ", Duration::from_secs(10)).unwrap(), "\r\nlogin: ");
        assert!(console.expect("login", Duration::from_millis(20)).unwrap_err().to_string().contains("\"login\""));
        console.send(KEY_NEXT).unwrap();
        let mut keys = [0; 1];
        writer.join().unwrap().read_exact(&mut keys).unwrap();
        assert_eq!(&keys, b"\x0e");
        assert_eq!(console.tail(1), "login:");
    }

    #[test]
    fn escape_sequences_are_no_text() {
        for (shown, text) in [
            (&b"\x1b[2J\x1b[01;01Hmenu\r\n"[..], "menu\n"),
            (b"\x1b]0;title\x07x\x1b=y\x00z", "xyz"),
            (b"[ \x1b[0;32m  OK  \x1b[0m] up", "[   OK  ] up"),
            (b"\x1b[", ""),
        ] {
            assert_eq!(plain(shown), text);
        }
    }
}
