//! systemd on the system bus: units are started, and the job's result is waited for. `org.freedesktop.systemd1(5)`, `org.freedesktop.login1(5)`.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use zbus::connection::Builder;
use zbus::{MatchRule, MessageStream, OwnedObjectPath, fdo, message};

use super::peer::{Peer, in_time};
use crate::backend::{Answer, PeerError, UnitState, Units};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// For a call, not for the job.
const PATIENCE: Duration = Duration::from_secs(60);
/// For a job: a unit has a time of its own, which is shorter.
const JOB: Duration = Duration::from_secs(2400);

const SYSTEMD: Peer = Peer { name: NAME, path: PATH, interface: MANAGER, patience: PATIENCE };
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
async fn begin(method: &str, unit: &str) -> zbus::Result<(OwnedObjectPath, MessageStream)> {
    let connection = Builder::system().build().await?;
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(NAME)
        .path(PATH)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    let removed = MessageStream::for_match_rule(rule, &connection, None).await?;
    // Without a subscriber systemd tells nobody.
    connection.call_method(Some(NAME), PATH, Some(MANAGER), "Subscribe", &()).await?;
    let reply = connection.call_method(Some(NAME), PATH, Some(MANAGER), method, &(unit, "replace")).await?;
    Ok((reply.body().deserialize()?, removed))
}

/// How `job` ended, in systemd's word.
async fn end(job: &OwnedObjectPath, mut removed: MessageStream) -> zbus::Result<String> {
    while let Some(signal) = std::future::poll_fn(|context| Pin::new(&mut removed).poll_next(context)).await {
        let (_, path, _, result): (u32, OwnedObjectPath, String, String) = signal?.body().deserialize()?;
        if path == *job {
            return Ok(result);
        }
    }
    Err(fdo::Error::Disconnected("the bus went away".to_owned()).into())
}
