//! What this node should be: every file of desired state, read, chosen by what the machine is, with the place of each wish kept.
//!
//! Where it comes from, the lowest first: `/usr/lib/basalt/firstboot.d`, `/etc/basalt/firstboot.d` (a file there replaces the one of the
//! same name), a config drive (its host name), QEMU's fw_cfg (`opt/org.basalt/firstboot`), the system credential `basalt.firstboot`, and the file that
//! `basalt.firstboot=` names on the kernel's command line. A file that cannot be read or has a mistake is told,
//! and a goal with a fault is none: nothing is planned for it.

use std::collections::BTreeMap;

use basalt_contract::desired::{Identity, Verdict, check, choose, read};
use basalt_contract::placed::{Findings, Place, Placed, Sources};
use basalt_contract::{Desired, Fault, Hardware};

use crate::backend::Files;
use crate::config_drive::{self, ConfigDrive};
use crate::facts;

/// Of files named `*.toml`, read in the order of their names.
const FOLDERS: [&str; 2] = ["/usr/lib/basalt/firstboot.d", "/etc/basalt/firstboot.d"];
/// Above those, where QEMU was told of it.
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.basalt/firstboot/raw";
/// Above that, in the folder of credentials.
const CREDENTIAL: &str = "basalt.firstboot";
/// On the kernel's command line.
const ARGUMENT: &str = "basalt.firstboot=";
const SUBJECT: &str = "desired-state";

/// What this node should be.
#[derive(Debug, Default)]
pub struct Goal {
    /// What all sources together wish for this machine.
    pub desired: Desired,
    /// Every `[[when]]` that was asked: where it stands, its name, and the answer.
    pub asked: Vec<(String, String, Verdict)>,
    /// What could not be read, understood or decided. Then the rest is for people to look at, and nothing is planned.
    pub faults: Vec<Fault>,
    /// What a config drive says beside the host name, which is a wish like others.
    pub drive: ConfigDrive,
    sources: Sources,
}

impl Goal {
    /// File, line and column of a wish.
    pub fn place<T>(&self, wish: &Placed<T>) -> String {
        self.position(wish.place)
    }

    fn position(&self, place: Place) -> String {
        self.sources.position(place).to_string()
    }
}

/// Reads and chooses; `credentials` is the folder where they are.
pub fn load(files: &dyn Files, credentials: &str, machine: &Hardware) -> Goal {
    let mut goal = Goal::default();
    let mut list = Vec::new();
    let below = in_folders(files, &mut goal.faults);
    let above = single(files, credentials, &mut goal.faults);
    list.extend(below.iter().filter_map(|path| one(files, path, &mut goal)));
    list.push(drive(files, &mut goal));
    list.extend(above.iter().filter_map(|path| one(files, path, &mut goal)));
    let chosen = choose(list, machine);
    goal.desired = chosen.desired;
    for (place, name, verdict) in chosen.asked {
        let place = goal.position(place);
        if let Verdict::CannotTell(why) = &verdict {
            let what = format!("{place}: when {name:?}: it cannot be told whether this is such a machine: {why}");
            goal.faults.push(fault(what, "match by something that this machine tells: see `basalt-firstboot facts`"));
        }
        goal.asked.push((place, name, verdict));
    }
    goal
}

/// What a config drive wishes.
fn drive(files: &dyn Files, goal: &mut Goal) -> Desired {
    let mut drive = config_drive::read(files, config_drive::FOLDER);
    goal.faults.append(&mut drive.faults);
    let host_name = drive.host_name.take().map(|name| name.placed(&mut goal.sources));
    goal.drive = drive;
    Desired { identity: Identity { host_name, ..Identity::default() }, ..Desired::default() }
}

/// One file, if nothing is wrong with it.
fn one(files: &dyn Files, path: &str, goal: &mut Goal) -> Option<Desired> {
    let text = match facts::text(files, path) {
        Ok(text) => text,
        Err(what) => {
            goal.faults.push(fault(what, "let the agent read it, or take it away"));
            return None;
        }
    };
    let mut findings = Findings::default();
    let desired = read(path, &text, &mut goal.sources, &mut findings);
    check(&desired, &goal.sources, &mut findings);
    let problems = findings.into_problems(&goal.sources);
    for problem in &problems {
        let next = "mend the file; until then nothing is changed";
        goal.faults.push(fault(problem.to_string(), next));
    }
    problems.is_empty().then_some(desired)
}

/// The files in folders, the lowest first.
fn in_folders(files: &dyn Files, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut named: BTreeMap<String, &str> = BTreeMap::new();
    for folder in FOLDERS {
        match files.list_if_there(folder) {
            Ok(names) => {
                let toml = names.into_iter().filter(|name| name.ends_with(".toml") && !name.starts_with('.'));
                named.extend(toml.map(|name| (name, folder)));
            }
            Err(error) => faults.push(fault(error.to_string(), "let the agent read it")),
        }
    }
    // All of the lower folder first.
    let of = |folder: &'static str| {
        let names = named.iter().filter(move |(_, at)| **at == folder).map(move |(name, _)| format!("{folder}/{name}"));
        names.collect::<Vec<_>>()
    };
    FOLDERS.into_iter().flat_map(of).collect()
}

/// The files above those that are there, the lowest first.
fn single(files: &dyn Files, credentials: &str, faults: &mut Vec<Fault>) -> Vec<String> {
    let single = [FW_CFG.to_owned(), format!("{credentials}/{CREDENTIAL}")];
    let there = |path: &String| !matches!(files.read_if_there(path), Ok(None));
    let mut paths: Vec<_> = single.into_iter().filter(there).collect();
    match facts::text(files, facts::COMMAND_LINE) {
        Ok(line) => paths.extend(line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(ARGUMENT)).map(str::to_owned)),
        Err(what) => faults.push(fault(what, "check that /proc is mounted")),
    }
    paths
}

fn fault(what: String, next_step: &str) -> Fault {
    Fault::new(SUBJECT, what, next_step)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use basalt_contract::Hardware;

    use super::{Goal, load};
    use crate::backend::real::Root;

    fn goal(files: &[(&str, &str)]) -> Goal {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [("proc/cmdline", "quiet\n")].iter().chain(files) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        load(&Root::open(folder.path()).unwrap(), "/run/credentials/@system", &Hardware::default())
    }

    #[test]
    fn later_sources_win_and_each_wish_has_its_place() {
        let name = |name: &str| format!("identity.host-name = {name:?}\n");
        let all = [
            ("usr/lib/basalt/firstboot.d/10-a.toml", name("a")),
            ("usr/lib/basalt/firstboot.d/20-b.toml", name("b")),
            ("etc/basalt/firstboot.d/05-c.toml", name("c")),
            ("run/basalt/config-drive/nocloud/meta-data", "\nlocal-hostname:    drive\n".to_owned()),
            ("sys/firmware/qemu_fw_cfg/by_name/opt/org.basalt/firstboot/raw", name("d")),
            ("run/credentials/@system/basalt.firstboot", name("e")),
            ("root/f.toml", name("f")),
        ];
        let mut files: Vec<(&str, &str)> = Vec::new();
        for (path, text) in &all {
            files.push((path, text));
            if path.starts_with("root") {
                files.push(("proc/cmdline", "quiet basalt.firstboot=/root/f.toml\n"));
            }
            let goal = goal(&files);
            let wish = goal.desired.identity.host_name.as_ref().unwrap();
            let wanted = match wish.as_str() {
                "drive" => (text.clone(), format!("/{path}:2:20")),
                _ => (name(wish), format!("/{path}:1:22")),
            };
            assert_eq!((text.clone(), goal.place(wish)), wanted);
            assert_eq!(goal.faults, []);
        }
    }

    #[test]
    fn a_file_in_etc_replaces_its_namesake() {
        let files = [
            ("usr/lib/basalt/firstboot.d/10-a.toml", "labels.a = \"1\"\n"),
            ("usr/lib/basalt/firstboot.d/20-b.toml", "labels.b = \"1\"\n"),
            ("etc/basalt/firstboot.d/10-a.toml", ""),
            ("etc/basalt/firstboot.d/README", "not desired state"),
            ("etc/basalt/firstboot.d/.c.toml.swp", "neither"),
        ];
        let goal = goal(&files);
        let labels: Vec<_> = goal.desired.labels.keys().map(String::as_str).collect();
        assert_eq!((labels, goal.faults), (vec!["b"], vec![]));
    }

    #[test]
    fn a_file_with_a_mistake_counts_for_nothing_and_the_others_do() {
        let files = [
            ("etc/basalt/firstboot.d/10-a.toml", "labels.a = \"1\"\nlabel.x = \"1\"\n"),
            (
                "etc/basalt/firstboot.d/20-b.toml",
                "labels.b = \"1\"\n[[when]]\nname = \"x\"\nmatch.processors.at-least = 1\nset.labels.c = \"1\"\n",
            ),
            ("proc/cmdline", "basalt.firstboot=/none.toml\n"),
        ];
        let goal = goal(&files);
        let labels: Vec<_> = goal.desired.labels.keys().map(String::as_str).collect();
        assert_eq!(labels, ["b"]);
        let faults: Vec<_> = goal.faults.iter().map(|fault| fault.what.as_str()).collect();
        assert_eq!(faults[0], "/etc/basalt/firstboot.d/10-a.toml:2:1: unknown key \"label\"; did you mean \"labels\"?");
        assert!(faults[1].starts_with("/none.toml: cannot read it: "), "{faults:?}");
        assert!(faults[2].ends_with("such a machine: the number of processors is not known"), "{faults:?}");
    }
}
