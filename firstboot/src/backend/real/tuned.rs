//! tuned on the system bus: `com.redhat.tuned.control` of its daemon, as `tuned-adm` calls it.
//!
//! Format: `tuned/daemon/controller.py` of tuned 2.20 to 2.25.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::connection::Builder;
use zbus::{Connection, Type, fdo};

use crate::backend::{Answer, Tuner, TunerError};

const NAME: &str = "com.redhat.tuned";
const PATH: &str = "/Tuned";
const INTERFACE: &str = "com.redhat.tuned.control";
/// A profile asks each device of the node, and writes to many.
const PATIENCE: Duration = Duration::from_secs(300);

/// tuned, asked anew each time: the agent asks it once in a boot.
pub struct Bus;

impl Bus {
    async fn call<A: Serialize + Type, R: DeserializeOwned + Type>(&self, method: &str, argument: &A) -> Result<R, TunerError> {
        let connection: Connection = Builder::system().method_timeout(PATIENCE).build().await?;
        let reply = connection.call_method(Some(NAME), PATH, Some(INTERFACE), method, argument).await?;
        Ok(reply.body().deserialize()?)
    }
}

impl Tuner for Bus {
    fn active(&self) -> Answer<'_, String> {
        Box::pin(self.call("active_profile", &()))
    }

    fn switch<'a>(&'a self, profile: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let (done, why): (bool, String) = self.call("switch_profile", &profile).await?;
            if done { Ok(()) } else { Err(TunerError::Refused(why)) }
        })
    }

    fn verify(&self) -> Answer<'_, bool> {
        Box::pin(self.call("verify_profile_ignore_missing", &()))
    }
}

impl From<zbus::Error> for TunerError {
    fn from(error: zbus::Error) -> Self {
        match fdo::Error::from(error) {
            fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => Self::Absent,
            error => Self::Bus(error.to_string()),
        }
    }
}
