//! Proofs on facts made by hand: each obstacle alone. Real modules and real kernels are in `qemu-tests`.

use super::facts::{Gift, Need};
use super::keyring::Signed;
use super::symbols::Symbol;
use super::*;
use crate::format::module::Machine;

const AMD64: Machine = Machine { number: 62, wide: true, big_endian: false };
const ARM64: Machine = Machine { number: 183, wide: true, big_endian: false };

fn kernel() -> Kernel {
    let mut symbols = Symbols::default();
    for (name, crc, gpl, namespace, owner) in [
        ("module_layout", 1, false, "", "vmlinux"),
        ("f", 2, false, "", "vmlinux"),
        ("gpl", 3, true, "", "vmlinux"),
        ("spaced", 4, false, "NS", "vmlinux"),
        ("old", 5, false, "", "replaced"),
    ] {
        symbols.insert(name, Symbol { crc: Some(crc), gpl, namespace: namespace.into(), owner: owner.into() });
    }
    Kernel {
        release: "6.12.1-amd64".to_owned(),
        machine: AMD64,
        vermagic: "6.12.1-amd64 SMP mod_unload ".to_owned(),
        symbols,
        built_in: ["built".to_owned()].into(),
        modules: ["stock", "replaced"].map(str::to_owned).into(),
        signed_only: true,
    }
}

fn module(name: &str) -> Facts {
    Facts {
        name: name.to_owned(),
        own: name.to_owned(),
        path: format!("updates/{name}.ko"),
        machine: AMD64,
        vermagic: Some("6.12.1-amd64 SMP mod_unload ".to_owned()),
        license: Some("GPL".to_owned()),
        gpl: true,
        depends: vec!["stock".to_owned()],
        namespaces: vec!["NS".to_owned()],
        firmware: Vec::new(),
        aliases: Vec::new(),
        softdeps: Vec::new(),
        versioned: true,
        layout: Some(1),
        needs: [("f", 2), ("gpl", 3), ("spaced", 4)].map(|(name, crc)| need(name, Some(crc))).into(),
        gives: Vec::new(),
        signed: Signed::By("the distribution".to_owned()),
    }
}

fn need(name: &str, crc: Option<u32>) -> Need {
    Need { name: name.into(), weak: false, crc }
}

fn gift(name: &str, crc: u32) -> Gift {
    Gift { name: name.into(), crc: Some(crc), gpl: false, namespace: "".into() }
}

/// What stands in the way of one module, in words.
fn told(change: impl FnOnce(&mut Facts, &mut Kernel)) -> Vec<String> {
    let (mut facts, mut kernel) = (module("m"), kernel());
    change(&mut facts, &mut kernel);
    prove(&kernel, &[facts])[0].iter().map(ToString::to_string).collect()
}

#[test]
fn each_obstacle_is_told_and_nothing_else() {
    assert_eq!(told(|_, _| ()), [""; 0]);
    type Change = fn(&mut Facts, &mut Kernel);
    let table: [(Change, &str); 18] = [
        (|m, _| m.machine = ARM64, "built for AArch64, 64 bits, the kernel runs on x86-64, 64 bits"),
        (|m, _| m.vermagic = None, "says no vermagic"),
        (
            |m, _| m.vermagic = Some("6.12.1-amd64 SMP preempt mod_unload ".to_owned()),
            "found \"6.12.1-amd64 SMP preempt mod_unload \"",
        ),
        (
            |m, _| m.layout = Some(9),
            "module_layout: vmlinux exports it with CRC 0x00000001, the module was built against 0x00000009",
        ),
        (|m, _| m.layout = None, "module_layout: the module has no CRC for it"),
        (|m, _| m.needs.push(need("nobody", Some(1))), "nobody: exported by nobody"),
        (|m, _| m.needs[0].crc = Some(7), "f: vmlinux exports it with CRC 0x00000002, the module was built against 0x00000007"),
        (|m, _| m.needs[0].crc = None, "f: the module has no CRC for it, vmlinux exports it with one"),
        (|m, _| m.namespaces.clear(), "spaced: in the namespace NS, which the module does not import"),
        (
            |m, _| (m.gpl, m.license) = (false, Some("NVIDIA".to_owned())),
            "gpl: for modules under the GPL only, the module's licence is \"NVIDIA\"",
        ),
        (|m, _| m.depends.push("gone".to_owned()), "depends on the module gone, which is not there"),
        (|m, _| m.name = "built".to_owned(), "built in"),
        (|m, _| m.signed = Signed::Nobody, "is not signed"),
        (|m, _| m.signed = Signed::NotAsked, "is not signed"),
        (|m, _| m.signed = Signed::Stranger("CN=x".to_owned()), "a key that the image does not trust: CN=x"),
        (|m, _| m.signed = Signed::Altered("CN=x".to_owned()), "is not what CN=x signed"),
        (|m, _| m.signed = Signed::Broken("no DER".to_owned()), "does not read: no DER"),
        (
            // Without checksums the release counts, too.
            |m, k| {
                (m.versioned, k.vermagic) = (false, "6.12.2 SMP mod_unload ".to_owned());
                m.needs.clear();
            },
            "needed \"6.12.2 SMP mod_unload \"",
        ),
    ];
    for (change, words) in table {
        let found = told(change);
        assert!(found.len() == 1 && found[0].contains(words), "needed {words:?} alone, found {found:?}");
    }
}

#[test]
fn what_the_kernel_does_not_mind_is_not_told() {
    type Change = fn(&mut Facts, &mut Kernel);
    let table: [Change; 5] = [
        |m, _| m.vermagic = Some("6.12.9-other SMP mod_unload ".to_owned()),
        |m, _| m.needs.push(Need { weak: true, ..need("nobody", None) }),
        |m, k| (m.signed, k.signed_only) = (Signed::Nobody, false),
        |m, k| {
            m.needs[0].crc = None;
            k.symbols.insert("f", Symbol { crc: None, gpl: false, namespace: "".into(), owner: "vmlinux".into() });
        },
        |m, _| m.depends.push("built".to_owned()),
    ];
    for change in table {
        assert_eq!(told(change), [""; 0]);
    }
}

#[test]
fn modules_see_each_other_and_not_what_they_replace() {
    let (mut giver, mut taker) = (module("replaced"), module("taker"));
    giver.gives.push(gift("new", 8));
    taker.needs.push(need("new", Some(8)));
    taker.depends.push("replaced".to_owned());
    assert!(prove(&kernel(), &[giver.clone(), taker.clone()]).iter().all(Vec::is_empty));
    taker.needs.push(need("old", Some(5)));
    let found = prove(&kernel(), &[giver.clone(), taker.clone()]);
    assert_eq!(found[1], [Finding::Symbol { symbol: "old".to_owned() }]);
    giver.gives.push(gift("old", 6));
    let found = prove(&kernel(), &[giver, taker]);
    let expected = Finding::Checksum { symbol: "old".to_owned(), owner: "replaced".to_owned(), needed: 6, found: 5 };
    assert_eq!(found[1], [expected]);
}

#[test]
fn a_module_may_be_called_otherwise_than_its_file() {
    let renamed = Facts { own: "driver".to_owned(), ..module("vendor_driver") };
    let mut user = module("user");
    user.depends.push("driver".to_owned());
    assert_eq!(prove(&kernel(), &[renamed.clone(), user]), [vec![], vec![]]);
    // The kernel has one of each name, whatever their files are called.
    let found = prove(&kernel(), &[renamed, module("driver")]);
    let twice = |name: &str| vec![Finding::Twice { other: format!("updates/{name}.ko") }];
    assert_eq!(found, [twice("driver"), twice("vendor_driver")]);
}

#[test]
fn two_of_one_name_are_told_to_both() {
    let (one, other) = (module("m"), Facts { path: "extra/m.ko".to_owned(), ..module("m") });
    let found = prove(&kernel(), &[one, other]);
    assert_eq!(found[0], [Finding::Twice { other: "extra/m.ko".to_owned() }]);
    assert_eq!(found[1], [Finding::Twice { other: "updates/m.ko".to_owned() }]);
}
