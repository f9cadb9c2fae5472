//! Small images with a tuned of either layout: what is laid where, and what is refused.

use super::{Produced, REPORT, Report, lay, report, taken};
use crate::commit::fixture::overlay;
use crate::failure::{Kind, failure_in, kind_of};
use crate::layer::builtin;
use crate::plan::Tuned;
use crate::recipe::names;
use crate::tree::{Node, Tree, TreePath};
use crate::tuned::Weight;

const UNIT: (&str, &str) = ("/usr/lib/systemd/system/tuned.service", "[Install]\nWantedBy=multi-user.target\n");
/// What Debian's packages have: today's, and the one of Debian 12.
const TODAY: &[(&str, &str)] = &[
    UNIT,
    ("/usr/lib/tuned/profiles/balanced/tuned.conf", "[main]\nsummary=x\n[vm]\nx=1\n"),
    ("/etc/tuned/active_profile", ""),
    ("/etc/tuned/profile_mode", ""),
    ("/etc/tuned/post_loaded_profile", ""),
    ("/etc/tuned/bootcmdline", "# note\nTUNED_BOOT_CMDLINE=\nTUNED_BOOT_INITRD_ADD=\n"),
];
const OLDER: &[(&str, &str)] =
    &[UNIT, ("/usr/lib/tuned/balanced/tuned.conf", "[main]\nsummary=x\n"), ("/etc/tuned/active_profile", "")];

fn tree(files: &[(&str, &str)]) -> Tree {
    overlay("t", files).tree
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn text(tree: &Tree, at: &str) -> String {
    let content = tree.file(&path(at)).unwrap_or_else(|| panic!("{at}"));
    String::from_utf8(content.bytes().unwrap()).unwrap()
}

fn wanted(active: &str, variables: &[(&str, &str, &str)]) -> Tuned {
    let mut wanted = Tuned { active: Some(active.into()), ..Tuned::default() };
    for (profile, name, value) in variables {
        wanted.variables.entry((*profile).into()).or_default().insert((*name).into(), (*value).into());
    }
    wanted
}

fn shipped() -> Tree {
    builtin::tree("40-basalt-tuned").unwrap().unwrap()
}

/// The image with a layer, and what the profiles come to.
fn laid(wanted: &Tuned, sources: &[Tree], below: &Tree) -> (Produced, Tree, Report) {
    let produced = lay(wanted, sources, below).unwrap_or_else(|error| panic!("{error:#}"));
    let image = produced.over(below).unwrap();
    let report = report(&image).unwrap().unwrap();
    (produced, image, report)
}

/// Why a profile of the recipe is refused, when it is active.
fn refused(conf: &str) -> (String, String) {
    let error = lay(&wanted("p", &[]), &[shipped(), tree(&[("/p/tuned.conf", conf)])], &tree(TODAY)).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Invalid, "{error:#}");
    let failure = failure_in(&error).unwrap();
    assert_eq!(failure.about.as_ref().unwrap().key, "tuned.active");
    (failure.what.clone(), failure.hint.clone().unwrap())
}

#[test]
fn a_profile_with_its_variables_becomes_kernel_arguments() {
    let mine = tree(&[
        ("/mine/tuned.conf", "[main]\ninclude=basalt-cpu-isolated\n[bootloader]\ncmdline_mine=+nosmt\n"),
        ("/README", "x"),
    ]);
    let variables = [
        ("basalt-cpu-isolated", "isolated_cores", "1"),
        ("basalt-cpu-isolated", "reserved_cores", "0"),
        ("basalt-cpu-isolated", "hugepages_2m", "64"),
    ];
    let below = tree(TODAY);
    let (produced, image, report) = laid(&wanted("mine", &variables), &[shipped(), mine], &below);

    let arguments: Vec<_> = report.arguments.iter().map(|argument| argument.text.as_str()).collect();
    assert_eq!(
        arguments,
        [
            "init_on_alloc=0",
            "isolcpus=managed_irq,1",
            "irqaffinity=0",
            "nohz=on",
            "nohz_full=1",
            "rcu_nocbs=1",
            "tuned.non_isolcpus=00000001",
            "systemd.cpu_affinity=0",
            "hugepagesz=2M hugepages=64",
            "nosmt",
        ]
    );
    let source = report.arguments[1].asked_by[0].to_string();
    let conf = "/usr/lib/tuned/profiles/basalt-cpu-isolated/tuned.conf:";
    assert!(source.starts_with(&format!("tuned profile basalt-cpu-isolated: {conf}")), "{source}");
    assert_eq!(report.profiles, ["basalt-node", "basalt-cpu-isolated", "mine"]);
    assert!(report.left.is_empty() && report.told.iter().all(|told| told.weight == Weight::Note), "{:?}", report.told);
    // Only the node knows which processors it has.
    assert!(report.told.iter().any(|told| told.what.contains("\"cpulist_invert\" is left to the node")));

    assert_eq!(text(&image, "/etc/tuned/active_profile"), "mine\n");
    assert_eq!(text(&image, "/etc/tuned/profile_mode"), "manual\n");
    let line = report.arguments.iter().map(|argument| argument.text.as_str()).collect::<Vec<_>>().join(" ");
    let noted = text(&image, "/etc/tuned/bootcmdline");
    // tuned keeps the spaces that profiles have between arguments.
    let noted: Vec<_> = noted.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(noted, ["# note", &format!("TUNED_BOOT_CMDLINE=\"{line}\""), "TUNED_BOOT_INITRD_ADD=\"\""]);
    let values = text(&image, "/etc/tuned/basalt-cpu-isolated-variables.conf");
    assert!(
        values.contains("\nhugepages_2m=64\nhugepages_1g=0\n") && values.ends_with("\nisolated_cores=1\nreserved_cores=0\n"),
        "{values}"
    );
    assert!(
        text(&image, "/usr/lib/systemd/system/tuned.service.d/50-basalt.conf")
            .contains("ReadOnlyPaths=-/boot -/etc/default/grub\n")
    );
    assert!(image.get(&path("/usr/lib/tuned/profiles/mine/tuned.conf")).is_some());
    assert!(
        produced.tree.get(&path("/README")).is_none() && produced.tree.get(&path("/usr/lib/tuned/profiles/README")).is_none()
    );
    assert!(report.arguments.iter().flat_map(|argument| argument.words()).all(|word| names::kernel_arg(word).is_ok()));
}

#[test]
fn both_layouts_are_served() {
    for (files, folder) in [(TODAY, "/usr/lib/tuned/profiles"), (OLDER, "/usr/lib/tuned")] {
        let below = tree(files);
        let mine = tree(&[("/balanced/tuned.conf", "[main]\nsummary=mine\n")]);
        let (produced, image, report) = laid(&wanted("balanced basalt-node", &[]), &[shipped(), mine], &below);
        assert_eq!(text(&image, &format!("{folder}/balanced/tuned.conf")), "[main]\nsummary=mine\n", "the recipe's wins");
        assert!(produced.removals.contains(&path(&format!("{folder}/balanced"))));
        assert!(text(&image, &format!("{folder}/basalt-node/tuned.conf")).contains("init_on_alloc=0"));
        assert_eq!(report.profiles, ["balanced", "basalt-node"]);
        let Some(Node::Directory(inner)) = image.get(&path("/usr/lib/tuned")) else { panic!("no folder") };
        assert_eq!(inner.children.contains_key("profiles"), files == TODAY);
    }
}

#[test]
fn what_the_layers_below_say_of_variables_stays() {
    let ours = (
        "/etc/tuned/basalt-cpu-isolated-variables.conf",
        "isolated_cores=2-3\nreserved_cores=0-1\nhugepages_1g=1\nhugepages_2m=0\nhugepages_default_size=\n",
    );
    let below = tree(&[TODAY, &[ours]].concat());
    let (produced, _, report) = laid(&wanted("basalt-cpu-isolated", &[]), &[shipped()], &below);
    assert!(produced.tree.get(&path(ours.0)).is_none());
    assert!(report.arguments.iter().any(|argument| argument.text == "hugepagesz=1G hugepages=1"), "{:?}", report.arguments);
    let set = [("basalt-cpu-isolated", "hugepages_1g", "0"), ("balanced", "x", "1")];
    let (_, image, report) = laid(&wanted("basalt-cpu-isolated balanced", &set), &[shipped()], &below);
    assert_eq!(text(&image, ours.0), ours.1.replace("1g=1", "1g=0"));
    let told: Vec<_> = report.told.iter().filter(|told| told.weight > Weight::Note).map(ToString::to_string).collect();
    assert_eq!(
        told,
        ["/usr/lib/tuned/profiles/balanced/tuned.conf:1: [variables] does not include /etc/tuned/balanced-variables.conf, \
          which tuned.variables of the recipe are for"]
    );
}

#[test]
fn what_only_the_node_knows_is_left_and_told() {
    let conf = "[main]\nsummary=x\n[bootloader]\ncmdline=quiet x=${f:exec:nproc} y=1\n";
    let (_, image, report) = laid(&wanted("p", &[]), &[tree(&[("/p/tuned.conf", conf)])], &tree(TODAY));
    let texts = |list: &[basalt_contract::KernelArgument]| list.iter().map(|one| one.text.clone()).collect::<Vec<_>>();
    assert_eq!(
        (texts(&report.arguments), texts(&report.left)),
        (vec!["quiet".into(), "y=1".into()], vec!["x=${f:exec:nproc}".into()])
    );
    assert_eq!(text(&image, "/etc/tuned/bootcmdline"), TODAY.last().unwrap().1, "what tuned will write there is not known");
    let told: Vec<_> = report.told.iter().map(ToString::to_string).collect();
    let conf = "/usr/lib/tuned/profiles/p/tuned.conf:4";
    assert_eq!(told[0], format!("{conf}: the function \"exec\" is left to the node"));
    assert!(told[1].starts_with(&format!("{conf}: [bootloader] has no skip_grub_config=1")), "{told:?}");
}

#[test]
fn what_tuned_would_refuse_fails_the_build_with_file_and_line() {
    let conf = "/usr/lib/tuned/profiles/p/tuned.conf";
    for (text, what, hint) in [
        (
            "[main]\ninclude=basalt-nod\n",
            format!("{conf}, line 2: there is no profile \"basalt-nod\""),
            "did you mean basalt-node?",
        ),
        (
            "[main]\ninclude=zzz\n",
            format!("{conf}, line 2: there is no profile \"zzz\""),
            "name a folder that has it in tuned.profiles",
        ),
        ("[main]\ninclude=basalt-cpu-isolated\n", "isolated_cores is set in".to_owned(), "[tuned.variables.NAME]"),
        ("x\n", format!("{conf}, line 1: needed a section"), "correct the file"),
        (
            "[sysctl]\nvm.x=1\nnet/ipv4/ip_forward=1\n",
            format!("{conf}:3: sysctl \"net/ipv4/ip_forward\": needed dots"),
            "correct the profile",
        ),
        ("[cpu]\npriority=high\n", format!("{conf}:2: [cpu] priority: needed a whole number"), "correct the profile"),
        ("[bootloader]\ncmdline=root=/dev/sda\n", format!("{conf}:2: cmdline: needed no \"root\""), "leave it to [kernel] args"),
        (
            "[bootloader]\ncmdline_a=+nosmt\ncmdline_b=+nosmt=force\n",
            format!("\"nosmt\" (tuned profile p: {conf}:2) and \"nosmt=force\" (tuned profile p: {conf}:3)"),
            "leave out all but one",
        ),
    ] {
        let (found, next) = refused(text);
        assert!(found.contains(&what) && next.contains(hint), "{text}: {found}; {next}");
    }
}

#[test]
fn tuned_and_the_profiles_that_have_variables_must_be_there() {
    let error = lay(&wanted("p", &[]), &[shipped()], &tree(&[("/etc/x", "")])).unwrap_err();
    assert!(error.to_string().starts_with("[tuned]: needed tuned in the layers below"), "{error}");
    let error = lay(&wanted("balanced", &[("balancde", "a", "1")]), &[shipped()], &tree(TODAY)).unwrap_err();
    let failure = failure_in(&error).unwrap();
    assert_eq!((failure.kind, failure.hint.as_deref()), (Kind::Invalid, Some("did you mean balanced?")));
    assert_eq!(failure.about.as_ref().unwrap().value, "balancde");
    let foreign =
        r#"{"format":1,"active":"x","profiles":[],"arguments":[{"text":"root=/dev/sda","asked-by":[]}],"left":[],"told":[]}"#;
    let error = report(&tree(&[(REPORT, foreign)])).unwrap_err();
    assert!(error.to_string().contains("needed no \"root\""), "{error}");
    // Without an active profile tuned chooses, and there is nothing to tell.
    let produced = lay(&Tuned::default(), &[shipped()], &tree(TODAY)).unwrap();
    assert!(produced.tree.get(&path("/etc/tuned/active_profile")).is_none());
    assert!(report(&produced.tree).unwrap().is_none());
}

/// Of a profile that is not active, and may become so on a node.
#[test]
fn what_a_wished_profile_takes_is_told() {
    let profile = |name: &str| format!("/usr/lib/tuned/profiles/{name}/tuned.conf");
    let (one, other, asserts) = (profile("one"), profile("other"), profile("asserts"));
    let files = [
        UNIT,
        (one.as_str(), "[bootloader]\ncmdline_one=+iommu=pt nosmt\ncmdline_node=+isolcpus=${f:cpulist_online:0-3}\n"),
        (other.as_str(), "[main]\ninclude=one\n[bootloader]\ncmdline_other=+iommu=nopt\n"),
        (asserts.as_str(), "[main]\n[variables]\na=none\nb=${f:assertion_non_equal:a is set:${a}:none}\n"),
    ];
    let image = tree(&files);
    let known = taken("one", &image).unwrap();
    let known: Vec<_> = known.iter().map(ToString::to_string).collect();
    let by = format!("(tuned profile one: {one}:2)");
    assert_eq!(known, [format!("\"iommu=pt\" {by}"), format!("\"nosmt\" {by}")], "what only the node knows is left out");
    let failure = taken("other", &image).unwrap_err().to_string();
    assert!(failure.contains("\"iommu=pt\"") && failure.contains("\"iommu=nopt\" (tuned profile other"), "{failure}");
    assert_eq!(taken("asserts", &image).unwrap(), [], "a node may have the variables");
}
