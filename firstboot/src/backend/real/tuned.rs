//! tuned on the system bus: `com.redhat.tuned.control` of its daemon, as `tuned-adm` calls it.
//!
//! Format: `tuned/daemon/controller.py` of tuned 2.20 to 2.25.

use std::time::Duration;

use super::peer::{Peer, in_time};
use crate::backend::{Answer, PeerError, Tuner};

pub const PEER: Peer = Peer {
    name: "com.redhat.tuned",
    path: "/Tuned",
    interface: "com.redhat.tuned.control",
    // A profile asks each device of the node, and writes to many.
    patience: Duration::from_secs(300),
};

/// tuned.
pub struct Tuned;

impl Tuner for Tuned {
    fn active(&self) -> Answer<'_, String> {
        Box::pin(PEER.call("active_profile", &()))
    }

    fn switch<'a>(&'a self, profile: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let switched = in_time(PEER.name, PEER.patience, switched(profile)).await?;
            switched.map_err(PeerError::Refused)
        })
    }

    fn verify(&self) -> Answer<'_, bool> {
        Box::pin(PEER.call("verify_profile_ignore_missing", &()))
    }
}

/// Switches, and waits until it is done: tuned answers as soon as it has loaded the profile, and tells when it has applied it. Or tuned's reason.
async fn switched(profile: &str) -> zbus::Result<Result<(), String>> {
    let (connection, mut changed) = PEER.hearing("profile_changed").await?;
    let (loaded, why): (bool, String) = PEER.ask(&connection, "switch_profile", &profile).await?;
    if !loaded {
        return Ok(Err(why));
    }
    loop {
        // Others may be told, too: the one before, which was still being applied.
        let (name, done, why): (String, bool, String) = changed.next().await?;
        if name == profile {
            return Ok(if done { Ok(()) } else { Err(why) });
        }
    }
}
