//! Commands in a guest, through a port of its own, with nothing of it in the image: a unit and a script that come as credentials.
//!
//! The console is no way for this: getty, the kernel and systemd write on it too. The port carries lines (`channel.sh` has the
//! format); values travel in base64. A command names the boot it is meant for and has a number, so that nothing is run by a later
//! boot and no late answer is taken for another's. The unit starts again with each boot.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::arguments::PORT;
use super::credential::Credentials;
use super::feed::{Feed, Stopped};
use crate::sysroot::{BOOT_LABEL, ROOT_LABEL};

/// What a command in the guest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its exit status; 128 and the number of the signal that ended it; 124: its time was up.
    pub status: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without the white space at its end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Standard error as text, without the white space at its end.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim_end().to_owned()
    }
}

/// Why there is no [`Output`].
#[derive(Debug, thiserror::Error)]
pub(super) enum ChannelError {
    #[error("the guest's command channel did not come up within {} s", .0.as_secs())]
    NotReady(Duration),
    #[error("the guest did not answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
    #[error("the guest rebooted while a command ran")]
    Rebooted,
    #[error("the guest's command channel was restarted while a command ran")]
    Restarted,
    #[error("QEMU ended")]
    Closed,
    #[error("interrupted")]
    Interrupted,
    #[error("the command cannot be sent: {0}")]
    Write(#[from] io::Error),
    #[error("an argument holds a NUL byte: {0:?}")]
    Nul(String),
}

/// How much longer than the command the host waits for its answer: the guest stops the command, then tells.
const GRACE: Duration = Duration::from_secs(30);
const CREDENTIAL: &str = "basalt.channel";
/// What QEMU's first serial port is for Linux on x86.
const CONSOLE: &str = "ttyS0";

/// Puts the guest's side of the channel into `credentials`.
pub(super) fn put_in(credentials: &mut Credentials) {
    let unit = include_str!("channel.service").replace("@PORT@", PORT).replace("@CREDENTIAL@", CREDENTIAL);
    credentials.set(CREDENTIAL, include_str!("channel.sh"));
    credentials.set_unit("basalt-channel.service", &unit, "basic.target");
    // systemd gives a device minutes from the start of the boot, which an emulated machine beside others may need for its disks alone;
    // then the port's unit and the console's login never start, and a filesystem's machine is in emergency mode. How long is too long is
    // for the host to say.
    let labels = [ROOT_LABEL, BOOT_LABEL].map(|label| format!("disk-by\\x2dlabel-{label}"));
    for device in labels.into_iter().chain([format!("virtio\\x2dports-{PORT}"), CONSOLE.to_owned()]) {
        let name = format!("systemd.unit-dropin.dev-{device}.device~basalt");
        credentials.set(&name, "[Unit]\nJobRunningTimeoutSec=infinity\n");
    }
}

/// The host's side.
pub(super) struct Channel {
    feed: Feed,
    port: UnixStream,
    /// The boot that is listening.
    boot: Option<String>,
    number: u64,
}

impl Channel {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        // A guest that reads nothing must not hold us.
        stream.set_write_timeout(Some(GRACE))?;
        Ok(Self { feed: Feed::of(stream.try_clone()?), port: stream, boot: None, number: 0 })
    }

    /// Waits until a boot listens; answers its id.
    pub(super) fn ready(&mut self, timeout: Duration) -> Result<String, ChannelError> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(boot) = &self.boot {
                return Ok(boot.clone());
            }
            if let Some(Message::Ready(boot)) = self.next(deadline, ChannelError::NotReady(timeout))? {
                self.boot = Some(boot);
            }
        }
    }

    /// Waits until another boot listens.
    pub(super) fn next_boot(&mut self, timeout: Duration) -> Result<String, ChannelError> {
        let deadline = Instant::now() + timeout;
        let before = self.boot.take();
        loop {
            if let Some(Message::Ready(boot)) = self.next(deadline, ChannelError::NotReady(timeout))?
                && Some(&boot) != before.as_ref()
            {
                self.boot = Some(boot.clone());
                return Ok(boot);
            }
        }
    }

    /// Runs a script of `/bin/sh`, stopped after `timeout`.
    pub(super) fn run(&mut self, script: &str, timeout: Duration) -> Result<Output, ChannelError> {
        let boot = self.ready(timeout)?;
        self.send(script, timeout)?;
        let deadline = Instant::now() + timeout + GRACE;
        loop {
            match self.next(deadline, ChannelError::NoAnswer(timeout + GRACE))? {
                Some(Message::Done { number, output }) if number == self.number => return Ok(output),
                Some(Message::Ready(now)) => {
                    let same = now == boot;
                    self.boot = Some(now);
                    return Err(if same { ChannelError::Restarted } else { ChannelError::Rebooted });
                }
                _ => {}
            }
        }
    }

    /// Sends a script whose answer nobody waits for.
    pub(super) fn send(&mut self, script: &str, timeout: Duration) -> Result<(), ChannelError> {
        let boot = self.ready(timeout)?;
        self.number += 1;
        let seconds = timeout.as_secs().max(1);
        // On a line of its own, whatever a command that was cut off left before.
        let line = format!("\nbasalt-run {boot} {} {seconds} {}\n", self.number, STANDARD.encode(script));
        Ok(self.port.write_all(line.as_bytes())?)
    }

    fn next(&self, deadline: Instant, late: ChannelError) -> Result<Option<Message>, ChannelError> {
        match self.feed.line(deadline) {
            Ok(line) => Ok(Message::parse(&line)),
            Err(Stopped::Late) => Err(late),
            Err(Stopped::Closed) => Err(ChannelError::Closed),
            Err(Stopped::Interrupted) => Err(ChannelError::Interrupted),
        }
    }
}

/// What the guest says.
#[derive(Debug, PartialEq, Eq)]
enum Message {
    Ready(String),
    Done { number: u64, output: Output },
}

impl Message {
    /// Reads a line; none when it is no whole message (a boot that was cut off).
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split(' ').collect();
        match fields[..] {
            ["basalt-ready", boot] if boot.len() == 36 => Some(Self::Ready(boot.to_owned())),
            ["basalt-done", number, status, stdout, stderr, "."] => {
                let output = Output {
                    status: status.parse().ok()?,
                    stdout: STANDARD.decode(stdout.strip_prefix("o:")?).ok()?,
                    stderr: STANDARD.decode(stderr.strip_prefix("e:")?).ok()?,
                };
                Some(Self::Done { number: number.parse().ok()?, output })
            }
            _ => None,
        }
    }
}

/// `argv` as a script that runs it: each argument in single quotes, so that the shell takes nothing of it for its own.
pub(super) fn script_of(argv: &[impl AsRef<str>]) -> Result<String, ChannelError> {
    let mut script = "exec".to_owned();
    for argument in argv {
        let argument = argument.as_ref();
        if argument.contains('\0') {
            return Err(ChannelError::Nul(argument.to_owned()));
        }
        script.push(' ');
        script.push_str(&quoted(argument));
    }
    Ok(script)
}

/// One word for a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::process::Process;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::fs::File;
    use std::io::Read;
    use std::thread;

    const LATER: Duration = Duration::from_secs(20);

    #[test]
    fn only_whole_messages_are_read() {
        let boot = "01234567-89ab-cdef-0123-456789abcdef";
        let done = |status, stdout: &str, stderr: &str| {
            Some(Message::Done { number: 7, output: Output { status, stdout: stdout.into(), stderr: stderr.into() } })
        };
        for (line, message) in [
            (format!("basalt-ready {boot}"), Some(Message::Ready(boot.into()))),
            ("basalt-ready 0123".into(), None),
            ("basalt-done 7 0 o:aGk= e: .".into(), done(0, "hi", "")),
            ("basalt-done 7 137 o: e:aGk= .".into(), done(137, "", "hi")),
            ("basalt-done 7 0 o:aGk= e:".into(), None),
            ("basalt-done 7 0 o:aG e: .".into(), None),
            ("basalt-done x 0 o: e: .".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(Message::parse(&line), message, "{line}");
        }
    }

    /// The guest's script, run here between two pipes; the host's side gets a socket, as with QEMU.
    fn guest(folder: &std::path::Path) -> (Process, Channel) {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        for name in ["in", "out"] {
            mkfifo(&folder.join(name), Mode::S_IRWXU).unwrap();
        }
        std::fs::write(path("channel.sh"), include_str!("channel.sh")).unwrap();
        let start =
            format!("RUNTIME_DIRECTORY={} exec sh {} <>{} >{}", folder.display(), path("channel.sh"), path("in"), path("out"));
        let process = Process::start("sh", ["-c".into(), start.into()], Some(Duration::from_secs(60))).unwrap();
        let (host, port) = UnixStream::pair().unwrap();
        let asks = File::options().write(true).open(path("in")).unwrap();
        forward(File::open(path("out")).unwrap(), port.try_clone().unwrap());
        forward(port, asks);
        (process, Channel::new(host).unwrap())
    }

    /// Not `io::copy`: its splice(2) holds the pipe's lock while it waits, and the reader at the other end with it.
    fn forward(mut from: impl Read + Send + 'static, mut to: impl Write + Send + 'static) {
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                to.write_all(&buffer[..n]).unwrap();
            }
        });
    }

    #[test]
    fn commands_come_back_with_status_and_every_byte() {
        let folder = tempfile::tempdir().unwrap();
        let (_process, mut channel) = guest(folder.path());
        let mut run = |argv: &[&str]| channel.run(&script_of(argv).unwrap(), LATER).unwrap();
        let odd = "a 'b' \"c\" $HOME `id` \\ \n *";
        assert_eq!(run(&["printf", "%s", odd]).stdout, odd.as_bytes());
        assert_eq!(run(&["printf", r"\000\377\n\n"]).stdout, b"\0\xff\n\n");
        assert_eq!(
            run(&["sh", "-c", "echo out; echo err >&2; exit 3"]),
            Output { status: 3, stdout: b"out\n".into(), stderr: b"err\n".into() }
        );
        assert_eq!(run(&["no-such-program"]).status, 127);
        assert_eq!(run(&["head", "-c", "300000", "/dev/zero"]).stdout, vec![0; 300_000]);
        assert_eq!(run(&["sh", "-c", "kill -9 $$"]).status, 137);
    }

    #[test]
    fn a_command_has_a_limit_and_one_for_another_boot_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let (_process, mut channel) = guest(folder.path());
        assert_eq!(channel.run("sleep 60", Duration::from_secs(1)).unwrap().status, 124);
        let boot = channel.boot.replace("00000000-0000-0000-0000-000000000000".into());
        channel.send("touch /nowhere/at/all", LATER).unwrap();
        channel.boot = boot;
        assert_eq!(channel.run("echo next", LATER).unwrap().text(), "next");
    }
}
