//! tuned's profile: the one that is wished, else the image's.
//!
//! The image has its profile's kernel arguments in the boot entry, and tuned makes the profile active by itself: most boots change
//! nothing here. Whoever made another profile active on a node gets the wished one back, and reads of it in the report. Where the image has none, the
//! profile that was active before is kept, to go back to when nobody wishes one any more.
//!
//! What kernel arguments a profile takes only the node's tuned can tell, which knows its processors: it notes them, and the subject of kernel
//! arguments, which comes next, brings them into the boot entry.

use std::time::Duration;

use basalt_contract::desired::Tuning;
use basalt_contract::{Desired, Fault, kernel_arguments, names};

use super::{Node, Subject, Told, text};
use crate::backend::{PeerError, Tuner};
use crate::export::found;
use crate::plan::{Action, Effect};
use crate::{facts, owners};

/// The profile that was active before the agent's first one, and the agent's: a line each.
const BEFORE: &str = "/var/lib/basalt/firstboot/tuned-before";
/// Where tuned notes the kernel arguments of the profile that it has applied, whether it writes boot entries or not: `_instance_post_static` of its
/// `plugin_bootloader.py`. A profile without such a plugin leaves what the one before it noted.
pub const NOTED: &str = "/etc/tuned/bootcmdline";
const VARIABLE: &str = "TUNED_BOOT_CMDLINE=";

/// So often is asked with patience, and with so much time between: tuned starts late in a boot, and asks every device of the node.
/// Python on a machine that boots takes its time.
const STARTS: u32 = 150;
const VERIFIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(2);
/// Where systemd says more.
const ASK: &str = "see `systemctl status tuned`";
/// Where tuned says more.
const LOG: &str = "run `tuned-adm verify --ignore-missing` and look into /var/log/tuned/tuned.log";

/// The subject.
pub struct Tuned;

impl Subject for Tuned {
    fn name(&self) -> &'static str {
        "tuned"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(differences(node))
    }

    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            // Where nobody tunes there is nothing to say.
            let active = match node.outside.tuner.active().await {
                Err(PeerError::Absent(_)) => None,
                answer => Some(answer.map_err(|error| fault(format!("cannot be asked: {error}"), ASK))?),
            };
            let profile = active.filter(|active| !active.is_empty()).map(found);
            Ok(Desired { tuned: Tuning { profile }, ..Desired::default() })
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        Box::pin(async move {
            let Some((profile, _)) = wished(node) else { return Ok(None) };
            let patience = if node.patient { VERIFIES } else { 0 };
            let missing = || kernel_arguments(node).and_then(|taken| missing(node, taken));
            let waits = || missing().is_ok_and(|missing| !missing.is_empty());
            match verified(node.outside.tuner.as_ref(), patience, waits).await {
                Ok(Verified::Good) => Ok(Some(format!("the profile {profile}, verified by tuned"))),
                Ok(Verified::Later) => {
                    Ok(Some(format!("the profile {profile}, which tuned verifies once its kernel arguments are in force")))
                }
                Ok(Verified::Bad) => {
                    Err(fault(format!("the profile {profile} is active, and the node is not what it says"), LOG))
                }
                Err(error) => {
                    let what = format!("cannot say whether the node is what {profile} says: {error}");
                    Err(fault(what, ASK))
                }
            }
        })
    }
}

async fn differences(node: &Node<'_>) -> Result<Vec<Action>, Fault> {
    let (wish, kept) = (wished(node), kept(node)?);
    if wish.is_none() && kept.is_none() {
        return Ok(vec![]);
    }
    let patience = if node.patient { STARTS } else { 0 };
    let active = active(node.outside.tuner.as_ref(), patience).await;
    let active = active.map_err(|error| fault(format!("cannot be asked: {error}"), ASK))?;
    let (what, asked_by, effects) = match (wish, kept) {
        (Some((profile, _)), _) if profile == active => return Ok(vec![]),
        (Some((profile, place)), kept) => {
            let was = if active.is_empty() { "none" } else { &active };
            let what = format!("the profile {profile}, now {was}");
            let mut effects = vec![];
            if node.facts.tuned.is_none() && !active.is_empty() {
                let before = kept.filter(|kept| kept.ours == active).map_or(active, |kept| kept.before);
                effects.push(Effect::Write { path: BEFORE.to_owned(), text: format!("{before}\n{profile}\n") });
            }
            effects.push(Effect::SwitchProfile { profile });
            (what, place, effects)
        }
        (None, kept) => {
            let Kept { before, ours } = kept.unwrap_or_default();
            let forgotten = Effect::Remove { path: BEFORE.to_owned() };
            let nobody = "nobody wishes another one any more".to_owned();
            if active == ours {
                let what = format!("the profile {before} again, now {active}");
                (what, nobody, vec![Effect::SwitchProfile { profile: before }, forgotten])
            } else {
                (format!("the profile {active}, which somebody chose meanwhile, stays"), nobody, vec![forgotten])
            }
        }
    };
    let asked_by = vec![asked_by];
    Ok(vec![Action { subject: Tuned.name(), name: "profile", what, asked_by, effects, reboot: false }])
}

/// What [`BEFORE`] says.
#[derive(Default)]
struct Kept {
    before: String,
    ours: String,
}

fn kept(node: &Node<'_>) -> Result<Option<Kept>, Fault> {
    let wrong = |what| fault(what, "take the file away; the profile that is active stays then");
    let Some(text) = text(node.outside.files.as_ref(), BEFORE).map_err(wrong)? else { return Ok(None) };
    match text.lines().collect::<Vec<_>>()[..] {
        [before, ours] => Ok(Some(Kept { before: before.to_owned(), ours: ours.to_owned() })),
        ref lines => Err(wrong(format!("{BEFORE}: needed 2 lines, found {}", lines.len()))),
    }
}

/// The kernel arguments that the profile takes on this node, as its tuned worked them out. None where nobody wishes a profile, or tuned is somebody
/// else's.
///
/// # Errors
/// Says in words why that cannot be told.
pub fn kernel_arguments(node: &Node<'_>) -> Result<Vec<String>, String> {
    let files = node.outside.files.as_ref();
    if wished(node).is_none() || owners::of(files, Tuned.name()).is_some() {
        return Ok(vec![]);
    }
    let words = noted(&text(files, NOTED)?.unwrap_or_default());
    words.iter().try_for_each(|word| kernel_arguments::one(word)).map_err(|why| format!("{NOTED}: {why}"))?;
    Ok(words)
}

/// Those of these arguments that the running kernel does not have.
///
/// # Errors
/// Says in words why that cannot be told.
pub fn missing(node: &Node<'_>, mut words: Vec<String>) -> Result<Vec<String>, String> {
    if !words.is_empty() {
        let line = facts::text(node.outside.files.as_ref(), facts::COMMAND_LINE)?;
        words.retain(|word| line.split_ascii_whitespace().all(|known| known != word));
    }
    Ok(words)
}

/// The words that a shell would find in the variable.
fn noted(text: &str) -> Vec<String> {
    let value = text.lines().rev().find_map(|line| line.trim().strip_prefix(VARIABLE)).unwrap_or_default();
    value.trim_matches('"').split_ascii_whitespace().map(str::to_owned).collect()
}

/// The profile, and who wishes it.
fn wished(node: &Node<'_>) -> Option<(String, String)> {
    match &node.goal.desired.tuned.profile {
        Some(wish) => Some((wish.value.clone(), node.goal.place(wish))),
        None => Some((node.facts.tuned.clone()?, names::TUNED_FILE.to_owned())),
    }
}

/// The active profile, as soon as somebody answers. Empty: none.
async fn active(tuner: &dyn Tuner, patience: u32) -> Result<String, PeerError> {
    let mut tries = 0;
    loop {
        match tuner.active().await {
            Err(PeerError::Absent(_)) if tries < patience => tries += 1,
            answer => return answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What tuned says of a profile.
#[derive(Debug, PartialEq, Eq)]
enum Verified {
    Good,
    Bad,
    /// Not before a reboot.
    Later,
}

/// A profile that is still being applied is not verified yet: tuned cannot tell these apart.
async fn verified(tuner: &dyn Tuner, patience: u32, later: impl Fn() -> bool) -> Result<Verified, PeerError> {
    let mut tries = 0;
    while !tuner.verify().await? {
        if later() {
            return Ok(Verified::Later);
        }
        if tries >= patience {
            return Ok(Verified::Bad);
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Verified::Good)
}

fn fault(what: String, next_step: &str) -> Fault {
    Fault::new(Tuned.name(), what, next_step)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{Verified, active, noted, verified};
    use crate::backend::{Answer, PeerError, Tuner};

    /// A simulated tuned: how often it is absent, then how often it does not verify.
    struct Simulated(Mutex<u32>);

    impl Simulated {
        fn less(&self) -> bool {
            let mut left = self.0.lock().unwrap();
            let some = *left > 0;
            *left = left.saturating_sub(1);
            some
        }
    }

    impl Tuner for Simulated {
        fn active(&self) -> Answer<'_, String> {
            let answer = if self.less() { Err(PeerError::Absent("com.redhat.tuned")) } else { Ok("a".to_owned()) };
            Box::pin(async { answer })
        }

        fn switch<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
            Box::pin(async { Ok(()) })
        }

        fn verify(&self) -> Answer<'_, bool> {
            let good = !self.less();
            Box::pin(async move { Ok(good) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_starts_late_is_waited_for_as_long_as_is_said() {
        for (absent, patience, found) in [(0, 0, true), (1, 0, false), (20, 150, true), (1_000, 150, false)] {
            let answer = active(&Simulated(Mutex::new(absent)), patience).await;
            assert_eq!(answer.is_ok_and(|profile| profile == "a"), found, "{absent} {patience}");
        }
        for (unverified, patience, later, found) in [
            (0, 0, true, Verified::Good),
            (1, 0, false, Verified::Bad),
            (3, 60, false, Verified::Good),
            (1_000, 60, false, Verified::Bad),
            (1_000, 60, true, Verified::Later),
        ] {
            let said = verified(&Simulated(Mutex::new(unverified)), patience, || later).await.unwrap();
            assert_eq!(said, found, "{unverified} {patience} {later}");
        }
    }

    #[test]
    fn what_tuned_notes_is_read_as_a_shell_would() {
        for (text, words) in [
            ("", &[][..]),
            ("# TUNED_BOOT_CMDLINE=\"a\"\nTUNED_BOOT_CMDLINE=\nTUNED_BOOT_INITRD_ADD=\n", &[]),
            ("TUNED_BOOT_CMDLINE=\"init_on_alloc=0  iommu=pt\"\n", &["init_on_alloc=0", "iommu=pt"]),
            ("TUNED_BOOT_CMDLINE=a\nTUNED_BOOT_CMDLINE=b", &["b"]),
        ] {
            assert_eq!(noted(text), words, "{text:?}");
        }
    }
}
