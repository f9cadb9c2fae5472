//! Who the node is: its host name, made of what the machine says.

use basalt_contract::desired::{HostName, Identity as Wishes};
use basalt_contract::{Desired, Fault};

use super::{Node, Subject, Told};
use crate::backend::Files;
use crate::export::found;
use crate::facts;
use crate::plan::{Action, Effect};

/// What the kernel says now, and what is kept for the next boot.
const CURRENT: &str = "/proc/sys/kernel/hostname";
const STATIC: &str = "/etc/hostname";

/// The subject.
pub struct Identity;

impl Subject for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { host_name(node) })
    }

    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            let name = kept(node.outside.files.as_ref())?;
            if let Some(name) = name.as_deref().filter(|name| HostName::parse(name).is_err()) {
                let what = format!("{STATIC}: needed a host name, found {:?}", facts::short(name));
                return Err(Fault::new(Identity.name(), what, "set one: see `hostnamectl`"));
            }
            let host_name = name.map(found);
            Ok(Desired { identity: Wishes { host_name, ..Wishes::default() }, ..Desired::default() })
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the kernel and from the disk.
        Box::pin(async move { Ok(wished(node)?.map(|(name, _)| format!("the host name {name}"))) })
    }
}

/// What is kept for the next boot, if anything is.
fn kept(files: &dyn Files) -> Result<Option<String>, Fault> {
    let fault = |what: String| Fault::new(Identity.name(), what, "let the agent read it, or take it away");
    let read = files.read_if_there(STATIC).map_err(|error| fault(error.to_string()))?;
    // What is no text is no name either: it differs from all that can be wished.
    Ok(read.map(|bytes| String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()))
}

/// The host name that is wished, and where.
fn wished(node: &Node<'_>) -> Result<Option<(String, String)>, Fault> {
    let Some(wish) = &node.goal.desired.identity.host_name else { return Ok(None) };
    let place = node.goal.place(wish);
    match HostName::parse(wish).and_then(|template| template.of(&node.facts.hardware)) {
        Ok(name) => Ok(Some((name, place))),
        Err(why) => Err(Fault::new(
            Identity.name(),
            format!("{place}: the host name {:?} cannot be made: {why}", wish.value),
            "use a variable that this machine tells: see `basalt-firstboot facts`",
        )),
    }
}

fn host_name(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let Some((name, place)) = wished(node)? else { return Ok(vec![]) };
    let files = node.outside.files.as_ref();
    let current = facts::line(files, CURRENT).map_err(|what| Fault::new(Identity.name(), what, "check that /proc is mounted"))?;
    // Not there: the kernel's name is only for this boot.
    let kept = kept(files)?.unwrap_or_default();
    if current == name && kept == name {
        return Ok(vec![]);
    }
    let was = if current == name { "for this boot only".to_owned() } else { format!("now {}", facts::short(&current)) };
    Ok(vec![Action {
        subject: Identity.name(),
        name: "host-name",
        what: format!("the host name {name}, {was}"),
        asked_by: vec![place],
        effects: vec![Effect::SetHostName { name }],
        reboot: false,
    }])
}
