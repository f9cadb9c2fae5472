//! Who signs kernel modules: a key in a PEM file, or a command that has it (a PKCS#11 token). A certificate says which key it must be, and each
//! answer is verified with it.
//!
//! RSA signs the same bytes with the same signature, whoever does it; so does a key in a file by ECDSA (RFC 6979). A token by ECDSA draws a
//! number: see [`crate::layer::kernel_modules`] for what is kept of it.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::elliptic_curve::zeroize::Zeroizing;
use p256::pkcs8::DecodePrivateKey as _;
use p256::pkcs8::der::SecretDocument;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use serde::{Deserialize, Serialize};
use sha2::{Sha256, Sha384, Sha512};

use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::kmod::signing::{Certificate, Hash};
use crate::kmod::verify::Public;

/// What stands for the hash's name in a command.
const HASH: &str = "{hash}";

/// Where the private keys are, as a person says. Nothing is read before something has to be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleSigners {
    /// PEM files: RSA, or ECDSA on P-256 or P-384. Each certificate finds its own.
    pub files: Vec<PathBuf>,
    /// A program with its arguments, for certificates that no file is for: the module's bytes on its standard input, their signature on its
    /// standard output. `{hash}` in it becomes `sha256` and so on.
    pub command: Option<String>,
    /// Signatures that were made before, as a manifest has them: whoever builds an image again needs no key.
    pub known: Vec<KnownSignature>,
}

/// A signature of a module, which is public: with it the same bytes come out again, whoever has the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct KnownSignature {
    /// SHA-256 of what is signed: the module without a signature, unpacked.
    pub object: Digest,
    /// SHA-256 of the certificate's file.
    pub certificate: Digest,
    /// What it was hashed by.
    pub hash: Hash,
    /// The signature as RSA or ECDSA (in DER) has it, in base64.
    pub value: String,
}

impl KnownSignature {
    /// Of `raw`.
    pub fn new(object: Digest, certificate: Digest, hash: Hash, raw: &[u8]) -> Self {
        Self { object, certificate, hash, value: STANDARD.encode(raw) }
    }
}

/// The same, with each file read at most once: it may be a pipe.
pub struct ModuleKeys<'a> {
    signers: &'a ModuleSigners,
    read: OnceCell<Vec<Private>>,
}

/// A private key: gone from memory with the value. It has no `Debug`.
enum Private {
    Rsa(Box<RsaPrivateKey>),
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

impl<'a> ModuleKeys<'a> {
    /// Of these signers.
    pub fn new(signers: &'a ModuleSigners) -> Self {
        Self { signers, read: OnceCell::new() }
    }

    /// The signature of `object` by the key of `certificate`, whose file has this digest: RSA's number, or ECDSA's two in DER.
    ///
    /// # Errors
    /// [`Kind::Input`]: nobody has this key, or a file is no key; [`Kind::Failed`]: the command fails; [`Kind::Verification`]: what it
    /// answers is not this key's.
    pub fn sign(&self, certificate: &Certificate, file: &Digest, hash: Hash, object: &[u8]) -> Result<Vec<u8>, Failure> {
        let hashed = hash.of(object);
        let digest = Digest::of(object);
        let same = |known: &&KnownSignature| known.object == digest && known.certificate == *file && known.hash == hash;
        let mut known = self.signers.known.iter().filter(same).filter_map(|known| STANDARD.decode(&known.value).ok());
        if let Some(raw) = known.find(|raw| certificate.verifies(hash, &hashed, raw)) {
            return Ok(raw);
        }
        if let Some(key) = self.files()?.iter().find(|key| certificate.is_for(&key.public())) {
            let raw = key.sign(hash, &hashed);
            return raw.filter(|raw| certificate.verifies(hash, &hashed, raw)).ok_or_else(|| {
                Failure::new(Kind::Failed, format!("the key of {} is too small for {}", certificate.owner, hash.word()))
            });
        }
        match &self.signers.command {
            Some(command) => by_command(command, certificate, hash, object),
            None => Err(nobody(certificate, self.signers.files.len())),
        }
    }

    fn files(&self) -> Result<&[Private], Failure> {
        if let Some(read) = self.read.get() {
            return Ok(read);
        }
        let read = self.signers.files.iter().map(Private::read).collect::<Result<Vec<_>, _>>()?;
        Ok(self.read.get_or_init(|| read))
    }
}

fn nobody(certificate: &Certificate, files: usize) -> Failure {
    let (kind, owner) = (certificate.key_kind(), &certificate.owner);
    let found = if files == 0 { "none".to_owned() } else { format!("{files} other keys") };
    Failure::new(Kind::Input, format!("kernel modules: needed the private key ({kind}) of {owner} to sign with, found {found}"))
        .hint("name it: `basalt build --module-key FILE`, or `--module-command COMMAND` for a token; what is signed once is kept")
}

impl Private {
    fn read(path: &PathBuf) -> Result<Self, Failure> {
        let bad = |why: String| Failure::new(Kind::Input, format!("{}: {why}", path.display()));
        let pem = fs::read(path).map(Zeroizing::new);
        let pem =
            pem.map_err(|error| bad(format!("cannot be read: {error}")).hint("name the private key's file with --module-key"))?;
        Self::parse(&pem).map_err(|why| match why {
            NoKey::Encrypted => bad("the key is encrypted; needed a plain one".to_owned())
                .hint("decrypt it into a pipe: --module-key <(openssl pkey -in FILE)"),
            NoKey::Other => bad("needed a private key in PEM: RSA, or ECDSA on P-256 or P-384; found something else".to_owned())
                .hint("make one with its certificate: openssl req -x509 -newkey rsa:3072 -keyout KEY -out CERTIFICATE ..."),
        })
    }

    /// In PEM, as PKCS#8, PKCS#1 or SEC 1. The kernel's own `signing_key.pem` has its certificate behind the key.
    fn parse(pem: &[u8]) -> Result<Self, NoKey> {
        let text = std::str::from_utf8(pem).map_err(|_| NoKey::Other)?;
        // Others may come before it: openssl names the curve first.
        let is_key = |at: &usize| text[*at..].lines().next().is_some_and(|line| line.trim_end().ends_with("PRIVATE KEY-----"));
        let begin = text.match_indices("-----BEGIN ").map(|(at, _)| at).find(is_key).ok_or(NoKey::Other)?;
        let text = &text[begin..];
        let end = text.find("-----END ").map(|at| at + text[at..].find('\n').unwrap_or(text.len() - at)).ok_or(NoKey::Other)?;
        let first = &text[..end];
        if first.starts_with("-----BEGIN ENCRYPTED ") || first.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(NoKey::Encrypted);
        }
        let (label, document) = SecretDocument::from_pem(first).map_err(|_| NoKey::Other)?;
        let der = document.as_bytes();
        let rsa = |key: RsaPrivateKey| Self::Rsa(Box::new(key));
        let p256 = |key: p256::SecretKey| Self::P256(key.into());
        let p384 = |key: p384::SecretKey| Self::P384(key.into());
        let found = match label {
            "RSA PRIVATE KEY" => RsaPrivateKey::from_pkcs1_der(der).ok().map(rsa),
            "EC PRIVATE KEY" => {
                p256::SecretKey::from_sec1_der(der).ok().map(p256).or_else(|| p384::SecretKey::from_sec1_der(der).ok().map(p384))
            }
            "PRIVATE KEY" => RsaPrivateKey::from_pkcs8_der(der)
                .ok()
                .map(rsa)
                .or_else(|| p256::SecretKey::from_pkcs8_der(der).ok().map(p256))
                .or_else(|| p384::SecretKey::from_pkcs8_der(der).ok().map(p384)),
            _ => None,
        };
        found.ok_or(NoKey::Other)
    }

    fn public(&self) -> Public {
        match self {
            Self::Rsa(key) => Public::Rsa(Box::new(key.to_public_key())),
            Self::P256(key) => Public::P256(Box::new(*key.verifying_key())),
            Self::P384(key) => Public::P384(Box::new(*key.verifying_key())),
        }
    }

    /// None where the key is too small for the hash.
    fn sign(&self, hash: Hash, hashed: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let scheme = match hash {
                    Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                    Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                    Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
                };
                key.sign(scheme, hashed).ok()
            }
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign_prehash(hashed).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign_prehash(hashed).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }
        }
    }
}

/// Why a file is no key that signs.
enum NoKey {
    Encrypted,
    Other,
}

fn by_command(command: &str, certificate: &Certificate, hash: Hash, object: &[u8]) -> Result<Vec<u8>, Failure> {
    let output = Cmd::of_user(&command.replace(HASH, hash.word()))?.input(object.to_vec()).run()?.stdout;
    let hashed = hash.of(object);
    // A token answers r and s one behind the other.
    let der = certificate.ecdsa_len().filter(|len| *len == output.len()).and_then(|_| certificate.ecdsa_der(&output));
    let answers = der.into_iter().chain([output]);
    let mut len = 0;
    for raw in answers {
        if certificate.verifies(hash, &hashed, &raw) {
            return Ok(raw);
        }
        if let Some(other) = Hash::ALL.into_iter().find(|other| certificate.verifies(*other, &other.of(object), &raw)) {
            let what = format!("{command}: needed a signature over {}, found one over {}", hash.word(), other.word());
            let hint = format!("say `hash = \"{}\"` in `sign`, or {HASH} in the command where it says which", other.word());
            return Err(Failure::new(Kind::Input, what).hint(hint));
        }
        len = raw.len();
    }
    let (kind, owner) = (certificate.key_kind(), &certificate.owner);
    let what = format!("{command}: needed a signature ({kind}) by the key of {owner}, found {len} bytes that are none");
    Err(Failure::new(Kind::Verification, what).hint(format!(
        "it gets the module on standard input and signs its {}, as `openssl dgst -{HASH} -sign KEY` does",
        hash.word()
    )))
}

#[cfg(test)]
mod tests;
