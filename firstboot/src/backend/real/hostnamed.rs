//! systemd-hostnamed on the system bus, which is started for who asks. `org.freedesktop.hostname1(5)`.

use std::time::Duration;

use super::peer::Peer;
use crate::backend::{Answer, Namer};

pub const PEER: Peer = Peer {
    name: "org.freedesktop.hostname1",
    path: "/org/freedesktop/hostname1",
    interface: "org.freedesktop.hostname1",
    patience: Duration::from_secs(60),
};

/// systemd-hostnamed.
pub struct Hostnamed;

impl Namer for Hostnamed {
    fn set_host_name<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        // Not interactive: nobody is there to be asked.
        Box::pin(async move { PEER.call("SetStaticHostname", &(name, false)).await })
    }
}
