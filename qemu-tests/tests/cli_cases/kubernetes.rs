//! What the agent writes for Kubernetes, read by Kubernetes' own code: labels by node feature discovery's reader, judged by its rules; the kubelet's
//! configuration by the kubelet's types, and the labels of its registration by its flag.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt_contract::desired::{check, read};
use basalt_contract::placed::{Findings, Sources};
use qemu_tests::{NodeLabels, Scratch, agent, kubelet_configuration, run};
use serde_json::json;

const FOLDER: &str = "etc/kubernetes/node-feature-discovery/features.d";
const DOMAIN: &str = "feature.node.kubernetes.io";

/// Makes a root folder what is wished.
fn apply(scratch: &Scratch, wishes: &str) -> Result<PathBuf> {
    scratch.write("root/etc/basalt/firstboot.d/50-case.toml", wishes)?;
    scratch.write("root/proc/cmdline", "quiet\n")?;
    let root = scratch.path().join("root");
    run(Command::new(agent()?).arg("--root").arg(&root).arg("apply"))?;
    Ok(root)
}

/// What becomes of the desired state `wishes` on a node.
fn labelled(scratch: &Scratch, wishes: &str) -> Result<NodeLabels> {
    NodeLabels::of_features(&apply(scratch, wishes)?)
}

#[test]
fn cli_the_kubelets_own_types_take_its_drop_in() -> Result<()> {
    let scratch = Scratch::new()?;
    let wishes = r#"[kubelet]
taints = ["example.org/gpu=yes:NoSchedule"]
reserved-cpus = "0-1"
cpu-manager-policy = "static"
topology-manager-policy = "single-numa-node"
memory-manager-policy = "static"
system-reserved = { memory = "1Gi", hugepages-2Mi = "4Mi" }
reserved-memory = [{ numa-node = 0, limits = { memory = "1124Mi", hugepages-2Mi = "4Mi" } }]
labels = { "example.org/rack" = "7", tier = "a.b_c-d", "node.kubernetes.io/empty" = "" }
"#;
    let root = apply(&scratch, wishes)?;
    let path = root.join("etc/kubernetes/kubelet.conf.d/50-basalt.conf");
    let found = kubelet_configuration(&path)?;
    for (key, wanted) in [
        ("kind", json!("KubeletConfiguration")),
        ("registerWithTaints", json!([{ "key": "example.org/gpu", "value": "yes", "effect": "NoSchedule" }])),
        ("reservedSystemCPUs", json!("0-1")),
        ("cpuManagerPolicy", json!("static")),
        ("topologyManagerPolicy", json!("single-numa-node")),
        ("memoryManagerPolicy", json!("Static")),
        ("systemReserved", json!({ "memory": "1Gi", "hugepages-2Mi": "4Mi" })),
        ("reservedMemory", json!([{ "numaNode": 0, "limits": { "memory": "1124Mi", "hugepages-2Mi": "4Mi" } }])),
    ] {
        ensure!(found[key] == wanted, "{key}: {found}");
    }
    let environment = fs::read_to_string(root.join("etc/kubernetes/basalt-kubelet.env"))?;
    let argument = environment.lines().find_map(|line| line.strip_prefix("KUBELET_EXTRA_ARGS=")).context("no arguments")?;
    let NodeLabels { given, refused } = NodeLabels::of_registration(&[argument])?;
    let wanted = [("example.org/rack", "7"), ("node.kubernetes.io/empty", ""), ("tier", "a.b_c-d")];
    ensure!(given.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(wanted), "{given:?}");
    ensure!(refused.is_empty(), "{refused:?}");

    let broken = fs::read_to_string(&path)?.replace("cpuManagerPolicy", "cpuManagerPolice");
    fs::write(&path, broken)?;
    ensure!(kubelet_configuration(&path).is_err(), "an unknown key is taken");
    Ok(())
}

#[test]
fn cli_node_feature_discovery_gives_the_labels_that_are_wished() -> Result<()> {
    let scratch = Scratch::new()?;
    let longest = "v".repeat(63);
    let wishes = format!(
        "[labels]\ntier = \"training\"\nempty = \"\"\n\"example.org/site\" = \"hall-3\"\n\"example.org/longest\" = \"{longest}\"\n"
    );
    // What a power cut may leave is not read.
    scratch.write(&format!("root/{FOLDER}/.basalt.new"), "example.org/half=1\nexample.org/si")?;
    let NodeLabels { given, refused } = labelled(&scratch, &wishes)?;
    ensure!(refused.is_empty(), "{refused:?}");
    let given: Vec<_> = given.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let wanted = [
        format!("example.org/longest={longest}"),
        "example.org/site=hall-3".to_owned(),
        format!("{DOMAIN}/empty="),
        format!("{DOMAIN}/tier=training"),
    ];
    ensure!(given == wanted, "{given:?}");

    // The largest file that the agent writes is read; one that is larger is not.
    let line = |name: String| format!("\"example.org/{name}\" = \"{longest}\"\n");
    let lines: String = (1..=808).map(|number| line(format!("{number:04}"))).collect();
    let NodeLabels { given, refused } = labelled(&scratch, &format!("[labels]\n{lines}{}", line("last-name-x".to_owned())))?;
    ensure!((given.len(), refused.len()) == (809, 0), "{} given, {refused:?}", given.len());
    let written = scratch.path().join(format!("root/{FOLDER}/basalt"));
    let largest = fs::read_to_string(&written)?;
    ensure!(largest.len() == 65_536, "{}", largest.len());
    fs::write(&written, largest + "\n")?;
    ensure!(NodeLabels::of_features(&scratch.path().join("root"))?.given.is_empty(), "the limit is another one");
    Ok(())
}

/// What the agent's check refuses and what node feature discovery or the kubelet refuses is the same.
#[test]
fn cli_labels_are_refused_where_kubernetes_refuses_them() -> Result<()> {
    let long = "n".repeat(64);
    let deep = format!("{}example.org", "d.".repeat(122));
    let keys = [
        "tier",
        "Tier_1.x",
        "-x",
        "x-",
        "",
        "a b",
        &long,
        &long[1..],
        "@x",
        "ü", // names
        "example.org/x",
        "Example.org/x",
        "example..org/x",
        "-a.org/x",
        "a_b.org/x",
        "a/b/c",
        "/x",
        "a/", // domains
        "kubernetes.io/x",
        "node.kubernetes.io/x",
        "mykubernetes.io/x",
        "node-role.kubernetes.io/x",
        "k8s.io/x",
        "feature.node.kubernetes.io/x",
        "a.feature.node.kubernetes.io/x",
        "afeature.node.kubernetes.io/x",
        "profile.node.kubernetes.io/x",
        "a.b.profile.node.kubernetes.io/x", // Kubernetes' own
        "a.k8s.io/x",
        "myk8s.io/x",
        "kubelet.kubernetes.io/x",
        "a.kubelet.kubernetes.io/x",
        "akubelet.kubernetes.io/x",
        "kubernetes.io/hostname",
        "kubernetes.io/os",
        "kubernetes.io/arch",
        "kubernetes.io/region",
        "topology.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/rack",
        "failure-domain.beta.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region",
        "beta.kubernetes.io/instance-type",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
    ];
    let deeper = [format!("{deep}/x"), format!("d{deep}/x"), format!("{long}.org/x")];
    let keys: Vec<_> = keys.into_iter().chain(deeper.iter().map(String::as_str)).collect();
    let values = ["1", "", "a.b_c-d", "-", "a-", ".a", "a b", "a/b", "1g.5gb+me", "@a.b.c", &long, &long[1..], "ü"];
    let named = (0..).zip(&values).map(|(number, value)| (format!("example.org/value-{number}"), *value));
    let pairs: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), "1")).chain(named).collect();

    let scratch = Scratch::new()?;
    // A name alone is written with its domain.
    let key = |key: &str| if key.contains('/') { key.to_owned() } else { format!("{DOMAIN}/{key}") };
    let lines: String = pairs.iter().map(|(name, value)| format!("{}={value}\n", key(name))).collect();
    scratch.write(&format!("root/{FOLDER}/case"), lines)?;
    refused_alike("labels", &pairs, key, &NodeLabels::of_features(&scratch.path().join("root"))?)?;

    let joined: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let argument = format!("--node-labels={}", joined.join(","));
    refused_alike("kubelet.labels", &pairs, str::to_owned, &NodeLabels::of_registration(&[&argument])?)
}

/// `of`: where desired state has them; `key`: what becomes of a name.
fn refused_alike(of: &str, pairs: &[(String, &str)], key: impl Fn(&str) -> String, theirs: &NodeLabels) -> Result<()> {
    let NodeLabels { given, refused } = theirs;
    ensure!(given.len() + refused.len() == pairs.len(), "{of}: {} of {} are read", given.len() + refused.len(), pairs.len());
    for (name, value) in pairs {
        let (mut sources, mut findings) = (Sources::default(), Findings::default());
        let desired = read("case.toml", &format!("{of}.{name:?} = {value:?}\n"), &mut sources, &mut findings);
        check(&desired, &sources, &mut findings);
        let theirs = refused.get(&key(name));
        ensure!(findings.is_empty() == theirs.is_none(), "{of}: {name:?} = {value:?}: {theirs:?}, and ours: {findings:?}");
    }
    Ok(())
}
