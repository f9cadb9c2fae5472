//! Modules signed and packed, with a key that openssl made.

use std::fs;

use super::sample::{below, initramfs, module, sources};
use crate::failure::{Kind, failure_in, kind_of};
use crate::format::module::{signature, unpack};
use crate::format::packed::Packing;
use crate::host::cmd::Cmd;
use crate::kmod::signing::Hash;
use crate::kmod::{Keyring, Signed};
use crate::layer::kernel_modules::finish;
use crate::layer::kernel_modules::target::Target;
use crate::plan::{KernelModules, Key, ModuleSet, ModuleSigner};
use crate::sign::ModuleSigners;
use crate::store::Store;

#[test]
fn a_signature_is_made_once_and_the_old_one_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let [key, certificate] = ["key", "certificate"].map(|name| folder.path().join(name));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
    let made = Cmd::new("openssl").args(["req", "-x509", "-nodes", "-days", "9999", "-subj", "/CN=owner"]).args(curve);
    made.arg("-keyout").arg(&key).arg("-out").arg(&certificate).run().unwrap();
    let pem = fs::read(&certificate).unwrap();
    let mut ring = Keyring::default();
    ring.add(&pem).unwrap();
    let (sha256, size) = store.add_blob(pem.as_slice()).unwrap();
    let sign = Some(ModuleSigner { certificate: Key { sha256, size }, hash: None });
    let set = |compress| ModuleSet { name: "set".into(), sign: sign.clone(), compress, ..Default::default() };

    let tree = below(initramfs(true));
    let target = Target::of(&tree).unwrap();
    let object = module("", None, None);
    let old = [&object[..], &signature::trailer(b"of somebody else")].concat();
    let finished = |compress, bytes: &[u8], signers: &ModuleSigners| {
        let wanted = KernelModules { sets: vec![set(compress)], ..Default::default() };
        let mut sources = sources(&[("updates/set/m.ko.gz", bytes)]);
        finish::all(&wanted, &target, &mut sources, &store, signers)
            .map(|()| (sources.modules[0].path.to_string(), sources.modules[0].content.bytes().unwrap(), sources.signatures))
    };
    let nobody = ModuleSigners::default();
    let error = finished(None, &object, &nobody).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Input);
    let failure = failure_in(&error).unwrap();
    assert!(failure.what.contains("(ECDSA on P-384) of CN=owner"), "{failure}");
    assert_eq!(failure.about.as_ref().unwrap().value, "set");

    let signers = ModuleSigners { files: vec![key], ..Default::default() };
    // The kernel's own are plain.
    let (path, signed, signatures) = finished(None, &Packing::Gz.pack(&old).unwrap(), &signers).unwrap();
    assert_eq!(path, "updates/set/m.ko");
    let (found, pkcs7) = signature::split(&signed).unwrap();
    assert_eq!(found, object);
    assert_eq!(ring.verify(&object, pkcs7.unwrap()), Signed::By("CN=owner".to_owned()));
    assert_eq!(Hash::of_module(&signed), Some(Hash::Sha256));
    // By now nobody needs the key.
    assert_eq!(finished(None, &object, &nobody).unwrap().1, signed);
    let (path, packed, _) = finished(Some(Packing::Xz), &old, &nobody).unwrap();
    assert_eq!(path, "updates/set/m.ko.xz");
    assert!(Packing::Xz.fits(&packed) && *unpack(&packed).unwrap() == signed[..]);

    // Nor who has another cache, and the manifest.
    assert_eq!(signatures.keys().collect::<Vec<_>>(), ["updates/set/m.ko"]);
    let other = Store::open(&folder.path().join("other")).unwrap();
    other.add_blob(pem.as_slice()).unwrap();
    let known = ModuleSigners { known: signatures.into_values().collect(), ..Default::default() };
    let wanted = KernelModules { sets: vec![set(None)], ..Default::default() };
    let mut again = sources(&[("updates/set/m.ko", &object)]);
    finish::all(&wanted, &target, &mut again, &other, &known).unwrap();
    assert_eq!(again.modules[0].content.bytes().unwrap(), signed);

    let error = finished(None, b"no module", &signers).unwrap_err();
    assert_eq!(kind_of(&error), Kind::Invalid);
    for entry in fs::read_dir(store.root().join("module-signature")).unwrap() {
        assert!(fs::metadata(entry.unwrap().path().join("signature")).unwrap().len() < 128, "a signature and nothing else");
    }
}

#[test]
fn what_nobody_signs_keeps_its_bytes_where_the_kernel_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let tree = below(initramfs(true));
    let target = Target::of(&tree).unwrap();
    let object = module("", None, None);
    let finished = |compress, bytes: &[u8]| {
        let set = ModuleSet { name: "set".into(), compress, ..Default::default() };
        let wanted = KernelModules { sets: vec![set], ..Default::default() };
        let mut sources = sources(&[("updates/set/m.ko", bytes)]);
        finish::all(&wanted, &target, &mut sources, &store, &ModuleSigners::default()).unwrap();
        (sources.modules[0].path.to_string(), sources.modules[0].content.bytes().unwrap())
    };
    let zst = Packing::Zst.pack(&object).unwrap();
    assert_eq!(finished(Some(Packing::Zst), &zst), ("updates/set/m.ko.zst".to_owned(), zst.clone()));
    assert_eq!(finished(None, &zst), ("updates/set/m.ko".to_owned(), object.clone()));
    assert_eq!(finished(Some(Packing::Gz), &object), ("updates/set/m.ko.gz".to_owned(), Packing::Gz.pack(&object).unwrap()));
    // CRC64: the kernel has none.
    let mut other = liblzma::write::XzEncoder::new(Vec::new(), 0);
    std::io::Write::write_all(&mut other, &object).unwrap();
    let (_, packed) = finished(Some(Packing::Xz), &other.finish().unwrap());
    assert_eq!(packed, Packing::Xz.pack(&object).unwrap());
}
