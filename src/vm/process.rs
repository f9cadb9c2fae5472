//! One QEMU process: it never outlives its owner, this program, or its time limit.
//!
//! Its owner is a value: dropped, the process is killed. This program may be killed itself: `setpriv --pdeathsig` has the kernel kill
//! the child then. That signal is tied to the *thread* that started the child, so one thread that never ends starts them all.

use std::ffi::OsString;
use std::io::Read;
use std::process::{Child, ChildStdout, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::{interrupt, tools};

/// A running QEMU.
pub(super) struct Process {
    shared: Arc<Mutex<Shared>>,
    stdout: Option<ChildStdout>,
    /// Dropped to end the watch over the time limit.
    _watch: Option<Sender<()>>,
}

struct Shared {
    child: Child,
    /// What it wrote to stderr so far, the first 64 KiB.
    stderr: String,
    /// The limit under which it was killed.
    expired: Option<Duration>,
}

/// Asks the one starting thread to start a command.
type Order = (Cmd, Sender<Result<Child, Failure>>);
static STARTER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (command, answer) in orders {
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

const STDERR_BYTES: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(20);

impl Process {
    /// Starts `program`, to be killed after `limit`.
    pub(super) fn start(
        program: &str,
        arguments: impl IntoIterator<Item = OsString>,
        limit: Option<Duration>,
    ) -> Result<Self, Failure> {
        let path = tools::find(program).ok_or_else(|| {
            let package = super::TOOLS.iter().find(|tool| tool.program == program).map_or(program, |tool| tool.package);
            Failure::new(Kind::Tool, format!("{program} is not installed")).hint(format!("apt install {package}"))
        })?;
        let command = Cmd::new("setpriv").args(["--pdeathsig", "KILL", "--"]).arg(path).args(arguments);
        let (sender, answer) = mpsc::channel();
        let lost = || Failure::new(Kind::Failed, "the thread that starts QEMU is gone");
        lock(&STARTER).send((command, sender)).map_err(|_| lost())?;
        let mut child = answer.recv().map_err(|_| lost())??;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let shared = Arc::new(Mutex::new(Shared { child, stderr: String::new(), expired: None }));
        if let Some(stderr) = stderr {
            let shared = Arc::clone(&shared);
            thread::spawn(move || keep(stderr, &shared));
        }
        let watch = limit.map(|limit| watch(&shared, limit));
        Ok(Self { shared, stdout, _watch: watch })
    }

    /// Its standard output, once.
    pub(super) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// How it ended, if it has.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        lock(&self.shared).child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    pub(super) fn wait(&self, timeout: Duration) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.status() {
                return Ok(status);
            }
            interrupt::check()?;
            if Instant::now() > deadline {
                return Err(self.ended(&format!("it did not power off within {} s", timeout.as_secs())));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Kills it and waits until it is gone.
    pub(super) fn kill(&self) {
        let mut shared = lock(&self.shared);
        let _ = shared.child.kill();
        let _ = shared.child.wait();
    }

    /// A failure that also says what is known about the process: still running, its exit status, its limit, its stderr.
    pub(super) fn ended(&self, what: &str) -> Failure {
        let status = self.status();
        let shared = lock(&self.shared);
        let state = match (shared.expired, status) {
            (Some(limit), _) => format!("QEMU was stopped at its limit of {} s", limit.as_secs()),
            (None, Some(status)) => format!("QEMU ended ({status})"),
            (None, None) => "QEMU runs".to_owned(),
        };
        let stderr = shared.stderr.trim();
        let stderr = if stderr.is_empty() { String::new() } else { format!("\n  {}", stderr.replace('\n', "\n  ")) };
        Failure::new(Kind::Failed, format!("{what}; {state}{stderr}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A panic while the lock was held left nothing half-done that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Kills the process after `limit`, unless the sender is dropped before.
fn watch(shared: &Arc<Mutex<Shared>>, limit: Duration) -> Sender<()> {
    let (sender, owner) = mpsc::channel();
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        if owner.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let mut shared = lock(&shared);
            if matches!(shared.child.try_wait(), Ok(None)) {
                shared.expired = Some(limit);
                let _ = shared.child.kill();
            }
        }
    });
    sender
}

fn keep(mut pipe: impl Read, shared: &Mutex<Shared>) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = pipe.read(&mut buffer) {
        let mut shared = lock(shared);
        if shared.stderr.len() < STDERR_BYTES {
            shared.stderr.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_ends_it() {
        let process = Process::start("sleep", ["60".into()], Some(Duration::from_millis(50))).unwrap();
        process.wait(Duration::from_secs(10)).unwrap();
        assert!(process.ended("why").what.contains("why; QEMU was stopped at its limit"));
    }

    #[test]
    fn it_survives_the_thread_that_asked_for_it_but_not_its_owner() {
        let process = thread::spawn(|| Process::start("sleep", ["60".into()], None).unwrap()).join().unwrap();
        thread::sleep(Duration::from_millis(100));
        assert!(process.status().is_none());
        let id = lock(&process.shared).child.id();
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn stderr_is_told() {
        let process = Process::start("sh", ["-c", "echo the cause >&2; exit 3"].map(Into::into), None).unwrap();
        process.wait(Duration::from_secs(10)).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !process.ended("x").what.contains("the cause") && Instant::now() < deadline {
            thread::yield_now();
        }
        assert!(process.ended("x").what.contains("exit status: 3"), "{}", process.ended("x"));
    }

    #[test]
    fn a_missing_program_is_a_missing_tool() {
        assert_eq!(Process::start("no-such-program-here", [], None).err().unwrap().kind, Kind::Tool);
    }
}
