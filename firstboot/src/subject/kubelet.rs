//! The kubelet's configuration: a drop-in of its folder (`--config-dir`), and the labels with which it registers.
//!
//! Format: `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`, as JSON, which is YAML; a drop-in's name ends in `.conf`.

use std::collections::BTreeMap;

use basalt_contract::desired::{Kubelet as Wishes, MemoryManagerPolicy, ReservedMemory};
use basalt_contract::placed::Placed;
use basalt_contract::{Desired, Fault, names};
use serde_json::{Map, Value, json};

use super::{Node, OneFile, Subject, Told, text};
use crate::export::found;
use crate::plan::Action;

mod registration;

const PATH: &str = "/etc/kubernetes/kubelet.conf.d/50-basalt.conf";

/// The subject.
pub struct Kubelet;

impl Subject for Kubelet {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    fn differences<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Vec<Action>> {
        Box::pin(async move { Ok(drop_in(node)?.into_iter().chain(registration::labels(node)?).collect()) })
    }

    fn export<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Desired> {
        Box::pin(async move {
            let fault = |what| Fault::new(Kubelet.name(), what, "let the agent read it, or take it away");
            let told = text(node.outside.files.as_ref(), PATH).map_err(fault)?;
            let kubelet = told.map(|told| wishes(&told)).transpose().map_err(fault)?.unwrap_or_default();
            let labels = registration::found_labels(node.outside.files.as_ref()).map_err(fault)?;
            Ok(Desired { kubelet: Wishes { labels, ..kubelet }, ..Desired::default() })
        })
    }

    fn verify<'a>(&'a self, node: &'a Node<'a>) -> Told<'a, Option<String>> {
        // What differed not was read from the disk.
        let wishes = &node.goal.desired.kubelet;
        let configured = configuration(wishes).map(|_| format!("the kubelet's configuration in {PATH}"));
        let wished: Vec<_> = configured.into_iter().chain(registration::said(wishes)).collect();
        Box::pin(async move { Ok((!wished.is_empty()).then(|| wished.join("; "))) })
    }
}

fn drop_in(node: &Node<'_>) -> Result<Option<Action>, Fault> {
    let wishes = &node.goal.desired.kubelet;
    let goal = node.goal;
    let Wishes { reserved_cpus, cpu_manager_policy, topology_manager_policy, memory_manager_policy, .. } = wishes;
    let policies = [
        reserved_cpus.as_ref().map(|wish| goal.place(wish)),
        cpu_manager_policy.as_ref().map(|wish| goal.place(wish)),
        topology_manager_policy.as_ref().map(|wish| goal.place(wish)),
        memory_manager_policy.as_ref().map(|wish| goal.place(wish)),
    ];
    let reserved = wishes.reserved_memory.iter().map(|reserved| goal.place(&reserved.numa_node));
    let lists = wishes.taints.iter().chain(wishes.system_reserved.values()).map(|wish| goal.place(wish)).chain(reserved);
    let wanted = OneFile {
        subject: Kubelet.name(),
        name: "drop-in",
        path: PATH,
        text: configuration(wishes),
        what: "the kubelet's configuration".to_owned(),
        gone: "no configuration of the kubelet, now there is some",
        asked_by: lists.chain(policies.into_iter().flatten()).collect(),
    };
    wanted.action(node.outside.files.as_ref())
}

/// The drop-in; absent: nobody wishes any.
fn configuration(wishes: &Wishes) -> Option<String> {
    let Wishes { taints, reserved_cpus, cpu_manager_policy, topology_manager_policy, memory_manager_policy, .. } = wishes;
    let Wishes { system_reserved, reserved_memory, .. } = wishes;
    let mut settings = Map::new();
    if !taints.is_empty() {
        settings.insert("registerWithTaints".into(), taints.iter().map(|taint| self::taint(taint)).collect());
    }
    if let Some(cpus) = reserved_cpus {
        settings.insert("reservedSystemCPUs".into(), json!(cpus.value));
    }
    if let Some(policy) = cpu_manager_policy {
        settings.insert("cpuManagerPolicy".into(), json!(policy.value));
    }
    if let Some(policy) = topology_manager_policy {
        settings.insert("topologyManagerPolicy".into(), json!(policy.value));
    }
    if let Some(policy) = memory_manager_policy {
        settings.insert("memoryManagerPolicy".into(), json!(memory_manager(policy.value)));
    }
    if !system_reserved.is_empty() {
        settings.insert("systemReserved".into(), json!(plain(system_reserved)));
    }
    if !reserved_memory.is_empty() {
        let one = |reserved: &ReservedMemory| json!({ "numaNode": reserved.numa_node.value, "limits": plain(&reserved.limits) });
        settings.insert("reservedMemory".into(), reserved_memory.iter().map(one).collect());
    }
    if settings.is_empty() {
        return None;
    }
    settings.insert("apiVersion".into(), json!("kubelet.config.k8s.io/v1beta1"));
    settings.insert("kind".into(), json!("KubeletConfiguration"));
    let text = serde_json::to_string_pretty(&Value::Object(settings)).unwrap_or_default();
    Some(format!("# Written by {}: from desired state.\n{text}\n", names::AGENT_UNIT))
}

/// The kubelet writes this one in capitals.
const fn memory_manager(policy: MemoryManagerPolicy) -> &'static str {
    match policy {
        MemoryManagerPolicy::None => "None",
        MemoryManagerPolicy::Static => "Static",
    }
}

fn plain(amounts: &BTreeMap<String, Placed<String>>) -> BTreeMap<&str, &str> {
    amounts.iter().map(|(resource, amount)| (resource.as_str(), amount.value.as_str())).collect()
}

/// `key=value:Effect`, checked before.
fn taint(text: &str) -> Value {
    let (key, effect) = text.rsplit_once(':').unwrap_or((text, ""));
    let (key, value) = key.split_once('=').unwrap_or((key, ""));
    json!({ "key": key, "value": value, "effect": effect })
}

/// What a drop-in of ours says.
fn wishes(text: &str) -> Result<Wishes, String> {
    let json: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let settings: Map<String, Value> = serde_json::from_str(&json).map_err(|error| format!("{PATH}: {error}"))?;
    let word = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let taint = |taint: &Value| match word(taint, "value").as_str() {
        "" => format!("{}:{}", word(taint, "key"), word(taint, "effect")),
        value => format!("{}={value}:{}", word(taint, "key"), word(taint, "effect")),
    };
    let taints = settings.get("registerWithTaints").and_then(Value::as_array).into_iter().flatten();
    fn policy<T: serde::de::DeserializeOwned>(settings: &Map<String, Value>, key: &str) -> Result<Option<Placed<T>>, String> {
        let value = settings.get(key).cloned().map(serde_json::from_value).transpose();
        value.map(|value| value.map(found)).map_err(|error| format!("{PATH}: {key}: {error}"))
    }
    let amounts = |value: &Value| -> BTreeMap<String, Placed<String>> {
        let list = value.as_object().into_iter().flatten();
        list.filter_map(|(resource, amount)| Some((resource.clone(), found(amount.as_str()?.to_owned())))).collect()
    };
    let memory = settings.get("memoryManagerPolicy").and_then(Value::as_str);
    let policies = [MemoryManagerPolicy::None, MemoryManagerPolicy::Static];
    let reserved = settings.get("reservedMemory").and_then(Value::as_array).into_iter().flatten();
    Ok(Wishes {
        memory_manager_policy: policies.into_iter().find(|policy| memory == Some(memory_manager(*policy))).map(found),
        system_reserved: settings.get("systemReserved").map(amounts).unwrap_or_default(),
        reserved_memory: reserved
            .filter_map(|one| {
                let node = u32::try_from(one["numaNode"].as_u64()?).ok()?;
                Some(ReservedMemory { numa_node: found(node), limits: amounts(&one["limits"]) })
            })
            .collect(),
        taints: taints.map(taint).map(found).collect(),
        labels: BTreeMap::new(),
        reserved_cpus: policy(&settings, "reservedSystemCPUs")?,
        cpu_manager_policy: policy(&settings, "cpuManagerPolicy")?,
        topology_manager_policy: policy(&settings, "topologyManagerPolicy")?,
    })
}
