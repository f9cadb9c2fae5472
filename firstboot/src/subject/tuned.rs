//! tuned's profile: the one that is wished, else the image's.
//!
//! The image has its profile's kernel arguments in the boot entry, and tuned makes the profile active by itself: most boots change
//! nothing here. Whoever made another profile active on a node gets the wished one back, and reads of it in the report.

use std::time::Duration;

use basalt_contract::desired::Tuning;
use basalt_contract::{Desired, Fault, names};

use super::{Node, Subject, Told};
use crate::backend::{PeerError, Tuner};
use crate::export::found;
use crate::plan::{Action, Effect};

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
        Box::pin(async move {
            let Some((profile, place)) = wished(node) else { return Ok(vec![]) };
            let patience = if node.patient { STARTS } else { 0 };
            let active = active(node.outside.tuner.as_ref(), patience)
                .await
                .map_err(|error| fault(format!("cannot be asked: {error}"), ASK))?;
            if active == profile {
                return Ok(vec![]);
            }
            let was = if active.is_empty() { "none" } else { &active };
            Ok(vec![Action {
                subject: Tuned.name(),
                name: "profile",
                what: format!("the profile {profile}, now {was}"),
                asked_by: vec![place],
                effects: vec![Effect::SwitchProfile { profile }],
                reboot: false,
            }])
        })
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
            match verified(node.outside.tuner.as_ref(), patience).await {
                Ok(true) => Ok(Some(format!("the profile {profile}, verified by tuned"))),
                Ok(false) => Err(fault(format!("the profile {profile} is active, and the node is not what it says"), LOG)),
                Err(error) => {
                    let what = format!("cannot say whether the node is what {profile} says: {error}");
                    Err(fault(what, ASK))
                }
            }
        })
    }
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

/// A profile that is still being applied is not verified yet: tuned cannot tell these apart.
async fn verified(tuner: &dyn Tuner, patience: u32) -> Result<bool, PeerError> {
    let mut tries = 0;
    while !tuner.verify().await? {
        if tries >= patience {
            return Ok(false);
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(true)
}

fn fault(what: String, next_step: &str) -> Fault {
    Fault::new(Tuned.name(), what, next_step)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{active, verified};
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
        for (unverified, patience, found) in [(0, 0, true), (1, 0, false), (3, 60, true), (1_000, 60, false)] {
            assert_eq!(verified(&Simulated(Mutex::new(unverified)), patience).await.unwrap(), found, "{unverified} {patience}");
        }
    }
}
