//! `org.basalt.FirstBoot1` on the system bus. Translates only: the values are those of [`Published`], and what changed is told in
//! one `PropertiesChanged`. It decides nothing and keeps nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use basalt_contract::names::{self, property};
use tokio::sync::watch;
use zbus::connection::Builder;
use zbus::fdo::RequestNameFlags;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedVariant, Variant, fdo};

use crate::VERSION;
use crate::agent::Published;

/// How long the bus, and an agent on it, may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Our end of the bus: dropped, the name is free again.
pub struct Bus {
    connection: Connection,
    published: watch::Sender<Published>,
}

impl Bus {
    /// Puts the object on the system bus, then takes the name: whoever sees the name can ask the object.
    ///
    /// # Errors
    /// When there is no bus, the bus's policy does not let us have the name, or somebody has it ([`zbus::Error::NameTaken`]).
    pub async fn claim(published: Published) -> zbus::Result<Self> {
        let (published, values) = watch::channel(published);
        let connection =
            Builder::system().method_timeout(PATIENCE).serve_at(names::OBJECT_PATH, FirstBoot { values }).build().await?;
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
        let before = properties(&old);
        let changed: HashMap<_, _> = properties(&new)
            .into_iter()
            .zip(before)
            .filter(|(after, before)| after != before)
            .map(|((name, value), _)| (name, Variant::from(value.to_owned())))
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
fn properties(published: &Published) -> [(&'static str, &str); 8] {
    [
        (property::STATE, published.state.word()),
        (property::REASON, &published.reason),
        (property::PLAN_ID, &published.plan_id),
        (property::IMAGE_NAME, &published.image_name),
        (property::IMAGE_VERSION, &published.image_version),
        (property::BOOT_ID, &published.boot_id),
        (property::DEPLOYMENT, &published.deployment),
        (property::REPORT, &published.report),
    ]
}

/// All properties of the running agent, asked over the system bus.
///
/// # Errors
/// When there is no bus, no agent on it, or it does not answer in time.
pub async fn ask() -> zbus::Result<HashMap<String, String>> {
    let connection = Builder::system().method_timeout(PATIENCE).build().await?;
    let interface = "org.freedesktop.DBus.Properties";
    let reply =
        connection.call_method(Some(names::BUS_NAME), names::OBJECT_PATH, Some(interface), "GetAll", &names::INTERFACE).await?;
    let values: HashMap<String, OwnedVariant> = reply.body().deserialize()?;
    // A property of the future may be no text: it is passed over.
    Ok(values.into_iter().filter_map(|(name, value)| Some((name, String::try_from(value).ok()?))).collect())
}

/// The object. Its documentation is what introspection shows.
struct FirstBoot {
    values: watch::Receiver<Published>,
}

#[zbus::interface(name = "org.basalt.FirstBoot1")]
impl FirstBoot {
    /// In which state the agent is: starting, configured, degraded.
    #[zbus(property)]
    fn state(&self) -> String {
        self.values.borrow().state.word().to_owned()
    }

    /// Why the state is what it is, for people. Empty when there is nothing to say.
    #[zbus(property)]
    fn reason(&self) -> String {
        self.values.borrow().reason.clone()
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

    /// The report as JSON, the same as in /var/lib/basalt/firstboot/report.json. Empty while starting.
    #[zbus(property)]
    fn report(&self) -> String {
        self.values.borrow().report.clone()
    }
}
