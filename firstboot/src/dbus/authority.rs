//! Who may change something: polkit decides. `org.freedesktop.PolicyKit1.Authority(8)`.

use std::collections::HashMap;
use std::time::Duration;

use zbus::connection::Builder;
use zbus::fdo::Result;
use zbus::message::Header;
use zbus::{Connection, Variant, fdo};

/// To change the node; `/usr/share/polkit-1/actions/org.basalt.FirstBoot1.policy` says who may.
pub const APPLY: &str = "org.basalt.FirstBoot1.apply";
/// Somebody may be asked for a password (`AllowUserInteraction`), and may take so long to type it.
const INTERACTIVE: u32 = 1;
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether who sent `header` may do `action`.
///
/// The user as whom the agent itself runs may: so says polkit of root, too, and it need not be there for that.
pub async fn check(connection: &Connection, header: &Header<'_>, action: &str) -> Result<()> {
    let Some(sender) = header.sender() else { return Err(fdo::Error::AccessDenied("nobody asks".to_owned())) };
    let bus = "org.freedesktop.DBus";
    let path = "/org/freedesktop/DBus";
    let reply = connection.call_method(Some(bus), path, Some(bus), "GetConnectionUnixUser", &sender.as_str()).await?;
    let user: u32 = reply.body().deserialize()?;
    if user == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(sender.as_str()))]));
    let call = (subject, action, HashMap::<&str, &str>::new(), INTERACTIVE, "");
    let authority = "org.freedesktop.PolicyKit1";
    let reply = super::connect(Builder::system().method_timeout(PATIENCE))
        .await?
        .call_method(
            Some(authority),
            "/org/freedesktop/PolicyKit1/Authority",
            Some("org.freedesktop.PolicyKit1.Authority"),
            "CheckAuthorization",
            &call,
        )
        .await
        .map_err(|error| fdo::Error::AccessDenied(format!("{action}: polkit cannot be asked: {error}")))?;
    let (allowed, ..): (bool, bool, HashMap<String, String>) = reply.body().deserialize()?;
    if allowed { Ok(()) } else { Err(fdo::Error::AccessDenied(format!("{action}: polkit does not allow it"))) }
}
