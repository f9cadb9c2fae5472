//! A simulated tuned on the bus of a test: three methods and the signal of its daemon, with the types that the real one's sources declare
//! (`tuned/daemon/controller.py`: `switch_profile` answers one structure, `(bs)`, and `profile_changed`, `sbs`, follows when it is applied).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use zbus::object_server::SignalEmitter;

use crate::somebody;

/// What it was asked, in order.
pub type Calls = Arc<Mutex<Vec<String>>>;

/// Between the answer and the profile's being in force.
const APPLYING: Duration = Duration::from_millis(500);

struct Control {
    active: String,
    /// So often it has not yet done what the profile says.
    busy: u32,
    calls: Calls,
}

impl Control {
    fn note(&self, call: &str) {
        self.calls.lock().unwrap().push(call.to_owned());
    }
}

#[zbus::interface(name = "com.redhat.tuned.control")]
impl Control {
    #[zbus(name = "active_profile")]
    fn active_profile(&self) -> String {
        self.note("active");
        self.active.clone()
    }

    #[zbus(name = "switch_profile")]
    fn switch_profile(&mut self, profile_name: String, #[zbus(signal_emitter)] emitter: SignalEmitter<'_>) -> ((bool, String),) {
        self.note(&format!("switch {profile_name}"));
        if profile_name == "unknown" {
            return ((false, "Requested profile 'unknown' doesn't exist.".to_owned()),);
        }
        let (before, calls, emitter) = (self.active.clone(), self.calls.clone(), emitter.to_owned());
        let done = profile_name != "broken";
        if done {
            self.active.clone_from(&profile_name);
        }
        tokio::spawn(async move {
            // It was still busy with the one before.
            Self::profile_changed(&emitter, &before, true, "OK").await.unwrap();
            tokio::time::sleep(APPLYING).await;
            calls.lock().unwrap().push(format!("applied {profile_name}"));
            let why = if done { "OK" } else { "Cannot load profile(s) 'broken'" };
            Self::profile_changed(&emitter, &profile_name, done, why).await.unwrap();
        });
        ((true, "OK".to_owned()),)
    }

    #[zbus(signal, name = "profile_changed")]
    async fn profile_changed(emitter: &SignalEmitter<'_>, profile: &str, result: bool, why: &str) -> zbus::Result<()>;

    #[zbus(name = "verify_profile_ignore_missing")]
    fn verify(&mut self) -> bool {
        self.note("verify");
        self.busy = self.busy.saturating_sub(1);
        self.busy == 0
    }
}

/// Starts it on the bus at `address`, with a profile that is active.
pub fn start(address: &str, active: &str) -> Calls {
    let calls = Calls::default();
    let control = Control { active: active.to_owned(), busy: 2, calls: calls.clone() };
    somebody::serve(address, "/Tuned", "com.redhat.tuned", control);
    calls
}
