//! A node for the tests: a root folder, a system bus of its own with the shipped policy, the agent and its readers.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use basalt_contract::names;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::fstat;
use nix::unistd::{Pid, geteuid};

/// No step takes longer than this, not even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// The commit that is booted.
pub const CHECKSUM: &str = "9a0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9";
/// The user `nobody`.
const NOBODY: u32 = 65534;

/// Whether the test is run by root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The user whom the policy lets own the name.
    Owner,
    /// Somebody else, where the test may become somebody else.
    Nobody,
}

/// A root folder and a bus; both go away with it.
pub struct Node {
    folder: tempfile::TempDir,
    bus: Option<Child>,
}

impl Node {
    /// With an empty root and a running bus.
    pub fn new() -> Self {
        let mut node = Self::without_bus();
        let policy = fs::read_to_string(overlay("usr/share/dbus-1/system.d/org.basalt.FirstBoot1.conf")).unwrap();
        // An ordinary user cannot be root: then the policy's one line about root is about that user.
        let owner = format!("<policy user=\"{}\">", geteuid());
        assert_eq!(policy.matches("<policy user=\"root\">").count(), 1);
        fs::write(node.place("policy.conf"), policy.replace("<policy user=\"root\">", &owner)).unwrap();
        fs::write(node.place("bus.conf"), bus_configuration(&node.place("bus"))).unwrap();
        let mut bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", node.place("bus.conf").display()))
            .args(["--nofork", "--nopidfile", "--print-address=1"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon must be installed (package dbus)");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("unix:path="), "{address:?}");
        node.bus = Some(bus);
        node
    }

    /// With an empty root, and nobody at the bus's address.
    pub fn without_bus() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("root")).unwrap();
        Self { folder, bus: None }
    }

    /// Makes the root that of a booted Basalt image.
    pub fn describe(&self) {
        let mounts = format!("1 1 254:3 /ostree/deploy/basalt/deploy/{CHECKSUM}.0 / rw,relatime - ext4 /dev/vda3 rw\n");
        let image = include_str!("../../contract/fixtures/image-1.json");
        for (path, text) in [
            (names::IMAGE_FILE, image),
            ("/proc/sys/kernel/random/boot_id", "2f6d3ee1-6b0f-4a52-9d0f-7f0c7a3e5a11\n"),
            ("/etc/machine-id", "6c1f0a55a4f94f0a8f5a1b2c3d4e5f60\n"),
            ("/proc/self/mountinfo", &mounts),
            ("/proc/cmdline", "quiet\n"),
            ("/proc/meminfo", "MemTotal: 2014156 kB\n"),
            ("/sys/devices/system/cpu/online", "0-1\n"),
            ("/sys/class/dmi/id/product_name", "Standard PC (Q35 + ICH9, 2009)\n"),
        ] {
            let path = self.path(&path[1..]);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    /// Makes the image want a profile of tuned.
    pub fn wants_profile(&self, name: &str) {
        let text = include_str!("../../contract/fixtures/tuned-1.json");
        fs::write(self.path(&names::TUNED_FILE[1..]), text.replace("basalt-gpu-inference basalt-cpu-isolated", name)).unwrap();
    }

    /// Waits until the agent has its name.
    pub fn wait_for_name(&self) {
        let begun = Instant::now();
        let asked = ["call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", "s", names::BUS_NAME];
        while self.busctl_ok(Who::Owner, &asked).trim() != "b true" {
            assert!(begun.elapsed() < DEADLINE, "the agent does not come");
        }
    }

    /// Somebody at the bus's address who takes connections and says nothing; as long as what is answered lives.
    pub fn silent_bus(&self) -> UnixListener {
        UnixListener::bind(self.place("bus")).unwrap()
    }

    /// A place in the root.
    pub fn path(&self, below_root: &str) -> PathBuf {
        self.folder.path().join("root").join(below_root)
    }

    /// Where the agent looks for systemd.
    pub fn notify_socket(&self) -> PathBuf {
        self.place("notify")
    }

    fn place(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The bus.
    pub fn address(&self) -> String {
        format!("unix:path={}", self.place("bus").display())
    }

    /// Starts the agent as the service.
    pub fn serve(&self) -> Agent {
        let mut command = self.command();
        // Where there is a journal, standard error is its, as far as the agent can see.
        let (stderr, writer) = std::io::pipe().unwrap();
        if self.path("run/systemd/journal/socket").exists() {
            let it = fstat(&writer).unwrap();
            command.env("JOURNAL_STREAM", format!("{}:{}", it.st_dev, it.st_ino));
        }
        command.args(["serve", "--root"]).arg(self.path("")).stdout(Stdio::piped()).stderr(writer);
        if self.notify_socket().exists() {
            command.env("NOTIFY_SOCKET", self.notify_socket());
        }
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        Agent { child, stdout, stderr: lines(stderr) }
    }

    /// Runs the agent with `args` to its end.
    pub fn agent(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// The same, with `--root`.
    pub fn agent_in_root(&self, args: &[&str]) -> Output {
        self.command().args(args).arg("--root").arg(self.path("")).output().unwrap()
    }

    /// The same, with standard output going to `stdout`.
    pub fn agent_to(&self, args: &[&str], stdout: impl Into<Stdio>) -> Output {
        let mut command = self.command();
        command.args(args).arg("--root").arg(self.path("")).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_basalt-firstboot"));
        command.env_clear().env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        command
    }

    /// One property, as `busctl` shows it.
    pub fn property(&self, who: Who, name: &str) -> String {
        let json =
            self.busctl_ok(who, &["--json=short", "get-property", names::BUS_NAME, names::OBJECT_PATH, names::INTERFACE, name]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["type"], "s", "{name}");
        json["data"].as_str().unwrap().to_owned()
    }

    /// What `busctl` prints.
    pub fn busctl_ok(&self, who: Who, args: &[&str]) -> String {
        self.busctl(who, args).unwrap_or_else(|stderr| panic!("busctl {args:?}: {stderr}"))
    }

    /// What `busctl` prints, or complains of.
    pub fn busctl(&self, who: Who, args: &[&str]) -> Result<String, String> {
        let mut command = self.reader(args);
        if who == Who::Nobody && is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().expect("busctl must be installed (package systemd)");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    fn reader(&self, args: &[&str]) -> Command {
        let mut command = Command::new("busctl");
        command.arg(format!("--address={}", self.address())).args(["--no-pager", "--timeout=30"]).args(args);
        command
    }

    /// Somebody who hears all signals; it listens when this returns.
    pub fn monitor(&self) -> Monitor {
        let mut child = self.reader(&["monitor", "--json=short"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.contains("Monitoring bus message stream"), "{line}");
        let lines = lines(child.stdout.take().unwrap());
        Monitor { child, lines }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(bus) = &mut self.bus {
            end(bus);
        }
    }
}

/// `busctl monitor`.
pub struct Monitor {
    child: Child,
    lines: Receiver<String>,
}

impl Monitor {
    /// The next message that contains `part`.
    pub fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).unwrap_or_else(|error| panic!("no message with {part}: {error}"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A running agent.
pub struct Agent {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Agent {
    /// The line that it says when it is done. By then the file is written and the bus shows it. Waits for it.
    pub fn summary(&mut self) -> String {
        self.summary_within(DEADLINE)
    }

    /// The same, of an agent that waits for somebody.
    pub fn summary_within(&mut self, limit: Duration) -> String {
        self.stdout.recv_timeout(limit).unwrap_or_else(|error| {
            let complaints: Vec<_> = self.stderr.try_iter().collect();
            panic!("the agent said nothing ({error}): {complaints:?}")
        })
    }

    /// What it said after that, until it ended.
    pub fn rest_of_stdout(&mut self) -> Vec<String> {
        until_end(&self.stdout)
    }

    /// Waits until it ends by itself, and gives what it complained of.
    pub fn end(mut self) -> (ExitStatus, String) {
        let complaints = until_end(&self.stderr).join("\n");
        (self.wait(), complaints)
    }

    /// Asks it to end, as systemd does.
    pub fn terminate(&self) {
        kill(self.pid(), Signal::SIGTERM).unwrap();
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// The most memory that it has had resident, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The lines that a child says, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    lines
}

/// All lines until the child closes the stream.
fn until_end(lines: &Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match lines.recv_timeout(DEADLINE) {
            Ok(line) => all.push(line),
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => panic!("the agent does not end; so far: {all:?}"),
        }
    }
}

/// A child that may have ended already is ended.
pub fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn overlay(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../overlays/50-basalt-firstboot").join(path)
}

/// A system bus with the rules of the stock one (system.conf of dbus): nothing may be owned or called that no policy names.
fn bus_configuration(socket: &Path) -> String {
    format!(
        r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <auth>EXTERNAL</auth>
  <listen>unix:path={}</listen>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
  </policy>
  <policy user="{}">
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
    <allow own="com.redhat.tuned"/>
    <allow send_destination="com.redhat.tuned"/>
    <allow own="org.freedesktop.systemd1"/>
    <allow send_destination="org.freedesktop.systemd1"/>
    <allow own="org.freedesktop.hostname1"/>
    <allow send_destination="org.freedesktop.hostname1"/>
  </policy>
  <include>policy.conf</include>
</busconfig>
"#,
        socket.display(),
        geteuid()
    )
}
