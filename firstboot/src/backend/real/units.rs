//! systemd on the system bus: units are started, and the job's result is waited for. `org.freedesktop.systemd1(5)`, `org.freedesktop.login1(5)`.

use std::time::Duration;

use zbus::OwnedObjectPath;

use super::peer::{Peer, Signals, in_time};
use crate::backend::{Answer, PeerError, UnitState, Units};

const NAME: &str = "org.freedesktop.systemd1";
/// For a call, not for the job.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a job: a unit has a time of its own, which is shorter.
const JOB: Duration = Duration::from_secs(2400);

const SYSTEMD: Peer =
    Peer { name: NAME, path: "/org/freedesktop/systemd1", interface: "org.freedesktop.systemd1.Manager", patience: PATIENCE };
pub const LOGIN: Peer = Peer {
    name: "org.freedesktop.login1",
    path: "/org/freedesktop/login1",
    interface: "org.freedesktop.login1.Manager",
    patience: PATIENCE,
};

/// What `ListUnitsByNames` says of a unit: name, description, load state, active state, and more that nobody asks for.
type Listed = (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);

/// systemd.
pub struct Systemd1;

impl Units for Systemd1 {
    fn start<'a>(&'a self, unit: &'a str) -> Answer<'a, ()> {
        Box::pin(job("StartUnit", unit))
    }

    fn restart<'a>(&'a self, unit: &'a str) -> Answer<'a, ()> {
        Box::pin(job("RestartUnit", unit))
    }

    fn reload<'a>(&'a self, unit: &'a str) -> Answer<'a, ()> {
        // One that does not run will read its configuration when it starts.
        Box::pin(job("ReloadOrTryRestartUnit", unit))
    }

    fn state<'a>(&'a self, unit: &'a str) -> Answer<'a, UnitState> {
        Box::pin(async move {
            // One that is not loaded is loaded for it, and one that nobody has is listed, too.
            let list: Vec<Listed> = SYSTEMD.call("ListUnitsByNames", &vec![unit]).await?;
            let [(_, _, load, active, ..)] = list.as_slice() else {
                return Err(PeerError::Bus(format!("{unit}: needed one unit, found {}", list.len())));
            };
            Ok(match (load.as_str(), active.as_str()) {
                ("not-found", _) => UnitState::Absent,
                ("masked", _) => UnitState::Masked,
                (_, "active" | "reloading") => UnitState::Active,
                ("loaded", word) | (word, _) => UnitState::Not(word.to_owned()),
            })
        })
    }

    fn reboot(&self) -> Answer<'_, ()> {
        // Not interactive: nobody is there to be asked.
        Box::pin(async move { LOGIN.call("Reboot", &false).await })
    }
}

/// Has systemd do something with `unit`. Only a job that is done counts.
async fn job(method: &str, unit: &str) -> Result<(), PeerError> {
    let (job, removed) = in_time(NAME, PATIENCE, begin(method, unit)).await.map_err(|error| match error {
        PeerError::Bus(why) => PeerError::Bus(format!("{unit}: {why}")),
        error => error,
    })?;
    match tokio::time::timeout(JOB, end(&job, removed)).await {
        Ok(Ok(result)) if result == "done" => Ok(()),
        Ok(Ok(result)) => Err(PeerError::Refused(format!("{unit}: its job ended as {result:?}; see `systemctl status {unit}`"))),
        Ok(Err(error)) => Err(PeerError::Bus(format!("{unit}: {error}"))),
        Err(_) => Err(PeerError::Refused(format!("{unit}: its job did not end within {} s", JOB.as_secs()))),
    }
}

/// Calls `method` for `unit`: the job, and what is heard of all jobs. One that ends before its path is known is heard nevertheless.
async fn begin(method: &str, unit: &str) -> zbus::Result<(OwnedObjectPath, Signals)> {
    let (connection, removed) = SYSTEMD.hearing("JobRemoved").await?;
    // Without a subscriber systemd tells nobody.
    let () = SYSTEMD.ask(&connection, "Subscribe", &()).await?;
    Ok((SYSTEMD.ask(&connection, method, &(unit, "replace")).await?, removed))
}

/// How `job` ended, in systemd's word.
async fn end(job: &OwnedObjectPath, mut removed: Signals) -> zbus::Result<String> {
    loop {
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) = removed.next().await?;
        if path == *job {
            return Ok(result);
        }
    }
}
