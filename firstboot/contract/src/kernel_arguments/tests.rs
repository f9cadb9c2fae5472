//! What is unioned, what is refused, and that the order does not matter where that is said.

use std::collections::BTreeSet;

use super::*;

fn list(by: &str, line: &str) -> Vec<Declaration> {
    Declaration::list(line.split_whitespace().map(|word| (word.to_owned(), Source::new(by))))
}

fn together(lists: &[(&str, &str)]) -> Vec<Declaration> {
    lists.iter().flat_map(|(by, line)| list(by, line)).collect()
}

fn line(arguments: &[KernelArgument]) -> String {
    arguments.iter().map(|argument| argument.text.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_asked_for_twice_is_there_once_with_both_who_asked() {
    let recipe = Source::new("recipe").at("gpu-node.toml:12");
    let profile = Source::new("tuned profile basalt-node").at("/p/tuned.conf:7");
    let wish = |text: &str, source: &Source| Declaration { text: text.into(), source: source.clone() };
    let all = [wish("iommu=pt", &recipe), wish("quiet", &recipe), wish("iommu=pt", &profile), wish("iommu=pt", &recipe)];
    let found = resolve(all).unwrap();
    assert_eq!(line(&found), "iommu=pt quiet");
    assert_eq!(found[0].asked_by, [recipe, profile]);
    let shown = "\"iommu=pt\" (recipe: gpu-node.toml:12, tuned profile basalt-node: /p/tuned.conf:7)";
    assert_eq!(found[0].to_string(), shown);
    let json = serde_json::to_string(&found[0]).unwrap();
    assert!(json.starts_with(r#"{"text":"iommu=pt","asked-by":[{"by":"recipe","at":"gpu-node.toml:12"}"#), "{json}");
    assert_eq!(serde_json::from_str::<KernelArgument>(&json).unwrap(), found[0]);
}

#[test]
fn one_value_many_values_and_options() {
    for (one, other, disputed) in [
        ("isolcpus=1", "isolcpus=2", Some("isolcpus")),
        ("ib_core.netns-mode=0", "ib_core.netns_mode=1", Some("ib_core.netns_mode")),
        ("default-hugepagesz=1G", "default_hugepagesz=1G", None),
        ("nosmt", "nosmt=force", Some("nosmt")),
        ("quiet", "quiet", None),
        ("console=tty0", "console=ttyS0,115200", None),
        ("modprobe.blacklist=nouveau", "modprobe.blacklist=ast", None),
        ("module_blacklist=nouveau", "module_blacklist=ast", Some("module_blacklist")),
        ("nvme.dyndbg=+p", "nvme.dyndbg=-p", None),
        ("rd.luks.uuid=1", "rd.luks.uuid=2", None),
        ("rd.driver.pre=a", "rd.driver.pre=b", None),
        ("systemd.cpu_affinity=0", "systemd.cpu_affinity=1", Some("systemd.cpu_affinity")),
        ("crashkernel=1G,high", "crashkernel=256M,low", None),
        ("crashkernel=1G,high", "crashkernel=2G,high", Some("crashkernel,high")),
        ("pci=realloc", "pci=noats", None),
        ("pci=noats,realloc", "pci=realloc=off", Some("pci (realloc)")),
        ("pci=ats", "pci=noats", Some("pci (ats)")),
        ("intel_iommu=on", "intel_iommu=on,sm_on", None),
        ("intel_iommu=on", "intel_iommu=off", Some("intel_iommu (on or off)")),
        ("iommu=pt", "iommu=nopt", Some("iommu (pt)")),
        ("iommu=pt", "iommu.passthrough=1", None),
        ("hugepages=4", "hugepages=8", Some("hugepages")),
        ("hugepages=4", "hugepagesz=1G hugepages=8", None),
        ("hugepagesz=1G hugepages=4", "hugepagesz=2M hugepages=4", None),
        ("hugepagesz=1G hugepages=4", "hugepagesz=1024M hugepages=8", Some("hugepages of 1 GiB")),
        ("hugepagesz=2M hugepages=0:512,1:512", "hugepagesz=2M hugepages=1024", Some("hugepages of 2 MiB")),
    ] {
        let found = resolve(together(&[("a", one), ("b", other)]));
        match (found, disputed) {
            (Ok(_), None) => {}
            (Err(Contradictions(found)), Some(name)) => {
                assert_eq!(found.len(), 1, "{one} | {other}: {found:?}");
                assert_eq!(found[0].name, name, "{one} | {other}");
                let values: Vec<_> =
                    found[0].values.iter().map(|value| (value.text.as_str(), value.asked_by[0].by.as_str())).collect();
                assert_eq!(values, [(one, "a"), (other, "b")]);
            }
            (found, _) => panic!("{one} | {other}: {found:?}"),
        }
    }
}

#[test]
fn a_contradiction_names_both_and_all_come_at_once() {
    let found = resolve(together(&[("recipe", "iommu=pt a=1"), ("tuned profile x", "a=2 iommu=nopt"), ("recipe", "a=3")]));
    assert_eq!(
        found.unwrap_err().to_string(),
        "the kernel argument a can have one value, and is asked for as \"a=1\" (recipe) and \"a=2\" (tuned profile x) and \"a=3\" (recipe)\n\
         the kernel argument iommu (pt) can have one value, and is asked for as \"iommu=pt\" (recipe) and \"iommu=nopt\" (tuned profile x)"
    );
    // What one argument says of itself is for the kernel to judge.
    assert!(resolve(list("recipe", "pci=realloc,realloc=off")).is_ok());
}

#[test]
fn sizes_and_numbers_of_large_pages_stay_together() {
    let texts = |line: &str| list("a", line).into_iter().map(|declaration| declaration.text).collect::<Vec<_>>();
    assert_eq!(texts("hugepagesz=1G quiet hugepages=4"), ["hugepagesz=1G hugepages=4", "quiet"]);
    assert_eq!(texts("hugepages=8 hugepagesz=1G hugepages=4"), ["hugepages=8", "hugepagesz=1G hugepages=4"]);
    assert_eq!(texts("hugepagesz=1G hugepagesz=2M hugepages=4 hugepages=5")[1..], ["hugepagesz=2M hugepages=4", "hugepages=5"]);
    // Two lists of which each is right alone.
    let lists = [("a", "hugepagesz=1G hugepages=4 quiet"), ("b", "debug hugepages=512"), ("c", "hugepagesz=2M hugepages=4")];
    let found = resolve(together(&lists)).unwrap();
    assert_eq!(line(&found), "hugepages=512 hugepagesz=1G hugepages=4 quiet debug hugepagesz=2M hugepages=4");
    assert_eq!(found[1].words().collect::<Vec<_>>(), ["hugepagesz=1G", "hugepages=4"]);
}

/// Numbers without a pattern, the same ones each time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// What does not depend on the order: which arguments and who asked for each, or which values contradict each other.
type Unordered = Result<BTreeSet<(String, BTreeSet<Source>)>, BTreeSet<(String, BTreeSet<(String, BTreeSet<Source>)>)>>;

fn unordered(declarations: &[Declaration]) -> Unordered {
    let one = |argument: KernelArgument| (argument.text, argument.asked_by.into_iter().collect());
    match resolve(declarations.to_vec()) {
        Ok(all) => Ok(all.into_iter().map(one).collect()),
        Err(Contradictions(all)) => {
            Err(all.into_iter().map(|found| (found.name, found.values.into_iter().map(one).collect())).collect())
        }
    }
}

#[test]
fn the_order_decides_nothing_and_a_second_time_changes_nothing() {
    const WORDS: [&str; 18] = [
        "quiet",
        "a=1",
        "a=2",
        "pci=realloc",
        "pci=noats",
        "pci=realloc=off",
        "console=tty0",
        "console=ttyS0",
        "hugepages=4",
        "hugepagesz=1G hugepages=4",
        "hugepagesz=2M hugepages=4",
        "hugepagesz=1024M hugepages=4",
        "hugepagesz=1G hugepages=8",
        "iommu=pt",
        "iommu=nopt",
        "nosmt",
        "nosmt=force",
        "a=3",
    ];
    let (mut numbers, mut taken, mut refused) = (Numbers(7), 0, 0);
    for _ in 0..2000 {
        let count = numbers.below(9);
        let wish = |numbers: &mut Numbers| Declaration {
            text: WORDS[numbers.below(WORDS.len())].into(),
            source: Source::new(["recipe", "tuned", "agent"][numbers.below(3)]),
        };
        let declarations: Vec<_> = (0..count).map(|_| wish(&mut numbers)).collect();
        let mut shuffled = declarations.clone();
        for end in (1..shuffled.len()).rev() {
            shuffled.swap(end, numbers.below(end + 1));
        }
        assert_eq!(unordered(&declarations), unordered(&shuffled), "{declarations:?}");
        match resolve(declarations) {
            Ok(once) => {
                assert_eq!(resolve(once.iter().flat_map(KernelArgument::declarations)).unwrap(), once);
                // As the kernel reads the line: what stands in it is what was meant.
                let read = list("line", &line(&once)).into_iter().map(|word| word.text);
                assert!(read.eq(once.iter().map(|argument| argument.text.clone())), "{once:?}");
                taken += 1;
            }
            Err(_) => refused += 1,
        }
    }
    assert!(taken > 300 && refused > 300, "{taken} {refused}");
}
