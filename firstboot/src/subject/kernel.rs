//! Kernel arguments that this node needs and its image does not carry.
//!
//! Desired state wishes some, and the wished profile of tuned takes some. A new deployment of the same commit gets them in its boot entry; the
//! one that runs stays as it is, to go back to. They are in force after one reboot, which the agent asks for once when all subjects are done. One
//! resolver decides here and at build time what goes together.

use std::collections::BTreeSet;

use basalt_contract::desired::Kernel as Wishes;
use basalt_contract::kernel_arguments::{Contradictions, Declaration, Source, resolve};
use basalt_contract::{Desired, Fault};
use serde::{Deserialize, Serialize};

use super::{Node, Subject, Told, tuned};
use crate::backend::Files;
use crate::export::found;
use crate::facts;
use crate::plan::{Action, Effect};

/// What is to be in the boot entry; `deploy` reads it.
pub const PATH: &str = "/var/lib/basalt/firstboot/kernel-arguments.json";
/// Makes the new deployment.
const UNIT: &str = "basalt-kernel-arguments.service";
/// Boot entries: <https://uapi-group.org/specifications/specs/boot_loader_specification/>.
const ENTRIES: &str = "/boot/loader/entries";
/// What the boot loader and libostree add themselves.
const NOT_OURS: [&str; 3] = ["BOOT_IMAGE", "initrd", "ostree"];

/// The boot entry that the agent wants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The format of the file: 1.
    format: u32,
    /// Of the deployment that ran when it was written.
    commit: String,
    /// Those that desired state wishes or tuned's profile takes, and nothing else has.
    added: Vec<String>,
    /// Those that it wished before.
    #[serde(default)]
    removed: Vec<String>,
    /// All of them, in order.
    pub arguments: Vec<String>,
}

impl Wanted {
    /// Reads what the agent wrote. Not there: it never wanted anything.
    ///
    /// # Errors
    /// Says why it cannot be understood.
    pub fn read(files: &dyn Files) -> Result<Self, String> {
        let read = files.read_if_there(PATH).map_err(|error| error.to_string())?;
        let Some(bytes) = read else { return Ok(Self::default()) };
        let wanted: Self = serde_json::from_slice(&bytes).map_err(|error| format!("{PATH}: {error}"))?;
        if wanted.format == 1 { Ok(wanted) } else { Err(format!("{PATH}: needed format 1, found {}", wanted.format)) }
    }
}

/// The subject.
pub struct Kernel;

impl Subject for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { arguments(node) })
    }

    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            let wanted = Wanted::read(node.outside.files.as_ref());
            let wanted = wanted.map_err(|what| Fault::new(Kernel.name(), what, "take the file away"))?;
            // Whoever has the profile gets what it takes.
            let taken = tuned::kernel_arguments(node).unwrap_or_default();
            let arguments = wanted.added.into_iter().filter(|word| !taken.contains(word)).map(found).collect();
            Ok(Desired { kernel: Wishes { arguments }, ..Desired::default() })
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the running kernel.
        let count = node.goal.desired.kernel.arguments.len();
        Box::pin(async move { Ok((count > 0).then(|| format!("{count} kernel arguments in force"))) })
    }
}

fn arguments(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let wishes = &node.goal.desired.kernel.arguments;
    let files = node.outside.files.as_ref();
    let fault = |what: String, next: &str| Fault::new(Kernel.name(), what, next);
    let unread = |what: String| fault(what, "let the agent read it");
    let before = Wanted::read(files).map_err(|what| fault(what, "take the file away; arguments that were added stay then"))?;
    let commit = node.facts.deployment.as_ref().map(|deployment| deployment.checksum.clone()).unwrap_or_default();
    // Another image has what it has; but what was added to the one before is carried into it.
    let removed = if before.commit == commit { before.removed } else { vec![] };
    let ours = [before.added, removed].concat();
    let unclear = |what: String| fault(what, "mend [bootloader] of tuned's profile, or let the agent read it");
    let taken = tuned::kernel_arguments(node).map_err(unclear)?;
    let missing = tuned::missing(node, taken.clone()).map_err(unread)?;
    if wishes.is_empty() && ours.is_empty() && missing.is_empty() {
        return Ok(vec![]);
    }
    let running = running(files, &ours).map_err(unread)?;
    let theirs = running.iter().filter(|word| !ours.contains(word));
    let theirs: Vec<_> = theirs.map(|word| (word.clone(), Source::new("this node's boot entry"))).collect();
    let wished = wishes.iter().map(|wish| (wish.value.clone(), Source::new("desired state").at(node.goal.place(wish)))).collect();
    let tuneds = taken.into_iter().map(|word| (word, Source::new("tuned").at(tuned::NOTED))).collect();
    let all = [theirs.clone(), tuneds, wished].map(Declaration::list).concat();
    let resolved = resolve(all).map_err(|why| fault(why.to_string(), Contradictions::NEXT))?;
    let arguments: Vec<String> = resolved.iter().flat_map(|argument| argument.words().map(str::to_owned)).collect();

    let (have, want): (BTreeSet<_>, BTreeSet<_>) = (running.iter().collect(), arguments.iter().collect());
    if have == want {
        return Ok(vec![]);
    }
    let list = |words: Vec<&&String>| words.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ");
    let (more, less) = (list(want.difference(&have).collect()), list(have.difference(&want).collect()));
    let parts = [(more, "added"), (less, "taken away")].into_iter().filter(|(words, _)| !words.is_empty());
    let parts: Vec<_> = parts.map(|(words, what)| format!("{words} {what}")).collect();
    let added = arguments.iter().filter(|word| theirs.iter().all(|(known, _)| known != *word)).cloned().collect();
    let removed = ours.into_iter().filter(|word| !arguments.contains(word)).collect();
    let noted = (!missing.is_empty()).then(|| tuned::NOTED.to_owned());
    let asked_by: Vec<_> = wishes.iter().map(|wish| node.goal.place(wish)).chain(noted).collect();
    let wanted = Wanted { format: 1, commit, added, removed, arguments };
    let text = serde_json::to_string_pretty(&wanted).unwrap_or_default() + "\n";
    Ok(vec![Action {
        subject: Kernel.name(),
        name: "arguments",
        what: format!("kernel arguments: {}, with one reboot", parts.join(", ")),
        asked_by: if asked_by.is_empty() { vec!["nobody wishes any".to_owned()] } else { asked_by },
        effects: vec![Effect::Write { path: PATH.to_owned(), text }, Effect::Start { unit: UNIT.to_owned() }],
        reboot: true,
    }])
}

/// The arguments of the running kernel that are ours or that a boot entry has: what somebody typed at the boot menu was for one boot.
fn running(files: &dyn Files, ours: &[String]) -> Result<Vec<String>, String> {
    let line = facts::text(files, facts::COMMAND_LINE)?;
    let names = files.list(ENTRIES).map_err(|error| error.to_string())?;
    let mut kept: BTreeSet<_> = ours.iter().cloned().collect();
    for name in names.iter().filter(|name| name.ends_with(".conf")) {
        let entry = facts::text(files, &format!("{ENTRIES}/{name}"))?;
        let options = entry.lines().filter_map(|line| line.strip_prefix("options ")).flat_map(str::split_ascii_whitespace);
        kept.extend(options.map(str::to_owned));
    }
    let words = line.split_ascii_whitespace().filter(|word| {
        let name = word.split('=').next().unwrap_or(word);
        kept.contains(*word) && !NOT_OURS.contains(&name)
    });
    Ok(words.map(str::to_owned).collect())
}
