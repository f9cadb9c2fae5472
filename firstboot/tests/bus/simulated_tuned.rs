//! A simulated tuned on the bus of a test: three methods of its daemon, with the types that the real one's sources declare
//! (`tuned/daemon/controller.py`: `switch_profile` answers one structure, `(bs)`).

use std::sync::{Arc, Mutex};

use crate::somebody;

/// What it was asked, in order.
pub type Calls = Arc<Mutex<Vec<String>>>;

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
    fn switch_profile(&mut self, profile_name: String) -> ((bool, String),) {
        self.note(&format!("switch {profile_name}"));
        if profile_name == "unknown" {
            return ((false, "Requested profile 'unknown' doesn't exist.".to_owned()),);
        }
        self.active = profile_name;
        ((true, "OK".to_owned()),)
    }

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
