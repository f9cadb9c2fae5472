//! The built programs, and how a case runs them.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::{Account, Scratch};

/// The folder with the workspace's `Cargo.toml`.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/"))
}

/// The builder's program, where `make programs` puts it.
pub fn basalt() -> Result<PathBuf> {
    program("basalt")
}

/// The agent's program as images carry it.
pub fn agent() -> Result<PathBuf> {
    program("basalt-firstboot")
}

/// The update client's program as images carry it.
pub fn update_client() -> Result<PathBuf> {
    program("ostree-container")
}

fn program(name: &str) -> Result<PathBuf> {
    // target/PROFILE/deps/CASE-HASH
    let case = std::env::current_exe()?;
    let target = case.ancestors().nth(3).context("the case lies in no target folder")?;
    let path = target.join("bin").join(name);
    ensure!(path.is_file(), "{} is not built: run `make programs`", path.display());
    Ok(path)
}

/// A run of `basalt` to be: its arguments, who runs it, with which cache.
#[derive(Debug)]
pub struct Basalt {
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    account: Account,
    under: Vec<OsString>,
    folder: Option<PathBuf>,
    limit: Duration,
}

/// How a program ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; 128 and the number of the signal that ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Fails unless it exited with `code`; the message has everything it wrote.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code; stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Fails unless stderr has `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "needed {text:?} in stderr:\n{}", self.stderr);
        self
    }
}

/// A cold build of an image with its base, beside others.
const LIMIT: Duration = Duration::from_secs(20 * 60);

impl Basalt {
    /// `basalt ARGS...`, as the account that runs the tests.
    pub fn new(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Self { args, env: Vec::new(), account: Account::Tests, under: Vec::new(), folder: None, limit: LIMIT }
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

    /// Uses the cache at `folder`.
    #[must_use]
    pub fn cache(self, folder: &Path) -> Self {
        self.env("BASALT_CACHE", folder)
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs as another account.
    #[must_use]
    pub fn account(mut self, account: Account) -> Self {
        self.account = account;
        self
    }

    /// Runs it by another program (`unshare --net`, `taskset --cpu-list 0`), which gets its path and arguments as its last arguments.
    #[must_use]
    pub fn under(mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.under.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Runs in `folder`.
    #[must_use]
    pub fn folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Killed (and the case fails) after `limit`.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it, with stdout and stderr as pipes, in a process group of its own: for cases that send it signals.
    pub fn spawn(&self, scratch: &Scratch) -> Result<Child> {
        // An account may be unable to reach the target folder (below /root, say).
        let program = scratch.program(&basalt()?)?;
        // The builder looks for what images carry beside itself.
        scratch.program(&agent()?)?;
        scratch.program(&update_client()?)?;
        let mut words = self.under.clone();
        words.push(program.into_os_string());
        let mut command: Command = self.account.command(Path::new(&words[0]), scratch)?;
        command.args(&words[1..]).args(&self.args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.folder.as_deref().unwrap_or(scratch.path()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().with_context(|| format!("{command:?}"))
    }

    /// Runs it to its end.
    pub fn run(&self, scratch: &Scratch) -> Result<Ran> {
        let started = Instant::now();
        let mut child = self.spawn(scratch)?;
        let read = |pipe: Option<Box<dyn Read + Send>>| {
            thread::spawn(move || {
                let mut bytes = Vec::new();
                if let Some(mut pipe) = pipe {
                    let _ = pipe.read_to_end(&mut bytes);
                }
                String::from_utf8_lossy(&bytes).into_owned()
            })
        };
        let stdout = read(child.stdout.take().map(|pipe| Box::new(pipe) as _));
        let stderr = read(child.stderr.take().map(|pipe| Box::new(pipe) as _));
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > self.limit {
                killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL)?;
                child.wait()?;
                let stderr = stderr.join().unwrap_or_default();
                bail!("basalt {:?} did not end within {} s; stderr:\n{stderr}", self.args, self.limit.as_secs());
            }
            thread::sleep(Duration::from_millis(10));
        };
        Ok(Ran {
            code: status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1),
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
            took: started.elapsed(),
        })
    }
}
