//! One desired state of two: see the [module above](super) for the rule.

use super::{Acceptance, Desired, Identity, Kernel, Kubelet, Modules, Tuning};

impl Desired {
    /// `above` over `self`. What is different on some machines stays apart, in order.
    #[must_use]
    pub fn under(self, above: Self) -> Self {
        let Self { mut identity, tuned, kernel, modules, mut kubelet, mut labels, acceptance, mut when } = self;
        labels.extend(above.labels);
        identity.interfaces.extend(above.identity.interfaces);
        kubelet.labels.extend(above.kubelet.labels);
        kubelet.system_reserved.extend(above.kubelet.system_reserved);
        when.extend(above.when);
        Self {
            identity: Identity { host_name: above.identity.host_name.or(identity.host_name), ..identity },
            tuned: Tuning { profile: above.tuned.profile.or(tuned.profile) },
            kernel: Kernel { arguments: append(kernel.arguments, above.kernel.arguments) },
            modules: Modules { load: append(modules.load, above.modules.load) },
            kubelet: Kubelet {
                taints: append(kubelet.taints, above.kubelet.taints),
                labels: kubelet.labels,
                reserved_cpus: above.kubelet.reserved_cpus.or(kubelet.reserved_cpus),
                cpu_manager_policy: above.kubelet.cpu_manager_policy.or(kubelet.cpu_manager_policy),
                topology_manager_policy: above.kubelet.topology_manager_policy.or(kubelet.topology_manager_policy),
                memory_manager_policy: above.kubelet.memory_manager_policy.or(kubelet.memory_manager_policy),
                system_reserved: kubelet.system_reserved,
                reserved_memory: append(kubelet.reserved_memory, above.kubelet.reserved_memory),
            },
            labels,
            acceptance: replace(acceptance, above.acceptance),
            when,
        }
    }
}

fn append<T>(mut below: Vec<T>, above: Vec<T>) -> Vec<T> {
    below.extend(above);
    below
}

/// One of a name takes the place of the one that had it.
fn replace(mut below: Vec<Acceptance>, above: Vec<Acceptance>) -> Vec<Acceptance> {
    for one in above {
        match below.iter_mut().find(|known| known.name == one.name) {
            Some(known) => *known = one,
            None => below.push(one),
        }
    }
    below
}
