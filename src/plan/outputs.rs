//! What is made of a plan, and what a booted image is asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The disk's layout. Sizes in bytes; none means as small as content and headroom allow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Disk {
    /// 512 or 4096.
    pub sector_size: u32,
    /// EFI system partition.
    pub esp_size: Option<u64>,
    /// Boot filesystem.
    pub boot_size: Option<u64>,
    /// Root filesystem. It grows to its disk at first boot.
    pub root_size: Option<u64>,
}

/// A question to a booted image: a program with arguments, and the answer that is right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// For people.
    pub name: String,
    /// Program and arguments. No shell sees them.
    pub run: Vec<String>,
    /// Exit status needed.
    pub status: i32,
    /// What standard output must be, without white space at both ends.
    pub stdout: Option<String>,
    /// What standard output must contain.
    pub contains: Option<String>,
}

/// What is shipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The disk as it is.
    Raw,
    /// The disk for QEMU.
    Qcow2,
    /// The OSTree commit as a container image, for a registry: an OCI folder.
    Oci,
}

impl Format {
    /// Whether a machine can boot it.
    pub const fn is_disk(self) -> bool {
        match self {
            Self::Raw | Self::Qcow2 => true,
            Self::Oci => false,
        }
    }
}
