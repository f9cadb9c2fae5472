//! A running machine: its console, its command channel, its power.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::arguments::{self, Files};
use super::channel::{self, Channel, ChannelError, Output};
use super::console::Console;
use super::feed::Stopped;
use super::firmware::Firmware;
use super::folder::Folder;
use super::machine::{Bus, Machine, SectorSize, Writes};
use super::overlay::{self, Format};
use super::process::Process;
use super::qmp::Qmp;
use super::{QEMU, TOOLS};
use crate::failure::{Failure, Kind};
use crate::host::{interrupt, tools};

/// A machine that was started. Dropped, it is killed, and what it wrote is gone (unless [`Writes::Kept`]).
pub struct Running {
    machine: Machine,
    files: Files,
    live: Option<Live>,
    /// Overlay, firmware variables, credentials, sockets. Removed last.
    _folder: Folder,
}

/// One run of QEMU.
struct Live {
    process: Process,
    console: Console,
    channel: Channel,
    qmp: Qmp,
    started: Instant,
}

/// How many lines of the console a failure shows.
const CONSOLE_LINES: usize = 50;
/// QEMU connects to us before the guest runs.
const CONNECT: Duration = Duration::from_secs(30);
/// Bytes of a file that one command carries to the guest.
const WRITE_STEP: usize = 24 << 10;
/// A socket's path must fit `sockaddr_un`.
const SOCKET_PATH_MAX: usize = 107;

impl Machine {
    /// Starts it. The guest begins to boot; nothing is waited for.
    pub fn start(self) -> Result<Running, Failure> {
        tools::need(&TOOLS, "running an image")?;
        check(&self)?;
        let mut firmware = Firmware::find(self.secure_boot)?;
        if let Some(variables) = &self.uefi_variables {
            firmware.variables.clone_from(variables);
        }
        let folder = Folder::new().map_err(|error| Failure::new(Kind::Failed, format!("a folder for the machine: {error}")))?;
        let disk = open_disk(&self, folder.path())?;
        let files = Files { folder: folder.path().to_owned(), disk, firmware };
        let live = Live::start(&self, &files)?;
        Ok(Running { machine: self, files, live: Some(live), _folder: folder })
    }
}

/// Refuses what cannot be run, before anything is made.
fn check(machine: &Machine) -> Result<(), Failure> {
    let usage = |what: &str| Err(Failure::new(Kind::Usage, what));
    if let Some(variables) = machine.uefi_variables.as_ref().filter(|path| !path.is_file()) {
        let what = format!("{}: needed a file with UEFI variables, found none", variables.display());
        return Err(
            Failure::new(Kind::Input, what).hint("make one: virt-fw-vars --input OVMF_VARS_4M.ms.fd --add-db ... --output FILE")
        );
    }
    let disk = &machine.disk;
    if disk.bus == Bus::Sata && disk.sector_size != SectorSize::B512 {
        return usage("a SATA disk of QEMU has 512-byte sectors: needed for 4096 is virtio or nvme");
    }
    let image = overlay::disk_size(&disk.path)
        .map_err(|error| Failure::new(Kind::Input, format!("{}: cannot be read: {error}", disk.path.display())))?;
    match (disk.size, disk.writes) {
        (Some(_), Writes::Kept) => usage("a larger disk needs discarded writes: the image file itself is never resized"),
        (Some(size), _) if size < image => {
            usage(&format!("a disk of {size} bytes is smaller than the image, which needs {image}"))
        }
        _ => Ok(()),
    }
}

/// The file that QEMU opens as the disk.
fn open_disk(machine: &Machine, folder: &Path) -> Result<(PathBuf, Format), Failure> {
    let image = &machine.disk.path;
    let made = || {
        let (image, format) = (image.canonicalize()?, Format::of(image)?);
        match machine.disk.writes {
            Writes::Kept => Ok((image, format)),
            Writes::Discarded => {
                let path = folder.join("disk.qcow2");
                let size = machine.disk.size.map_or_else(|| overlay::disk_size(&image), Ok)?;
                overlay::write(&path, &image, format, size)?;
                Ok((path, Format::Qcow2))
            }
        }
    };
    made().map_err(|error| io_failure(image, &error))
}

fn io_failure(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Kind::Failed, format!("{}: {error}", path.display()))
}

impl Live {
    fn start(machine: &Machine, files: &Files) -> Result<Self, Failure> {
        files.firmware.copy_variables(&machine.owner_keys, &files.variables())?;
        let listen = |name| listen(&files.folder.join(name));
        let (console, channel, qmp) = (listen(arguments::CONSOLE)?, listen(arguments::CHANNEL)?, listen(arguments::QMP)?);
        let mut arguments: Vec<OsString> = arguments::arguments(machine, files);
        arguments.extend(machine.credentials.write(&files.folder)?);
        tracing::debug!(arguments = arguments::line(&arguments), "start QEMU");
        let process = Process::start(QEMU, arguments, machine.limit)?;
        let deadline = Instant::now() + CONNECT;
        let connect = |listener| accept(listener, &process, deadline);
        let stream = |error: io::Error| Failure::new(Kind::Failed, format!("a socket of QEMU: {error}"));
        let console = Console::new(connect(console)?).map_err(stream)?;
        let channel = Channel::new(connect(channel)?).map_err(stream)?;
        let qmp = Qmp::new(connect(qmp)?).map_err(|failure| process.ended(&failure.what))?;
        Ok(Self { process, console, channel, qmp, started: Instant::now() })
    }

    /// A failure with what is known about QEMU and the end of the console.
    fn explain(&self, what: &str) -> Failure {
        let mut failure = self.process.ended(what);
        let tail = self.console.tail(CONSOLE_LINES);
        let tail = if tail.is_empty() { "(nothing)".to_owned() } else { tail.replace('\n', "\n  | ") };
        failure.what = format!(
            "{}\nlast lines of the console, {} s after the start:\n  | {tail}",
            failure.what,
            self.started.elapsed().as_secs()
        );
        failure
    }
}

/// Waits for QEMU on `path`: it connects to us, so that no first byte is lost and no path is polled for.
fn listen(path: &Path) -> Result<UnixListener, Failure> {
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Failure::new(
            Kind::Failed,
            format!("{}: too long for a socket (at most {SOCKET_PATH_MAX} bytes)", path.display()),
        )
        .hint("set TMPDIR to a folder with a shorter path"));
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).map_err(|error| io_failure(path, &error))?;
    listener.set_nonblocking(true).map_err(|error| io_failure(path, &error))?;
    Ok(listener)
}

fn accept(listener: UnixListener, process: &Process, deadline: Instant) -> Result<UnixStream, Failure> {
    loop {
        match listener.accept().and_then(|(stream, _)| stream.set_nonblocking(false).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(process.ended(&format!("QEMU's socket: {error}")));
            }
            Err(_) if process.status().is_some() => return Err(process.ended("the machine cannot be started")),
            Err(_) if Instant::now() > deadline => {
                return Err(process.ended(&format!("QEMU did not connect within {} s", CONNECT.as_secs())));
            }
            Err(_) => {}
        }
        interrupt::check()?;
        thread::sleep(Duration::from_millis(5));
    }
}

impl Running {
    fn live(&mut self) -> Result<&mut Live, Failure> {
        self.live.as_mut().ok_or_else(|| Failure::new(Kind::Failed, "the machine is off").hint("start it again first"))
    }

    fn on_channel<T>(&mut self, what: &str, use_it: impl FnOnce(&mut Channel) -> Result<T, ChannelError>) -> Result<T, Failure> {
        let live = self.live()?;
        use_it(&mut live.channel).map_err(|error| match error {
            ChannelError::Interrupted => interrupt::failure(),
            ChannelError::Nul(_) => Failure::new(Kind::Usage, error.to_string()),
            error => live.explain(&format!("{what}: {error}")),
        })
    }

    /// Waits for the command channel; answers the guest's boot id. The machine needs [`Machine::channel`].
    pub fn ready(&mut self, timeout: Duration) -> Result<String, Failure> {
        self.on_channel("waiting for the guest", |channel| channel.ready(timeout))
    }

    /// Runs a program with arguments in the guest, as root; no shell sees them. Waits for the channel first. A bad exit status is an
    /// answer, no failure.
    pub fn run(&mut self, argv: &[impl AsRef<str>], timeout: Duration) -> Result<Output, Failure> {
        let shown: Vec<_> = argv.iter().map(AsRef::as_ref).collect();
        self.on_channel(&shown.join(" "), |channel| channel.run(&channel::script_of(argv)?, timeout))
    }

    /// Runs a script of `/bin/sh` in the guest, as root.
    pub fn shell(&mut self, script: &str, timeout: Duration) -> Result<Output, Failure> {
        self.on_channel(script, |channel| channel.run(script, timeout))
    }

    /// Runs a script that must exit with 0; answers its standard output as text.
    pub fn must(&mut self, script: &str, timeout: Duration) -> Result<String, Failure> {
        let output = self.shell(script, timeout)?;
        if output.status == 0 {
            return Ok(output.text());
        }
        let what = format!("in the guest: {script}\n  needed status 0, found {}", output.status);
        Err(Failure::new(Kind::Failed, format!("{what}\n  stdout: {}\n  stderr: {}", output.text(), output.error_text())))
    }

    /// The content of a file in the guest.
    pub fn read_file(&mut self, path: &str, timeout: Duration) -> Result<Vec<u8>, Failure> {
        let output = self.run(&["cat", "--", path], timeout)?;
        if output.status == 0 {
            Ok(output.stdout)
        } else {
            Err(Failure::new(Kind::Failed, format!("in the guest: {}", output.error_text())))
        }
    }

    /// Writes a file in the guest. For a few hundred KiB; more goes by [`Machine::data_disk`].
    pub fn write_file(&mut self, path: &str, content: &[u8], timeout: Duration) -> Result<(), Failure> {
        use base64::Engine as _;
        let path = channel::quoted(path);
        self.must(&format!(": >{path}"), timeout)?;
        for part in content.chunks(WRITE_STEP) {
            let part = base64::engine::general_purpose::STANDARD.encode(part);
            self.must(&format!("base64 -d >>{path} <<E\n{part}\nE"), timeout)?;
        }
        Ok(())
    }

    /// Waits until the guest's systemd has nothing left to start; answers `running`, `degraded` or what else it says.
    pub fn wait_for_boot(&mut self, timeout: Duration) -> Result<String, Failure> {
        self.ready(timeout)?;
        let output = self.run(&["systemctl", "is-system-running", "--wait"], timeout)?;
        if output.status == 124 {
            let jobs =
                self.shell("systemctl list-jobs --no-pager; systemctl --failed --no-pager", Duration::from_secs(60))?.text();
            return Err(self
                .live()?
                .explain(&format!("the guest did not finish its boot within {} s\n{jobs}", timeout.as_secs())));
        }
        Ok(output.text())
    }

    /// Reboots the guest in order; waits for the command channel of the next boot and answers its boot id.
    pub fn reboot(&mut self, timeout: Duration) -> Result<String, Failure> {
        self.reboot_by("systemctl reboot", timeout)
    }

    /// The same, where `script` has somebody reboot the guest.
    pub fn reboot_by(&mut self, script: &str, timeout: Duration) -> Result<String, Failure> {
        self.on_channel("reboot", |channel| {
            channel.send(script, timeout)?;
            channel.next_boot(timeout)
        })
    }

    /// Presses the reset button: like [`Running::power_cut`], but the machine comes up again. Waits for the next boot.
    pub fn reset(&mut self, timeout: Duration) -> Result<String, Failure> {
        self.qmp()?.reset()?;
        self.on_channel("reset", |channel| channel.next_boot(timeout))
    }

    /// Powers off in order, and waits until QEMU has ended.
    pub fn power_off(&mut self, timeout: Duration) -> Result<(), Failure> {
        self.on_channel("power off", |channel| channel.send("systemctl poweroff", timeout))?;
        self.wait_off(timeout)
    }

    /// Presses the power button and waits until QEMU has ended: for machines without a command channel.
    pub fn power_button(&mut self, timeout: Duration) -> Result<(), Failure> {
        self.qmp()?.power_button()?;
        self.wait_off(timeout)
    }

    /// Waits until the guest has powered off.
    pub fn wait_off(&mut self, timeout: Duration) -> Result<(), Failure> {
        let live = self.live()?;
        match live.process.wait(timeout) {
            Ok(status) if status.success() => {}
            Ok(_) => return Err(live.explain("QEMU failed")),
            Err(failure) if failure.kind == Kind::Interrupted => return Err(failure),
            Err(_) => return Err(live.explain(&format!("the guest did not power off within {} s", timeout.as_secs()))),
        }
        self.live = None;
        Ok(())
    }

    /// Takes the power away. What the guest has not flushed is lost; [`Running::start_again`] boots what is left.
    pub fn power_cut(&mut self) {
        if let Some(live) = self.live.take() {
            live.process.kill();
        }
    }

    /// Starts a machine that is off, with its disk and firmware variables as they were left, and a new limit and console.
    pub fn start_again(&mut self) -> Result<(), Failure> {
        self.power_cut();
        self.live = Some(Live::start(&self.machine, &self.files)?);
        Ok(())
    }

    /// Waits until the console shows `text`, after what an earlier call found; answers all that came in between.
    pub fn expect(&mut self, text: &str, timeout: Duration) -> Result<String, Failure> {
        let live = self.live()?;
        live.console.expect(text, timeout).map_err(|error| match error.why {
            Stopped::Interrupted => interrupt::failure(),
            _ => live.explain(&error.to_string()),
        })
    }

    /// The console.
    pub fn console(&mut self) -> Result<&mut Console, Failure> {
        Ok(&mut self.live()?.console)
    }

    /// QEMU's own line.
    pub fn qmp(&mut self) -> Result<&mut Qmp, Failure> {
        Ok(&mut self.live()?.qmp)
    }

    /// Whether QEMU runs.
    pub fn is_on(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.process.status().is_none())
    }

    /// A failure about this machine: `what`, the state of QEMU and the end of the console.
    pub fn explain(&self, what: &str) -> Failure {
        match &self.live {
            Some(live) => live.explain(what),
            None => Failure::new(Kind::Failed, format!("{what}; the machine is off")),
        }
    }
}
