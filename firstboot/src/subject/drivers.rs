//! What drives the node's devices: none of the modules that the image keeps out, the firmware that its modules ask for, and NVIDIA's services
//! where there is something for them to do: nvidia-persistenced, then nvidia-fabricmanager.
//!
//! Which services there are is the image's decision, and one that somebody masked is left alone. NVIDIA's fabric manager works with the driver of
//! its own version only.

use std::collections::BTreeMap;
use std::time::Duration;

use basalt_contract::hardware::PciDevice;
use basalt_contract::{Fault, ModulesInfo, names};

use super::modules::{FOLDER, is_loaded};
use super::{Node, Subject, Told, text};
use crate::backend::{FileError, Files, UnitState};
use crate::hardware::{self, PCI_FOLDER};
use crate::plan::{Action, Effect};

const NVIDIA: &str = "10de";
/// Display controllers; bridges of no other kind, which NVSwitches are.
const GPU: &str = "03";
const SWITCH: &str = "0680";
const PERSISTENCED: &str = "nvidia-persistenced.service";
const FABRIC_MANAGER: &str = "nvidia-fabricmanager.service";
/// Where the kernel looks for firmware, and how it may be packed there: `drivers/base/firmware_loader` of Linux.
const FIRMWARE: [&str; 2] = ["/usr/lib/firmware/updates", "/usr/lib/firmware"];
const PACKED: [&str; 3] = ["", ".xz", ".zst"];
/// So often is looked with patience whether a GPU has a driver, and with so much time between: udev loads modules while the node boots.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(2);
const READ: &str = "let the agent read it";

/// The subject.
pub struct Drivers;

impl Subject for Drivers {
    fn name(&self) -> &'static str {
        "drivers"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move {
            whole(node)?;
            let found = Services::look(node, if node.patient { TRIES } else { 0 }).await?;
            let version = found.version(node)?;
            let starts = [
                (&found.persistenced, "persistenced", PERSISTENCED, true),
                (&found.fabric_manager, "fabricmanager", FABRIC_MANAGER, version.is_ok()),
            ];
            let starts = starts.into_iter().filter_map(|(state, name, unit, may)| match state {
                Some(UnitState::Not(word)) if may => Some(start(name, unit, word)),
                _ => None,
            });
            Ok(starts.collect())
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        Box::pin(async move {
            let found = Services::look(node, 0).await?;
            let version = found.version(node)?.map_err(|what| fault(what, "build an image with both of one version"))?;
            let mut parts = promise(node)?;
            if found.gpus > 0 {
                parts.insert(0, format!("nvidia{version} for {} of {} GPUs", found.bound, found.gpus));
            }
            for (state, unit) in [(&found.persistenced, PERSISTENCED), (&found.fabric_manager, FABRIC_MANAGER)] {
                let word = match state {
                    None => continue,
                    Some(UnitState::Absent) => "is not in this image",
                    Some(UnitState::Masked) => "is masked, and left alone",
                    Some(UnitState::Active) => "runs",
                    Some(UnitState::Not(_)) => "does not run",
                };
                parts.push(format!("{unit} {word}"));
            }
            Ok((!parts.is_empty()).then(|| parts.join("; ")))
        })
    }
}

fn start(name: &'static str, unit: &str, word: &str) -> Action {
    let what = format!("{unit} runs, now it is {word}");
    let (asked_by, effects) = (vec!["NVIDIA's driver".to_owned()], vec![Effect::Start { unit: unit.to_owned() }]);
    Action { subject: Drivers.name(), name, what, asked_by, effects, reboot: false }
}

/// That nothing is loaded which the image keeps out, and no firmware is gone.
fn whole(node: &Node<'_>) -> Result<(), Fault> {
    let Some(ModulesInfo { blacklist, firmware, .. }) = &node.facts.modules else { return Ok(()) };
    let files = node.outside.files.as_ref();
    let mut broken = Vec::new();
    for name in blacklist {
        if is_loaded(files, name).map_err(unread)? {
            broken.push(format!("{name} is loaded, which the image never loads"));
        }
    }
    for name in firmware {
        if !is_firmware_there(files, name).map_err(unread)? {
            broken.push(format!("the firmware {name} is not below {}, where the image had it", FIRMWARE[1]));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    let next = format!("see `journalctl -k` and {}, then boot the image's own entry", names::MODULES_FILE);
    Err(fault(broken.join("; "), &next))
}

fn is_firmware_there(files: &dyn Files, name: &str) -> Result<bool, FileError> {
    for folder in FIRMWARE {
        for ending in PACKED {
            if files.is_there(&format!("{folder}/{name}{ending}"))? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What of the image's promise is to be told where all of it is so.
fn promise(node: &Node<'_>) -> Result<Vec<String>, Fault> {
    let Some(info) = &node.facts.modules else { return Ok(vec![]) };
    let files = node.outside.files.as_ref();
    let mut parts = Vec::new();
    if !info.blacklist.is_empty() {
        parts.push(format!("not loaded: {}", info.blacklist.join(" ")));
    }
    if !info.firmware.is_empty() {
        parts.push(format!("{} firmware files", info.firmware.len()));
    }
    let mut lacking = Vec::new();
    for name in &info.lacking {
        if !is_firmware_there(files, name).map_err(unread)? {
            lacking.push(name.as_str());
        }
    }
    if !lacking.is_empty() {
        parts.push(format!("without the firmware {}, as the recipe allows", lacking.join(" ")));
    }
    let disabled = || text(files, &format!("{FOLDER}/nvidia_uvm/parameters/uvm_disable_hmm")).map_err(|what| fault(what, READ));
    parts.push(match info.device_private {
        Some(false) => "HMM: no, the kernel has no CONFIG_DEVICE_PRIVATE".to_owned(),
        Some(true) if disabled()?.is_some_and(|value| value.trim_end() == "Y") => {
            "HMM: no, nvidia_uvm has uvm_disable_hmm".to_owned()
        }
        Some(true) => "HMM: the kernel has CONFIG_DEVICE_PRIVATE".to_owned(),
        None => "HMM: cannot tell, the kernel's configuration is not in the image".to_owned(),
    });
    Ok(parts)
}

/// What there is for NVIDIA's services to do, and where they are; `None`: nothing.
struct Services {
    gpus: usize,
    /// GPUs that NVIDIA's driver has.
    bound: usize,
    persistenced: Option<UnitState>,
    fabric_manager: Option<UnitState>,
}

impl Services {
    /// Looks so often whether each GPU has a driver, where NVIDIA's could be there.
    async fn look(node: &Node<'_>, patience: u32) -> Result<Self, Fault> {
        let list = node.facts.hardware.pci.as_ref();
        let mut found = Self { gpus: 0, bound: 0, persistenced: None, fabric_manager: None };
        let Some(list) = list.filter(|list| list.values().any(|device| is(device, GPU))) else { return Ok(found) };
        let persistenced = state(node, PERSISTENCED).await?;
        let patience = if persistenced == UnitState::Absent { 0 } else { patience };
        let gpus = drivers(node, list, patience).await?;
        found.gpus = gpus.len();
        found.bound = gpus.iter().filter(|driver| driver.as_deref() == Some("nvidia")).count();
        if found.bound > 0 {
            found.persistenced = Some(persistenced);
            if list.values().any(|device| is(device, SWITCH)) {
                found.fabric_manager = Some(state(node, FABRIC_MANAGER).await?);
            }
        }
        Ok(found)
    }

    /// The driver's version with a space before it, where there is a driver; what is wrong with it, if the fabric manager is to run.
    fn version(&self, node: &Node<'_>) -> Result<Result<String, String>, Fault> {
        if self.bound == 0 {
            return Ok(Ok(String::new()));
        }
        let told = text(node.outside.files.as_ref(), &format!("{FOLDER}/nvidia/version")).map_err(|what| fault(what, READ))?;
        let driver = told.as_deref().map(str::trim_end);
        let theirs = node.facts.modules.as_ref().and_then(|info| info.fabric_manager.as_deref());
        let is_wanted = matches!(self.fabric_manager, Some(UnitState::Active | UnitState::Not(_)));
        if is_wanted && (driver.is_none() || driver != theirs) {
            let unknown = "an unknown version";
            let (driver, theirs) = (driver.unwrap_or(unknown), theirs.unwrap_or(unknown));
            return Ok(Err(format!("{FABRIC_MANAGER}: needed the driver's version, {driver}, found {theirs}")));
        }
        Ok(Ok(driver.map(|version| format!(" {version}")).unwrap_or_default()))
    }
}

/// Each GPU's driver, as soon as all of them have one.
async fn drivers(node: &Node<'_>, list: &BTreeMap<String, PciDevice>, patience: u32) -> Result<Vec<Option<String>>, Fault> {
    let addresses: Vec<_> = list.iter().filter(|(_, device)| is(device, GPU)).map(|(address, _)| address).collect();
    let mut tries = 0;
    loop {
        let driver = |address: &&String| hardware::driver(node.outside.files.as_ref(), &format!("{PCI_FOLDER}/{address}"));
        let found = addresses.iter().map(driver).collect::<Result<Vec<_>, _>>().map_err(unread)?;
        if tries >= patience || found.iter().all(Option::is_some) {
            return Ok(found);
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn state(node: &Node<'_>, unit: &str) -> Result<UnitState, Fault> {
    let told = node.outside.units.state(unit).await;
    told.map_err(|error| fault(format!("{unit}: systemd cannot be asked: {error}"), &format!("see `systemctl status {unit}`")))
}

fn is(device: &PciDevice, class: &str) -> bool {
    device.vendor == NVIDIA && device.class.starts_with(class)
}

fn unread(error: FileError) -> Fault {
    fault(error.to_string(), READ)
}

fn fault(what: String, next_step: &str) -> Fault {
    Fault::new(Drivers.name(), what, next_step)
}
