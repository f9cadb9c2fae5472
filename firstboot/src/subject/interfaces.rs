//! Names of network interfaces that stay: files for systemd-udevd, which gives an interface its name when it appears. So a new one takes a
//! reboot, the same for all.
//!
//! Format: systemd.link(5). The first file that matches an interface is the only one that counts: ours come before those of a config
//! drive. The names that the interface would have had stay as alternative ones.

use basalt_contract::desired::{Identity as Wishes, Interface};
use basalt_contract::placed::Placed;
use basalt_contract::{Desired, Fault, names};

use super::network::{self, FOLDER};
use super::{Node, Subject, Told, file, text};
use crate::backend::Files;
use crate::export::found;
use crate::facts;
use crate::plan::{Action, Effect};

/// How the names of our files begin and end: files of others are theirs.
const OURS: (&str, &str) = ("05-basalt-", ".link");
const INTERFACES: &str = "/sys/class/net";

/// The subject.
pub struct Interfaces;

impl Subject for Interfaces {
    fn name(&self) -> &'static str {
        "interfaces"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { names(node) })
    }

    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            let files = node.outside.files.as_ref();
            let interfaces = ours(files)?.into_iter().map(|name| Some((name.clone(), found(of_file(files, &name)?))));
            let identity = Wishes { interfaces: interfaces.flatten().collect(), ..Wishes::default() };
            Ok(Desired { identity, ..Desired::default() })
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the disk and from the kernel.
        let names: Vec<_> = node.goal.desired.identity.interfaces.keys().cloned().collect();
        Box::pin(async move { Ok((!names.is_empty()).then(|| format!("the network interfaces {}", names.join(", ")))) })
    }
}

fn names(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let wishes = &node.goal.desired.identity.interfaces;
    let files = node.outside.files.as_ref();
    let mut effects = Vec::new();
    for stale in ours(files)?.into_iter().filter(|name| !wishes.contains_key(name)) {
        effects.push(Effect::Remove { path: path(&stale) });
    }
    let mut unnamed = Vec::new();
    for (name, wish) in wishes {
        let interface = Interface::parse(wish).map_err(|why| fault(format!("{}: {why}", node.goal.place(wish))))?;
        alone(node, &interface, wish)?;
        if !is_it(files, name, &interface) {
            known(node, &interface, wish)?;
            unnamed.push(name.as_str());
        }
        effects.extend(file(files, &path(name), Some(link(name, &interface))).map_err(|error| fault(error.to_string()))?);
    }
    if effects.is_empty() && unnamed.is_empty() {
        return Ok(vec![]);
    }
    let wished = wishes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let what = match (wishes.is_empty(), unnamed.is_empty()) {
        (true, _) => format!("no names of network interfaces, now there are {} files in {FOLDER}", effects.len()),
        (false, true) => format!("the names {wished} for network interfaces, which are not kept"),
        (false, false) => format!("the names {wished} for network interfaces, now without {}", unnamed.join(", ")),
    };
    let asked_by = match wishes.is_empty() {
        true => vec!["nobody wishes any".to_owned()],
        false => wishes.values().map(|wish| node.goal.place(wish)).collect(),
    };
    // A name that is there already and is only written down takes no reboot.
    let reboot = wishes.is_empty() || !unnamed.is_empty();
    Ok(vec![Action { subject: Interfaces.name(), name: "names", what, asked_by, effects, reboot }])
}

/// That a config drive gives the interface no name.
fn alone(node: &Node<'_>, interface: &Interface, wish: &Placed<String>) -> Result<(), Fault> {
    let Interface::Mac(mac) = interface else { return Ok(()) };
    let other = node.goal.drive.network.iter().find(|file| file.name.ends_with(OURS.1) && file.text.contains(mac.as_str()));
    other.map_or(Ok(()), |other| {
        let name = other.name.trim_start_matches(network::OURS).trim_end_matches(OURS.1);
        let what = format!("{}: the config drive names {mac}, too: {name}", node.goal.place(wish));
        Err(Fault::new(Interfaces.name(), what, "take one of both names away"))
    })
}

/// That this machine has the interface.
fn known(node: &Node<'_>, interface: &Interface, wish: &Placed<String>) -> Result<(), Fault> {
    let files = node.outside.files.as_ref();
    let list = listed(files, INTERFACES)?;
    if list.iter().any(|name| is_it(files, name, interface)) {
        return Ok(());
    }
    let (Interface::Mac(address) | Interface::Pci(address)) = interface;
    let what = format!("{}: no network interface of this machine is {address}", node.goal.place(wish));
    Err(Fault::new(Interfaces.name(), what, "see `basalt-firstboot facts --json`; machines that have none do with `[[when]]`"))
}

/// Whether the interface `name` is this one.
fn is_it(files: &dyn Files, name: &str, interface: &Interface) -> bool {
    let line = |file: &str| facts::line(files, &format!("{INTERFACES}/{name}/{file}")).map(|text| text.to_ascii_lowercase());
    match interface {
        // A port of a bond has the bond's address.
        Interface::Mac(mac) => line("bonding_slave/perm_hwaddr").or_else(|_| line("address")).is_ok_and(|found| found == *mac),
        Interface::Pci(address) => {
            let link = files.read_link(&format!("{INTERFACES}/{name}")).unwrap_or_default();
            link.split('/').any(|part| part == address)
        }
    }
}

/// The names that files of ours give.
fn ours(files: &dyn Files) -> Result<Vec<String>, Fault> {
    let list = listed(files, FOLDER)?;
    Ok(list.iter().filter_map(|name| Some(name.strip_prefix(OURS.0)?.strip_suffix(OURS.1)?.to_owned())).collect())
}

fn listed(files: &dyn Files, folder: &str) -> Result<Vec<String>, Fault> {
    files.list_if_there(folder).map_err(|error| fault(error.to_string()))
}

fn fault(what: String) -> Fault {
    Fault::new(Interfaces.name(), what, "let the agent read it")
}

fn path(name: &str) -> String {
    format!("{FOLDER}/{}{name}{}", OURS.0, OURS.1)
}

fn link(name: &str, interface: &Interface) -> String {
    let matched = match interface {
        Interface::Mac(mac) => format!("PermanentMACAddress={mac}"),
        Interface::Pci(address) => format!("Path=pci-{address}"),
    };
    format!(
        "# Written by {}: from desired state.\n[Match]\n{matched}\n\n[Link]\nName={name}\nAlternativeNamesPolicy=database onboard slot path mac\n\
         MACAddressPolicy=persistent\n",
        names::AGENT_UNIT
    )
}

/// What a file of ours matches.
fn of_file(files: &dyn Files, name: &str) -> Option<String> {
    let told = text(files, &path(name)).ok()??;
    let value = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    value("PermanentMACAddress=").or_else(|| value("Path=pci-"))
}
