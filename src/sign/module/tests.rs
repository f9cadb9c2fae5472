//! Keys of every kind, made by openssl; what comes out is what openssl makes of the same input, and what the kernel's rules take.

use std::path::Path;

use super::*;
use crate::format::module::signature;
use crate::kmod::{Keyring, Signed};

const OBJECT: &[u8] = b"\x7fELF and whatever a module has";
/// The digest of the certificate's file, which counts only for what is known.
const FILE: Digest = Digest::from_bytes([1; 32]);
/// Arguments of `openssl req` for a key of each kind, and how its other form is called.
const KINDS: [(&str, &[&str]); 3] = [
    ("rsa", &["-newkey", "rsa:2048"]),
    ("p256", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
];

/// A key with its certificate in a folder.
struct Owner {
    folder: tempfile::TempDir,
    certificate: Certificate,
}

fn openssl(args: &[&str], input: &[u8]) -> Vec<u8> {
    Cmd::new("openssl").args(args).input(input.to_vec()).run().unwrap().stdout
}

impl Owner {
    fn new(kind: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [key, certificate] = ["key", "certificate"].map(|name| folder.path().join(name).display().to_string());
        let rest = ["-nodes", "-days", "9999", "-subj", "/O=Example/CN=module signing", "-keyout", &key, "-out", &certificate];
        openssl(&[&["req", "-x509"], kind, &rest].concat(), b"");
        let certificate = Certificate::parse(&fs::read(&certificate).unwrap()).unwrap();
        Self { folder, certificate }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn sign(&self, signers: &ModuleSigners, hash: Hash) -> Result<Vec<u8>, Failure> {
        ModuleKeys::new(signers).sign(&self.certificate, &FILE, hash, OBJECT)
    }
}

fn by_file(path: &Path) -> ModuleSigners {
    ModuleSigners { files: vec![path.to_owned()], ..Default::default() }
}

fn by_command(command: String) -> ModuleSigners {
    ModuleSigners { command: Some(command), ..Default::default() }
}

#[test]
fn each_kind_of_key_signs_as_openssl_does() {
    for (name, kind) in KINDS {
        let owner = Owner::new(kind);
        let (key, certificate) = (owner.text("key"), owner.text("certificate"));
        fs::write(owner.path("old"), openssl(&["pkey", "-traditional", "-in", &key], b"")).unwrap();
        let parts = [&certificate, &key, &certificate].map(|path| fs::read(path).unwrap());
        fs::write(owner.path("among"), parts.concat()).unwrap();
        let mut ring = Keyring::default();
        ring.add(&fs::read(&certificate).unwrap()).unwrap();
        for hash in Hash::ALL {
            let raw = owner.sign(&by_file(&owner.path("key")), hash).unwrap();
            for form in ["key", "old", "among"] {
                assert_eq!(owner.sign(&by_file(&owner.path(form)), hash).unwrap(), raw, "{name} {form}");
            }
            let pkcs7 = owner.certificate.wrap(hash, &raw).unwrap();
            assert_eq!(ring.verify(OBJECT, &pkcs7), Signed::By("CN=module signing,O=Example".to_owned()), "{name}");
            assert!(matches!(ring.verify(b"other", &pkcs7), Signed::Altered(_)), "{name}");
            let module = [OBJECT, &signature::trailer(&pkcs7)].concat();
            assert_eq!(Hash::of_module(&module), Some(hash));
            assert_eq!(Hash::of_module(OBJECT), None);
            // What sign-file does, in words.
            let cms = ["cms", "-sign", "-binary", "-noattr", "-nocerts", "-nosmimecap", "-outform", "DER", "-md", hash.word()];
            let theirs = openssl(&[&cms[..], &["-signer", &certificate, "-inkey", &key]].concat(), OBJECT);
            if name == "rsa" {
                assert_eq!(pkcs7, theirs, "{hash:?}");
            }
            fs::write(owner.path("pkcs7"), &pkcs7).unwrap();
            fs::write(owner.path("object"), OBJECT).unwrap();
            let (signed, object) = (owner.text("pkcs7"), owner.text("object"));
            let verify = ["cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-in", &signed, "-content", &object];
            assert_eq!(openssl(&[&verify[..], &["-certfile", &certificate]].concat(), b""), OBJECT, "{name}");
        }
    }
}

#[test]
fn a_command_signs_and_what_it_answers_is_looked_at() {
    let owners = KINDS.map(|(_, kind)| Owner::new(kind));
    for owner in &owners {
        let dgst = format!("openssl dgst -{{hash}} -sign {}", owner.text("key"));
        let raw = owner.sign(&by_command(dgst), Hash::Sha384).unwrap();
        assert!(owner.certificate.verifies(Hash::Sha384, &Hash::Sha384.of(OBJECT), &raw));
        let fixed = format!("openssl dgst -sha256 -sign {}", owner.text("key"));
        let failure = owner.sign(&by_command(fixed), Hash::Sha512).unwrap_err();
        assert!(failure.what.ends_with("needed a signature over sha512, found one over sha256"), "{failure}");
        let failure = owner.sign(&by_command("echo nothing".to_owned()), Hash::Sha256).unwrap_err();
        assert_eq!(failure.kind, Kind::Verification);
        assert!(failure.what.contains("by the key of CN=module signing,O=Example, found 8 bytes"), "{failure}");
    }
    // As tokens give it: r and s, one behind the other.
    let owner = &owners[1];
    let der = owner.sign(&by_file(&owner.path("key")), Hash::Sha256).unwrap();
    fs::write(owner.path("raw"), p256::ecdsa::Signature::from_der(&der).unwrap().to_bytes()).unwrap();
    assert_eq!(owner.sign(&by_command(format!("cat {}", owner.text("raw"))), Hash::Sha256).unwrap(), der);
    let stranger = format!("openssl dgst -sha256 -sign {}", owners[2].text("key"));
    assert_eq!(owner.sign(&by_command(stranger), Hash::Sha256).unwrap_err().kind, Kind::Verification);
    // A file that has the key is asked first; one that has another's is not.
    let files = owners.iter().map(|owner| owner.path("key")).collect();
    let all = ModuleSigners { files, command: Some("false".to_owned()), ..Default::default() };
    assert_eq!(owner.sign(&all, Hash::Sha256).unwrap(), der);
    // Who knows the signature asks nobody; one that is none is not taken.
    let known = KnownSignature::new(Digest::of(OBJECT), FILE, Hash::Sha256, &der);
    let of = |known: &KnownSignature| ModuleSigners { known: vec![known.clone()], ..Default::default() };
    assert_eq!(owner.sign(&of(&known), Hash::Sha256).unwrap(), der);
    let others = [
        KnownSignature { value: STANDARD.encode(b"none"), ..known.clone() },
        KnownSignature { certificate: Digest::of(b"another"), ..known.clone() },
        KnownSignature { hash: Hash::Sha384, ..known },
    ];
    for other in others {
        assert_eq!(owner.sign(&of(&other), Hash::Sha256).unwrap_err().kind, Kind::Input, "{other:?}");
    }
}

#[test]
fn what_is_no_key_is_told() {
    let owner = Owner::new(KINDS[1].1);
    let other = Owner::new(KINDS[0].1);
    let refused = |signers: &ModuleSigners, words: &str| {
        let failure = owner.sign(signers, Hash::Sha256).unwrap_err();
        assert!(failure.kind == Kind::Input && failure.what.contains(words), "needed {words:?}, found {failure}");
        assert!(failure.hint.is_some(), "{failure}");
    };
    refused(
        &ModuleSigners::default(),
        "needed the private key (ECDSA on P-256) of CN=module signing,O=Example to sign with, found none",
    );
    refused(&by_file(&other.path("key")), "found 1 other keys");
    refused(&by_file(&owner.path("none")), "cannot be read");
    refused(&by_file(&owner.path("certificate")), "needed a private key in PEM");
    let key = owner.text("key");
    let locked = openssl(&["pkcs8", "-topk8", "-passout", "pass:x", "-in", &key], b"");
    fs::write(owner.path("locked"), locked).unwrap();
    refused(&by_file(&owner.path("locked")), "is encrypted");
    fs::write(owner.path("cut"), &fs::read(&key).unwrap()[..80]).unwrap();
    refused(&by_file(&owner.path("cut")), "needed a private key in PEM");
}
