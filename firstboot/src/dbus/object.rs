//! The object. Its documentation is what introspection shows.

use tokio::sync::{mpsc, oneshot, watch};
use zbus::message::Header;
use zbus::{Connection, fdo, interface};

use super::authority;
use crate::VERSION;
use crate::agent::{Also, Published};

/// Somebody wants something, and waits.
pub struct Request {
    /// What.
    pub wish: Wish,
    /// Who waits for this.
    pub answer: oneshot::Sender<Result<String, Refusal>>,
}

/// What can be wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That the node is made what it should be; answered with nothing as soon as it begins.
    Apply(Also),
    /// What differs, as JSON.
    Plan,
    /// What holds and what does not, as JSON.
    Verify,
    /// What the node is, as desired state.
    Export,
}

/// Why nothing comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Something is being done.
    Busy,
    /// It cannot be told.
    Failed(String),
}

/// A step: name, what, state, reason, attempts, next attempt, since.
pub type Row = (String, String, String, String, u32, u64, u64);

/// The steps as the bus has them.
pub fn steps(published: &Published) -> Vec<Row> {
    let row = |step: &basalt_contract::Step| {
        let basalt_contract::Step { name, what, state, reason, attempts, next_attempt, since } = step.clone();
        (name, what, state.word().to_owned(), reason, attempts, next_attempt.unwrap_or_default(), since)
    };
    published.steps.iter().map(row).collect()
}

/// The object.
pub struct FirstBoot {
    pub values: watch::Receiver<Published>,
    pub requests: mpsc::Sender<Request>,
}

impl FirstBoot {
    async fn ask(&self, wish: Wish) -> fdo::Result<String> {
        let (answer, answered) = oneshot::channel();
        let ends = |_| fdo::Error::Failed("the agent is ending".to_owned());
        self.requests.send(Request { wish, answer }).await.map_err(|_| ends(()))?;
        match answered.await.map_err(|_| ends(()))? {
            Ok(text) => Ok(text),
            Err(Refusal::Busy) => {
                Err(fdo::Error::LimitsExceeded("the agent is busy: wait until State says so, and ask again".to_owned()))
            }
            Err(Refusal::Failed(why)) => Err(fdo::Error::Failed(why)),
        }
    }
}

#[interface(name = "org.basalt.FirstBoot1")]
impl FirstBoot {
    /// Makes the node what its desired state says. Answers when it has begun: State, Progress and Steps say how it goes on.
    /// polkit's action: org.basalt.FirstBoot1.apply.
    async fn apply(&self, #[zbus(header)] header: Header<'_>, #[zbus(connection)] connection: &Connection) -> fdo::Result<()> {
        authority::check(connection, &header, authority::APPLY).await?;
        self.ask(Wish::Apply(Also::Nothing)).await.map(drop)
    }

    /// The same, and what failed too often is tried, too. polkit's action: org.basalt.FirstBoot1.apply.
    async fn retry(&self, #[zbus(header)] header: Header<'_>, #[zbus(connection)] connection: &Connection) -> fdo::Result<()> {
        authority::check(connection, &header, authority::APPLY).await?;
        self.ask(Wish::Apply(Also::Failed)).await.map(drop)
    }

    /// The same, and what was measured on the node is measured again. polkit's action: org.basalt.FirstBoot1.apply.
    async fn accept(&self, #[zbus(header)] header: Header<'_>, #[zbus(connection)] connection: &Connection) -> fdo::Result<()> {
        authority::check(connection, &header, authority::APPLY).await?;
        self.ask(Wish::Apply(Also::Measured)).await.map(drop)
    }

    /// What differs now between the node and its desired state, as JSON. Changes nothing.
    #[zbus(name = "Plan")]
    async fn plan_now(&self) -> fdo::Result<String> {
        self.ask(Wish::Plan).await
    }

    /// What holds now and what does not, as JSON. Changes nothing.
    async fn verify(&self) -> fdo::Result<String> {
        self.ask(Wish::Verify).await
    }

    /// What the node is now, as desired state (TOML). Changes nothing.
    async fn export(&self) -> fdo::Result<String> {
        self.ask(Wish::Export).await
    }

    /// In which state the agent is: starting, applying, rebooting, configured, degraded.
    #[zbus(property)]
    fn state(&self) -> String {
        self.values.borrow().state.word().to_owned()
    }

    /// Why the state is what it is, for people. Empty when there is nothing to say.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.values.borrow().reason.clone()
    }

    /// How many subjects are done with, and of how many.
    #[zbus(property)]
    fn progress(&self) -> (u32, u32) {
        self.values.borrow().progress
    }

    /// What differed, in order: name, what, state (pending, running, done, failed, waiting), reason, attempts without success,
    /// next attempt (seconds since 1970; 0: not by itself), since when it is in that state (seconds since 1970).
    #[zbus(property)]
    fn steps(&self) -> Vec<Row> {
        steps(&self.values.borrow())
    }

    /// What differed, with who asked for it and what is done about it, as JSON.
    #[zbus(property)]
    fn plan(&self) -> String {
        self.values.borrow().plan.clone()
    }

    /// What the node is, as JSON, the same as `basalt-firstboot facts --json`. Empty while starting.
    #[zbus(property)]
    fn facts(&self) -> String {
        self.values.borrow().facts.clone()
    }

    /// The version of the agent.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        VERSION
    }

    /// The plan that the image was built from: 64 hexadecimal digits. Empty while starting, or when it cannot be told.
    #[zbus(property)]
    fn plan_id(&self) -> String {
        self.values.borrow().plan_id.clone()
    }

    /// The name of the image.
    #[zbus(property)]
    fn image_name(&self) -> String {
        self.values.borrow().image_name.clone()
    }

    /// The version of the image.
    #[zbus(property)]
    fn image_version(&self) -> String {
        self.values.borrow().image_version.clone()
    }

    /// This boot, as /proc/sys/kernel/random/boot_id writes it.
    #[zbus(property)]
    fn boot_id(&self) -> String {
        self.values.borrow().boot_id.clone()
    }

    /// The checksum of the OSTree commit that was booted: 64 hexadecimal digits.
    #[zbus(property)]
    fn deployment(&self) -> String {
        self.values.borrow().deployment.clone()
    }

    /// The report as JSON, the same as in /var/lib/basalt/firstboot/report.json. Empty until the node is configured or degraded.
    #[zbus(property)]
    fn report(&self) -> String {
        self.values.borrow().report.clone()
    }
}
