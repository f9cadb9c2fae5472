//! What can never work, told before anything changes.

use std::collections::{BTreeMap, BTreeSet};

use super::{Count, Desired, HostName, Interface, Kubelet, Match, MemoryManagerPolicy, PciMatch, ReservedMemory, acceptance};
use crate::hardware::DMI;
use crate::kernel_arguments::{self, Contradictions, Declaration, Source};
use crate::placed::shape::nearest;
use crate::placed::{Findings, Place, Placed, Sources};

/// What Kubernetes does to pods that do not tolerate a taint.
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
/// Of a part of a label.
const LONGEST: usize = 63;
/// The only places of Kubernetes' own where node feature discovery puts labels.
const OPEN: [&str; 2] = ["feature.node.kubernetes.io", "profile.node.kubernetes.io"];
/// The only places of Kubernetes' own where a kubelet may put labels (`pkg/apis/well_known_labels.go` of k8s.io/kubelet), and the only labels elsewhere.
const KUBELETS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const KUBELETS_OWN: [&str; 10] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Notes all that can never work.
pub fn check(desired: &Desired, sources: &Sources, findings: &mut Findings) {
    let Desired { identity, tuned, kernel, modules, kubelet, labels, acceptance, when } = desired;
    if let Some(name) = &identity.host_name {
        note(findings, "identity.host-name", name, |text| HostName::parse(text).map(drop));
    }
    check_interfaces(&identity.interfaces, findings);
    if let Some(profile) = &tuned.profile {
        note(findings, "tuned.profile", profile, profiles);
    }
    for argument in &kernel.arguments {
        note(findings, "kernel.arguments", argument, kernel_arguments::one);
    }
    agree(&kernel.arguments, sources, findings);
    for module in &modules.load {
        note(findings, "modules.load", module, module_name);
    }
    check_kubelet(kubelet, findings);
    check_labels("labels", labels, features, findings);
    acceptance::check(acceptance, findings);
    for when in when {
        check_match(&when.machines, when.name.place, findings);
        if when.set == Desired::default() {
            findings.add(when.name.place, format!("when {:?}: needed something in set, found nothing", when.name.value));
        }
        check(&when.set, sources, findings);
    }
}

pub(super) fn note(findings: &mut Findings, key: &str, text: &Placed<String>, mut rule: impl FnMut(&str) -> Result<(), String>) {
    if let Err(why) = rule(text) {
        findings.add(text.place, format!("{key}: {why}"));
    }
}

fn check_interfaces(interfaces: &BTreeMap<String, Placed<String>>, findings: &mut Findings) {
    let mut known = BTreeMap::new();
    for (name, wish) in interfaces {
        let key = format!("identity.interfaces.{name}");
        note(findings, &key, wish, |_| Interface::name(name));
        note(findings, &key, wish, |text| {
            let other = known.insert(format!("{:?}", Interface::parse(text)?), name);
            other.map_or(Ok(()), |other| Err(format!("{text} is {other} already")))
        });
    }
}

/// Arguments that stand together must go together.
fn agree(arguments: &[Placed<String>], sources: &Sources, findings: &mut Findings) {
    let words = arguments.iter().map(|argument| {
        let at = sources.position(argument.place);
        (argument.value.clone(), Source::new("desired state").at(at.to_string()))
    });
    if let (Err(Contradictions(list)), Some(first)) = (kernel_arguments::resolve(Declaration::list(words)), arguments.first()) {
        for contradiction in list {
            findings.add_with_hint(first.place, format!("kernel.arguments: {contradiction}"), Contradictions::NEXT);
        }
    }
}

/// As tuned takes names of profiles.
fn profiles(text: &str) -> Result<(), String> {
    let name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if text.split(' ').all(name) {
        Ok(())
    } else {
        Err(format!("needed names of profiles (letters, digits, \"_.-\") with one space between two, found {text:?}"))
    }
}

/// Whether a kernel module can have this name (`MODULE_NAME_LEN`).
///
/// # Errors
/// Says what was needed and found.
pub fn module_name(text: &str) -> Result<(), String> {
    let fits = (1..56).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    fits.then_some(()).ok_or_else(|| format!("needed the name of a module (letters, digits, \"-_\"), found {text:?}"))
}

fn check_kubelet(kubelet: &Kubelet, findings: &mut Findings) {
    for taint in &kubelet.taints {
        note(findings, "kubelet.taints", taint, |text| {
            let (key, effect) = text.rsplit_once(':').ok_or_else(|| format!("needed key=value:Effect, found {text:?}"))?;
            let (key, value) = key.split_once('=').unwrap_or((key, ""));
            label_key(key)?;
            label_value(value)?;
            let known = EFFECTS.contains(&effect);
            known.then_some(()).ok_or_else(|| format!("needed {} behind the \":\", found {effect:?}", EFFECTS.join(" or ")))
        });
    }
    check_labels("kubelet.labels", &kubelet.labels, registration, findings);
    if let Some(cpus) = &kubelet.reserved_cpus {
        note(findings, "kubelet.reserved-cpus", cpus, cpu_list);
    }
    amounts("kubelet.system-reserved", &kubelet.system_reserved, &["cpu", "memory", "ephemeral-storage", "pid"], findings);
    let mut nodes = BTreeSet::new();
    for ReservedMemory { numa_node, limits } in &kubelet.reserved_memory {
        if !nodes.insert(numa_node.value) {
            findings.add(numa_node.place, format!("kubelet.reserved-memory: the NUMA node {} is there already", numa_node.value));
        }
        amounts("kubelet.reserved-memory.limits", limits, &["memory"], findings);
    }
    if let Some(policy) = &kubelet.memory_manager_policy
        && policy.value == MemoryManagerPolicy::Static
        && kubelet.reserved_memory.is_empty()
    {
        let hint = "the kubelet does not start otherwise; the sum is system-reserved and what begins evictions, 100Mi where nobody says more";
        findings.add_with_hint(
            policy.place,
            "kubelet.memory-manager-policy: needed reserved-memory with \"static\", found none",
            hint,
        );
    }
}

/// Amounts of resources, huge pages among them.
fn amounts(key: &str, list: &BTreeMap<String, Placed<String>>, known: &[&str], findings: &mut Findings) {
    for (resource, amount) in list {
        note(findings, &format!("{key}.{resource}"), amount, |text| {
            let size = resource.strip_prefix("hugepages-").map(quantity);
            if !known.contains(&resource.as_str()) && size != Some(true) {
                return Err(format!("needed {} or hugepages-SIZE like hugepages-2Mi", known.join(", ")));
            }
            quantity(text).then_some(()).ok_or_else(|| format!("needed an amount like 500m, 4 or 1Gi, found {text:?}"))
        });
    }
}

/// A `Quantity` of Kubernetes, without exponents.
fn quantity(text: &str) -> bool {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    number(whole) && number(part) && ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&&text[digits.len()..])
}

/// `0-3,32`: a list of the kernel (`Documentation/admin-guide/kernel-parameters.rst`, "cpu lists"), without strides.
fn cpu_list(text: &str) -> Result<(), String> {
    let range = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if from <= to)
    };
    if text.split(',').all(range) { Ok(()) } else { Err(format!("needed processors like 0-3,32, found {text:?}")) }
}

/// `may_have`: whether such a domain is for whoever gives the node these labels.
fn check_labels(
    of: &str,
    labels: &BTreeMap<String, Placed<String>>,
    may_have: fn(&str) -> Result<(), String>,
    findings: &mut Findings,
) {
    for (key, value) in labels {
        let verdict = label_key(key).and_then(|()| may_have(key)).and_then(|()| label_value(value));
        if let Err(why) = verdict {
            findings.add(value.place, format!("{of}.{key:?}: {why}"));
        }
    }
}

/// `name` or `domain/name`, as Kubernetes takes the key of a label.
fn label_key(key: &str) -> Result<(), String> {
    let (domain, name) = key.split_once('/').map_or((None, key), |(domain, name)| (Some(domain), name));
    let label = |part: &str| {
        let inner = part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        !part.is_empty() && inner && !part.starts_with('-') && !part.ends_with('-')
    };
    let domain_fits = domain.is_none_or(|domain| domain.len() <= 253 && domain.split('.').all(label));
    if domain_fits && !name.is_empty() && label_value(name).is_ok() {
        return Ok(());
    }
    Err(format!("needed name or domain/name ({LONGEST} letters, digits, inner \"-_.\"), found {key:?}"))
}

/// What node feature discovery gives no label of.
fn features(key: &str) -> Result<(), String> {
    let Some((domain, _)) = key.split_once('/') else { return Ok(()) };
    if below(domain, "kubernetes.io") && !OPEN.iter().any(|open| below(domain, open)) {
        return Err(format!(
            "node feature discovery gives no label of {domain}: needed {} or a domain of yours",
            OPEN.join(", ")
        ));
    }
    Ok(())
}

/// With what a kubelet does not begin.
fn registration(key: &str) -> Result<(), String> {
    let Some((domain, _)) = key.split_once('/') else { return Ok(()) };
    let theirs = ["kubernetes.io", "k8s.io"].iter().any(|top| below(domain, top));
    if theirs && !KUBELETS.iter().any(|open| below(domain, open)) && !KUBELETS_OWN.contains(&key) {
        return Err(format!(
            "a kubelet may not give itself such a label of {domain}: needed {}, a domain of yours, or {}",
            KUBELETS.join(", "),
            KUBELETS_OWN.join(", ")
        ));
    }
    Ok(())
}

fn below(domain: &str, top: &str) -> bool {
    domain == top || domain.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'))
}

fn label_value(value: &str) -> Result<(), String> {
    let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    let inner = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if value.len() <= LONGEST && inner && ends(value.chars().next()) && ends(value.chars().next_back()) {
        return Ok(());
    }
    Err(format!("needed at most {LONGEST} letters, digits and inner \"-_.\", found {value:?}"))
}

fn check_match(machines: &Match, place: Place, findings: &mut Findings) {
    let Match { dmi, pci, processors, memory_mib } = machines;
    if *machines == Match::default() {
        let hint = "what is for every machine stands outside of [[when]]";
        findings.add_with_hint(place, "match: needed dmi, pci, processors or memory-mib, found nothing", hint);
    }
    for (name, pattern) in dmi.iter().filter(|(name, _)| !DMI.contains(&name.as_str())) {
        let hint = nearest(name, DMI.into_iter()).map_or_else(|| DMI.join(", "), |near| format!("did you mean {near:?}?"));
        findings.add_with_hint(pattern.place, format!("match.dmi: the kernel has no {name:?}"), hint);
    }
    for PciMatch { id, class, count } in pci {
        note(findings, "match.pci.id", id, |text| {
            let part = |part: &str| part == "*" || (part.len() == 4 && part.chars().all(|c| c == '?' || c.is_ascii_hexdigit()));
            let fits = text.split_once(':').is_some_and(|(vendor, device)| part(vendor) && part(device));
            fits.then_some(()).ok_or_else(|| format!("needed vendor:device like 10de:2330 or 10de:*, found {text:?}"))
        });
        if let Some(class) = class {
            note(findings, "match.pci.class", class, |text| {
                let fits = matches!(text.len(), 2 | 4 | 6) && text.chars().all(|c| c.is_ascii_hexdigit());
                fits.then_some(()).ok_or_else(|| format!("needed 2, 4 or 6 hexadecimal digits, found {text:?}"))
            });
        }
        check_count("match.pci.count", count.as_ref(), findings);
    }
    check_count("match.processors", processors.as_ref(), findings);
    check_count("match.memory-mib", memory_mib.as_ref(), findings);
}

fn check_count(key: &str, count: Option<&Placed<Count>>, findings: &mut Findings) {
    let Some(count) = count else { return };
    match (count.at_least, count.at_most) {
        (None, None) => findings.add(count.place, format!("{key}: needed at-least or at-most, found neither")),
        (Some(least), Some(most)) if least > most => {
            findings.add(count.place, format!("{key}: at least {least} and at most {most} is no number"));
        }
        _ => {}
    }
}
