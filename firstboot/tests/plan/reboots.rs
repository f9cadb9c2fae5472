//! What is in force after a reboot: one for all, and never for ever.

use basalt_firstboot::apply::retry;
use basalt_firstboot::export::export;
use basalt_firstboot::facts;
use basalt_firstboot::plan::Plan;
use basalt_firstboot_sim::Unsynced;

use super::{DESIRED, applied, node, nothing, planned, run, said};

pub const ARGUMENTS: &str = "kernel.arguments = [\"iommu=pt\", \"case\"]\n";
const COMMAND_LINE: &str = "/proc/cmdline";
const BEFORE: &str = "/var/lib/basalt/firstboot/tuned-before";

#[test]
fn kernel_arguments_take_one_reboot_and_are_taken_away_again() {
    let node = node(ARGUMENTS);
    let done = applied(&node);
    assert!(done.reboot && done.faults.is_empty(), "{done:?}");
    assert_eq!(done.steps[0].what, "kernel arguments: case iommu=pt added, with one reboot");
    // Before the reboot nothing is done twice.
    let changes = node.changes();
    assert!(applied(&node).reboot);
    assert_eq!(node.changes(), changes);
    node.boot_again(Unsynced::Kept);
    assert_eq!(
        node.text(COMMAND_LINE).unwrap(),
        "BOOT_IMAGE=/vmlinuz quiet root=LABEL=root iommu=pt case\n",
        "what was typed for one boot is not kept"
    );
    let done = applied(&node);
    assert!(nothing(&done) && !done.reboot && done.holds[0].what == "2 kernel arguments in force", "{done:?}");

    node.write(DESIRED, "");
    assert_eq!(said(&planned(&node))[0].1, "kernel arguments: case iommu=pt taken away, with one reboot");
    let done = applied(&node);
    assert!(done.reboot, "{done:?}");
    node.boot_again(Unsynced::Kept);
    assert_eq!(node.text(COMMAND_LINE).unwrap(), "BOOT_IMAGE=/vmlinuz quiet root=LABEL=root\n");
    assert!(nothing(&applied(&node)));
}

/// One text for a mixed fleet, one image, which wants no profile itself.
#[test]
fn what_a_profile_takes_comes_with_the_one_reboot_and_both_are_gone_back_from() {
    let wish = "kernel.arguments = [\"case\"]\n[[when]]\nname = \"GPUs\"\nmatch.dmi.product_name = \"DGX*\"\n\
                set.tuned.profile = \"training\"\n";
    let fleet = |product: &str| {
        let node = node(wish).with_tuned("balanced\n").with_profile("training", "iommu=pt pci=realloc=off");
        node.write("/sys/class/dmi/id/product_name", product);
        node
    };
    let other = fleet("PowerEdge\n");
    assert!(applied(&other).reboot);
    other.boot_again(Unsynced::Lost);
    assert!(nothing(&applied(&other)));
    assert!(other.text(COMMAND_LINE).unwrap().ends_with("root=LABEL=root case\n") && other.text(BEFORE).is_none());

    let node = fleet("DGX H100\n");
    let done = applied(&node);
    assert!(done.reboot && done.faults.is_empty(), "{done:?}");
    let steps: Vec<_> = done.steps.iter().map(|step| (step.name.as_str(), step.what.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("tuned/profile", "the profile training, now balanced"),
            ("kernel/arguments", "kernel arguments: case iommu=pt pci=realloc=off added, with one reboot"),
        ]
    );
    assert_eq!(done.holds[0].what, "the profile training, which tuned verifies once its kernel arguments are in force");
    assert_eq!(said(&planned(&node))[0].2, [":1:21", "/etc/tuned/bootcmdline"]);
    node.boot_again(Unsynced::Kept);
    let done = applied(&node);
    assert!(nothing(&done) && done.holds[0].what == "the profile training, verified by tuned", "{done:?}");
    let outside = node.outside();
    let exported = run(export(&outside, &facts::collect(outside.files.as_ref()))).unwrap();
    assert!(exported.contains("profile = \"training\"") && exported.contains("arguments = [\"case\"]"), "{exported}");

    node.write(DESIRED, "");
    assert_eq!(said(&planned(&node))[0].1, "the profile balanced again, now training");
    let done = applied(&node);
    assert!(done.reboot && done.faults.is_empty(), "{done:?}");
    assert_eq!(done.steps[1].what, "kernel arguments: case iommu=pt pci=realloc=off taken away, with one reboot");
    node.boot_again(Unsynced::Kept);
    assert!(nothing(&applied(&node)));
    assert_eq!(node.text(COMMAND_LINE).unwrap(), "BOOT_IMAGE=/vmlinuz quiet root=LABEL=root\n");
    assert_eq!((node.text("/etc/tuned/active_profile").unwrap().as_str(), node.text(BEFORE)), ("balanced\n", None));
}

#[test]
fn a_profile_that_somebody_chose_meanwhile_stays() {
    let node = node("tuned.profile = \"a\"\n").with_tuned("balanced\n");
    assert_eq!(applied(&node).faults, []);
    node.write(DESIRED, "tuned.profile = \"b\"\n");
    assert_eq!(applied(&node).faults, []);
    assert_eq!(node.text(BEFORE).unwrap(), "balanced\nb\n", "the first one is kept");
    node.write("/etc/tuned/active_profile", "own\n");
    node.write(DESIRED, "");
    assert_eq!(applied(&node).steps[0].what, "the profile own, which somebody chose meanwhile, stays");
    assert_eq!((planned(&node), node.text(BEFORE)), (Plan::default(), None));
}

#[test]
fn a_boot_that_has_not_what_it_was_for_is_the_last_one() {
    let node = node(ARGUMENTS);
    assert!(applied(&node).reboot);
    // Somebody goes back at the boot menu.
    node.boot_again(Unsynced::Kept);
    node.write(COMMAND_LINE, "BOOT_IMAGE=/vmlinuz quiet root=LABEL=root\n");
    let done = applied(&node);
    assert!(!done.reboot && done.faults[0].what.ends_with("waits: it was done, and after a reboot it still differs"), "{done:?}");
    retry(&node.outside()).unwrap();
    assert!(applied(&node).reboot);
}

#[test]
fn arguments_that_contradict_the_images_are_refused() {
    let node = node("kernel.arguments = [\"iommu=nopt\"]\n");
    node.write("/proc/cmdline", "quiet iommu=pt\n");
    node.write("/boot/loader/entries/ostree-1.conf", "options quiet iommu=pt\n");
    let done = applied(&node);
    assert!(!done.reboot && done.steps.is_empty(), "{done:?}");
    assert_eq!(
        done.faults[0].what,
        "the kernel argument iommu (pt) can have one value, and is asked for as \"iommu=pt\" (this node's boot entry) and \
         \"iommu=nopt\" (desired state: /etc/basalt/firstboot.d/50-site.toml:1:21)"
    );
}

#[test]
fn an_interface_keeps_the_name_that_it_gets_at_a_reboot() {
    let node = node("kernel.arguments = [\"case\"]\n[identity.interfaces]\nrail0 = \"52:54:00:12:34:AB\"\n");
    assert_eq!(
        applied(&node).faults[0].what,
        "/etc/basalt/firstboot.d/50-site.toml:3:9: no network interface of this machine is 52:54:00:12:34:ab"
    );
    node.write("/sys/class/net/enp1s0/address", "52:54:00:12:34:ab\n");
    retry(&node.outside()).unwrap();
    let done = applied(&node);
    assert!(done.reboot && done.faults.is_empty(), "{done:?}");
    assert_eq!(done.steps[0].what, "the names rail0 for network interfaces, now without rail0");
    node.boot_again(Unsynced::Kept);
    let done = applied(&node);
    assert!(nothing(&done) && done.holds[0].what == "the network interfaces rail0", "one reboot for both: {done:?}");
    let outside = node.outside();
    let exported = run(export(&outside, &facts::collect(outside.files.as_ref()))).unwrap();
    assert!(exported.contains("[identity.interfaces]\nrail0 = \"52:54:00:12:34:ab\"\n"), "{exported}");

    let drive = "/run/basalt/config-drive/nocloud";
    node.write(&format!("{drive}/meta-data"), "instance-id: a\n");
    node.write(
        &format!("{drive}/network-config"),
        "version: 2\nethernets:\n  lan:\n    match: {macaddress: '52:54:00:12:34:ab'}\n    set-name: lan\n    dhcp4: true\n",
    );
    let what = &applied(&node).faults[0].what;
    assert!(what.ends_with("the config drive names 52:54:00:12:34:ab, too: lan"), "{what}");
    node.take_out(&format!("{drive}/network-config"));

    node.write(DESIRED, "kernel.arguments = [\"case\"]\n");
    assert!(applied(&node).reboot, "it has its name until then");
    assert_eq!(node.text("/etc/systemd/network/05-basalt-rail0.link"), None);
}
