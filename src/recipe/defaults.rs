//! What every image gets without asking: what it needs to boot, to be updated and to be configured.
//!
//! A change here changes every recipe's question to the archive, so its lock becomes stale and says so.

use crate::architecture::Architecture;

/// The suite without `[base] suite`.
pub const SUITE: &str = "trixie";
/// The components without `[base] components`.
pub const COMPONENTS: [&str; 1] = ["main"];
/// The shipped overlay that every image gets which is not minimal: how a node comes up.
pub const NODE_OVERLAY: &str = "10-basalt-node";
/// The shipped overlay that comes with the agent: its unit and its place on the bus.
pub const AGENT_OVERLAY: &str = "50-basalt-firstboot";
/// The agent's unit, enabled wherever the agent is.
pub const AGENT_UNIT: &str = "basalt-firstboot.service";
/// tuned's unit, enabled wherever the recipe has `[tuned]`.
pub const TUNED_UNIT: &str = "tuned.service";

/// Units that an image which is not minimal enables, unless its recipe decides otherwise: the network comes up, by
/// `89-basalt-wired.network` of [`NODE_OVERLAY`] when nothing before it in the alphabet matches.
pub const ENABLED: [&str; 1] = ["systemd-networkd.service"];
/// Units that it masks in the same way (the one above brings it along, disabled or not): a node without a cable boots as fast.
pub const MASKED: [&str; 1] = ["systemd-networkd-wait-online.service"];
/// Arguments of a kernel that is told of no console: screen and first serial port, where systemd writes, too.
pub const CONSOLES: [&str; 2] = ["console=tty0", "console=ttyS0,115200"];

/// For each architecture alike.
const PACKAGES: [&str; 20] = [
    "ca-certificates", // updates over https
    "dbus",
    "dosfstools", // fsck of the ESP
    "dracut",     // the initramfs; dracut's ostree module finds the deployment
    "e2fsprogs",  // fsck and growth
    "grub-common",
    "grub2-common", // libostree rewrites the boot menu with grub-mkconfig
    "iproute2",
    "kmod",
    "libpam-systemd",
    "login", // a console without it asks for a name and then for nothing
    "ostree",
    "ostree-boot",
    "polkitd", // who may talk to the agent
    "shim-signed",
    "systemd",
    "systemd-repart", // the root partition grows at first boot
    "systemd-sysv",
    "udev",
    "zstd", // the initramfs is compressed with it
];

/// What the update client runs, wherever it is.
pub const UPDATE_PACKAGES: [&str; 2] = [
    "netavark", // never used: of what Debian's skopeo wants for networks of containers, the smallest
    "skopeo",
];

/// The packages without which an image does not boot or cannot be updated.
pub fn packages(architecture: Architecture) -> Vec<&'static str> {
    let own = match architecture {
        Architecture::Amd64 => ["linux-image-amd64", "grub-efi-amd64-signed"],
        Architecture::Arm64 => ["linux-image-arm64", "grub-efi-arm64-signed"],
    };
    PACKAGES.into_iter().chain(own).collect()
}

/// Numbers of users that packages would else give away in the order of their installation: adduser from 100 upwards, systemd-sysusers
/// from 999 downwards. A user whose package is not installed is not in the image. Never change a number: nodes have files of theirs.
pub const USERS: [(&str, u32); 24] = [
    ("messagebus", 901),
    ("systemd-network", 902),
    ("systemd-resolve", 903),
    ("systemd-timesync", 904),
    ("sshd", 905),
    ("polkitd", 906),
    ("systemd-coredump", 920),
    ("systemd-journal-remote", 921),
    ("systemd-journal-upload", 922),
    ("systemd-oom", 923),
    ("_chrony", 924),
    ("_rpc", 925),
    ("statd", 926),
    ("tss", 927),
    ("uuidd", 928),
    ("tcpdump", 929),
    ("dnsmasq", 930),
    ("_lldpd", 931),
    ("avahi", 932),
    ("fwupd-refresh", 933),
    ("nvidia-persistenced", 934),
    ("dhcpcd", 935),
    ("ntpsec", 936),
    ("prometheus", 937),
];

/// The same of groups.
pub const GROUPS: [(&str, u32); 34] = [
    ("messagebus", 901),
    ("systemd-network", 902),
    ("systemd-resolve", 903),
    ("systemd-timesync", 904),
    ("polkitd", 906),
    ("systemd-journal", 910),
    ("_ssh", 911),
    ("crontab", 912),
    ("input", 913),
    ("sgx", 914),
    ("kvm", 915),
    ("render", 916),
    ("clock", 917),
    ("rdma", 918),
    ("systemd-coredump", 920),
    ("systemd-journal-remote", 921),
    ("systemd-journal-upload", 922),
    ("systemd-oom", 923),
    ("_chrony", 924),
    ("tss", 927),
    ("uuidd", 928),
    ("tcpdump", 929),
    ("_lldpd", 931),
    ("avahi", 932),
    ("fwupd-refresh", 933),
    ("nvidia-persistenced", 934),
    ("ntpsec", 936),
    ("prometheus", 937),
    ("netdev", 940),
    ("docker", 941),
    ("ssl-cert", 942),
    ("i2c", 943),
    ("libvirt", 944),
    ("plocate", 945),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_update_client_comes_with_an_image_unless_the_recipe_says_otherwise() {
        let image = "image = \"r.example.org/a:b\"\n";
        for (update, there) in [("", false), (image, true), (&format!("{image}client = false"), false), ("client = true", true)] {
            let text = format!("name = \"x\"\nversion = \"1\"\n[update]\n{update}\n");
            let recipe = crate::recipe::parse("r.toml", &text).unwrap();
            let asked = recipe.base.requested(Architecture::Amd64);
            let packages = UPDATE_PACKAGES.iter().all(|name| asked.iter().any(|asked| asked == name));
            assert_eq!((recipe.update_client, packages), (there, there), "{update}");
        }
    }

    #[test]
    fn no_number_is_given_twice() {
        for table in [&USERS[..], &GROUPS] {
            let names: BTreeMap<_, _> = table.iter().map(|(name, number)| (number, name)).collect();
            assert_eq!(names.len(), table.len());
        }
        let group = |name: &str| GROUPS.iter().find(|(other, _)| *other == name);
        assert!(USERS.iter().all(|(name, number)| group(name).is_none_or(|(_, own)| own == number)));
    }
}
