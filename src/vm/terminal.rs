//! This program's terminal as that of a guest: keys go through as they are, until the escape.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::termios::{self, SetArg, Termios};

/// The terminal in raw mode, until it is dropped. Nothing when standard input is no terminal.
pub(super) struct Raw {
    before: Option<Termios>,
}

impl Raw {
    pub(super) fn new() -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self { before: None });
        }
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSANOW, &raw)?;
        Ok(Self { before: Some(before) })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

/// Undoes what a guest that was cut off in the middle leaves on the screen: a hidden cursor, colours, lines that do not wrap.
pub(super) fn show_as_before() -> io::Result<()> {
    let mut stdout = io::stdout();
    if !stdout.is_terminal() {
        return Ok(());
    }
    stdout.write_all(b"\x1b[m\x1b[?25h\x1b[?7h")?;
    stdout.flush()
}

/// Sends what is typed to `guest` until Ctrl-A X, then sets `quit`. The thread is left behind waiting for a key: it ends with us.
pub(super) fn send_keys(mut guest: impl Write + Send + 'static, quit: Arc<AtomicBool>) {
    thread::spawn(move || {
        let (mut buffer, mut escape) = ([0; 256], Escape::default());
        while let Ok(n @ 1..) = io::stdin().read(&mut buffer) {
            let (keys, ended) = escape.filter(&buffer[..n]);
            if ended {
                quit.store(true, Ordering::Relaxed);
            }
            if ended || guest.write_all(&keys).is_err() {
                break;
            }
        }
    });
}

/// Finds Ctrl-A X among keys, also when the two come apart. Ctrl-A Ctrl-A sends one Ctrl-A, as QEMU's own terminal does.
#[derive(Default)]
struct Escape {
    begun: bool,
}

const CTRL_A: u8 = 1;

impl Escape {
    /// The keys for the guest, and whether the escape was among them.
    fn filter(&mut self, keys: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        for &key in keys {
            match (self.begun, key) {
                (false, CTRL_A) => self.begun = true,
                (true, b'x' | b'X') => return (out, true),
                (begun, key) => {
                    if begun && key != CTRL_A {
                        out.push(CTRL_A);
                    }
                    self.begun = false;
                    out.push(key);
                }
            }
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_is_two_keys() {
        for (typed, sent, ended) in [
            (&[&b"ls\r"[..]][..], &b"ls\r"[..], false),
            (&[b"\x01x"], b"", true),
            (&[b"a\x01", b"Xb"], b"a", true),
            (&[b"\x01\x01x"], b"\x01x", false),
            (&[b"\x01", b"b"], b"\x01b", false),
        ] {
            let mut escape = Escape::default();
            let mut all = (Vec::new(), false);
            for keys in typed {
                let (keys, end) = escape.filter(keys);
                all.0.extend(keys);
                all.1 |= end;
            }
            assert_eq!(all, (sent.to_vec(), ended), "{typed:?}");
        }
    }
}
