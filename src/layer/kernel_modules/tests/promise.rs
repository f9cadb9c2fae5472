//! What a node is told of its modules.

use std::collections::BTreeMap;

use basalt_contract::{ModulesInfo, PromisedModule};

use super::sample::{RELEASE, below, initramfs, module, sources};
use crate::layer::kernel_modules::target::Target;
use crate::layer::kernel_modules::{index, promise};
use crate::plan::{KernelModules, ModuleSet};
use crate::tree::{Content, Meta, TreePath};

/// What is promised with these files beside the sample's kernel, when `set` brings an NVIDIA driver.
fn promised(files: &[(&str, &str)], set: ModuleSet) -> ModulesInfo {
    let mut below = below(initramfs(true));
    for (path, text) in files {
        below.put_file(&TreePath::parse(path).unwrap(), Meta::root(0o644), Content::from_bytes(text.as_bytes())).unwrap();
    }
    let target = Target::of(&below).unwrap();
    let driver =
        module("name=gpu\0alias=pci:v000010DEd*\0alias=char-major-195-*\0firmware=b.bin\0firmware=gsp.bin\0", Some("fg"), None);
    let user = module("name=gpu_uvm\0firmware=gpu/*.bin\0", None, Some("fg"));
    let sources = sources(&[("updates/set/gpu-current.ko", &driver), ("updates/set/gpu-current-uvm.ko", &user)]);
    let index = index::extended(&target, &sources.modules, &[]).unwrap();
    let wanted = KernelModules { sets: vec![set], ..Default::default() };
    promise::all(&wanted, &target, &sources, &index).unwrap()
}

fn loading(early: &[&str], load: &[&str]) -> ModuleSet {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ModuleSet { name: "set".into(), load_early: owned(early), load: owned(load), ..Default::default() }
}

#[test]
fn modules_are_promised_by_the_kernels_names_with_the_devices_that_they_need() {
    let info = promised(&[], loading(&["c"], &["gpu-uvm", "gpu_current", "b", "c", "nobody"]));
    let promised = |name: &str, devices: &[(&str, &str)]| PromisedModule {
        name: name.to_owned(),
        devices: devices.iter().map(|(name, alias)| ((*name).to_owned(), vec![(*alias).to_owned()])).collect::<BTreeMap<_, _>>(),
    };
    let gpu = ("gpu", "pci:v000010DEd*");
    let wanted = [
        promised("c", &[]),
        promised("gpu_uvm", &[gpu]),
        promised("gpu", &[gpu]),
        promised("b", &[("b", "pci:b")]),
        promised("nobody", &[]),
    ];
    assert_eq!((info.kernel.as_str(), info.load.as_slice()), (RELEASE, &wanted[..]));
    assert_eq!((info.firmware, info.lacking), (vec!["b.bin".to_owned()], vec!["gsp.bin".to_owned()]));
    assert_eq!((info.device_private, info.fabric_manager), (None, None));
}

#[test]
fn what_is_part_of_the_kernel_needs_no_promise_and_a_blacklist_is_one() {
    let builtin = format!("/usr/lib/modules/{RELEASE}/modules.builtin");
    let set = ModuleSet { blacklist: vec!["nouveau".into(), "a-b".into()], ..loading(&[], &["virtio-pci"]) };
    let info = promised(&[(&builtin, "kernel/drivers/virtio/virtio_pci.ko\n")], set);
    assert_eq!((info.load, info.blacklist), (vec![], vec!["a_b".to_owned(), "nouveau".to_owned()]));
}

#[test]
fn the_kernels_configuration_and_the_fabric_manager_are_read() {
    let config = format!("/boot/config-{RELEASE}");
    for (text, found) in [("CONFIG_DEVICE_PRIVATE=y\n", true), ("# CONFIG_DEVICE_PRIVATE is not set\n", false)] {
        assert_eq!(promised(&[(&config, text)], ModuleSet::default()).device_private, Some(found));
    }
    let package = |name: &str, status: &str, version: &str| format!("Package: {name}\nStatus: {status}\nVersion: {version}\n\n");
    let installed = "install ok installed";
    for (text, found) in [
        (package("nvidia-fabricmanager-550", installed, "550.163.01-1"), Some("550.163.01")),
        (package("nvidia-fabricmanager", installed, "1:580.95.05-1~deb13"), Some("580.95.05")),
        (package("nvidia-fabricmanager", installed, "580.95.05"), Some("580.95.05")),
        (package("nvidia-fabricmanager-550", "deinstall ok config-files", "550.163.01-1"), None),
        (package("nvidia-fabricmanager-dev-550", installed, "550.163.01-1"), None),
    ] {
        let info = promised(&[("/var/lib/dpkg/status", &text)], ModuleSet::default());
        assert_eq!(info.fabric_manager.as_deref(), found, "{text}");
    }
}
