//! SIGINT and SIGTERM: work stops at the next step, temporary files vanish as their owners are dropped, the exit code is 130.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::{Failure, Kind};

static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Catches the signals from now on. A second one ends the program at once.
pub fn install() -> io::Result<()> {
    let flag = FLAG.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(flag))?;
        signal_hook::flag::register(signal, Arc::clone(flag))?;
    }
    Ok(())
}

/// Whether a signal came.
pub fn pending() -> bool {
    FLAG.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// An error when a signal came. Called between steps of long work.
pub fn check() -> Result<(), Failure> {
    if pending() { Err(failure()) } else { Ok(()) }
}

/// The same for code whose errors are [`io::Error`].
pub fn check_io() -> io::Result<()> {
    check().map_err(io::Error::other)
}

/// What an interrupted command answers.
pub fn failure() -> Failure {
    Failure::new(Kind::Interrupted, "interrupted; nothing half-made was kept")
}

/// Something whose reading ends when we are interrupted.
#[derive(Debug)]
pub struct Stoppable<R>(pub R);

impl<R: Read> Read for Stoppable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        check_io()?;
        self.0.read(buffer)
    }
}
