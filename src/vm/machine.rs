//! What to run: a machine as a value. [`Machine::start`] makes it a running one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::accel::Accel;
use super::channel;
use super::credential::Credentials;
use super::firmware::SecureBoot;

/// Where the guest sees its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// `/dev/vda`.
    #[default]
    Virtio,
    /// `/dev/nvme0n1`.
    Nvme,
    /// `/dev/sda`, by AHCI. Has 512-byte sectors only.
    Sata,
}

/// Bytes of a logical sector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes.
    #[default]
    B512,
    /// 4096 bytes ("4Kn").
    B4096,
}

impl SectorSize {
    /// In bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

/// What becomes of what the guest writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// It lives as long as the [`super::Running`]: over restarts and power cuts, not longer.
    #[default]
    Discarded,
    /// It goes into the image file.
    Kept,
}

/// A disk image and how the guest gets it.
#[derive(Clone, Debug)]
pub struct Disk {
    /// The image, raw or qcow2.
    pub path: PathBuf,
    /// Where the guest sees it.
    pub bus: Bus,
    /// Of the disk that the guest sees.
    pub sector_size: SectorSize,
    /// What becomes of changes.
    pub writes: Writes,
    /// Size in bytes when larger than the image: a bigger disk that the image was written to. Only with [`Writes::Discarded`].
    pub size: Option<u64>,
}

impl Disk {
    /// The image at `path` on virtio, 512-byte sectors, changes discarded.
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            bus: Bus::default(),
            sector_size: SectorSize::default(),
            writes: Writes::default(),
            size: None,
        }
    }
}

/// The guest's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// No card.
    None,
    /// A card and QEMU's own router: outside by NAT, the host's 127.0.0.1 as 10.0.2.2.
    #[default]
    User,
    /// The same, and the guest's SSH port is 127.0.0.1:`host_port`.
    Ssh {
        /// A free TCP port of the host.
        host_port: u16,
    },
    /// A card and a router that leads nowhere.
    Closed,
}

/// A machine to run.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) disk: Disk,
    pub(super) data: Vec<(String, PathBuf)>,
    pub(super) secure_boot: SecureBoot,
    pub(super) uefi_variables: Option<PathBuf>,
    pub(super) owner_keys: Vec<Vec<u8>>,
    pub(super) accel: Accel,
    pub(super) memory_mib: u32,
    pub(super) cpus: u32,
    pub(super) network: Network,
    pub(super) credentials: Credentials,
    pub(super) limit: Option<Duration>,
    pub(super) console_log: Option<PathBuf>,
    pub(super) extra: Vec<String>,
}

/// Enough for a whole test under TCG beside others.
const LIMIT: Duration = Duration::from_secs(15 * 60);

impl Machine {
    /// A machine with `disk`: 2 processors, 2 GiB, UEFI with Secure Boot, user network, stopped after 15 minutes.
    pub fn new(disk: Disk, accel: Accel) -> Self {
        Self {
            disk,
            data: Vec::new(),
            secure_boot: SecureBoot::default(),
            uefi_variables: None,
            owner_keys: Vec::new(),
            accel,
            memory_mib: 2048,
            cpus: 2,
            network: Network::default(),
            credentials: Credentials::default(),
            limit: Some(LIMIT),
            console_log: None,
            extra: Vec::new(),
        }
    }

    /// Secure Boot on or off.
    #[must_use]
    pub fn secure_boot(mut self, secure_boot: SecureBoot) -> Self {
        self.secure_boot = secure_boot;
        self
    }

    /// The firmware begins with a copy of these variables instead of those that come with it: with keys that the machine's owner enrolled.
    #[must_use]
    pub fn uefi_variables(mut self, path: &Path) -> Self {
        self.uefi_variables = Some(path.to_owned());
        self
    }

    /// Its owner trusts these certificates (DER), too, as if mokutil and a person at its console had enrolled them (MOK).
    #[must_use]
    pub fn owner_keys(mut self, certificates: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.owner_keys.extend(certificates);
        self
    }

    /// Memory in MiB.
    #[must_use]
    pub fn memory_mib(mut self, memory_mib: u32) -> Self {
        self.memory_mib = memory_mib;
        self
    }

    /// Number of processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// The network.
    #[must_use]
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Adds a systemd credential.
    #[must_use]
    pub fn credential(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.credentials.set(name, content);
        self
    }

    /// Adds a unit, started with `target`. Give it `ConditionPathExists=!/etc/initrd-release`, or it starts in the initramfs as well.
    #[must_use]
    pub fn unit(mut self, name: &str, content: &str, target: &str) -> Self {
        self.credentials.set_unit(name, content, target);
        self
    }

    /// Adds the command channel: [`super::Running::run`] and what stands on it.
    #[must_use]
    pub fn channel(mut self) -> Self {
        channel::put_in(&mut self.credentials);
        self
    }

    /// Adds a read-only disk that the guest finds as `/dev/disk/by-id/virtio-NAME`: the way in for large data (a tar, a filesystem).
    #[must_use]
    pub fn data_disk(mut self, name: &str, path: &Path) -> Self {
        self.data.push((name.to_owned(), path.to_owned()));
        self
    }

    /// When QEMU is stopped whatever it does; none: never.
    #[must_use]
    pub fn limit(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// Writes what the serial console shows to a file as well, each start of QEMU from its beginning.
    #[must_use]
    pub fn console_log(mut self, path: &Path) -> Self {
        self.console_log = Some(path.to_owned());
        self
    }

    /// Adds arguments of QEMU: devices that only one test needs.
    #[must_use]
    pub fn qemu_args(mut self, args: &[&str]) -> Self {
        self.extra.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }
}
