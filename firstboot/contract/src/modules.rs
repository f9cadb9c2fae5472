//! What an image promises of its kernel modules: what the builder tells the agent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ContractError, wire};

/// What is so on each node of an image; [`names::MODULES_FILE`](crate::names::MODULES_FILE).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ModulesInfo {
    /// The format of this file: [`ModulesInfo::FORMAT`].
    pub format: u32,
    /// The kernel's release.
    pub kernel: String,
    /// What is loaded at boot, in this order; without what is part of the kernel.
    pub load: Vec<PromisedModule>,
    /// What is never loaded, as the kernel names it.
    pub blacklist: Vec<String>,
    /// Firmware that the modules which the image brings may ask for, and that it has.
    pub firmware: Vec<String>,
    /// The same that the image may lack: its recipe allows that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
    /// Whether the kernel has `CONFIG_DEVICE_PRIVATE`, by which processes share their memory with a GPU (HMM). Absent: its configuration is not
    /// in the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_private: Option<bool>,
    /// The upstream version of the package with NVIDIA's fabric manager, where the image has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fabric_manager: Option<String>,
}

/// A module that is loaded at boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PromisedModule {
    /// As the kernel names it: `nvidia_uvm`.
    pub name: String,
    /// Which devices on PCI it is for, and those that it depends on: a module, and its aliases as in `modules.alias`
    /// (`pci:v000010DEd*sv*sd*bc03sc02i00*`). A module may refuse to be loaded where none of them is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub devices: BTreeMap<String, Vec<String>>,
}

impl ModulesInfo {
    /// The format that is written.
    pub const FORMAT: u32 = 1;

    /// Reads one.
    ///
    /// # Errors
    /// When the format is unknown, or the JSON is not that of a `ModulesInfo`.
    pub fn from_json(json: &[u8]) -> Result<Self, ContractError> {
        wire::read("modules.json", Self::FORMAT, json)
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> String {
        wire::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::ModulesInfo;

    const V1: &str = include_str!("../fixtures/modules-1.json");

    #[test]
    fn format_1_stays_readable() {
        let info = ModulesInfo::from_json(V1.as_bytes()).unwrap();
        let names: Vec<_> = info.load.iter().map(|module| module.name.as_str()).collect();
        assert_eq!((names, info.device_private), (vec!["nvidia", "nvidia_uvm", "mtty"], Some(false)));
        assert_eq!(info.load[1].devices["nvidia"].len(), 2);
        assert_eq!(info.to_json(), V1);
        let bare = "{\"format\": 1, \"kernel\": \"6.12\", \"load\": [{\"name\": \"a\"}], \"blacklist\": [], \"firmware\": [], \"new\": 1}";
        assert_eq!(ModulesInfo::from_json(bare.as_bytes()).unwrap().device_private, None);
        let error = ModulesInfo::from_json(V1.replacen("\"format\": 1", "\"format\": 2", 1).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("modules.json of format 2"), "{error}");
    }
}
