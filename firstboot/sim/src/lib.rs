//! A simulated node: files, host name, tuned, kernel modules and units in memory, and a power switch. For speed and for faults; what it stands for is tested for real in
//! a virtual machine. It shares no code, table or constant with the agent, but for the traits that it stands behind.
//!
//! Every change of the node has two points, before and behind it, and the power can go at each. What a real machine
//! keeps only once it is told to (hostnamed and tuned do not tell theirs) is then there, gone, or half of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use basalt_firstboot::backend::{
    Answer, Clock, Console, Doing, FileError, Files, Namer, Outside, PeerError, Supervisor, Tuner, UnitState, Units,
};
use basalt_firstboot::notice::{Kind, Notice};
use serde_json::{Value, json};

/// What becomes of what nobody has told the disk to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// It is gone.
    Lost,
    /// It is there.
    Kept,
    /// The file is there, and empty.
    Torn,
}

impl Unsynced {
    /// All.
    pub const ALL: [Self; 3] = [Self::Lost, Self::Kept, Self::Torn];
}

/// A simulated node. Clones are the same node.
#[derive(Clone, Debug, Default)]
pub struct SimulatedNode(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// What files were before somebody changed them without telling the disk.
    unsynced: BTreeMap<String, Option<Vec<u8>>>,
    /// Targets of symbolic links.
    links: BTreeMap<String, String>,
    /// What cannot be read, and the number of the error.
    spoiled: BTreeMap<String, i32>,
    /// What everybody on the bus answers.
    peers: Option<fn() -> PeerError>,
    /// Whether somebody is at the bus under tuned's name.
    tuned: bool,
    /// Kernel modules that can be loaded.
    modules: BTreeSet<String>,
    /// Units but for those that the node cannot do without, and what somebody made of them.
    units: BTreeMap<String, Unit>,
    /// Points that have been passed.
    passed: usize,
    /// The point at which the power goes.
    cut_at: Option<usize>,
    off: bool,
    boots: u32,
    /// Changes that had an effect, in order.
    changes: Vec<String>,
    /// What was measured, in order.
    measured: Vec<String>,
    /// Kernel arguments that a profile of tuned takes.
    arguments: BTreeMap<String, String>,
    notices: Vec<Notice>,
}

/// What becomes of a unit that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// It runs.
    Good,
    /// Its job fails.
    Bad,
    /// Nobody may start it.
    Masked,
}

const KERNEL_NAME: &str = "/proc/sys/kernel/hostname";
const STATIC_NAME: &str = "/etc/hostname";
const ACTIVE_PROFILE: &str = "/etc/tuned/active_profile";
const ARGUMENTS: &str = "/etc/tuned/bootcmdline";
const BOOT_WISH: &str = "/var/lib/basalt/firstboot/kernel-arguments.json";
const BOOT_ENTRY: &str = "/boot/loader/entries/ostree-1.conf";
const TRIALS: &str = "/var/lib/basalt/firstboot/acceptance-wanted.json";
const MEASURED: &str = "/var/lib/basalt/firstboot/acceptance.json";
const BOOTED: &str = "/proc/cmdline";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// What systemd loads when it boots, and when this unit is started anew.
const LOADER: &str = "systemd-modules-load.service";
const LOADED_AT_BOOT: [&str; 2] = ["/usr/lib/modules-load.d/", "/etc/modules-load.d/"];
const SYSFS: &str = "/sys/module/";
/// Units that run have a file here.
const RUNNING: &str = "/run/running/";
/// The most that is read of a file.
const LARGEST: usize = 1 << 20;
/// Numbers of errors, as Linux has them on every architecture.
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const UNNAMED: &str = "localhost";
/// What everything comes to that is measured.
const FIGURE: f64 = 1000.5;
/// It is always the same time.
const NOW: u64 = 1_800_000_000;

impl State {
    fn alive(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("simulated: the power is gone")) } else { Ok(()) }
    }

    /// Whether `path` can be looked at.
    fn whole(&self, path: &str) -> io::Result<()> {
        self.alive()?;
        self.spoiled.get(path).map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(*errno)))
    }

    fn is_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        self.files.keys().any(|file| file.starts_with(&below))
    }

    fn heard(&self) -> Result<(), PeerError> {
        self.peers.map_or(Ok(()), |answer| Err(answer()))
    }

    fn point(&mut self) -> io::Result<()> {
        self.alive()?;
        self.passed += 1;
        self.off = self.cut_at.is_some_and(|cut| self.passed > cut);
        self.alive()
    }

    /// One change; `kept`: once it is made, it is on the disk.
    fn change(&mut self, path: &str, bytes: Option<&[u8]>, kept: bool) -> io::Result<()> {
        self.point()?;
        if self.is_folder(path) {
            return Err(io::Error::from_raw_os_error(EISDIR));
        }
        if self.files.keys().any(|file| path.strip_prefix(file.as_str()).is_some_and(|rest| rest.starts_with('/'))) {
            return Err(io::Error::from_raw_os_error(ENOTDIR));
        }
        let before = self.files.get(path).cloned();
        self.spoiled.remove(path);
        if before.as_deref() != bytes {
            self.changes.push(path.to_owned());
            match bytes {
                Some(bytes) => drop(self.files.insert(path.to_owned(), bytes.to_vec())),
                None => drop(self.files.remove(path)),
            }
        }
        if kept {
            self.unsynced.remove(path);
        } else {
            self.unsynced.entry(path.to_owned()).or_insert(before);
        }
        self.point()
    }
}

impl State {
    /// As udev does: whoever has the address gets the name.
    fn name_interfaces(&mut self) {
        let named = |text: &[u8]| {
            let text = String::from_utf8_lossy(text).into_owned();
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
            Some((value("PermanentMACAddress=")?, value("Name=")?))
        };
        let links = self.files.iter().filter(|(path, _)| path.starts_with("/etc/systemd/network/") && path.ends_with(".link"));
        let links: Vec<_> = links.filter_map(|(_, text)| named(text)).collect();
        for (mac, name) in links {
            let has = |(path, text): (&String, &Vec<u8>)| {
                let it = path.starts_with("/sys/class/net/") && String::from_utf8_lossy(text).trim() == mac;
                it.then(|| path.clone())
            };
            if let Some(text) = self.files.iter().find_map(has).and_then(|path| self.files.remove(&path)) {
                self.files.insert(format!("/sys/class/net/{name}/address"), text);
            }
        }
    }

    /// The active profile of tuned; empty: none.
    fn active_profile(&self) -> String {
        self.files.get(ACTIVE_PROFILE).map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()).unwrap_or_default()
    }

    /// What the active profile takes.
    fn taken(&self) -> &str {
        self.arguments.get(&self.active_profile()).map_or("", String::as_str)
    }

    /// The file in which tuned notes it.
    fn noted(&self) -> String {
        format!("# simulated\nTUNED_BOOT_CMDLINE=\"{}\"\nTUNED_BOOT_INITRD_ADD=\"\"\n", self.taken())
    }

    /// tuned applies the active profile, and notes what it takes.
    fn tuned_starts(&mut self) {
        self.files.insert(ARGUMENTS.to_owned(), self.noted().into_bytes());
    }

    /// Modules that systemd is told to load and that can be, as the kernel writes them.
    fn wanted_modules(&self) -> Vec<String> {
        let told = self.files.iter().filter(|(path, _)| LOADED_AT_BOOT.iter().any(|folder| path.starts_with(folder)));
        let text: Vec<_> = told.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect();
        let lines = text.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with(['#', ';']));
        lines.map(|line| line.replace('-', "_")).filter(|name| self.modules.contains(name)).collect()
    }
}

impl SimulatedNode {
    /// A node with these files, that nobody has named.
    pub fn new(files: &[(&str, &str)]) -> Self {
        let node = Self::default();
        node.write(KERNEL_NAME, &format!("{UNNAMED}\n"));
        node.write(BOOT_ID, "00000000-0000-4000-8000-000000000000\n");
        for (path, text) in files {
            node.write(path, text);
        }
        node
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// tuned runs, with this profile or none.
    pub fn with_tuned(self, profile: &str) -> Self {
        self.state().tuned = true;
        self.write(ACTIVE_PROFILE, profile);
        self
    }

    /// A profile of tuned takes these kernel arguments. All others take none.
    pub fn with_profile(self, profile: &str, arguments: &str) -> Self {
        let mut state = self.state();
        state.arguments.insert(profile.to_owned(), arguments.to_owned());
        state.tuned_starts();
        drop(state);
        self
    }

    /// The kernel can load these modules; systemd has loaded what it was told to.
    pub fn with_modules(self, names: &[&str]) -> Self {
        let mut state = self.state();
        state.modules = names.iter().map(|name| (*name).to_owned()).collect();
        for name in state.wanted_modules() {
            state.files.insert(format!("{SYSFS}{name}/initstate"), b"live\n".to_vec());
        }
        drop(state);
        self
    }

    /// There is a unit, which does not run.
    pub fn with_unit(self, name: &str, unit: Unit) -> Self {
        self.state().units.insert(name.to_owned(), unit);
        self
    }

    /// Somebody else makes a symbolic link.
    pub fn link(&self, path: &str, target: &str) {
        self.state().links.insert(path.to_owned(), target.to_owned());
    }

    /// Somebody else puts a file in place.
    pub fn write(&self, path: &str, text: &str) {
        self.state().files.insert(path.to_owned(), text.into());
    }

    /// Somebody else puts bytes in place that are no text.
    pub fn write_bytes(&self, path: &str, bytes: &[u8]) {
        self.state().files.insert(path.to_owned(), bytes.to_vec());
    }

    /// A file, folder or link cannot be read, with an error of `errno(3)`, until it is replaced.
    pub fn spoil(&self, path: &str, errno: i32) {
        self.state().spoiled.insert(path.to_owned(), errno);
    }

    /// Whoever is on the bus answers this, whatever it is asked; `None`: it does what it is asked.
    pub fn with_peers(self, answer: Option<fn() -> PeerError>) -> Self {
        self.state().peers = answer;
        self
    }

    /// Somebody else takes a file away.
    pub fn take_out(&self, path: &str) {
        self.state().files.remove(path);
    }

    /// What a file says.
    pub fn text(&self, path: &str) -> Option<String> {
        self.state().files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// All files but those below `without`.
    pub fn files(&self, without: &str) -> BTreeMap<String, String> {
        let state = self.state();
        let kept = state.files.iter().filter(|(path, _)| !path.starts_with(without));
        kept.map(|(path, bytes)| (path.clone(), String::from_utf8_lossy(bytes).into_owned())).collect()
    }

    /// How many points have been passed.
    pub fn passed(&self) -> usize {
        self.state().passed
    }

    /// Paths of what was changed with an effect, in order.
    pub fn changes(&self) -> Vec<String> {
        self.state().changes.clone()
    }

    /// What was measured, in order.
    pub fn measured(&self) -> Vec<String> {
        self.state().measured.clone()
    }

    /// What the agent told.
    pub fn notices(&self) -> Vec<Notice> {
        self.state().notices.clone()
    }

    /// What the agent had to warn of, beside steps and faults.
    pub fn warnings(&self) -> Vec<String> {
        let remarks = self.notices().into_iter().filter(|notice| notice.kind == Kind::Remark);
        remarks.map(|notice| notice.message).collect()
    }

    /// The power will go when so many points have been passed.
    pub fn cut_at(&self, point: usize) {
        self.state().cut_at = Some(point);
    }

    /// The power goes, if it has not, and comes back: the machine boots.
    pub fn boot_again(&self, unsynced: Unsynced) {
        let mut state = self.state();
        for (path, before) in std::mem::take(&mut state.unsynced) {
            match (unsynced, before) {
                (Unsynced::Kept, _) => {}
                (Unsynced::Torn, _) => drop(state.files.insert(path, Vec::new())),
                (Unsynced::Lost, Some(bytes)) => drop(state.files.insert(path, bytes)),
                (Unsynced::Lost, None) => drop(state.files.remove(&path)),
            }
        }
        let name = state.files.get(STATIC_NAME).filter(|name| !name.is_empty()).cloned();
        state.files.insert(KERNEL_NAME.to_owned(), name.unwrap_or_else(|| format!("{UNNAMED}\n").into_bytes()));
        state.name_interfaces();
        if let Some(entry) = state.files.get(BOOT_ENTRY).cloned() {
            let entry = String::from_utf8_lossy(&entry).replacen("options ", "BOOT_IMAGE=/vmlinuz ", 1);
            state.files.insert(BOOTED.to_owned(), entry.into_bytes());
        }
        if !state.arguments.is_empty() {
            state.tuned_starts();
        }
        let of_a_boot = |path: &str| path.starts_with(RUNNING) || (path.starts_with(SYSFS) && path.ends_with("/initstate"));
        state.files.retain(|path, _| !of_a_boot(path));
        for name in state.wanted_modules() {
            state.files.insert(format!("{SYSFS}{name}/initstate"), b"live\n".to_vec());
        }
        state.boots += 1;
        let id = format!("00000000-0000-4000-8000-{:012}\n", state.boots);
        state.files.insert(BOOT_ID.to_owned(), id.into_bytes());
        (state.off, state.cut_at) = (false, None);
    }

    /// The outside of this node.
    pub fn outside(&self) -> Outside {
        Outside {
            files: Arc::new(self.clone()),
            clock: Box::new(self.clone()),
            console: Box::new(self.clone()),
            supervisor: Box::new(self.clone()),
            tuner: Box::new(self.clone()),
            namer: Box::new(self.clone()),
            units: Box::new(self.clone()),
            credentials: "/run/credentials/@system".to_owned(),
        }
    }
}

fn failed(path: &str, doing: Doing) -> impl Fn(io::Error) -> FileError {
    move |cause| FileError { path: path.to_owned(), doing, cause }
}

fn refused(error: &io::Error) -> PeerError {
    PeerError::Bus(error.to_string())
}

impl Files for SimulatedNode {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let state = self.state();
        state.whole(path).map_err(failed(path, Doing::Read))?;
        let why = match state.files.get(path) {
            Some(bytes) if bytes.len() <= LARGEST => return Ok(bytes.clone()),
            Some(_) => io::ErrorKind::FileTooLarge.into(),
            None if state.is_folder(path) => io::Error::from_raw_os_error(EISDIR),
            None => io::ErrorKind::NotFound.into(),
        };
        Err(failed(path, Doing::Read)(why))
    }

    fn read_link(&self, path: &str) -> Result<String, FileError> {
        let state = self.state();
        state.whole(path).map_err(failed(path, Doing::ReadLink))?;
        state.links.get(path).cloned().ok_or_else(|| failed(path, Doing::ReadLink)(io::ErrorKind::NotFound.into()))
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let state = self.state();
        state.whole(path).map_err(failed(path, Doing::List))?;
        if state.files.contains_key(path) {
            return Err(failed(path, Doing::List)(io::Error::from_raw_os_error(ENOTDIR)));
        }
        let below = format!("{path}/");
        let mut names: Vec<_> = state
            .files
            .keys()
            .filter_map(|file| file.strip_prefix(&below))
            .map(|rest| rest.split('/').next().unwrap_or(rest).to_owned())
            .collect();
        names.dedup();
        if names.is_empty() { Err(failed(path, Doing::List)(io::ErrorKind::NotFound.into())) } else { Ok(names) }
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        self.state().change(path, None, true).map_err(failed(path, Doing::Remove))
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), FileError> {
        self.state().change(path, Some(bytes), true).map_err(failed(path, Doing::Write))
    }
}

impl Namer for SimulatedNode {
    fn set_host_name<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        let line = format!("{name}\n");
        let mut state = self.state();
        let done = state.heard().and_then(|()| {
            let done = state.change(STATIC_NAME, Some(line.as_bytes()), false);
            done.and_then(|()| state.change(KERNEL_NAME, Some(line.as_bytes()), true)).map_err(|error| refused(&error))
        });
        Box::pin(async { done })
    }
}

impl Tuner for SimulatedNode {
    fn active(&self) -> Answer<'_, String> {
        let state = self.state();
        let answer = if let Err(error) = state.heard() {
            Err(error)
        } else if state.tuned {
            state.alive().map_err(|error| refused(&error)).map(|()| state.active_profile())
        } else {
            Err(PeerError::Absent("com.redhat.tuned"))
        };
        Box::pin(async { answer })
    }

    fn switch<'a>(&'a self, profile: &'a str) -> Answer<'a, ()> {
        let answer = if profile == "unknown" {
            Err(PeerError::Refused("simulated: no such profile".to_owned()))
        } else {
            let mut state = self.state();
            let done = state.change(ACTIVE_PROFILE, Some(format!("{profile}\n").as_bytes()), false);
            let done = done.and_then(|()| {
                let noted = (!state.arguments.is_empty()).then(|| state.noted());
                noted.map_or(Ok(()), |noted| state.change(ARGUMENTS, Some(noted.as_bytes()), false))
            });
            done.map_err(|error| refused(&error))
        };
        Box::pin(async { answer })
    }

    fn verify(&self) -> Answer<'_, bool> {
        let state = self.state();
        let line = state.files.get(BOOTED).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let in_force = |word: &str| line.split_whitespace().any(|known| known == word);
        let good = state.taken().split_whitespace().all(in_force);
        Box::pin(async move { Ok(good) })
    }
}

impl State {
    /// Writes the boot entry that the agent's file asks for; the next boot has it.
    fn deploy(&mut self) -> Result<(), PeerError> {
        let asked = self.files.get(BOOT_WISH).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
        let list = asked.split("\"arguments\"").nth(1).unwrap_or_default();
        let words: Vec<_> = list.split('"').skip(1).step_by(2).collect();
        let line = format!("options {}\n", words.join(" "));
        if words.is_empty() {
            return Err(PeerError::Refused("simulated: no arguments".to_owned()));
        }
        self.change(BOOT_ENTRY, Some(line.as_bytes()), true).map_err(|error| refused(&error))
    }

    /// Measures what the agent's file asks for, one after the other: always the same figure, but for what is called `broken`.
    fn measure(&mut self) -> Result<(), PeerError> {
        let asked = self.files.get(TRIALS).map(Vec::as_slice).unwrap_or_default();
        let mut run: Value = serde_json::from_slice(asked).map_err(|error| PeerError::Refused(format!("simulated: {error}")))?;
        let mut broken = false;
        for index in 0..run["trials"].as_array().map_or(0, Vec::len) {
            let trial = &mut run["trials"][index];
            let fails = trial["name"] == "broken";
            trial["outcome"] = if fails { json!({"why": "simulated"}) } else { json!({"value": FIGURE, "measured": NOW}) };
            broken |= fails;
            self.measured.push(trial["name"].as_str().unwrap_or_default().to_owned());
            self.change(MEASURED, Some(run.to_string().as_bytes()), true).map_err(|error| refused(&error))?;
        }
        if broken { Err(PeerError::Refused("simulated: a figure is lacking".to_owned())) } else { Ok(()) }
    }
}

impl Units for SimulatedNode {
    fn start<'a>(&'a self, unit: &'a str) -> Answer<'a, ()> {
        let mut state = self.state();
        if let Err(error) = state.heard() {
            return Box::pin(async { Err(error) });
        }
        if let Some(kind) = state.units.get(unit).copied() {
            let started = match kind {
                Unit::Good => state.change(&format!("{RUNNING}{unit}"), Some(b""), true).map_err(|error| refused(&error)),
                Unit::Bad => Err(PeerError::Refused(format!("simulated: {unit}: its job ended as \"failed\""))),
                Unit::Masked => Err(PeerError::Refused(format!("simulated: {unit} is masked"))),
            };
            return Box::pin(async { started });
        }
        let done = match unit {
            "basalt-kernel-arguments.service" => state.deploy(),
            "basalt-acceptance.service" => state.measure(),
            _ => Err(PeerError::Refused(format!("simulated: there is no {unit}"))),
        };
        Box::pin(async { done })
    }

    /// The one unit that is started anew loads modules. One that cannot be loaded is passed over, as systemd passes over what is not there.
    fn restart<'a>(&'a self, unit: &'a str) -> Answer<'a, ()> {
        let mut state = self.state();
        let mut done = if unit == LOADER { state.heard() } else { Err(PeerError::Refused(format!("simulated: no {unit}"))) };
        for name in state.wanted_modules() {
            let path = format!("{SYSFS}{name}/initstate");
            done = done.and_then(|()| state.change(&path, Some(b"live\n"), true).map_err(|error| refused(&error)));
        }
        Box::pin(async { done })
    }

    fn reload<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        let done = self.state().heard();
        Box::pin(async { done })
    }

    fn state<'a>(&'a self, unit: &'a str) -> Answer<'a, UnitState> {
        let state = SimulatedNode::state(self);
        let runs = state.files.contains_key(&format!("{RUNNING}{unit}"));
        let alive = state.alive().map_err(|error| refused(&error)).and_then(|()| state.heard());
        let answer = alive.map(|()| match state.units.get(unit) {
            None => UnitState::Absent,
            Some(Unit::Masked) => UnitState::Masked,
            Some(_) if runs => UnitState::Active,
            Some(_) => UnitState::Not("inactive".to_owned()),
        });
        Box::pin(async { answer })
    }

    fn reboot(&self) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl Clock for SimulatedNode {
    fn now(&self) -> u64 {
        NOW
    }
}

impl Console for SimulatedNode {
    fn tell(&self, notice: &Notice) {
        self.state().notices.push(notice.clone());
    }

    fn redraw(&self) {}
}

impl Supervisor for SimulatedNode {
    fn ready(&self) -> io::Result<()> {
        Ok(())
    }

    fn status(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn stopping(&self) -> io::Result<()> {
        Ok(())
    }
}
