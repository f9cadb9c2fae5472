//! Somebody else on the bus of a test.

use std::sync::mpsc;
use std::thread;

use zbus::connection::Builder;
use zbus::object_server::Interface;

/// Serves one object on the bus at `address`; it has its name when this returns, and lives as long as the test.
pub fn serve(address: &str, path: &'static str, name: &'static str, object: impl Interface) {
    let (ready, is_ready) = mpsc::channel();
    let address = address.to_owned();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address: zbus::Address = address.parse().unwrap();
            let connection = Builder::address(address).serve_at(path, object).name(name).build().await.unwrap();
            ready.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(connection);
        });
    });
    is_ready.recv().unwrap();
}
