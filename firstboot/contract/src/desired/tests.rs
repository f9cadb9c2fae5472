//! Files that are right and every way to be wrong, with exact places; what is chosen for which machine.

use std::collections::BTreeMap;

use super::{Acceptance, Desired, SCHEMA, Verdict, check, choose, read};
use crate::hardware::{Hardware, PciDevice};
use crate::placed::{Findings, Sources};

const FLEET: &str = r#"
[identity]
host-name = "gpu-{serial}"

[kernel]
arguments = ["iommu=pt"]

[labels]
"example.org/site" = "hall-3"
tier = "standard"

[[acceptance]]
name = "disk"
ready = "disk-write"
at-least = 500

[[acceptance]]
name = "net"
command = ["iperf3", "--json", "--client", "192.0.2.1"]
figure = "/end/sum_received/bits_per_second"
unit = "bit/s"
at-most = 1.5e11
timeout-s = 20

[[when]]
name = "eight H100"
match.pci = [{ id = "10de:2330", class = "0302", count = { at-least = 8 } }]
[when.set]
tuned.profile = "basalt-gpu-training"
modules.load = ["vfio-pci"]
kernel.arguments = ["pci=realloc=off"]
labels.tier = "training"

[[when]]
name = "small ones"
match = { dmi = { product_name = "*standard pc*" }, memory-mib = { at-most = 4096 } }
[when.set]
identity.host-name = "small-{mac}"
kubelet = { reserved-cpus = "0", cpu-manager-policy = "static", taints = ["example.org/small=yes:NoSchedule"] }
acceptance = [{ name = "disk", ready = "disk-write", at-least = 5.5 }, { name = "memory", ready = "memory" }]
"#;

fn parsed(text: &str) -> (Desired, Vec<String>) {
    let (mut sources, mut findings) = (Sources::default(), Findings::default());
    let desired = read("a.toml", text, &mut sources, &mut findings);
    check(&desired, &sources, &mut findings);
    (desired, findings.into_problems(&sources).iter().map(ToString::to_string).collect())
}

fn machine(product: &str, gpus: usize) -> Hardware {
    let gpu = PciDevice { vendor: "10de".into(), device: "2330".into(), class: "030200".into(), driver: None };
    Hardware {
        dmi: BTreeMap::from([("product_name".to_owned(), product.to_owned())]),
        pci: Some((0..gpus).map(|index| (format!("0000:{index:02x}:00.0"), gpu.clone())).collect()),
        processors: Some(2),
        memory_mib: Some(1966),
        interfaces: Some(BTreeMap::new()),
    }
}

#[test]
fn one_file_serves_a_mixed_fleet() {
    let (desired, problems) = parsed(FLEET);
    assert_eq!(problems, [""; 0]);
    let chosen = |product: &str, gpus| choose([desired.clone()], &machine(product, gpus));
    let of = |product: &str, gpus| {
        let Desired { identity, tuned, kernel, modules: _, kubelet, labels, acceptance, when } = chosen(product, gpus).desired;
        assert_eq!(when, []);
        let words: Vec<_> = kernel.arguments.into_iter().map(|argument| argument.value).collect();
        let least = |one: &Acceptance| one.at_least.as_ref().map(|least| least.value);
        let measured = acceptance.iter().map(|one| (one.name.value.clone(), least(one), one.limit_s()));
        (
            identity.host_name.unwrap().value,
            tuned.profile.map(|profile| profile.value),
            words.join(" "),
            kubelet.reserved_cpus.map(|cpus| cpus.value),
            labels["tier"].value.clone(),
            measured.collect::<Vec<_>>(),
        )
    };
    let text = |text: &str| text.to_owned();
    let (disk, net) = (|least| (text("disk"), Some(least), 60), (text("net"), None, 20));
    assert_eq!(
        of("DGX H100", 8),
        (
            text("gpu-{serial}"),
            Some(text("basalt-gpu-training")),
            text("iommu=pt pci=realloc=off"),
            None,
            text("training"),
            vec![disk(500.0), net.clone()]
        )
    );
    assert_eq!(
        of("QEMU Standard PC (Q35)", 0),
        (
            text("small-{mac}"),
            None,
            text("iommu=pt"),
            Some(text("0")),
            text("standard"),
            vec![disk(5.5), net, (text("memory"), None, 60)]
        ),
        "what has a name is replaced where it stood"
    );
    let asked = chosen("DGX", 7).asked;
    let answers: Vec<_> = asked.iter().map(|(_, name, verdict)| (name.as_str(), verdict.clone())).collect();
    assert_eq!(answers[0], ("eight H100", Verdict::Differs("needed at least 8 devices 10de:2330, found 7".into())));
    assert!(matches!(&answers[1], ("small ones", Verdict::Differs(why)) if why.starts_with("product_name: needed")));
}

#[test]
fn what_is_not_known_is_neither_so_nor_not_so() {
    let (desired, _) = parsed(FLEET);
    let unknown = choose([desired], &Hardware::default());
    let why: Vec<_> = unknown.asked.into_iter().map(|(_, _, verdict)| verdict).collect();
    assert_eq!(
        why,
        [
            Verdict::CannotTell("/sys/bus/pci/devices cannot be read".into()),
            Verdict::CannotTell("the number of MiB of memory is not known".into()),
        ]
    );
    assert_eq!(unknown.desired.tuned.profile, None);
}

#[test]
fn a_later_file_wins_and_lists_append() {
    let (below, _) = parsed(FLEET);
    let (above, _) = parsed(
        "identity.host-name = \"fixed\"\nkernel.arguments = [\"quiet\"]\nmodules.load = [\"rdma_rxe\"]\nlabels.tier = \"own\"\n",
    );
    let desired = choose([below, above], &machine("DGX", 8)).desired;
    let words: Vec<_> = desired.kernel.arguments.iter().map(|argument| argument.value.as_str()).collect();
    assert_eq!(words, ["iommu=pt", "pci=realloc=off", "quiet"]);
    let modules: Vec<_> = desired.modules.load.iter().map(|module| module.value.as_str()).collect();
    assert_eq!(modules, ["vfio-pci", "rdma_rxe"]);
    assert_eq!(desired.identity.host_name.unwrap().value, "fixed");
    assert_eq!((desired.labels["tier"].value.as_str(), desired.labels["example.org/site"].value.as_str()), ("own", "hall-3"));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    for (text, problem) in [
        ("[identity]\nhostname = \"a\"\n", "a.toml:2:1: unknown key \"hostname\" in identity; did you mean \"host-name\"?"),
        ("identity = 1\n", "a.toml:1:12: identity: needed a table, found a whole number"),
        ("identity.host-name = \"A\"\n", "a.toml:1:22: identity.host-name: needed a host name"),
        ("[x\n", "a.toml:1:3: not TOML: "),
        ("tuned.profile = \"a  b\"\n", "a.toml:1:17: tuned.profile: needed names of profiles"),
        ("kernel.arguments = [\"a b\"]\n", "a.toml:1:21: kernel.arguments: needed one kernel argument"),
        ("kernel.arguments = [\"root=x\"]\n", "a.toml:1:21: kernel.arguments: needed no \"root\""),
        (
            "kernel.arguments = [\"iommu=pt\", \"iommu=nopt\"]\n",
            "a.toml:1:21: kernel.arguments: the kernel argument iommu (pt) can",
        ),
        (
            "labels.\"kubernetes.io/x\" = \"1\"\n",
            "a.toml:1:28: labels.\"kubernetes.io/x\": node feature discovery gives no label of",
        ),
        (
            "modules.load = [\"a b\"]\n",
            "a.toml:1:17: modules.load: needed the name of a module (letters, digits, \"-_\"), found \"a b\"",
        ),
        ("modules.load = [\"../x\", \"rdma_rxe\"]\n", "a.toml:1:17: modules.load: needed the name of a module"),
        ("labels.\"-x\" = \"1\"\n", "a.toml:1:15: labels.\"-x\": needed name or domain/name"),
        ("labels.x = \"1g.5gb+me\"\n", "a.toml:1:12: labels.\"x\": needed at most 63 letters, digits and inner \"-_.\", found"),
        ("kubelet.taints = [\"a=b\"]\n", "a.toml:1:19: kubelet.taints: needed key=value:Effect, found \"a=b\""),
        ("kubelet.taints = [\"a=b:Never\"]\n", "a.toml:1:19: kubelet.taints: needed NoSchedule or"),
        (
            "kubelet.labels.\"node-role.kubernetes.io/gpu\" = \"\"\n",
            "a.toml:1:48: kubelet.labels.\"node-role.kubernetes.io/gpu\": a kubelet may not give itself such a label of node-role",
        ),
        ("kubelet.labels.\"example.org/x\" = \"a b\"\n", "a.toml:1:34: kubelet.labels.\"example.org/x\": needed at most 63"),
        ("kubelet.reserved-cpus = \"3-1\"\n", "a.toml:1:25: kubelet.reserved-cpus: needed processors like 0-3,32, found"),
        (
            "kubelet.system-reserved = { memory = \"much\" }\n",
            "a.toml:1:38: kubelet.system-reserved.memory: needed an amount like",
        ),
        (
            "kubelet.system-reserved = { hugepages-x = \"1\" }\n",
            "a.toml:1:43: kubelet.system-reserved.hugepages-x: needed cpu, memory,",
        ),
        ("kubelet.memory-manager-policy = \"static\"\n", "a.toml:1:33: kubelet.memory-manager-policy: needed reserved-memory"),
        ("identity.interfaces.eth0 = \"0000:41:00.0\"\n", "a.toml:1:28: identity.interfaces.eth0: needed a name that the kernel"),
        (
            "[identity.interfaces]\na = \"0000:41:00.0\"\nb = \"0000:41:00.0\"\n",
            "a.toml:3:5: identity.interfaces.b: 0000:41:00.0 is a already",
        ),
        ("kubelet.cpu-manager-policy = \"all\"\n", "a.toml:1:30: kubelet.cpu-manager-policy: needed \"none\" or \"static\""),
        ("[[when]]\nname = \"a\"\nmatch = {}\nset.labels.a = \"b\"\n", "a.toml:2:8: match: needed dmi, pci, processors or"),
        ("[[when]]\nname = \"a\"\nmatch.processors.at-least = 2\nset = {}\n", "a.toml:2:8: when \"a\": needed something in set"),
        (
            "[[when]]\nname = \"a\"\nmatch.dmi.product-name = \"x\"\nset.labels.a = \"b\"\n",
            "a.toml:3:26: match.dmi: the kernel has no",
        ),
        (
            "[[when]]\nname = \"a\"\nmatch.pci = [{ id = \"nvidia\" }]\nset.labels.a = \"b\"\n",
            "a.toml:3:21: match.pci.id: needed vendor:",
        ),
        (
            "[[when]]\nname = \"a\"\nmatch.processors = {}\nset.labels.a = \"b\"\n",
            "a.toml:3:20: match.processors: needed at-least or",
        ),
        (
            "[[when]]\nname = \"a\"\nmatch.processors = { at-least = 3, at-most = 2 }\nset.labels.a = \"b\"\n",
            "a.toml:3:20: match.processors: at least 3 and at most 2 is no number",
        ),
    ] {
        let (_, problems) = parsed(text);
        assert!(problems.len() == 1 && problems[0].starts_with(problem), "{text}: {problems:#?}");
    }
}

#[test]
fn what_cannot_be_measured_is_told_with_its_place() {
    let ready = "name = \"a\"\nready = \"memory\"\n";
    let command = |more: &str| format!("name = \"a\"\ncommand = [\"x\"]\n{more}");
    for (text, problem) in [
        ("name = \"a b\"\nready = \"memory\"\n".to_owned(), "2:8: acceptance.name: needed 1 to 32 letters, digits"),
        (format!("{ready}[[acceptance]]\n{ready}"), "5:8: acceptance.name: there is another \"a\" in this list"),
        ("ready = \"memory\"\n".into(), "1:1: acceptance[1]: key \"name\" is missing"),
        (command("ready = \"disk\"\n"), "4:9: acceptance[1].ready: needed \"disk-write\" or \"disk-read\""),
        ("name = \"a\"\n".into(), "2:8: acceptance \"a\": needed ready or command, found neither"),
        ("name = \"a\"\ncommand = []\n".into(), "2:8: acceptance \"a\": needed ready or command, found neither"),
        (format!("{ready}command = [\"x\"]\n"), "3:9: acceptance \"a\": needed ready or command, found both"),
        ("name = \"a\"\ncommand = [\"\"]\n".into(), "3:12: acceptance \"a\": command: needed a program, found \"\""),
        ("name = \"a\"\ncommand = [\"x\", \"\\u0000\"]\n".into(), "3:17: acceptance \"a\": command: needed text without a NUL"),
        (format!("{ready}unit = \"s\"\n"), "4:8: acceptance \"a\": unit is for a command"),
        (format!("{ready}server = \"s\"\n"), "4:10: acceptance \"a\": server is for ready = \"network\""),
        (command("server = \"s\"\n"), "4:10: acceptance \"a\": server is for ready = \"network\""),
        ("name = \"a\"\nready = \"network\"\n".into(), "3:9: acceptance \"a\": key \"server\" is missing"),
        (
            "name = \"a\"\nready = \"network\"\nserver = \"--help\"\n".into(),
            "4:10: acceptance.server: needed a host name or an address",
        ),
        (command("figure = \"end\"\n"), "4:10: acceptance.figure: needed a JSON pointer like"),
        (command("figure = \"/a~2\"\n"), "4:10: acceptance.figure: needed a JSON pointer like"),
        (command("unit = \"MB per s\"\n"), "4:8: acceptance.unit: needed one word"),
        (command("at-least = nan\n"), "4:12: acceptance.at-least: needed a number, found NaN"),
        (command("at-most = -inf\n"), "4:11: acceptance.at-most: needed a number, found -inf"),
        (command("at-most = \"1\"\n"), "4:11: acceptance[1].at-most: needed a number, found text"),
        (command("at-least = 2\nat-most = 1.5\n"), "5:11: acceptance.at-most: at least 2 and at most 1.5 is no number"),
        (command("timeout-s = 0\n"), "4:13: acceptance.timeout-s: needed at least 1, found 0"),
        (command("timeout-s = 1801\n"), "2:8: acceptance: needed at most 1800 s in all, found 1801 s"),
    ] {
        let (_, problems) = parsed(&format!("[[acceptance]]\n{text}"));
        assert!(problems.len() == 1 && problems[0].starts_with(&format!("a.toml:{problem}")), "{text}: {problems:#?}");
    }
    let (_, problems) = parsed(&format!("[[acceptance]]\n{}", command("figure = \"\"\nat-least = 1\nat-most = 1\n")));
    assert_eq!(problems, [""; 0]);
}

#[test]
fn what_is_written_is_read_again() {
    let (desired, _) = parsed(FLEET);
    let text = toml::to_string(&desired).unwrap();
    assert_eq!(parsed(&text), (desired, vec![]), "{text}");
}

#[cfg(feature = "schema")]
#[test]
fn the_committed_schema_is_the_current_one() {
    assert!(SCHEMA == super::schema(), "stale; run: basalt schema desired-state > firstboot/contract/desired.schema.json");
}

#[test]
fn the_committed_schema_is_one() {
    assert!(serde_json::from_str::<serde_json::Value>(SCHEMA).is_ok_and(|schema| schema.pointer("/properties/when").is_some()));
}
