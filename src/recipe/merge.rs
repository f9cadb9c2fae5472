//! Makes one recipe of a recipe and its fragments. Pure.
//!
//! The rule: lists append, fragments first, in the order of `include`; of two values for one key the including file's wins; two
//! fragments of one file that disagree, where that file does not decide, are a problem that names both.

use std::collections::{BTreeMap, BTreeSet};

use basalt_contract::Desired;
use basalt_contract::desired::{self, Identity, Kubelet, Tuning};

use super::written::{Agent, Base, Disk, Kernel, Outputs, Sign, Ssh, Systemd, Tuned, Update, Written};
use super::{Findings, Placed, Sources};

/// A file and what it includes.
#[derive(Debug)]
pub(super) struct Part {
    /// What the file itself says.
    pub written: Written,
    /// Its fragments, in order.
    pub includes: Vec<Part>,
}

/// `part` with everything that it includes.
pub(super) fn merge(part: Part, sources: &Sources, findings: &mut Findings) -> Written {
    let mut below: Option<(Written, Vec<Dispute>)> = None;
    for include in part.includes {
        let fragment = merge(include, sources, findings);
        below = Some(match below {
            None => (fragment, Vec::new()),
            Some((lower, mut disputes)) => {
                let mut join = Join::default();
                let joined = join.written(lower, fragment);
                disputes.append(&mut join.disputes);
                (joined, disputes)
            }
        });
    }
    let Some((below, disputes)) = below else { return part.written };
    let mut join = Join::default();
    let merged = join.written(below, part.written);
    // What this file says itself is settled.
    for dispute in disputes.into_iter().filter(|dispute| !join.decided.contains(&dispute.key)) {
        let (one, other) = (sources.position(dispute.below), sources.position(dispute.above));
        findings.add_with_hint(
            dispute.above,
            format!("{}: {} here, but {} in {one}", dispute.key, dispute.found_above, dispute.found_below),
            format!(
                "two fragments disagree ({} and {}): say {} in the recipe that includes them",
                one.file, other.file, dispute.key
            ),
        );
    }
    merged
}

/// Two different values for one key.
struct Dispute {
    key: String,
    below: super::Place,
    above: super::Place,
    found_below: String,
    found_above: String,
}

/// Joins two files; where both have a value the upper one is taken, and differences are noted.
#[derive(Default)]
struct Join {
    disputes: Vec<Dispute>,
    /// The keys for which the upper file has a value.
    decided: BTreeSet<String>,
}

impl Join {
    fn written(&mut self, below: Written, above: Written) -> Written {
        Written {
            include: Vec::new(),
            name: self.one("name", below.name, above.name),
            version: self.one("version", below.version, above.version),
            architectures: self.one("architectures", below.architectures, above.architectures),
            packages: append(below.packages, above.packages),
            host_name: self.one("host-name", below.host_name, above.host_name),
            base: self.base(below.base, above.base),
            overlays: append(below.overlays, above.overlays),
            files: append(below.files, above.files),
            kernel: Kernel {
                args: append(below.kernel.args, above.kernel.args),
                symvers: self.one("kernel.symvers", below.kernel.symvers, above.kernel.symvers),
                secure_boot: self.one("kernel.secure-boot", below.kernel.secure_boot, above.kernel.secure_boot),
                module_keys: append(below.kernel.module_keys, above.kernel.module_keys),
            },
            kernel_modules: append(below.kernel_modules, above.kernel_modules),
            tuned: match (below.tuned, above.tuned) {
                (below, Some(above)) => Some(self.tuned(below.unwrap_or_default(), above)),
                (below, None) => below,
            },
            systemd: Systemd {
                enable: append(below.systemd.enable, above.systemd.enable),
                disable: append(below.systemd.disable, above.systemd.disable),
                mask: append(below.systemd.mask, above.systemd.mask),
            },
            users: {
                let mut users = below.users;
                for (name, user) in above.users {
                    self.decided.insert(format!("users.{name}"));
                    if let Some(lower) = users.get(&name)
                        && (lower.uid != user.uid || lower.groups != user.groups || lower.ssh_keys != user.ssh_keys)
                    {
                        self.note(&format!("users.{name}"), &lower.uid, &user.uid);
                    }
                    users.insert(name, user);
                }
                users
            },
            ssh: Ssh { root_keys: append(below.ssh.root_keys, above.ssh.root_keys) },
            networks: append(below.networks, above.networks),
            disk: Disk {
                sector_size: self.one("disk.sector-size", below.disk.sector_size, above.disk.sector_size),
                esp_size: self.one("disk.esp-size", below.disk.esp_size, above.disk.esp_size),
                boot_size: self.one("disk.boot-size", below.disk.boot_size, above.disk.boot_size),
                root_size: self.one("disk.root-size", below.disk.root_size, above.disk.root_size),
            },
            update: Update {
                image: self.one("update.image", below.update.image, above.update.image),
                client: self.one("update.client", below.update.client, above.update.client),
            },
            sign: Sign {
                commit: self.one("sign.commit", below.sign.commit, above.sign.commit),
                image: self.one("sign.image", below.sign.image, above.sign.image),
            },
            outputs: Outputs { formats: self.one("outputs.formats", below.outputs.formats, above.outputs.formats) },
            agent: Agent {
                enable: self.one("agent.enable", below.agent.enable, above.agent.enable),
                path: self.one("agent.path", below.agent.path, above.agent.path),
            },
            firstboot: match (below.firstboot, above.firstboot) {
                (Some(below), Some(above)) => {
                    Some(Placed { value: self.firstboot(below.value, above.value), place: above.place })
                }
                (below, above) => above.or(below),
            },
            checks: append(below.checks, above.checks),
        }
    }

    fn base(&mut self, below: Base, above: Base) -> Base {
        Base {
            kind: self.one("base.kind", below.kind, above.kind),
            from: self.one("base.from", below.from, above.from),
            path: self.one("base.path", below.path, above.path),
            suite: self.one("base.suite", below.suite, above.suite),
            components: self.one("base.components", below.components, above.components),
            mirror: self.one("base.mirror", below.mirror, above.mirror),
            keyring: self.one("base.keyring", below.keyring, above.keyring),
            packages: append(below.packages, above.packages),
            minimal: self.one("base.minimal", below.minimal, above.minimal),
            users: self.each("base.users", below.users, above.users),
            groups: self.each("base.groups", below.groups, above.groups),
        }
    }

    fn tuned(&mut self, below: Tuned, above: Tuned) -> Tuned {
        let mut variables = below.variables;
        for (profile, values) in above.variables {
            let lower = variables.remove(&profile).unwrap_or_default();
            let joined = self.each(&format!("tuned.variables.{profile}"), lower, values);
            variables.insert(profile, joined);
        }
        let active = self.one("tuned.active", below.active, above.active);
        Tuned { profiles: append(below.profiles, above.profiles), active, variables }
    }

    /// What comes of both is for the agent's rule to say, which is the same: here differences are noted.
    fn firstboot(&mut self, below: Desired, above: Desired) -> Desired {
        let Desired { identity, tuned, kernel, modules, kubelet, labels, acceptance: _, when: _ } = above.clone();
        let (desired::Kernel { arguments: _ }, desired::Modules { load: _ }) = (kernel, modules);
        let lower = below.clone();
        let Identity { host_name, interfaces } = identity;
        self.one("firstboot.identity.host-name", lower.identity.host_name, host_name);
        self.each("firstboot.identity.interfaces", lower.identity.interfaces, interfaces);
        let Tuning { profile } = tuned;
        self.one("firstboot.tuned.profile", lower.tuned.profile, profile);
        let Kubelet {
            taints: _,
            labels: node_labels,
            reserved_cpus,
            cpu_manager_policy,
            topology_manager_policy,
            memory_manager_policy,
            system_reserved,
            reserved_memory: _,
        } = kubelet;
        let lower_kubelet = lower.kubelet;
        self.one("firstboot.kubelet.reserved-cpus", lower_kubelet.reserved_cpus, reserved_cpus);
        self.one("firstboot.kubelet.cpu-manager-policy", lower_kubelet.cpu_manager_policy, cpu_manager_policy);
        self.one("firstboot.kubelet.topology-manager-policy", lower_kubelet.topology_manager_policy, topology_manager_policy);
        self.one("firstboot.kubelet.memory-manager-policy", lower_kubelet.memory_manager_policy, memory_manager_policy);
        self.each("firstboot.kubelet.labels", lower_kubelet.labels, node_labels);
        self.each("firstboot.kubelet.system-reserved", lower_kubelet.system_reserved, system_reserved);
        self.each("firstboot.labels", lower.labels, labels);
        below.under(above)
    }

    fn one<T: PartialEq + std::fmt::Debug>(
        &mut self,
        key: &str,
        below: Option<Placed<T>>,
        above: Option<Placed<T>>,
    ) -> Option<Placed<T>> {
        if let Some(above) = &above {
            self.decided.insert(key.to_owned());
            if let Some(below) = below.as_ref().filter(|below| *below != above) {
                self.note(key, below, above);
            }
        }
        above.or(below)
    }

    fn each<T: PartialEq + std::fmt::Debug>(
        &mut self,
        table: &str,
        below: BTreeMap<String, Placed<T>>,
        above: BTreeMap<String, Placed<T>>,
    ) -> BTreeMap<String, Placed<T>> {
        let mut joined = below;
        for (name, value) in above {
            let lower = joined.remove(&name);
            if let Some(value) = self.one(&format!("{table}.{name}"), lower, Some(value)) {
                joined.insert(name, value);
            }
        }
        joined
    }

    fn note<T: std::fmt::Debug>(&mut self, key: &str, below: &Placed<T>, above: &Placed<T>) {
        self.disputes.push(Dispute {
            key: key.to_owned(),
            below: below.place,
            above: above.place,
            found_below: shown(&below.value),
            found_above: shown(&above.value),
        });
    }
}

fn append<T>(mut below: Vec<T>, above: Vec<T>) -> Vec<T> {
    below.extend(above);
    below
}

/// Simple values as they are written; lists only by that word.
fn shown(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    if text.starts_with('[') { "another list".to_owned() } else { text }
}
