//! Somebody on the system bus, whom the agent asks to do something.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::connection::Builder;
use zbus::{Type, fdo};

use crate::backend::PeerError;

/// One object of a service, by well-known names.
pub struct Peer {
    pub name: &'static str,
    pub path: &'static str,
    pub interface: &'static str,
    /// How long it may take to answer.
    pub patience: Duration,
}

impl Peer {
    /// Calls a method. A connection each time: the agent asks seldom.
    pub async fn call<A: Serialize + Type, R: DeserializeOwned + Type>(
        &self,
        method: &str,
        arguments: &A,
    ) -> Result<R, PeerError> {
        let call = async {
            let connection = Builder::system().method_timeout(self.patience).build().await?;
            let reply = connection.call_method(Some(self.name), self.path, Some(self.interface), method, arguments).await?;
            reply.body().deserialize()
        };
        call.await.map_err(|error: zbus::Error| match fdo::Error::from(error) {
            fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => PeerError::Absent(self.name),
            error => PeerError::Bus(error.to_string()),
        })
    }
}
