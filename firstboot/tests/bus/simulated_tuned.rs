//! A simulated tuned on the bus of a test: three methods of its daemon, with the types that the real one's sources declare
//! (`tuned/daemon/controller.py`: `switch_profile` answers one structure, `(bs)`).

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;

use zbus::connection::Builder;

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

/// Starts it on the bus at `address`, with a profile that is active; it has its name when this returns, and lives as long as the test.
pub fn start(address: &str, active: &str) -> Calls {
    let calls = Calls::default();
    let control = Control { active: active.to_owned(), busy: 2, calls: calls.clone() };
    let (ready, is_ready) = mpsc::channel();
    let address = address.to_owned();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address: zbus::Address = address.parse().unwrap();
            let connection =
                Builder::address(address).serve_at("/Tuned", control).name("com.redhat.tuned").build().await.unwrap();
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(connection);
        });
    });
    is_ready.recv().unwrap();
    calls
}
