//! The real outside: one file each. Nothing else in the agent does I/O but `dbus`, whose library owns the socket, as in `peer`.

mod clock;
pub mod command;
mod console;
mod elsewhere;
mod files;
mod hostnamed;
mod journald;
pub mod ostree;
mod peer;
mod systemd;
pub mod throughput;
mod tuned;
mod units;

use std::path::Path;
use std::sync::Arc;
use std::{env, io};

pub use clock::SystemClock;
pub use console::Streams;
pub use elsewhere::Elsewhere;
pub use files::Root;
pub use hostnamed::Hostnamed;
pub use systemd::Systemd;
pub use tuned::Tuned;
pub use units::Systemd1;

use super::Outside;

/// The outside of a node whose root folder is `root`.
///
/// # Errors
/// When `root` is no folder that can be opened.
pub fn outside(root: &Path) -> io::Result<Outside> {
    // systemd hides all credentials from a service but those that the service is given.
    let given = env::var("CREDENTIALS_DIRECTORY").ok().filter(|_| root == Path::new("/"));
    Ok(Outside {
        files: Arc::new(Root::open(root)?),
        clock: Box::new(SystemClock),
        console: Box::new(Streams::new(env::var("JOURNAL_STREAM").ok().as_deref(), root)),
        supervisor: Box::new(Systemd::new(env::var_os("NOTIFY_SOCKET"))),
        tuner: Box::new(Tuned),
        namer: Box::new(Hostnamed),
        units: Box::new(Systemd1),
        credentials: given.unwrap_or_else(|| "/run/credentials/@system".to_owned()),
    })
}
