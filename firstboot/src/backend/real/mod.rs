//! The real outside: one file each. Nothing else in the agent does I/O but `dbus`, whose library owns the socket, as in `peer`.

mod clock;
mod console;
mod elsewhere;
mod files;
mod hostnamed;
mod peer;
mod systemd;
mod tuned;

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

use super::Outside;

/// The outside of a node whose root folder is `root`.
///
/// # Errors
/// When `root` is no folder that can be opened.
pub fn outside(root: &Path) -> io::Result<Outside> {
    Ok(Outside {
        files: Arc::new(Root::open(root)?),
        clock: Box::new(SystemClock),
        console: Box::new(Streams::new(env::var_os("JOURNAL_STREAM").is_some())),
        supervisor: Box::new(Systemd::new(env::var_os("NOTIFY_SOCKET"))),
        tuner: Box::new(Tuned),
        namer: Box::new(Hostnamed),
    })
}
