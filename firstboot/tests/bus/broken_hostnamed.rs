//! A systemd-hostnamed on the bus of a test that takes a call and answers nothing.

use std::future::pending;
use std::sync::mpsc;
use std::thread;

use tokio::sync::Notify;
use zbus::connection::Builder;

/// What it does instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// Nothing.
    Hangs,
    /// It leaves the bus.
    Leaves,
}

static CALLED: Notify = Notify::const_new();

struct Hostname;

#[zbus::interface(name = "org.freedesktop.hostname1")]
impl Hostname {
    #[zbus(name = "SetStaticHostname")]
    async fn set(&self, _name: String, _interactive: bool) {
        CALLED.notify_one();
        pending().await
    }
}

/// Starts it on the bus at `address`; it has its name when this returns.
pub fn start(address: &str, instead: Instead) {
    let (ready, is_ready) = mpsc::channel();
    let address: zbus::Address = address.parse().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bus = Builder::address(address).serve_at("/org/freedesktop/hostname1", Hostname);
            let connection = bus.name("org.freedesktop.hostname1").build().await.unwrap();
            ready.send(()).unwrap();
            CALLED.notified().await;
            if instead == Instead::Hangs {
                pending::<()>().await;
            }
            drop(connection.close().await);
        });
    });
    is_ready.recv().unwrap();
}
