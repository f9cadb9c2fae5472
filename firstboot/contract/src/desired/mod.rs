//! What a node should be, as people write it.
//!
//! ```text
//! files, fw_cfg, credentials --read, check--> [Desired] --choose(Hardware)--> one Desired --> what the agent plans
//! ```
//!
//! One file serves a mixed fleet: a `[[when]]` holds for the machines that it matches, and says what is different there. The rule of
//! merging: of two values for one key the later source's wins, lists append, and in a file a later `[[when]]` comes after an earlier
//! one and after the file's own values. What has a name in a list is replaced by what has that name in a later source.
//!
//! To add a key: a field with its comment here, a line in `merge`, its rule in `check`, and
//! `basalt schema desired-state > firstboot/contract/desired.schema.json`.

mod acceptance;
mod check;
mod choose;
mod host_name;
mod interface;
mod merge;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

#[cfg(feature = "schema")]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use acceptance::{Acceptance, Ready};
pub use check::{check, module_name};
pub use choose::{Chosen, Verdict, choose};
pub use host_name::HostName;
pub use interface::Interface;
pub use read::read;

use crate::placed::Placed;
#[cfg(feature = "schema")]
use crate::placed::shape;

/// The JSON schema of [`Desired`], as [`read()`] uses it.
pub const SCHEMA: &str = include_str!("../../desired.schema.json");

/// The text of [`SCHEMA`], made anew.
///
/// # Panics
/// When a schema is no JSON: a mistake in the types.
#[cfg(feature = "schema")]
pub fn schema() -> String {
    serde_json::to_string_pretty(&shape::schema::<Desired>()).expect("a schema of ours is always JSON") + "\n"
}

/// What a node should be. All of it is optional: what nobody wishes is left as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[cfg_attr(feature = "schema", schemars(title = "Desired state of a Basalt node"))]
pub struct Desired {
    /// Who the node is.
    #[serde(skip_serializing_if = "is_default")]
    pub identity: Identity,
    /// tuned.
    #[serde(skip_serializing_if = "is_default")]
    pub tuned: Tuning,
    /// The kernel.
    #[serde(skip_serializing_if = "is_default")]
    pub kernel: Kernel,
    /// Kernel modules.
    #[serde(skip_serializing_if = "is_default")]
    pub modules: Modules,
    /// The kubelet.
    #[serde(skip_serializing_if = "is_default")]
    pub kubelet: Kubelet,
    /// Labels that node feature discovery gives the node: `name` becomes `feature.node.kubernetes.io/name`, `domain/name` stays.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Placed<String>>,
    /// What is measured on the node, once for each image, and what it should come to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub acceptance: Vec<Acceptance>,
    /// What is different on some machines, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<When>,
}

/// Who the node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Identity {
    /// The host name. `{serial}`, `{uuid}`, `{asset-tag}` and `{product-name}` stand for what the firmware says, `{mac}` for the hardware
    /// address of the first network interface: `gpu-{serial}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_name: Option<Placed<String>>,
    /// Names of network interfaces that stay, each with the interface's permanent hardware address or its place on PCI:
    /// `rail0 = "0000:41:00.0"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub interfaces: BTreeMap<String, Placed<String>>,
}

/// tuned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Tuning {
    /// The active profile, or several with one space between two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Placed<String>>,
}

/// The kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Kernel {
    /// Arguments that the image's boot entry does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Placed<String>>,
}

/// Kernel modules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Modules {
    /// Loaded beside what the image loads, in this order, as modprobe knows them: `rdma_rxe`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<Placed<String>>,
}

/// The kubelet's configuration, as a drop-in of its configuration folder.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Kubelet {
    /// Taints with which the node registers: `key=value:Effect` or `key:Effect`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Placed<String>>,
    /// Labels with which the node registers: `"example.org/rack" = "7"`. A node that is registered keeps those that it has.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, Placed<String>>,
    /// Processors for the system and the kubelet: `0-3,32-35`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserved_cpus: Option<Placed<String>>,
    /// How processors are given to containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_manager_policy: Option<Placed<CpuManagerPolicy>>,
    /// How processors, memory and devices of one NUMA node are brought together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_manager_policy: Option<Placed<TopologyManagerPolicy>>,
    /// How memory and huge pages of NUMA nodes are given to containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_manager_policy: Option<Placed<MemoryManagerPolicy>>,
    /// What the system keeps, by resource: `{ memory = "1Gi", hugepages-2Mi = "64Mi" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub system_reserved: BTreeMap<String, Placed<String>>,
    /// Of which NUMA node what is kept: the memory manager needs it. The sum is what the system and the kubelet keep, and what begins evictions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reserved_memory: Vec<ReservedMemory>,
}

/// What is kept of one NUMA node's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReservedMemory {
    /// Which one.
    pub numa_node: Placed<u32>,
    /// How much, by resource: `{ memory = "1124Mi", hugepages-1Gi = "2Gi" }`.
    pub limits: BTreeMap<String, Placed<String>>,
}

/// `memoryManagerPolicy` of the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MemoryManagerPolicy {
    /// As it comes.
    None,
    /// Containers of guaranteed pods get memory and huge pages of one NUMA node, where there is room.
    Static,
}

/// `cpuManagerPolicy` of the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum CpuManagerPolicy {
    /// All containers share all.
    None,
    /// Containers that ask for whole processors get some for themselves.
    Static,
}

/// `topologyManagerPolicy` of the kubelet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum TopologyManagerPolicy {
    /// As it comes.
    None,
    /// One NUMA node where there is room.
    BestEffort,
    /// As few NUMA nodes as can be, else the pod is refused.
    Restricted,
    /// One NUMA node, else the pod is refused.
    SingleNumaNode,
}

/// What is different on some machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct When {
    /// What these machines are called, for people.
    pub name: Placed<String>,
    /// Which machines: all of it must be so.
    #[serde(rename = "match")]
    pub machines: Match,
    /// What they should be.
    pub set: Desired,
}

/// Which machines. In text `*` stands for any characters and `?` for one; upper and lower case are the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Match {
    /// What the firmware says, by the names of the files in `/sys/class/dmi/id`: `{ product_name = "PowerEdge*" }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dmi: BTreeMap<String, Placed<String>>,
    /// Devices that are there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pci: Vec<PciMatch>,
    /// How many processors the kernel runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processors: Option<Placed<Count>>,
    /// Memory in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<Placed<Count>>,
}

/// Devices on PCI, and how many of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PciMatch {
    /// `vendor:device` in hexadecimal digits, as `lspci -n` has them: `10de:2330`, `10de:*`.
    pub id: Placed<String>,
    /// The beginning of the class in hexadecimal digits: `0302` is a 3D controller. Without it: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Placed<String>>,
    /// Without it: at least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<Placed<Count>>,
}

/// A number, or from one to another, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Count {
    /// Not less. Without it: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<u32>,
    /// Not more. Without it: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u32>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
