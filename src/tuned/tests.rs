//! Profiles from names to what they come to. That tuned's own loader comes to the same is shown in
//! `qemu-tests/tests/cli_cases/tuned_profiles.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::tree::{Content, Meta, Tree, TreePath};

/// Files below `/usr/lib/tuned/profiles` and `/etc/tuned/profiles`: the latter ones' names begin with a `+`.
fn image(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let path = |name: &str| match name.strip_prefix('+') {
        Some(name) => format!("/etc/tuned/profiles/{name}/tuned.conf"),
        None if name.starts_with('/') => name.to_owned(),
        None => format!("/usr/lib/tuned/profiles/{name}/tuned.conf"),
    };
    files.iter().map(|(name, text)| (path(name), text.as_bytes().to_vec())).collect()
}

fn merged(files: &[(&str, &str)], names: &str) -> Merged {
    evaluate(&image(files), &Folders::current(), names, &Installed::default()).unwrap()
}

fn told(merged: &Merged) -> Vec<String> {
    let short = |finding: &Finding| finding.to_string().replace("/usr/lib/tuned/profiles/", "").replace("/tuned.conf", "");
    merged.findings.iter().map(short).collect()
}

fn options<'a>(merged: &'a Merged, unit: &str) -> Vec<(&'a str, &'a str, usize)> {
    let unit = merged.unit(unit).unwrap();
    unit.options.iter().map(|(name, setting)| (name.as_str(), setting.value.as_str(), setting.origin.line)).collect()
}

#[test]
fn a_child_lies_over_its_parents() {
    let files = [
        ("a", "[sysctl]\npriority=3\nx.a=1\nx.b=2\n[cpu]\ngovernor=a\n[disk-sas]\ntype=disk\n"),
        ("b", "[sysctl]\nx.b=3\n[cpu]\nreplace=1\nboost=0\n"),
        (
            "c",
            "[main]\nsummary=c\ninclude=a;b\n[sysctl]\ndrop=x.a\npriority=9\nx.c=${v}\n[variables]\nv=4\n[disk-sas]\nenabled=0\n",
        ),
    ];
    let merged = merged(&files, "c");
    let names: Vec<_> = merged.profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(options(&merged, "sysctl"), [("x.b", "3", 2), ("x.c", "4", 7)]);
    assert_eq!(options(&merged, "cpu"), [("boost", "0", 5)]);
    assert_eq!(merged.unit("sysctl").unwrap().priority.as_ref().unwrap().value, "3");
    // A later unit that does not say its type has its name as type.
    let disk = merged.unit("disk-sas").unwrap();
    assert_eq!((disk.plugin.as_str(), disk.enabled), ("disk-sas", false));
    assert_eq!(told(&merged), Vec::<String>::new());
}

#[test]
fn scripts_run_one_after_the_other() {
    let files = [("a", "[script]\nscript=a.sh\n"), ("b", "[main]\ninclude=a\n[script]\nscript=/opt/b.sh\n")];
    let merged = merged(&files, "b");
    let scripts: Vec<_> = merged.unit("script").unwrap().scripts.iter().flatten().map(|script| script.value.as_str()).collect();
    assert_eq!(scripts, ["/usr/lib/tuned/profiles/a/a.sh", "/opt/b.sh"]);
    assert_eq!(told(&merged), ["b, line 4: the script /opt/b.sh is not in a folder with profiles, and is not run"]);
}

#[test]
fn files_are_loaded_once() {
    let files = [
        ("a", "[main]\ninclude=b\n"),
        ("b", "[main]\ninclude=a,c\n[vm]\nx=b\n"),
        ("c", "[vm]\nx=c\n"),
        ("+c", "[main]\ninclude=c,-none\n[vm]\ny=c\n"),
    ];
    let cycle = merged(&files, "a c b/x");
    let loaded: Vec<_> = cycle.profiles.iter().map(|profile| &*profile.file).collect();
    let path = |folder: &str, name: &str| format!("{folder}/tuned/profiles/{name}/tuned.conf");
    assert_eq!(loaded, [path("/usr/lib", "c"), path("/etc", "c"), path("/usr/lib", "b"), path("/usr/lib", "a")]);
    assert_eq!(options(&cycle, "vm"), [("x", "b", 4), ("y", "c", 4)]);
    let told = told(&cycle);
    assert_eq!(told[0], "b, line 2: profiles include each other: a -> b -> a");
    assert!(told[1].contains("there is no profile \"none\", which need not be there"), "{told:?}");
    assert!(told[2].contains("\"c\" was loaded before") && told[3].contains("\"b/x\" is no name"), "{told:?}");
    assert_eq!(cycle.name, "a c");
}

#[test]
fn what_tuned_refuses() {
    for (text, names, error) in [
        ("", "a/b", "needed the name of a profile (letters, digits, _ . -), found \"a/b\""),
        ("", "none", "there is no profile \"none\"; looked for it in /etc/tuned/profiles/none/tuned.conf, "),
        (
            "[main]\ninclude=gone\n",
            "p",
            "/usr/lib/tuned/profiles/p/tuned.conf, line 2: there is no profile \"gone\"; looked for it in ",
        ),
        (
            "x\n",
            "p",
            "/usr/lib/tuned/profiles/p/tuned.conf, line 1: needed a section ([main], say) above the first option, found \"x\"",
        ),
        (
            "[variables]\na=${f:assertion:why:1:2}\n",
            "p",
            "/usr/lib/tuned/profiles/p/tuned.conf, line 2: the assertion \"why\" failed",
        ),
        ("[vm]\na=${f}\n", "p", "/usr/lib/tuned/profiles/p/tuned.conf, line 2: needed ${f:FUNCTION}, found ${f}"),
    ] {
        let found = evaluate(&image(&[("p", text)]), &Folders::current(), names, &Installed::default()).unwrap_err().to_string();
        assert!(found.starts_with(error), "{found}");
    }
}

#[test]
fn what_only_the_node_knows_is_left() {
    let text = "[main]\ninclude=${f:virt_check:x:y}\n[variables]\ncores=${f:calc_isolated_cores:1}\n[sysctl]\nx.a=${f:strip:${cores} }\n\
                x.b=${f:strip: 1 }\n[bootloader]\ncmdline=+quiet isolcpus=${cores}\n";
    let merged = merged(&[("p", text)], "p");
    assert_eq!(options(&merged, "sysctl")[0], ("x.a", "${f:strip:${f:calc_isolated_cores:1} }", 6));
    assert_eq!(merged.unit("sysctl").unwrap().option("x.a").unwrap().left, ["calc_isolated_cores"]);
    assert!(merged.unit("sysctl").unwrap().option("x.b").unwrap().left.is_empty());
    let arguments = &merged.kernel_arguments;
    assert!(arguments.left_to_node);
    let each: Vec<_> = arguments.append.iter().map(|argument| (argument.text.as_str(), argument.left.len())).collect();
    assert_eq!(each, [("quiet", 0), ("isolcpus=${f:calc_isolated_cores:1}", 1)]);
    assert_eq!(told(&merged)[0].split(": ").next(), Some("p, line 2"));
    let lines: BTreeSet<_> = merged.findings.iter().map(|finding| finding.origin.line).collect();
    assert_eq!(lines, BTreeSet::from([2, 4, 6, 9]));
}

#[test]
fn the_kernel_s_command_line() {
    let files = [
        ("a", "[bootloader]\ncmdline=a=1 quiet\ncmdline_z=+z=${v}\ncmdline_b=\"b\"\n[variables]\nv=1 2\n"),
        (
            "b",
            "[main]\ninclude=a\n[bootloader]\ncmdline_c=-quiet none\ncmdline_z=+a=2\n[late]\ntype=bootloader\nuname_regex=x\ncmdline=y\n",
        ),
        ("c", "[bootloader]\npriority=1\ncmdline=c\n[other]\ntype=bootloader\ncmdline=d\n"),
    ];
    let b = merged(&files, "b");
    let arguments = &b.kernel_arguments;
    assert_eq!((arguments.line.as_str(), arguments.left_to_node), ("a=1 a=2 \"b\"", true));
    let origins: Vec<_> = arguments.append.iter().map(|argument| (argument.option.as_str(), argument.origin.line)).collect();
    assert_eq!(origins, [("cmdline", 2), ("cmdline_z", 5), ("cmdline_b", 4)]);
    let delete: Vec<_> = arguments.delete.iter().map(|argument| argument.text.as_str()).collect();
    assert_eq!(delete, ["quiet", "none"]);
    let told = told(&b).join("\n");
    for part in
        ["the argument \"none\", so that", "tuned takes quotes away only", "\"a=2\" contradicts \"a=1\"", "whose uname matches"]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let c = merged(&files, "c");
    assert_eq!(c.kernel_arguments.line, "c");
    assert!(c.findings.iter().any(|finding| matches!(&finding.what, What::ArgumentsLost { unit, .. } if unit == "other")));
    assert_eq!(merged(&files, "a").kernel_arguments.line, "a=1 quiet z=1 2 \"b\"");
}

#[test]
fn active_profiles_that_disagree() {
    let files = [
        ("a", "[vm]\nx=1\ny=1\n[variables]\ninclude=/v/a\n"),
        ("b", "[vm]\nx=2\ny=1\n[variables]\ninclude=/v/b\n"),
        ("c", "[main]\ninclude=a\n[vm]\nx=3\n"),
        ("/v/b", "v=1\n"),
    ];
    let both = told(&merged(&files, "a b"));
    assert_eq!(both[0], "b, line 2: [vm] x is \"2\", and \"1\" at a, line 2, of another active profile: the later one wins");
    assert_eq!(both[1], "b, line 5: the file of variables /v/b takes the place of /v/a, which is not read");
    assert_eq!(both.len(), 2);
    assert_eq!(told(&merged(&files, "c")), ["a, line 5: there is no file /v/a with variables"]);
}

#[test]
fn keys_and_plugins_are_checked() {
    let text = "[sysctl]\nx.a=1\nx.a=2\nx/a=3\n[disk]\nmine=1\n[nothing]\n[vm]\npriority=high\n";
    let plugins = BTreeMap::from([
        ("sysctl".to_owned(), Options::Any),
        ("vm".to_owned(), Options::Any),
        ("disk".to_owned(), Options::Named(BTreeSet::from(["apm".to_owned()]))),
    ]);
    let installed = Installed { plugins: Some(plugins), functions: None };
    let merged = evaluate(&image(&[("p", text)]), &Folders::current(), "p", &installed).unwrap();
    let told = told(&merged);
    assert_eq!(told[0], "p, line 3: [sysctl] x.a is also on line 2, which has no effect");
    assert_eq!(told[1], "p, line 6: [disk] mine: the plugin \"disk\" has no such option");
    assert_eq!(told[2], "p, line 7: the unit [nothing] needs the plugin \"nothing\", which this tuned does not have");
    assert_eq!(told[3], "p, line 9: [vm] priority: needed a whole number, found \"high\"");
    assert!(told[4].starts_with("p, line 4: sysctl \"x/a\": needed dots"), "{told:?}");
    assert_eq!(told[5], "p, line 4: sysctl \"x/a\" is \"3\", and \"x.a\" \"2\" at p, line 3: they are one setting");
}

#[test]
fn both_layouts_of_a_tree_and_its_tuned() {
    let mut tree = Tree::new();
    let put = |tree: &mut Tree, path: &str, text: &str| {
        let content = Content::from_bytes(text.as_bytes());
        tree.put_file(&TreePath::parse(path).unwrap(), Meta::root(0o644), content).unwrap();
    };
    assert_eq!(Installed::of(&tree), Installed::default());
    put(&mut tree, "/usr/lib/tuned/a/tuned.conf", "[main]\nsummary=a\n");
    put(&mut tree, "/usr/lib/tuned/functions", "");
    put(&mut tree, "/usr/lib/python3/dist-packages/tuned/plugins/plugin_vm.py", "");
    let folders = Folders::of(&tree).unwrap();
    assert_eq!((&folders, folders.profiles(&tree)), (&Folders::older(), vec!["a".to_owned()]));
    put(&mut tree, "/usr/lib/tuned/profiles/b/tuned.conf", "");
    put(&mut tree, "/etc/tuned/profiles/c/tuned.conf", "");
    let folders = Folders::of(&tree).unwrap();
    assert_eq!((&folders, folders.profiles(&tree)), (&Folders::current(), vec!["b".to_owned(), "c".to_owned()]));
    put(&mut tree, "/etc/tuned/tuned-main.conf", "daemon = 1\nprofile_dirs = /a, /b # own\n");
    assert_eq!(Folders::of(&tree).unwrap(), Folders(vec!["/a".into(), "/b".into()]));
    assert_eq!(Installed::of(&tree).plugins.unwrap().into_keys().collect::<Vec<_>>(), ["vm"]);
}

#[test]
fn what_is_merged_is_serialised() {
    let json = serde_json::to_value(merged(&[("p", "[vm]\nx=${f:exec:y}\n")], "p")).unwrap();
    assert_eq!(json["units"][0]["options"][0][1]["line"], 2);
    assert_eq!(json["findings"][0]["kind"], "left-to-node");
    assert_eq!(json["findings"][0]["origin"]["file"], "/usr/lib/tuned/profiles/p/tuned.conf");
}
