//! What a guest says on one of its lines (console, channel, QMP): a thread reads it, readers wait for what they need, with a deadline.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::interrupt;

/// The bytes that came and were not taken yet.
#[derive(Clone)]
pub(super) struct Feed {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    /// How many of them are known to hold no end of line.
    scanned: usize,
    closed: bool,
}

/// Why a wait brought nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The deadline passed.
    Late,
    /// The other side is gone.
    Closed,
    /// We were interrupted.
    Interrupted,
}

/// How often a wait looks for an interrupt.
const SLICE: Duration = Duration::from_millis(200);

impl Feed {
    /// Reads `stream` until it ends.
    pub(super) fn of(mut stream: impl Read + Send + 'static) -> Self {
        let feed = Self { shared: Arc::default() };
        let writer = feed.clone();
        thread::spawn(move || {
            let mut buffer = [0; 1 << 14];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                writer.lock().bytes.extend_from_slice(&buffer[..n]);
                writer.shared.1.notify_all();
            }
            writer.lock().closed = true;
            writer.shared.1.notify_all();
        });
        feed
    }

    /// Waits until `find` finds something in the bytes that came so far.
    pub(super) fn wait<T>(&self, deadline: Instant, mut find: impl FnMut(&[u8]) -> Option<T>) -> Result<T, Stopped> {
        self.wait_in(deadline, |state| find(&state.bytes))
    }

    /// Takes the next line, without its end and a carriage return before it.
    pub(super) fn line(&self, deadline: Instant) -> Result<String, Stopped> {
        self.wait_in(deadline, |state| {
            let Some(end) = state.bytes[state.scanned..].iter().position(|byte| *byte == b'\n') else {
                state.scanned = state.bytes.len();
                return None;
            };
            let line: Vec<u8> = state.bytes.drain(..=state.scanned + end).collect();
            state.scanned = 0;
            Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
        })
    }

    /// Takes all that came; waits for at least one byte.
    pub(super) fn take(&self, deadline: Instant) -> Result<Vec<u8>, Stopped> {
        self.wait_in(deadline, |state| {
            state.scanned = 0;
            (!state.bytes.is_empty()).then(|| std::mem::take(&mut state.bytes))
        })
    }

    /// A copy of the bytes that came and were not taken.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    fn wait_in<T>(&self, deadline: Instant, mut find: impl FnMut(&mut State) -> Option<T>) -> Result<T, Stopped> {
        let mut state = self.lock();
        loop {
            if let Some(found) = find(&mut state) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.closed {
                return Err(Stopped::Closed);
            } else if interrupt::pending() {
                return Err(Stopped::Interrupted);
            } else if left.is_zero() {
                return Err(Stopped::Late);
            }
            state = self.shared.1.wait_timeout(state, left.min(SLICE)).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A panic while the lock was held left whole bytes.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn lines_come_whole_and_in_order() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let feed = Feed::of(host);
        let later = Instant::now() + Duration::from_secs(10);
        guest.write_all(b"one\r\ntwo\nthr").unwrap();
        assert_eq!(feed.line(later).unwrap(), "one");
        assert_eq!(feed.line(later).unwrap(), "two");
        assert_eq!(feed.line(Instant::now() + Duration::from_millis(20)), Err(Stopped::Late));
        guest.write_all(b"ee\n").unwrap();
        assert_eq!(feed.line(later).unwrap(), "three");
        guest.write_all(b"rest").unwrap();
        drop(guest);
        assert_eq!(feed.line(later), Err(Stopped::Closed));
        assert_eq!(feed.bytes(), b"rest");
        assert_eq!(feed.take(later).unwrap(), b"rest");
    }

    #[test]
    fn a_wait_sees_what_comes_later() {
        let (mut guest, host) = UnixStream::pair().unwrap();
        let feed = Feed::of(host);
        let writer = thread::spawn(move || guest.write_all(b"abc").map(|()| guest));
        let found = feed.wait(Instant::now() + Duration::from_secs(10), |bytes| bytes.ends_with(b"c").then_some(bytes.len()));
        assert_eq!(found, Ok(3));
        drop(writer.join().unwrap().unwrap());
    }
}
