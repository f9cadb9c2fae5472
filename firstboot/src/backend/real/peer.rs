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
        self.call_on(Builder::system(), method, arguments).await
    }

    async fn call_on<A: Serialize + Type, R: DeserializeOwned + Type>(
        &self,
        bus: Builder<'_>,
        method: &str,
        arguments: &A,
    ) -> Result<R, PeerError> {
        in_time(self.name, self.patience, async {
            let connection = bus.build().await?;
            let reply = connection.call_method(Some(self.name), self.path, Some(self.interface), method, arguments).await?;
            reply.body().deserialize()
        })
        .await
    }
}

/// What `name` answers, for which it has so much time: the bus's own part, which may hang as well, is in it.
pub async fn in_time<T>(
    name: &'static str,
    patience: Duration,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, PeerError> {
    let Ok(answer) = tokio::time::timeout(patience, call).await else { return Err(PeerError::Silent(name, patience)) };
    answer.map_err(|error| match fdo::Error::from(error) {
        fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_) => PeerError::Absent(name),
        fdo::Error::NoReply(why) => PeerError::Bus(format!("{name} went away and did not answer: {why}")),
        error => PeerError::Bus(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use zbus::connection::Builder;

    use crate::backend::real::{hostnamed, tuned, units};

    /// Who answers nothing, not even that it is there. Time is simulated: it passes as soon as nothing else can happen.
    #[tokio::test(start_paused = true)]
    async fn a_bus_that_hangs_is_given_up_on_in_time() {
        for (peer, wanted) in [
            (hostnamed::PEER, "org.freedesktop.hostname1 does not answer within 60 s"),
            (tuned::PEER, "com.redhat.tuned does not answer within 300 s"),
            (units::LOGIN, "org.freedesktop.login1 does not answer within 60 s"),
        ] {
            let (ours, _theirs) = UnixStream::pair().unwrap();
            let (begun, patience) = (tokio::time::Instant::now(), peer.patience);
            let answer: Result<(), _> = peer.call_on(Builder::unix_stream(ours), "Method", &()).await;
            assert_eq!(answer.unwrap_err().to_string(), wanted);
            assert!(begun.elapsed() < patience + Duration::from_secs(1), "{wanted}: {:?}", begun.elapsed());
        }
    }
}
