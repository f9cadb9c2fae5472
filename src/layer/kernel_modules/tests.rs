//! Which kernel, which mapping, which words; below, on small modules, what is made of them. Real modules and kernels are in `qemu-tests`.

mod early;
mod finish;
mod promise;
mod sample;

use super::settings::{blacklist_argument, files};
use super::target::Target;
use crate::commit::fixture::overlay;
use crate::failure::{Kind, failure_in, kind_of};
use crate::plan::{KernelMatch, KernelModules, ModuleSet};

/// The files of an index without modules, as depmod writes them.
const INDEX: [(&str, &str); 5] = [
    ("modules.dep", ""),
    ("modules.alias", "# Aliases extracted from modules themselves.\n"),
    ("modules.symbols", "# Aliases for symbols, used by symbol_request().\n"),
    ("modules.softdep", "# Soft dependencies extracted from modules themselves.\n"),
    ("modules.devname", ""),
];

fn kernels(releases: &[&str]) -> crate::tree::Tree {
    let files: Vec<_> = releases
        .iter()
        .flat_map(|release| INDEX.map(|(name, text)| (format!("/usr/lib/modules/{release}/{name}"), text)))
        .collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    overlay("kernels", &files).tree
}

#[test]
fn there_must_be_one_kernel() {
    assert_eq!(Target::of(&kernels(&["6.12.1-amd64"])).unwrap().release.as_str(), "6.12.1-amd64");
    for (releases, found) in [(&[][..], "found none"), (&["6.12.1-amd64", "6.12.2-amd64"], "found 6.12.1-amd64, 6.12.2-amd64")] {
        let tree = kernels(releases);
        let Err(error) = Target::of(&tree) else { panic!("{releases:?}") };
        assert_eq!(kind_of(&error), Kind::Invalid);
        assert!(failure_in(&error).unwrap().what.ends_with(found), "{error}");
    }
}

#[test]
fn a_kernel_that_was_not_installed_has_no_index() {
    let file = |path: &str| format!("/usr/lib/modules/6.12.1-amd64/{path}");
    let (a, b) = (file("kernel/a.ko.xz"), file("kernel/fs/b-c.ko"));
    let tree = overlay("kernel", &[(&a, ""), (&b, ""), (&file("modules.builtin"), "kernel/d.ko\n")]).tree;
    assert!(Target::of(&tree).is_err());
    let target = Target::of_package(&tree).unwrap();
    let paths: Vec<_> = target.index.paths().map(|path| path.as_str()).collect();
    assert_eq!((target.release.as_str(), paths), ("6.12.1-amd64", vec!["kernel/a.ko.xz", "kernel/fs/b-c.ko"]));
    assert!(target.index.path("b_c").is_some() && target.built_in().unwrap().contains("d") && target.firmware.is_none());
    // What is installed says what depends on what.
    assert!(Target::of_package(&kernels(&["6.12.1-amd64"])).unwrap().firmware.is_some());
}

#[test]
fn the_first_mapping_for_the_kernel_counts() {
    let tree = kernels(&["6.12.1-amd64"]);
    let target = Target::of(&tree).unwrap();
    let literal = |text: &str| KernelMatch::Literal(text.to_owned());
    let regexp = |text: &str| KernelMatch::Regexp(text.to_owned());
    for (mappings, chosen) in [
        (vec![literal("6.12.1-amd64"), KernelMatch::Any], Some(0)),
        (vec![literal("6.12.2-amd64"), regexp(r"^6\.12\."), KernelMatch::Any], Some(1)),
        (vec![regexp("^5"), KernelMatch::Any], Some(1)),
        (vec![regexp("^5")], None),
    ] {
        assert_eq!(target.choose(mappings.iter().zip(0..)).unwrap(), chosen, "{mappings:?}");
    }
    assert!(target.removed(&[ModuleSet { remove: vec!["x".into()], ..Default::default() }]).is_err());
}

#[test]
fn modprobe_and_systemd_are_told() {
    let set = ModuleSet {
        name: "nvidia".into(),
        load: vec!["nvidia".into(), "nvidia_uvm".into()],
        parameters: [("nvidia".to_owned(), "a=1 b=2".to_owned())].into(),
        blacklist: vec!["nouveau".into()],
        ..Default::default()
    };
    let quiet = ModuleSet { name: "quiet".into(), ..Default::default() };
    let found = files(&KernelModules { sets: vec![set, quiet], ..Default::default() });
    let found: Vec<_> = found.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    assert_eq!(
        found,
        [
            ("/usr/lib/modprobe.d/basalt-nvidia.conf", "options nvidia a=1 b=2\nblacklist nouveau\n"),
            ("/usr/lib/modules-load.d/basalt-nvidia.conf", "nvidia\nnvidia_uvm\n"),
        ]
    );
    let names = ["nouveau", "b", "nouveau"].map(str::to_owned);
    assert_eq!(blacklist_argument(&names).as_deref(), Some("modprobe.blacklist=b,nouveau"));
    assert_eq!(blacklist_argument(&[]), None);
}
