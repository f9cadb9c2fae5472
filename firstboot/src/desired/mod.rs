//! What this node should be: every file of desired state, read, chosen by what the machine is, with the place of each wish kept.
//!
//! Where it comes from, the lowest first: `/usr/lib/basalt/firstboot.d`, `/etc/basalt/firstboot.d` (a file there replaces the one of the
//! same name), QEMU's fw_cfg (`opt/org.basalt/firstboot`), the system credential `basalt.firstboot`, and the file that
//! `basalt.firstboot=` names on the kernel's command line. A file that cannot be read or has a mistake is told,
//! and a goal with a fault is none: nothing is planned for it.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use basalt_contract::desired::{Verdict, check, choose, read};
use basalt_contract::placed::{Findings, Place, Placed, Sources};
use basalt_contract::{Desired, Fault, Hardware};

use crate::backend::{FileError, Files};
use crate::facts;

/// Of files named `*.toml`, read in the order of their names.
const FOLDERS: [&str; 2] = ["/usr/lib/basalt/firstboot.d", "/etc/basalt/firstboot.d"];
/// Above those, where QEMU was told of it.
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/org.basalt/firstboot/raw";
/// Above that, in the folder of credentials.
const CREDENTIAL: &str = "basalt.firstboot";
/// On the kernel's command line.
const ARGUMENT: &str = "basalt.firstboot=";
const COMMAND_LINE: &str = "/proc/cmdline";
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
    for path in paths(files, credentials, &mut goal.faults) {
        match facts::text(files, &path) {
            Ok(text) => list.extend(one(&path, &text, &mut goal)),
            Err(what) => goal.faults.push(fault(what, "let the agent read it, or take it away")),
        }
    }
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

/// One file, if nothing is wrong with it.
fn one(path: &str, text: &str, goal: &mut Goal) -> Option<Desired> {
    let mut findings = Findings::default();
    let desired = read(path, text, &mut goal.sources, &mut findings);
    check(&desired, &goal.sources, &mut findings);
    let problems = findings.into_problems(&goal.sources);
    for problem in &problems {
        let next = "mend the file; until then nothing is changed";
        goal.faults.push(fault(problem.to_string(), next));
    }
    problems.is_empty().then_some(desired)
}

/// The files that are there, the lowest first.
fn paths(files: &dyn Files, credentials: &str, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut named: BTreeMap<String, &str> = BTreeMap::new();
    for folder in FOLDERS {
        match files.list(folder) {
            Ok(names) => {
                let toml = names.into_iter().filter(|name| name.ends_with(".toml") && !name.starts_with('.'));
                named.extend(toml.map(|name| (name, folder)));
            }
            Err(error) if absent(&error) => {}
            Err(error) => faults.push(fault(error.to_string(), "let the agent read it")),
        }
    }
    // All of the lower folder first.
    let of = |folder: &'static str| {
        let names = named.iter().filter(move |(_, at)| **at == folder).map(move |(name, _)| format!("{folder}/{name}"));
        names.collect::<Vec<_>>()
    };
    let mut paths: Vec<String> = FOLDERS.into_iter().flat_map(of).collect();
    let single = [FW_CFG.to_owned(), format!("{credentials}/{CREDENTIAL}")];
    paths.extend(single.into_iter().filter(|path| !matches!(files.read(path), Err(error) if absent(&error))));
    match facts::text(files, COMMAND_LINE) {
        Ok(line) => paths.extend(line.split_ascii_whitespace().filter_map(|word| word.strip_prefix(ARGUMENT)).map(str::to_owned)),
        Err(what) => faults.push(fault(what, "check that /proc is mounted")),
    }
    paths
}

fn absent(error: &FileError) -> bool {
    error.cause.kind() == ErrorKind::NotFound
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
            assert_eq!((name(wish), goal.place(wish)), (text.clone(), format!("/{path}:1:22")));
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
