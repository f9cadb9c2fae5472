//! The other end: asks the running agent.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use basalt_contract::names::{self, property};
use futures_core::Stream as _;
use zbus::connection::Builder;
use zbus::{Connection, MatchRule, MessageStream, OwnedVariant, fdo, message};

use super::object::Row;
use super::{PATIENCE, connect};
use crate::agent::Also;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

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

/// Somebody who asks the running agent, and hears when something is different.
pub struct Reader {
    connection: Connection,
    changes: MessageStream,
}

impl Reader {
    /// On the system bus.
    ///
    /// # Errors
    /// When there is no bus.
    pub async fn new() -> zbus::Result<Self> {
        let connection = connect(Builder::system().method_timeout(PATIENCE)).await?;
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .path(names::OBJECT_PATH)
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .build()?;
        let changes = MessageStream::for_match_rule(rule, &connection, None).await?;
        Ok(Self { connection, changes })
    }

    /// All properties of the running agent.
    ///
    /// # Errors
    /// When there is no agent on the bus, or it does not answer in time.
    pub async fn ask(&self) -> zbus::Result<Told> {
        let call =
            self.connection.call_method(Some(names::BUS_NAME), names::OBJECT_PATH, Some(PROPERTIES), "GetAll", &names::INTERFACE);
        let mut values: HashMap<String, OwnedVariant> = call.await?.body().deserialize()?;
        let progress = values.remove(property::PROGRESS).and_then(|value| value.try_into().ok()).unwrap_or_default();
        let rows: Vec<Row> = values.remove(property::STEPS).and_then(|value| value.try_into().ok()).unwrap_or_default();
        let steps = rows.into_iter().map(|(name, _, state, ..)| (name, state)).collect();
        // A property of the future may be no text: it is passed over.
        let texts = values.into_iter().filter_map(|(name, value)| Some((name, String::try_from(value).ok()?))).collect();
        Ok(Told { texts, progress, steps })
    }

    /// Waits until something is different, or for `limit`: an agent that begins anew tells nobody.
    pub async fn changed(&mut self, limit: Duration) {
        let signal = std::future::poll_fn(|context| Pin::new(&mut self.changes).poll_next(context));
        let _ = tokio::time::timeout(limit, signal).await;
    }
}

/// polkit may ask somebody for a password before the agent answers.
const CONSENT: Duration = Duration::from_secs(150);

/// Asks the running agent to make the node what it should be, and for what else. `false`: there is no agent.
///
/// # Errors
/// When it refuses, in its words, or does not answer.
pub async fn apply(also: Also) -> Result<bool, String> {
    let method = match also {
        Also::Nothing => "Apply",
        Also::Failed => "Retry",
        Also::Measured => "Accept",
    };
    let Ok(connection) = connect(Builder::system().method_timeout(CONSENT)).await else { return Ok(false) };
    let call = connection.call_method(Some(names::BUS_NAME), names::OBJECT_PATH, Some(names::INTERFACE), method, &());
    match call.await.map_err(fdo::Error::from) {
        Ok(_) => Ok(true),
        Err(fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_)) => Ok(false),
        Err(fdo::Error::AccessDenied(why) | fdo::Error::LimitsExceeded(why) | fdo::Error::Failed(why)) => Err(why),
        Err(error) => Err(error.to_string()),
    }
}
