//! Who else makes this node what it is: what such a one owns is found, named and left alone.
//!
//! To add one: a line in [`OWNERS`], with what is on a node only where it is at work.

use crate::backend::Files;

/// Somebody else, the parts of a node that are theirs, and the signs of them, any of which will do.
struct Owner {
    name: &'static str,
    subjects: &'static [&'static str],
    signs: &'static [&'static str],
}

const OWNERS: [Owner; 5] = [
    // Its generator writes this before any unit starts, where it found a drive or a cloud to take its word from.
    Owner { name: "cloud-init", subjects: &["identity", "ssh-keys", "network"], signs: &["/run/cloud-init/enabled"] },
    // Switched on, by whoever administers the node or by the image.
    Owner {
        name: "NetworkManager",
        subjects: &["network"],
        signs: &[
            "/etc/systemd/system/multi-user.target.wants/NetworkManager.service",
            "/usr/lib/systemd/system/multi-user.target.wants/NetworkManager.service",
        ],
    },
    // What the daemon last made the node.
    Owner {
        name: "OpenShift's Machine Config Operator",
        subjects: &["kernel", "kubelet"],
        signs: &["/etc/machine-config-daemon/currentconfig"],
    },
    // Its tuned runs in a container, with profiles of its own.
    Owner { name: "OpenShift's Node Tuning Operator", subjects: &["tuned"], signs: &["/var/lib/ocp-tuned/profiles"] },
    // Its driver container's root filesystem: another driver than the image's.
    Owner { name: "NVIDIA's GPU Operator", subjects: &["drivers"], signs: &["/run/nvidia/driver/usr"] },
];

/// Who else owns a subject, and by what sign; absent: nobody.
pub fn of(files: &dyn Files, subject: &str) -> Option<String> {
    OWNERS.iter().filter(|owner| owner.subjects.contains(&subject)).find_map(|Owner { name, signs, .. }| {
        // What cannot be looked at is no sign of anybody, nor is a link to a unit that is not installed.
        let sign = signs.iter().find(|sign| files.is_there(sign).is_ok_and(|there| there))?;
        Some(format!("{name} ({sign})"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::{OWNERS, of};
    use crate::backend::real::Root;
    use crate::subject::SUBJECTS;

    #[test]
    fn who_is_switched_on_and_not_installed_owns_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (wants, units) = ("etc/systemd/system/multi-user.target.wants", "usr/lib/systemd/system");
        for name in [wants, units] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let unit = format!("{units}/NetworkManager.service");
        symlink(format!("/{unit}"), folder.path().join(wants).join("NetworkManager.service")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        assert_eq!(of(&root, "network"), None);
        fs::write(folder.path().join(unit), "").unwrap();
        assert_eq!(of(&root, "network"), Some(format!("NetworkManager (/{wants}/NetworkManager.service)")));
    }

    #[test]
    fn what_they_own_is_what_can_be_wished() {
        for owner in &OWNERS {
            for name in owner.subjects {
                assert!(SUBJECTS.iter().any(|subject| subject.name() == *name), "{}: {name}", owner.name);
            }
        }
    }
}
