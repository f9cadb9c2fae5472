//! What a machine is made of, as its kernel tells it. Desired state is chosen by it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The files of `/sys/class/dmi/id` (`drivers/firmware/dmi-id.c` of Linux), but for the one that repeats the others.
pub const DMI: [&str; 22] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_type",
    "chassis_vendor",
    "chassis_version",
    "ec_firmware_release",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
    "sys_vendor",
];

/// What a machine is made of. What is absent could not be found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// What the firmware says of the machine, by the kernel's names (`product_name`, `sys_vendor`); without those that cannot be read.
    pub dmi: BTreeMap<String, String>,
    /// The devices on PCI, by address.
    pub pci: Option<BTreeMap<String, PciDevice>>,
    /// How many processors the kernel runs on.
    pub processors: Option<u32>,
    /// Memory that the kernel has, in MiB.
    pub memory_mib: Option<u64>,
    /// Network interfaces of devices, by name.
    pub interfaces: Option<BTreeMap<String, Interface>>,
}

/// A device on PCI. Numbers are in four (class: six) lower-case hexadecimal digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciDevice {
    /// `10de`.
    pub vendor: String,
    /// `2330`.
    pub device: String,
    /// `030200`: class, subclass, programming interface.
    pub class: String,
    /// The kernel module or built-in driver that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its hardware address, lower case: `52:54:00:12:34:56`.
    pub mac: String,
    /// The device behind it, on its bus: `0000:00:03.0`, `virtio0`.
    pub device: String,
}
