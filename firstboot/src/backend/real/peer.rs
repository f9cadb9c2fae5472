//! Somebody on the system bus, whom the agent asks to do something.

use std::pin::Pin;
use std::time::Duration;

use futures_core::Stream as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zbus::connection::Builder;
use zbus::{Connection, MatchRule, MessageStream, Type, fdo, message};

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
            self.ask(&connection, method, arguments).await
        })
        .await
    }

    /// Calls a method over a connection that is there, without a limit of time.
    pub async fn ask<A: Serialize + Type, R: DeserializeOwned + Type>(
        &self,
        connection: &Connection,
        method: &str,
        arguments: &A,
    ) -> zbus::Result<R> {
        let reply = connection.call_method(Some(self.name), self.path, Some(self.interface), method, arguments).await?;
        reply.body().deserialize()
    }

    /// A connection that hears a signal from now on: before whatever brings it about is asked for.
    pub async fn hearing(&self, signal: &'static str) -> zbus::Result<(Connection, Signals)> {
        let connection = Builder::system().build().await?;
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .sender(self.name)
            .path(self.path)
            .interface(self.interface)
            .member(signal)
            .build()?;
        let stream = MessageStream::for_match_rule(rule, &connection, None).await?;
        Ok((connection, Signals(stream)))
    }
}

/// The signals of one name that somebody sends.
pub struct Signals(MessageStream);

impl Signals {
    /// The next one, whenever it comes.
    pub async fn next<T: DeserializeOwned + Type>(&mut self) -> zbus::Result<T> {
        match std::future::poll_fn(|context| Pin::new(&mut self.0).poll_next(context)).await {
            Some(signal) => signal?.body().deserialize(),
            None => Err(fdo::Error::Disconnected("the bus went away".to_owned()).into()),
        }
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
