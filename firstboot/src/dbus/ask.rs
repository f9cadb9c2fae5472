//! The other end: asks the running agent.

use std::collections::HashMap;

use basalt_contract::names::{self, property};
use zbus::connection::Builder;
use zbus::{Connection, OwnedVariant};

use super::PATIENCE;
use super::object::Row;

/// What the running agent says.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Every property that is text.
    pub texts: HashMap<String, String>,
    /// How many subjects are done with, and of how many.
    pub progress: (u32, u32),
    /// Name and state of each step.
    pub steps: Vec<(String, String)>,
}

async fn connect() -> zbus::Result<Connection> {
    Builder::system().method_timeout(PATIENCE).build().await
}

/// All properties of the running agent, asked over the system bus.
///
/// # Errors
/// When there is no bus, no agent on it, or it does not answer in time.
pub async fn ask() -> zbus::Result<Told> {
    let interface = Some("org.freedesktop.DBus.Properties");
    let connection = connect().await?;
    let reply = connection.call_method(Some(names::BUS_NAME), names::OBJECT_PATH, interface, "GetAll", &names::INTERFACE).await?;
    let mut values: HashMap<String, OwnedVariant> = reply.body().deserialize()?;
    let progress = values.remove(property::PROGRESS).and_then(|value| value.try_into().ok()).unwrap_or_default();
    let rows: Vec<Row> = values.remove(property::STEPS).and_then(|value| value.try_into().ok()).unwrap_or_default();
    let steps = rows.into_iter().map(|(name, _, state, ..)| (name, state)).collect();
    // A property of the future may be no text: it is passed over.
    let texts = values.into_iter().filter_map(|(name, value)| Some((name, String::try_from(value).ok()?))).collect();
    Ok(Told { texts, progress, steps })
}

/// Asks the running agent to make the node what it should be; with `retry` also what failed too often.
///
/// # Errors
/// When there is no bus or no agent on it, or it refuses.
pub async fn apply(retry: bool) -> zbus::Result<()> {
    let method = if retry { "Retry" } else { "Apply" };
    let connection = connect().await?;
    connection.call_method(Some(names::BUS_NAME), names::OBJECT_PATH, Some(names::INTERFACE), method, &()).await.map(drop)
}

/// Whether an error of this name says that nobody is there.
pub fn nobody(error: &str) -> bool {
    let names = ["ServiceUnknown", "NameHasNoOwner", "NoReply", "Spawn.ServiceNotFound", "NoServer"];
    error.strip_prefix("org.freedesktop.DBus.Error.").is_some_and(|name| names.contains(&name))
}
