//! Who the node is: its host name, made of what the machine says.

use basalt_contract::Fault;
use basalt_contract::desired::HostName;

use super::{Differences, Node, Subject};
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

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Differences<'a> {
        Box::pin(async move { host_name(node) })
    }
}

fn host_name(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let Some(wish) = &node.goal.desired.identity.host_name else { return Ok(vec![]) };
    let place = node.goal.place(wish);
    let fault = |why: String| {
        let what = format!("{place}: the host name {:?} cannot be made: {why}", wish.value);
        Fault::new(Identity.name(), what, "use a variable that this machine tells: see `basalt-firstboot facts`")
    };
    let name = HostName::parse(wish).and_then(|template| template.of(&node.facts.hardware)).map_err(fault)?;
    let files = node.outside.files.as_ref();
    let current = facts::line(files, CURRENT).map_err(|what| Fault::new(Identity.name(), what, "check that /proc is mounted"))?;
    // Not there: the kernel's name is only for this boot.
    let kept = facts::line(files, STATIC).unwrap_or_default();
    if current == name && kept == name {
        return Ok(vec![]);
    }
    let was = if current == name { "for this boot only".to_owned() } else { format!("now {current}") };
    Ok(vec![Action {
        subject: Identity.name(),
        name: "host-name",
        what: format!("the host name {name}, {was}"),
        asked_by: vec![place],
        effects: vec![Effect::SetHostName { name }],
    }])
}
