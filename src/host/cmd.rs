//! Runs other programs: no shell, a clean environment, stderr kept for the error message, stopped when we are interrupted.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{interrupt, tools};
use crate::failure::{Failure, Kind};

/// A command to run. The environment is `PATH`, `LC_ALL=C.UTF-8`, `TZ=UTC0`, proxy and certificate variables, and what is added.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: String,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    folder: Option<PathBuf>,
    stderr_kept: usize,
    /// What it reads from standard input.
    input: Vec<u8>,
    /// Whether it has the environment that we have.
    of_user: bool,
    /// Where its standard output goes, instead of the answer.
    stdout: Option<Arc<File>>,
}

/// What a command that ended well wrote.
#[derive(Debug)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error, its last 64 KiB unless more was asked for.
    pub stderr: String,
}

/// How much of stderr an error message shows.
const STDERR_LINES: usize = 20;
/// How much of stderr is kept.
const STDERR_BYTES: usize = 64 << 10;
/// How often a running program is looked after.
const WATCH: Duration = Duration::from_millis(250);
/// What a child needs to reach a mirror.
const KEPT: [&str; 9] =
    ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "HOME"];

impl Cmd {
    /// Runs `program`, looked up like a shell does, also in `/usr/sbin`.
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            folder: None,
            stderr_kept: STDERR_BYTES,
            input: Vec::new(),
            of_user: false,
            stdout: None,
        }
    }

    /// Runs what a person wrote on the command line, its words separated by spaces: no shell sees them. It has the whole environment, in
    /// which it may find logins.
    ///
    /// # Errors
    /// [`Kind::Usage`]: there is no word.
    pub fn of_user(command: &str) -> Result<Self, Failure> {
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| Failure::new(Kind::Usage, "needed a command, found no word"))?;
        Ok(Self { of_user: true, ..Self::new(program) }.args(words))
    }

    /// Gives it `bytes` on standard input.
    #[must_use]
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.input = bytes;
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Keeps the last `bytes` of what it writes to standard error.
    #[must_use]
    pub fn keep_stderr(mut self, bytes: usize) -> Self {
        self.stderr_kept = bytes;
        self
    }

    /// Writes its standard output, which may be long, to `file`.
    #[must_use]
    pub fn stdout_to(mut self, file: File) -> Self {
        self.stdout = Some(Arc::new(file));
        self
    }

    /// Runs in `folder`.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Runs to the end. Fails when the program cannot be started, ends badly (the message keeps the end of its stderr), or we are
    /// interrupted (the program and its children are stopped first).
    pub fn run(self) -> Result<Output, Failure> {
        self.run_watched(&mut || Ok(()))
    }

    /// The same, and calls `watch` a few times a second: when it fails, the program is stopped and that is the failure.
    pub fn run_watched(self, watch: &mut dyn FnMut() -> Result<(), Failure>) -> Result<Output, Failure> {
        self.finish(ExitStatus::success, watch)
    }

    /// As [`Self::run`], for a program whose exit status is not its whole answer: any is taken, but none that a signal gave.
    pub fn run_whatever_it_answers(self) -> Result<Output, Failure> {
        self.finish(|status| status.code().is_some(), &mut || Ok(()))
    }

    fn finish(
        mut self,
        good: fn(&ExitStatus) -> bool,
        watch: &mut dyn FnMut() -> Result<(), Failure>,
    ) -> Result<Output, Failure> {
        let mut child = self.spawn()?;
        let input = std::mem::take(&mut self.input);
        // One that does not read to the end says by its status whether that matters.
        let stdin = child.stdin.take().map(|mut pipe| thread::spawn(move || drop(pipe.write_all(&input))));
        let stdout = child.stdout.take().map(|pipe| thread::spawn(move || read_all(pipe, usize::MAX)));
        let kept = self.stderr_kept;
        let stderr = child.stderr.take().map(|pipe| thread::spawn(move || read_all(pipe, kept)));
        let status = wait(&mut child, &self.program, watch)?;
        let collect = |thread: Option<thread::JoinHandle<Vec<u8>>>| thread.and_then(|t| t.join().ok()).unwrap_or_default();
        let stdout = collect(stdout);
        let stderr = String::from_utf8_lossy(&collect(stderr)).into_owned();
        drop(stdin.map(thread::JoinHandle::join));
        if good(&status) { Ok(Output { stdout, stderr }) } else { Err(self.failed(status, &stderr)) }
    }

    /// Starts the program in a process group of its own, with stdin closed (where it gets no input) and stdout and stderr as pipes.
    pub fn spawn(&self) -> Result<Child, Failure> {
        let path = tools::find(&self.program).ok_or_else(|| {
            Failure::new(Kind::Tool, format!("{} is not installed (looked in PATH and /usr/sbin)", self.program))
        })?;
        let mut command = Command::new(&path);
        command.args(&self.args);
        if !self.of_user {
            command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
            command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC0");
            for name in KEPT {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
        }
        for (name, value) in &self.env {
            command.env(name, value);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let stdout = match &self.stdout {
            None => Stdio::piped(),
            Some(file) => {
                file.try_clone().map_err(|error| Failure::new(Kind::Failed, format!("{}: {error}", self.program)))?.into()
            }
        };
        command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).process_group(0);
        tracing::debug!(program = %path.display(), args = ?self.args, "run");
        command.spawn().map_err(|error| Failure::new(Kind::Failed, format!("{}: cannot be started: {error}", path.display())))
    }

    fn failed(&self, status: ExitStatus, stderr: &str) -> Failure {
        let lines: Vec<_> = stderr.lines().collect();
        let end = lines[lines.len().saturating_sub(STDERR_LINES)..].join("\n  ");
        Failure::new(Kind::Failed, format!("{} failed ({status}):\n  {end}", self.program))
    }
}

/// Waits for `child`, and stops it with all its children when we are interrupted or `watch` fails.
fn wait(child: &mut Child, program: &str, watch: &mut dyn FnMut() -> Result<(), Failure>) -> Result<ExitStatus, Failure> {
    let gone = |error| Failure::new(Kind::Failed, format!("{program}: cannot wait for it: {error}"));
    let mut pause = Duration::from_millis(1);
    let mut watched = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(gone)? {
            return Ok(status);
        }
        let due = watched.elapsed() >= WATCH;
        if due {
            watched = Instant::now();
        }
        let stop = if interrupt::pending() { Some(interrupt::failure()) } else { due.then(&mut *watch).and_then(Result::err) };
        if let Some(failure) = stop {
            let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
            let _ = killpg(group, Signal::SIGTERM);
            for _ in 0..50 {
                if child.try_wait().map_err(gone)?.is_some() {
                    return Err(failure);
                }
                thread::sleep(Duration::from_millis(100));
            }
            let _ = killpg(group, Signal::SIGKILL);
            child.wait().map_err(gone)?;
            return Err(failure);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Reads to the end and keeps the last `keep` bytes.
fn read_all(mut pipe: impl Read, keep: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1 << 14];
    while let Ok(n @ 1..) = pipe.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..n]);
        if bytes.len() > keep.saturating_mul(2) {
            bytes.drain(..bytes.len() - keep);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_stderr() {
        let failure = Cmd::new("sh").args(["-c", "echo the cause >&2; exit 3"]).run().unwrap_err();
        assert!(failure.what.contains("the cause"), "{failure}");
        assert_eq!(failure.kind, Kind::Failed);
    }

    #[test]
    fn a_missing_program_is_a_missing_tool() {
        assert_eq!(Cmd::new("no-such-program-here").run().unwrap_err().kind, Kind::Tool);
    }

    #[test]
    fn it_gets_its_input_and_the_words_of_a_user_meet_no_shell() {
        let long = vec![b'x'; 1 << 20];
        assert_eq!(Cmd::new("cat").input(long.clone()).run().unwrap().stdout, long);
        Cmd::new("true").input(long).run().unwrap();
        assert_eq!(Cmd::of_user("echo $HOME  'a").unwrap().run().unwrap().stdout, b"$HOME 'a\n");
        assert_eq!(Cmd::of_user(" ").unwrap_err().kind, Kind::Usage);
    }

    #[test]
    fn its_output_goes_to_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let output = Cmd::new("echo").arg("long").stdout_to(file.reopen().unwrap()).run().unwrap();
        assert_eq!((output.stdout, std::fs::read(file.path()).unwrap()), (vec![], b"long\n".to_vec()));
    }

    #[test]
    fn the_environment_is_ours() {
        let output = Cmd::new("env").env("EXTRA", "1").run().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("TZ=UTC0") && text.contains("EXTRA=1") && !text.contains("CARGO_MANIFEST_DIR"), "{text}");
    }
}
