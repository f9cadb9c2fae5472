//! `org.basalt.FirstBoot1` on the system bus. Translates only: the values are those of [`Published`], what changed is told in one
//! `PropertiesChanged`, and who asks for something is handed to the loop. It decides nothing and keeps nothing.

mod ask;
mod authority;
mod object;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use basalt_contract::names::{self, property};
use tokio::sync::{mpsc, watch};
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Variant, fdo};

pub use self::ask::{Reader, Told, apply};
pub use self::object::{Refusal, Request, Wish};
use crate::agent::Published;

/// How long the bus, and an agent on it, may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection, unless the bus itself hangs.
async fn connect(bus: Builder<'_>) -> zbus::Result<Connection> {
    let silent = |_| fdo::Error::TimedOut(format!("the bus does not answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, bus.build()).await.map_err(silent)?
}

/// Our end of the bus: dropped, the name is free again.
pub struct Bus {
    connection: Connection,
    published: watch::Sender<Published>,
}

impl Bus {
    /// Puts the object on the system bus, then takes the name: whoever sees the name can ask the object. What is asked of it
    /// comes out of `requests`' other end.
    ///
    /// # Errors
    /// When there is no bus, the bus's policy does not let us have the name, or somebody has it ([`zbus::Error::NameTaken`]).
    pub async fn claim(published: Published, requests: mpsc::Sender<Request>) -> zbus::Result<Self> {
        let (published, values) = watch::channel(published);
        let object = object::FirstBoot { values, requests };
        let connection = connect(Builder::system().method_timeout(PATIENCE).serve_at(names::OBJECT_PATH, object)).await?;
        // No queueing: a second agent that waits for the first to end would run its work twice.
        connection.request_name_with_flags(names::BUS_NAME, RequestNameFlags::DO_NOT_QUEUE).await?;
        Ok(Self { connection, published })
    }

    /// Shows `new` from now on, and tells what is different from before.
    ///
    /// # Errors
    /// When the bus does not take the signal; the values are shown nevertheless.
    pub async fn publish(&self, new: Published) -> zbus::Result<()> {
        let old = self.published.send_replace(new.clone());
        let changed: HashMap<_, _> = properties(&new)
            .into_iter()
            .zip(properties(&old))
            .filter(|(after, before)| after != before)
            .map(|(after, _)| after)
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let emitter = SignalEmitter::new(&self.connection, names::OBJECT_PATH)?;
        let interface = InterfaceName::from_static_str(names::INTERFACE)?;
        fdo::Properties::properties_changed(&emitter, interface, changed, Cow::Borrowed(&[])).await
    }
}

/// The properties that can change, with their values, always in the same order.
fn properties(published: &Published) -> [(&'static str, Variant<'_>); 12] {
    let text = |text: &'_ str| Variant::from(text.to_owned());
    [
        (property::STATE, text(published.state.word())),
        (property::REASON, text(&published.reason)),
        (property::PROGRESS, Variant::new(published.progress)),
        (property::STEPS, Variant::new(object::steps(published))),
        (property::PLAN, text(&published.plan)),
        (property::FACTS, text(&published.facts)),
        (property::PLAN_ID, text(&published.plan_id)),
        (property::IMAGE_NAME, text(&published.image_name)),
        (property::IMAGE_VERSION, text(&published.image_version)),
        (property::BOOT_ID, text(&published.boot_id)),
        (property::DEPLOYMENT, text(&published.deployment)),
        (property::REPORT, text(&published.report)),
    ]
}
