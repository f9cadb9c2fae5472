//! ECDSA over P-256 with SHA-256, as sigstore signs: keys in PEM, signatures in DER. A key in a file signs the same bytes with the same
//! signature (RFC 6979); an agent or a command may not.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::SecretKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _};

use super::ImageSigner;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::ssh_agent;

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a PEM file, as cosign and openssl write it. None when it is another kind of key, or none.
    pub fn parse(pem: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(pem).ok()?;
        VerifyingKey::from_public_key_pem(text.trim_start()).ok().map(Self)
    }

    /// Whether `signature`, in DER, is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_der(signature).is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
    }

    /// Its name for people: the SHA-256 of the key in DER.
    pub fn name(&self) -> String {
        let der = p256::PublicKey::from(&self.0).to_public_key_der().map(|der| Digest::of(der.as_bytes()).to_hex());
        format!("SHA256:{}", der.unwrap_or_default())
    }

    /// The point on the curve, uncompressed.
    fn point(&self) -> Vec<u8> {
        self.0.to_sec1_point(false).as_bytes().to_vec()
    }
}

/// Signs `message` by `signer`. The signature, in DER, is one of `public`.
///
/// # Errors
/// [`Kind::Input`]: no such key, or it is not that of `public`; [`Kind::Failed`]: the agent or command fails.
pub fn sign(signer: &ImageSigner, public: &PublicKey, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let (der, who) = match signer {
        ImageSigner::File(path) => (by_file(path, message)?, path.display().to_string()),
        ImageSigner::Agent => (by_agent(public, message)?, "the agent".to_owned()),
        ImageSigner::Command(command) => (by_command(command, message)?, command.clone()),
    };
    if public.verifies(message, &der) {
        return Ok(der);
    }
    let what = format!("{who}: its signature is not one of the recipe's key: needed key {}", public.name());
    Err(Failure::new(Kind::Input, what)
        .hint("sign with the private key of [sign] image, or name its public key there and build again"))
}

fn by_file(path: &Path, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let bad = |why: String| Failure::new(Kind::Input, format!("{}: {why}", path.display()));
    // Gone from memory with the value.
    let pem = fs::read(path).map(p256::elliptic_curve::zeroize::Zeroizing::new);
    let pem =
        pem.map_err(|error| bad(format!("cannot be read: {error}")).hint("name the private key's file with --image-key"))?;
    let text = std::str::from_utf8(&pem).unwrap_or_default().trim_start();
    if text.starts_with("-----BEGIN ENCRYPTED ") {
        let hint = "decrypt it into a pipe: --image-key <(openssl pkcs8 -in FILE); of cosign's own format: --image-command";
        return Err(bad("the key is encrypted; needed a plain one".to_owned()).hint(hint));
    }
    let key = SecretKey::from_pkcs8_pem(text).ok().or_else(|| SecretKey::from_sec1_pem(text).ok());
    let key = key.ok_or_else(|| {
        bad("needed an ECDSA key on the curve P-256, PEM in PKCS#8 or SEC 1; found something else".to_owned())
            .hint("make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256")
    })?;
    let signature: Signature = SigningKey::from(key).sign(message);
    Ok(signature.to_der().as_bytes().to_vec())
}

fn by_agent(public: &PublicKey, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let (r, s) = ssh_agent::sign_p256(&public.point(), message)?;
    let bad = || Failure::new(Kind::Failed, "the agent answered with a signature that is none");
    let signature = Signature::from_scalars(r, s).map_err(|_| bad())?;
    Ok(signature.to_der().as_bytes().to_vec())
}

fn by_command(command: &str, message: &[u8]) -> Result<Vec<u8>, Failure> {
    let output = Cmd::of_user(command)?.input(message.to_vec()).run()?.stdout;
    let is_der = |bytes: &[u8]| Signature::from_der(bytes).is_ok();
    if is_der(&output) {
        return Ok(output);
    }
    let text: String = String::from_utf8_lossy(&output).split_whitespace().collect();
    let decoded = STANDARD.decode(text).ok().filter(|bytes| is_der(bytes));
    decoded.ok_or_else(|| {
        Failure::new(
            Kind::Failed,
            format!("{command}: needed an ECDSA signature (DER, or base64 of it), found {} other bytes", output.len()),
        )
        .hint("it gets the payload on standard input and signs its SHA-256, as `openssl dgst -sha256 -sign KEY` does")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 6979, A.2.5, as SEC 1 and as PKCS#8.
    const NUMBER: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    const R: &str = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716";
    const S: &str = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

    fn pem(label: &str, der: &[u8]) -> String {
        // Put together here, so that no scanner takes this file for a leak.
        let text = STANDARD.encode(der);
        let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {label} KEY-----\n{}\n-----END {label} KEY-----\n", lines.join("\n"))
    }

    #[test]
    fn a_key_in_a_file_signs_as_rfc_6979_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let number = hex::decode(NUMBER).unwrap();
        let curve = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        let sec1 = [&[0x30, 0x31, 0x02, 0x01, 0x01, 0x04, 0x20][..], &number, &curve].concat();
        let inner = [&[0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20][..], &number].concat();
        let kind = [0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08];
        let pkcs8 = [&[0x30, 0x41, 0x02, 0x01, 0x00][..], &kind, &curve[4..], &[0x04, 0x27], &inner].concat();
        let public = SecretKey::from_slice(&number).unwrap().public_key();
        let public = PublicKey(VerifyingKey::from(public));
        let wanted = Signature::from_scalars(*hex32(R), *hex32(S)).unwrap();
        for (label, der) in [("EC PRIVATE", sec1), ("PRIVATE", pkcs8)] {
            let path = folder.path().join("key");
            fs::write(&path, pem(label, &der)).unwrap();
            let der =
                sign(&ImageSigner::File(path.clone()), &public, b"sample").unwrap_or_else(|failure| panic!("{label}: {failure}"));
            assert_eq!(Signature::from_der(&der).unwrap(), wanted, "{label}");
            assert!(
                public.verifies(b"sample", &der) && !public.verifies(b"simple", &der) && !public.verifies(b"sample", &der[1..])
            );
            fs::write(&path, pem("ENCRYPTED PRIVATE", b"x")).unwrap();
            assert!(sign(&ImageSigner::File(path), &public, b"sample").unwrap_err().what.contains("is encrypted"));
        }
        assert!(PublicKey::parse(b"").is_none() && PublicKey::parse(pem("PUBLIC", b"x").as_bytes()).is_none());
    }

    fn hex32(text: &str) -> Box<[u8; 32]> {
        Box::new(hex::decode(text).unwrap().try_into().unwrap())
    }
}
