//! Modules made with the `object` crate's writer, with what kernels' build tools put into them.

use object::write::SymbolSection;
use object::{Architecture, Endianness};

use super::fixture::Draft;
use super::*;

fn record(word: &[u8], name: &str) -> Vec<u8> {
    let mut record = word.to_vec();
    record.extend(name.as_bytes());
    record.resize(64, 0);
    record
}

/// One that has everything.
fn whole() -> Vec<u8> {
    let mut draft = Draft::new();
    draft.section(".modinfo", b"license=GPL\0\0\0alias=pci:a\0alias=pci:b\0depends=mdev,vfio-pci\0vermagic=6.12.1 SMP \0");
    draft.section(
        "__versions",
        &[record(&[1, 0, 0, 0, 0, 0, 0, 0], "module_layout"), record(&[0xef, 0xbe, 0xad, 0xde, 0, 0, 0, 0], "f")].concat(),
    );
    let plain = draft.section("__ksymtab", &[0; 12]);
    let gpl = draft.section("__ksymtab_gpl", &[0; 12]);
    let strings = draft.section("__ksymtab_strings", b"\0given\0NS\0");
    let crcs = draft.section("__kcrctab_gpl", &[0x78, 0x56, 0x34, 0x12]);
    draft.symbol("f", 0, SymbolSection::Undefined, false);
    draft.symbol("maybe", 0, SymbolSection::Undefined, true);
    draft.symbol("__ksymtab_given", 0, SymbolSection::Section(gpl), false);
    draft.symbol("__kstrtabns_given", 7, SymbolSection::Section(strings), false);
    draft.symbol("__crc_given", 0, SymbolSection::Section(crcs), false);
    draft.symbol("__ksymtab_old", 0, SymbolSection::Section(plain), false);
    draft.symbol("__kstrtabns_old", 0, SymbolSection::Section(strings), false);
    draft.symbol("__crc_old", 0xcafe, SymbolSection::Absolute, false);
    draft.bytes()
}

#[test]
fn everything_that_the_loader_reads_is_read() {
    let bytes = whole();
    let module = Module::parse(&bytes).unwrap();
    assert_eq!(module.machine.to_string(), "x86-64, 64 bits");
    assert_eq!(module.info.all("alias").collect::<Vec<_>>(), ["pci:a", "pci:b"]);
    assert_eq!(module.info.depends().collect::<Vec<_>>(), ["mdev", "vfio-pci"]);
    assert_eq!((module.info.vermagic(), module.info.is_gpl_compatible()), (Some("6.12.1 SMP "), true));
    assert_eq!(module.versions.unwrap().entries, [("module_layout", 1), ("f", 0xdead_beef)]);
    assert_eq!(module.imports, [Import { name: "f", weak: false }, Import { name: "maybe", weak: true }]);
    let given = Export { name: "given", crc: Some(0x1234_5678), gpl: true, namespace: "NS" };
    assert_eq!(module.exports, [given, Export { name: "old", crc: Some(0xcafe), gpl: false, namespace: "" }]);
}

#[test]
fn the_long_form_of_checksums_wins_and_bytes_have_their_machines_order() {
    let mut draft = Draft::of(Architecture::S390x, Endianness::Big);
    draft.section(".modinfo", b"license=GPL\0");
    draft.section("__versions", &record(&[0, 0, 0, 0, 0, 0, 0, 7], "short"));
    let short = Module::parse(&draft.bytes()).unwrap().versions.unwrap().by_name().get("short").copied();
    assert_eq!(short, Some(7));
    let mut draft = Draft::of(Architecture::S390x, Endianness::Big);
    draft.section(".modinfo", b"license=GPL\0");
    draft.section("__versions", &record(&[0; 8], "short"));
    draft.section("__version_ext_crcs", &[0, 0, 0, 1, 0, 0, 0, 2]);
    draft.section("__version_ext_names", b"a\0b\0");
    let bytes = draft.bytes();
    let module = Module::parse(&bytes).unwrap();
    assert_eq!(module.versions.unwrap().entries, [("a", 1), ("b", 2)]);
    assert_eq!(module.machine.to_string(), "S/390, 64 bits, big endian");
}

#[test]
fn what_is_no_module_is_told_with_its_section() {
    let draft = |sections: &[(&str, &[u8])]| {
        let mut draft = Draft::new();
        for (name, bytes) in sections {
            draft.section(name, bytes);
        }
        draft.bytes()
    };
    let info: (&str, &[u8]) = (".modinfo", b"license=GPL\0");
    for (bytes, why) in [
        (Vec::new(), "found an empty file"),
        (b"MZ\0\0".to_vec(), "begins with [4d, 5a, 00, 00]"),
        (whole()[..40].to_vec(), "needed an ELF object"),
        (draft(&[]), "needed the section .modinfo, found none"),
        (draft(&[(".modinfo", b"license")]), "byte 0: needed a NUL at the end"),
        (draft(&[(".modinfo", b"a=b\0license\0")]), "byte 4: needed key=value, found \"license\""),
        (draft(&[(".modinfo", b"a=\xff\0")]), "needed UTF-8"),
        (draft(&[info, ("__versions", &[0; 65])]), "needed records of 64 bytes"),
        (draft(&[info, ("__versions", &[1; 64])]), "__versions, byte 8: needed a name"),
        (draft(&[info, ("__version_ext_crcs", &[0; 8]), ("__version_ext_names", b"a\0")]), "byte 2: needed a name for each of 2"),
        (draft(&[info, ("__version_ext_crcs", &[0; 8])]), "needed the section __version_ext_names"),
        (draft(&[info, ("__ksymtab", &[0; 12])]), "stripped of more than debug data"),
    ] {
        let found = Module::parse(&bytes).unwrap_err().to_string();
        assert!(found.contains(why), "needed {why:?}, found {found:?}");
    }
    let mut program = whole();
    program[16] = 2;
    assert!(Module::parse(&program).unwrap_err().to_string().contains("found executable"));
}

#[test]
fn a_signature_is_parted_from_its_object() {
    let object = whole();
    let signed = [object.clone(), signature::trailer(b"DER")].concat();
    assert_eq!(signature::split(&signed).unwrap(), (object.as_slice(), Some(&b"DER"[..])));
    assert_eq!(signature::strip(&[signed.clone(), signature::trailer(b"other")].concat()).unwrap(), object);
    assert_eq!(signature::split(&object).unwrap(), (object.as_slice(), None));
    assert_eq!(Module::parse(&signed).unwrap(), Module::parse(&object).unwrap());
    let altered = |at: usize, byte: u8| {
        let mut bytes = signed.clone();
        let end = bytes.len();
        bytes[end - signature::MARKER.len() - 12 + at] = byte;
        signature::split(&bytes).unwrap_err().to_string()
    };
    assert!(altered(0, 1).contains("found [01, 00, 00, 00, 00, 00, 00]"));
    assert!(altered(2, 1).contains("found 1"));
    assert!(altered(7, 9).contains("09"));
    assert!(altered(8, 0xff).contains("found sig_len 4278190083"));
    assert!(signature::split(&[b"short", signature::MARKER].concat()).unwrap_err().to_string().contains("found 5"));
}

#[test]
fn a_packed_module_is_unpacked() {
    let bytes = whole();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 0);
    std::io::Write::write_all(&mut xz, &bytes).unwrap();
    let packed = xz.finish().unwrap();
    assert_eq!(unpack(&packed).unwrap(), bytes);
    assert!(matches!(unpack(&bytes).unwrap(), Cow::Borrowed(_)));
    assert!(matches!(unpack(&packed[..packed.len() / 2]), Err(BadModule::Compressed(_))));
}

#[test]
fn files_are_named_as_the_kernel_names_modules() {
    for (path, name) in [
        ("kernel/sound/snd-hda-intel.ko.xz", Some("snd_hda_intel")),
        ("a.ko", Some("a")),
        ("updates/b.ko.zst", Some("b")),
        ("c.ko.gz", Some("c")),
        ("d.ko.bz2", None),
        (".ko", None),
        ("modules.dep", None),
    ] {
        assert_eq!(name_of(path).as_deref(), name, "{path}");
    }
}
