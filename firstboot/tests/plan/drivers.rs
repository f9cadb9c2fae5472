//! Kernel modules and NVIDIA's services on a simulated node: what the image promises, what is wished beside it, and in which order.

use std::time::Duration;

use basalt_contract::StepState;
use basalt_firstboot::apply::{Progress, apply};
use basalt_firstboot::explain::explain;
use basalt_firstboot::facts;
use basalt_firstboot_sim::{SimulatedNode, Unit};

use super::{DESIRED, applied, node, nothing, planned, run, said, verified};

const PROMISE: &str = include_str!("../../contract/fixtures/modules-1.json");
const PERSISTENCED: &str = "nvidia-persistenced.service";
const FABRIC_MANAGER: &str = "nvidia-fabricmanager.service";
const FIRMWARE: &str = "/usr/lib/firmware/nvidia/550.163.01/gsp_tu10x.bin";
const GPU: &str = "/sys/bus/pci/devices/0000:01:00.0";

/// A node of an image that brings NVIDIA's driver and mtty, in a machine without a GPU.
fn image(desired: &str) -> SimulatedNode {
    let node = node(desired);
    node.write("/usr/lib/basalt/modules.json", PROMISE);
    node.write("/proc/sys/kernel/osrelease", "6.12.117+deb13-amd64\n");
    node.write("/usr/lib/modules-load.d/basalt-nvidia.conf", "nvidia\nnvidia-uvm\n");
    node.write("/usr/lib/modules-load.d/basalt-mtty.conf", "mtty\n");
    node.write(&format!("{FIRMWARE}.xz"), "");
    node.with_modules(&["mtty", "rdma_rxe"])
}

/// Puts a device of NVIDIA's into the machine, by its class.
fn plug(node: &SimulatedNode, folder: &str, class: &str) {
    node.write(&format!("{folder}/vendor"), "0x10de\n");
    node.write(&format!("{folder}/device"), "0x2330\n");
    node.write(&format!("{folder}/class"), &format!("0x{class}\n"));
    let (base, sub) = (&class[..2], &class[2..4]);
    let modalias = format!("pci:v000010DEd00002330sv000010DEsd000016C1bc{base}sc{sub}i00\n");
    node.write(&format!("{folder}/modalias"), &modalias);
}

/// The same image in a machine with a GPU and an NVSwitch, which NVIDIA's driver has.
fn machine() -> SimulatedNode {
    let node = image("").with_modules(&["mtty", "nvidia", "nvidia_uvm"]);
    node.write("/sys/module/nvidia/version", "550.163.01\n");
    plug(&node, GPU, "030200");
    plug(&node, "/sys/bus/pci/devices/0000:02:00.0", "068000");
    node.link(&format!("{GPU}/driver"), "../../../../bus/pci/drivers/nvidia");
    node
}

/// What is said to hold of a subject.
fn holds(node: &SimulatedNode, subject: &str) -> String {
    let found = verified(node);
    assert_eq!(found.faults, []);
    found.holds.into_iter().find(|holds| holds.subject == subject).map(|holds| holds.what).unwrap_or_default()
}

/// What is wrong, a fault each.
fn faults(node: &SimulatedNode) -> Vec<String> {
    verified(node).faults.iter().map(|fault| format!("{}: {}", fault.subject, fault.what)).collect()
}

/// Which units were started, in order.
fn started(node: &SimulatedNode) -> Vec<String> {
    let changes = node.changes();
    changes.iter().filter_map(|path| path.strip_prefix("/run/running/")).map(str::to_owned).collect()
}

#[test]
fn a_module_whose_devices_are_not_here_may_stay_out() {
    let node = image("");
    assert!(nothing(&applied(&node)));
    assert_eq!(node.changes(), [""; 0]);
    assert_eq!(holds(&node, "modules"), "loaded: mtty; not loaded, as their devices are not here: nvidia nvidia_uvm");
    assert_eq!(
        holds(&node, "drivers"),
        "not loaded: nouveau; 1 firmware files; without the firmware nvidia/550.163.01/gsp_ga10x.bin, as the recipe allows; \
         HMM: no, the kernel has no CONFIG_DEVICE_PRIVATE"
    );
    // An audio device of NVIDIA's is not what its driver is for.
    plug(&node, GPU, "040300");
    assert!(nothing(&applied(&node)));
}

#[test]
fn a_module_that_went_away_is_loaded_again() {
    let node = image("");
    node.take_out("/sys/module/mtty/initstate");
    assert_eq!(said(&planned(&node)), [("modules/load".to_owned(), "not loaded: mtty", vec!["/usr/lib/basalt/modules.json"])]);
    let outside = node.outside();
    let facts = facts::collect(outside.files.as_ref());
    let screen = run(explain(&outside, &facts, "modules/load")).unwrap().screen();
    assert!(screen.contains("\nEffect      systemd starts systemd-modules-load.service anew\n"), "{screen}");
    assert_eq!(applied(&node).faults, []);
    assert_eq!(node.text("/sys/module/mtty/initstate").as_deref(), Some("live\n"));
    // One that is only being loaded is not loaded yet; one that is built in has no state.
    node.write("/sys/module/mtty/initstate", "coming\n");
    assert_eq!(planned(&node).actions.len(), 1);
    node.take_out("/sys/module/mtty/initstate");
    node.write("/sys/module/mtty/parameters/x", "1\n");
    assert_eq!(planned(&node).actions, []);
}

#[test]
fn a_module_whose_devices_are_here_must_be_loaded() {
    let node = image("");
    plug(&node, GPU, "030200");
    let done = applied(&node);
    let steps: Vec<_> = done.steps.iter().map(|step| (step.what.as_str(), step.state, step.reason.as_str())).collect();
    // systemd's job is done, whatever became of a module.
    assert_eq!(steps, [("not loaded: nvidia nvidia_uvm", StepState::Failed, "it was done, and still differs")]);
    assert_eq!(done.faults.len(), 1, "{done:?}");
    let node = node.with_modules(&["mtty", "nvidia", "nvidia_uvm"]);
    assert!(nothing(&applied(&node)));
    assert_eq!(holds(&node, "modules"), "loaded: nvidia nvidia_uvm mtty");
}

#[test]
fn what_is_wished_is_loaded_beside_what_the_image_loads() {
    let node = image("modules.load = [\"rdma-rxe\", \"mtty\", \"rdma_rxe\"]\n");
    assert_eq!(applied(&node).faults, []);
    let text = node.text("/etc/modules-load.d/50-basalt.conf").unwrap();
    assert_eq!(text, "# Written by basalt-firstboot.service: from desired state.\nrdma-rxe\nmtty\nrdma_rxe\n");
    let loaded = "loaded: mtty rdma_rxe; not loaded, as their devices are not here: nvidia nvidia_uvm";
    assert_eq!(holds(&node, "modules"), loaded);
    // A module that nobody has is a failure, and the others are loaded.
    node.write(DESIRED, "modules.load = [\"nobody\", \"rdma-rxe\"]\n");
    let done = applied(&node);
    assert_eq!((done.steps[0].state, done.faults.len()), (StepState::Failed, 1));
    assert!(done.faults[0].what.starts_with("not loaded: nobody: it was done, and still differs"), "{done:?}");
    // Who wishes it no more has it until the next boot.
    node.write(DESIRED, "");
    let what =
        "no modules beside the image's, now there are some in /etc/modules-load.d/50-basalt.conf, loaded until the next boot";
    assert_eq!(said(&planned(&node)), [("modules/load".to_owned(), what, vec!["nobody wishes any"])]);
    assert_eq!(applied(&node).faults, []);
    assert!(node.text("/sys/module/rdma_rxe/initstate").is_some());
    assert!(nothing(&applied(&node)));
}

#[test]
fn what_the_image_keeps_out_is_not_wished_and_not_loaded() {
    let node = image("modules.load = [\"nouveau\"]\n");
    let place = format!("{DESIRED}:1:17");
    assert_eq!(
        faults(&node),
        [format!("modules: {place}: needed a module that may be loaded, found nouveau, which the image never loads")]
    );
    assert!(applied(&node).steps.is_empty() && node.changes().is_empty());
    node.write(DESIRED, "");
    node.write("/sys/module/nouveau/initstate", "live\n");
    node.take_out(&format!("{FIRMWARE}.xz"));
    let wanted = "drivers: nouveau is loaded, which the image never loads; the firmware nvidia/550.163.01/gsp_tu10x.bin is not below \
         /usr/lib/firmware, where the image had it";
    assert_eq!(faults(&node), [wanted]);
    node.take_out("/sys/module/nouveau/initstate");
    node.write(&FIRMWARE.replace("firmware/", "firmware/updates/"), "");
    assert_eq!(faults(&node), [""; 0]);
}

#[test]
fn modules_are_for_one_kernel() {
    let node = image("modules.load = [\"rdma_rxe\"]\n");
    node.write("/proc/sys/kernel/osrelease", "6.12.118+deb13-amd64\n");
    let done = applied(&node);
    let wanted = "needed the kernel 6.12.117+deb13-amd64, for which the image has modules, found 6.12.118+deb13-amd64";
    assert_eq!((done.faults.len(), done.faults[0].what.as_str(), done.steps.len()), (1, wanted, 0));
}

#[test]
fn nvidias_services_are_started_in_their_order_and_once() {
    let node = machine().with_unit(PERSISTENCED, Unit::Good).with_unit(FABRIC_MANAGER, Unit::Good);
    let driver = || vec!["NVIDIA's driver"];
    assert_eq!(
        said(&planned(&node)),
        [
            ("drivers/persistenced".to_owned(), "nvidia-persistenced.service runs, now it is inactive", driver()),
            ("drivers/fabricmanager".to_owned(), "nvidia-fabricmanager.service runs, now it is inactive", driver()),
        ]
    );
    assert_eq!(applied(&node).faults, []);
    assert!(nothing(&applied(&node)));
    assert_eq!(started(&node), [PERSISTENCED, FABRIC_MANAGER]);
    let told = holds(&node, "drivers");
    assert!(told.starts_with("nvidia 550.163.01 for 1 of 1 GPUs; not loaded: nouveau; "), "{told}");
    assert!(told.ends_with("; nvidia-persistenced.service runs; nvidia-fabricmanager.service runs"), "{told}");
}

#[test]
fn who_is_masked_or_not_there_is_left_alone() {
    let node = machine().with_unit(PERSISTENCED, Unit::Masked);
    assert!(nothing(&applied(&node)));
    let told = holds(&node, "drivers");
    let wanted = "; nvidia-persistenced.service is masked, and left alone; nvidia-fabricmanager.service is not in this image";
    assert!(told.ends_with(wanted), "{told}");
    // Without a switch, or for another driver, there is nothing to do.
    let node = machine().with_unit(PERSISTENCED, Unit::Good).with_unit(FABRIC_MANAGER, Unit::Good);
    plug(&node, "/sys/bus/pci/devices/0000:02:00.0", "040300");
    applied(&node);
    assert_eq!(started(&node), [PERSISTENCED]);
    let node = machine().with_unit(PERSISTENCED, Unit::Good).with_unit(FABRIC_MANAGER, Unit::Good);
    node.link(&format!("{GPU}/driver"), "../../../../bus/pci/drivers/vfio-pci");
    assert!(nothing(&applied(&node)) && started(&node).is_empty());
    assert!(holds(&node, "drivers").starts_with("nvidia for 0 of 1 GPUs; "));
}

#[test]
fn a_driver_that_comes_late_is_waited_for_and_one_that_never_comes_does_not_hold_the_end() {
    for (seconds, wanted) in [(20, &[PERSISTENCED][..]), (600, &[])] {
        let node = image("").with_modules(&["mtty", "nvidia", "nvidia_uvm"]).with_unit(PERSISTENCED, Unit::Good);
        plug(&node, GPU, "030200");
        let outside = node.outside();
        let facts = facts::collect(outside.files.as_ref());
        let udev = async {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            node.link(&format!("{GPU}/driver"), "../../../../bus/pci/drivers/nvidia");
        };
        let mut nobody = |_: &Progress| ();
        let (done, ()) = run(async { tokio::join!(apply(&outside, &facts, &mut nobody), udev) });
        assert_eq!((done.faults, started(&node)), (vec![], wanted.iter().map(|unit| (*unit).to_owned()).collect()));
    }
}

#[test]
fn a_service_whose_job_fails_is_a_fault() {
    let node = machine().with_unit(PERSISTENCED, Unit::Bad);
    let done = applied(&node);
    assert_eq!((done.steps[0].state, done.again), (StepState::Failed, true));
    assert!(done.faults[0].what.ends_with("nvidia-persistenced.service: its job ended as \"failed\""), "{done:?}");
}

#[test]
fn the_fabric_manager_works_with_its_own_driver_only() {
    let other = |theirs: &str, driver: Option<&str>| {
        let node = machine().with_unit(PERSISTENCED, Unit::Good).with_unit(FABRIC_MANAGER, Unit::Good);
        node.write("/usr/lib/basalt/modules.json", &PROMISE.replace("\"fabric-manager\": \"550.163.01\"", theirs));
        match driver {
            Some(version) => node.write("/sys/module/nvidia/version", version),
            None => node.take_out("/sys/module/nvidia/version"),
        }
        applied(&node);
        assert_eq!(started(&node), [PERSISTENCED], "it is not started");
        faults(&node)
    };
    let mismatch = |driver: &str, theirs: &str| {
        vec![format!("drivers: nvidia-fabricmanager.service: needed the driver's version, {driver}, found {theirs}")]
    };
    let same = "\"fabric-manager\": \"550.163.01\"";
    assert_eq!(other("\"fabric-manager\": \"550.163.02\"", Some("550.163.01\n")), mismatch("550.163.01", "550.163.02"));
    assert_eq!(other(same, Some("580.95.05\n")), mismatch("580.95.05", "550.163.01"));
    assert_eq!(other("\"x\": 1", Some("580.95.05\n")), mismatch("580.95.05", "an unknown version"));
    assert_eq!(other(same, None), mismatch("an unknown version", "550.163.01"));
}

#[test]
fn what_the_kernel_can_share_with_a_gpu_is_told() {
    let node = image("");
    let told = |value: &str| {
        node.write("/usr/lib/basalt/modules.json", &PROMISE.replace("\"device-private\": false", value));
        holds(&node, "drivers").rsplit_once("; ").unwrap().1.to_owned()
    };
    assert_eq!(told("\"device-private\": true"), "HMM: the kernel has CONFIG_DEVICE_PRIVATE");
    assert_eq!(told("\"x\": 1"), "HMM: cannot tell, the kernel's configuration is not in the image");
    node.write("/sys/module/nvidia_uvm/parameters/uvm_disable_hmm", "Y\n");
    assert_eq!(told("\"device-private\": true"), "HMM: no, nvidia_uvm has uvm_disable_hmm");
}
