//! tuned: the image's profile becomes the active one, and tuned says whether the node is what it says.
//!
//! The image has the profile's kernel arguments in its boot entry, and tuned makes the profile active by itself: most boots change nothing
//! here. Whoever made another profile active on a node gets the image's back with the next boot, and reads of it in the report.

use std::time::Duration;

use basalt_contract::{Fault, Tuned};

use crate::backend::{PeerError, Tuner};

/// So often is asked, and with so much time between: tuned starts late in a boot, and asks every device of the node. Python on a machine
/// that boots takes its time.
const STARTS: u32 = 150;
const VERIFIES: u32 = 60;
const PAUSE: Duration = Duration::from_secs(2);

/// Makes `profile` the active one, and has it verified.
pub async fn apply(tuner: &dyn Tuner, profile: &str) -> (Option<Tuned>, Option<Fault>) {
    let was = match started(tuner).await {
        Ok(active) => Some(active).filter(|active| active != profile),
        Err(error) => return (None, Some(fault(format!("cannot be asked: {error}"), "see `systemctl status tuned`"))),
    };
    if was.is_some()
        && let Err(error) = tuner.switch(profile).await
    {
        let what = format!("the profile {profile} cannot be made active: {error}");
        return (None, Some(fault(what, "see /var/log/tuned/tuned.log")));
    }
    let was = was.filter(|active| !active.is_empty());
    let verified = verified(tuner).await;
    let tuned = Tuned { profile: profile.to_owned(), was, verified: matches!(verified, Ok(true)) };
    let fault = match verified {
        Ok(true) => None,
        Ok(false) => Some(fault(
            format!("the profile {profile} is active, and the node is not what it says"),
            "run `tuned-adm verify --ignore-missing` and look into /var/log/tuned/tuned.log",
        )),
        Err(error) => {
            Some(fault(format!("cannot say whether the node is what {profile} says: {error}"), "see `systemctl status tuned`"))
        }
    };
    (Some(tuned), fault)
}

/// The active profile, as soon as somebody answers. Empty: none.
async fn started(tuner: &dyn Tuner) -> Result<String, PeerError> {
    let mut tries = 0;
    loop {
        match tuner.active().await {
            Err(PeerError::Absent(_)) if tries < STARTS => tries += 1,
            answer => return answer,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A profile that is still being applied is not verified yet: tuned cannot tell these apart.
async fn verified(tuner: &dyn Tuner) -> Result<bool, PeerError> {
    for _ in 0..VERIFIES {
        if tuner.verify().await? {
            return Ok(true);
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(false)
}

fn fault(what: String, next_step: &str) -> Fault {
    Fault::new("tuned", what, next_step)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use basalt_contract::Tuned;

    use super::apply;
    use crate::backend::{Answer, PeerError, Tuner};

    /// A simulated tuned: how often it is absent, what is active, what it says to a switch, how often it does not verify.
    struct Simulated {
        absent: Mutex<u32>,
        active: Mutex<String>,
        refuses: bool,
        unverified: Mutex<u32>,
    }

    fn less(count: &Mutex<u32>) -> bool {
        let mut left = count.lock().unwrap();
        let some = *left > 0;
        *left = left.saturating_sub(1);
        some
    }

    impl Tuner for Simulated {
        fn active(&self) -> Answer<'_, String> {
            let answer = if less(&self.absent) {
                Err(PeerError::Absent("com.redhat.tuned"))
            } else {
                Ok(self.active.lock().unwrap().clone())
            };
            Box::pin(async { answer })
        }

        fn switch<'a>(&'a self, profile: &'a str) -> Answer<'a, ()> {
            let answer = if self.refuses { Err(PeerError::Refused("no such profile".to_owned())) } else { Ok(()) };
            profile.clone_into(&mut self.active.lock().unwrap());
            Box::pin(async { answer })
        }

        fn verify(&self) -> Answer<'_, bool> {
            let good = !less(&self.unverified);
            Box::pin(async move { Ok(good) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_tuned_does_and_says() {
        let tuned = |was: Option<&str>, verified| Some(Tuned { profile: "a".into(), was: was.map(Into::into), verified });
        // absent, active, refuses, unverified; the report, words of the fault
        let cases = [
            ((0, "a", false, 0), tuned(None, true), ""),
            ((20, "a", false, 3), tuned(None, true), ""),
            ((0, "", false, 0), tuned(None, true), ""),
            ((3, "b", false, 3), tuned(Some("b"), true), ""),
            ((0, "b", true, 0), None, "the profile a cannot be made active: no such profile"),
            ((0, "a", false, 1_000), tuned(None, false), "the profile a is active, and the node is not what it says"),
            ((1_000, "a", false, 0), None, "cannot be asked: com.redhat.tuned is not on the system bus"),
        ];
        for ((absent, active, refuses, unverified), wanted, words) in cases {
            let simulated = Simulated {
                absent: Mutex::new(absent),
                active: Mutex::new(active.to_owned()),
                refuses,
                unverified: Mutex::new(unverified),
            };
            let (found, fault) = apply(&simulated, "a").await;
            assert_eq!((found, fault.map(|fault| fault.what).unwrap_or_default()), (wanted, words.to_owned()), "{active}");
        }
    }
}
