//! Tells systemd how we do: the datagrams of `sd_notify(3)`.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::backend::Supervisor;

/// systemd, or nobody when started by hand.
pub struct Systemd {
    socket: Option<OsString>,
}

impl Systemd {
    /// `socket`: what `$NOTIFY_SOCKET` says, an absolute path or `@` and an abstract name.
    pub const fn new(socket: Option<OsString>) -> Self {
        Self { socket }
    }

    fn send(&self, message: &str) -> io::Result<()> {
        let Some(socket) = &self.socket else { return Ok(()) };
        let address = match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(socket)?,
        };
        UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
    }
}

impl Supervisor for Systemd {
    fn ready(&self) -> io::Result<()> {
        self.send("READY=1")
    }

    fn status(&self, words: &str) -> io::Result<()> {
        self.send(&format!("STATUS={}", words.replace('\n', " ")))
    }

    fn stopping(&self) -> io::Result<()> {
        self.send("STOPPING=1")
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    use super::Systemd;
    use crate::backend::Supervisor;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_path_an_abstract_name_and_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Systemd::new(Some(path.into())).ready().unwrap();
        assert_eq!(received(&socket), "READY=1");

        let name = format!("basalt-firstboot-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Systemd::new(Some(format!("@{name}").into())).status("a\nREADY=1").unwrap();
        assert_eq!(received(&socket), "STATUS=a READY=1");

        Systemd::new(None).stopping().unwrap();
        assert!(Systemd::new(Some("/no/such/socket".into())).ready().is_err());
    }
}
