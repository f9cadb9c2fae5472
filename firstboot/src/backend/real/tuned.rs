//! tuned on the system bus: `com.redhat.tuned.control` of its daemon, as `tuned-adm` calls it.
//!
//! Format: `tuned/daemon/controller.py` of tuned 2.20 to 2.25.

use std::time::Duration;

use super::peer::Peer;
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
            let (done, why): (bool, String) = PEER.call("switch_profile", &profile).await?;
            if done { Ok(()) } else { Err(PeerError::Refused(why)) }
        })
    }

    fn verify(&self) -> Answer<'_, bool> {
        Box::pin(PEER.call("verify_profile_ignore_missing", &()))
    }
}
