//! A simulated systemd on the bus of a test: what `org.freedesktop.systemd1(5)` says of a manager's methods that the agent calls. Its jobs end
//! before it answers which jobs they are.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::{fs, iter};

use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedObjectPath};

use crate::somebody;

/// What it was asked, in order.
pub type Calls = Arc<Mutex<Vec<String>>>;

type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

struct Manager {
    /// The node's kernel modules.
    modules: PathBuf,
    /// Units, and whether they run.
    units: Vec<(String, bool)>,
    /// How jobs of services end.
    result: &'static str,
    jobs: u32,
    calls: Calls,
}

impl Manager {
    fn note(&self, call: &str) {
        self.calls.lock().unwrap().push(call.to_owned());
    }

    async fn job(&mut self, emitter: &SignalEmitter<'_>, unit: &str, result: &str) -> OwnedObjectPath {
        self.jobs += 1;
        // Somebody else's job ends, too.
        for (id, unit, result) in [(self.jobs + 1_000, "other.service", "failed"), (self.jobs, unit, result)] {
            Self::job_removed(emitter, id, job(id).into(), unit, result).await.unwrap();
        }
        job(self.jobs)
    }
}

fn job(id: u32) -> OwnedObjectPath {
    OwnedObjectPath::try_from(format!("/org/freedesktop/systemd1/job/{id}")).unwrap()
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    fn subscribe(&self) {}

    async fn start_unit(
        &mut self,
        name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> OwnedObjectPath {
        self.note(&format!("start {name} {mode}"));
        let result = self.result;
        if let Some((_, runs)) = self.units.iter_mut().find(|(unit, _)| *unit == name) {
            *runs = result == "done";
        }
        self.job(&emitter, &name, result).await
    }

    /// The one unit that is started anew loads a module.
    async fn restart_unit(
        &mut self,
        name: String,
        mode: String,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> OwnedObjectPath {
        self.note(&format!("restart {name} {mode}"));
        fs::create_dir_all(self.modules.join("mtty")).unwrap();
        fs::write(self.modules.join("mtty/initstate"), "live\n").unwrap();
        self.job(&emitter, &name, "done").await
    }

    fn list_units_by_names(&self, names: Vec<String>) -> Vec<Listed> {
        let listed = |name: &String| {
            let (load, active) = match self.units.iter().find(|(unit, _)| unit == name) {
                None => ("not-found", "inactive"),
                Some((_, true)) => ("loaded", "active"),
                Some((_, false)) => ("loaded", "inactive"),
            };
            let word = str::to_owned;
            let none = || job(0);
            (name.clone(), word("Some Unit"), word(load), word(active), word("dead"), word(""), none(), 0, word(""), none())
        };
        names.iter().map(listed).collect()
    }

    #[zbus(signal)]
    async fn job_removed(emitter: &SignalEmitter<'_>, id: u32, job: ObjectPath<'_>, unit: &str, result: &str)
    -> zbus::Result<()>;
}

/// Starts it on the bus at `address`, with a service that does not run and whose jobs end as `result`.
pub fn start(address: &str, modules: PathBuf, service: &str, result: &'static str) -> Calls {
    let calls = Calls::default();
    let units = iter::once((service.to_owned(), false)).collect();
    let manager = Manager { modules, units, result, jobs: 0, calls: calls.clone() };
    somebody::serve(address, "/org/freedesktop/systemd1", "org.freedesktop.systemd1", manager);
    calls
}
