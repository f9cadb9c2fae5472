//! Which parts of desired state are for this machine. "It is not such a machine" and "it cannot be told" are two answers.

use super::{Count, Desired, Match, PciMatch, When};
use crate::glob::glob;
use crate::hardware::{Hardware, PciDevice};
use crate::placed::Place;

/// What a machine should be, and how that came about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chosen {
    /// What it should be; nothing in it depends on the machine any more.
    pub desired: Desired,
    /// Every `[[when]]` that was asked: its place, its name, and the answer.
    pub asked: Vec<(Place, String, Verdict)>,
}

/// Whether a machine is such a one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Holds,
    /// It is not: why.
    Differs(String),
    /// What would have to be known.
    CannotTell(String),
}

/// What the machine should be by these files, the lowest first.
pub fn choose(files: impl IntoIterator<Item = Desired>, machine: &Hardware) -> Chosen {
    let mut chosen = Chosen::default();
    for file in files {
        chosen.take(file, machine);
    }
    chosen
}

impl Chosen {
    fn take(&mut self, mut file: Desired, machine: &Hardware) {
        let list = std::mem::take(&mut file.when);
        self.desired = std::mem::take(&mut self.desired).under(file);
        for When { name, machines, set } in list {
            let verdict = machines.judge(machine);
            let holds = verdict == Verdict::Holds;
            self.asked.push((name.place, name.value, verdict));
            if holds {
                self.take(set, machine);
            }
        }
    }
}

impl Match {
    /// Whether `machine` is such a one. One thing that differs is enough, whatever else cannot be told.
    pub fn judge(&self, machine: &Hardware) -> Verdict {
        let dmi = self.dmi.iter().map(|(name, pattern)| match machine.dmi.get(name) {
            Some(found) if glob(pattern, found) => Verdict::Holds,
            Some(found) => Verdict::Differs(format!("{name}: needed {:?}, found {found:?}", pattern.value)),
            None => Verdict::CannotTell(format!("/sys/class/dmi/id/{name} cannot be read")),
        });
        let pci = self.pci.iter().map(|wanted| match &machine.pci {
            Some(devices) => {
                let found = devices.values().filter(|device| wanted.is(device)).count();
                let needed = wanted.count.as_ref().map_or(Count { at_least: Some(1), at_most: None }, |count| count.value);
                needed.judge(&format!("devices {}", wanted.id.value), found as u64)
            }
            None => Verdict::CannotTell("/sys/bus/pci/devices cannot be read".to_owned()),
        });
        let number = |what: &str, count: &Count, found: Option<u64>| match found {
            Some(found) => count.judge(what, found),
            None => Verdict::CannotTell(format!("the number of {what} is not known")),
        };
        let processors = self.processors.iter().map(|count| number("processors", count, machine.processors.map(u64::from)));
        let memory = self.memory_mib.iter().map(|count| number("MiB of memory", count, machine.memory_mib));

        let mut answer = Verdict::Holds;
        for verdict in dmi.chain(pci).chain(processors).chain(memory) {
            match verdict {
                Verdict::Holds => {}
                Verdict::Differs(_) => return verdict,
                Verdict::CannotTell(_) => answer = verdict,
            }
        }
        answer
    }
}

impl PciMatch {
    fn is(&self, device: &PciDevice) -> bool {
        let class = self.class.as_ref().is_none_or(|class| device.class.starts_with(&class.to_ascii_lowercase()));
        class && glob(&self.id, &format!("{}:{}", device.vendor, device.device))
    }
}

impl Count {
    fn judge(self, what: &str, found: u64) -> Verdict {
        match (self.at_least, self.at_most) {
            (Some(least), _) if found < u64::from(least) => {
                Verdict::Differs(format!("needed at least {least} {what}, found {found}"))
            }
            (_, Some(most)) if found > u64::from(most) => {
                Verdict::Differs(format!("needed at most {most} {what}, found {found}"))
            }
            _ => Verdict::Holds,
        }
    }
}
