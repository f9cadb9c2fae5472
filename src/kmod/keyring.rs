//! Whose signatures a kernel takes, and whether a module bears one of them: PKCS#7 as crypto/asymmetric_keys reads it for modules.
//!
//! A kernel brings certificates along, one after another in its data; firmware and shim add those of `db` and of the machine's owner
//! (MOK). A signature names its key by issuer and serial number, or by the key's identifier; it covers the object itself, without
//! attributes.

use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::{rfc5911, rfc5912};
use x509_cert::der::{Decode, DecodePem, Encode, Reader, SliceReader};
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use super::verify::Public;

/// Whose signature a module bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signed {
    /// Nobody looked.
    NotAsked,
    /// No signature.
    Nobody,
    /// A key of the ring: the name of its owner.
    By(String),
    /// A key that is not in the ring: how the signature names it.
    Stranger(String),
    /// A key of the ring, and the bytes are not those that it signed.
    Altered(String),
    /// A signature that the kernel does not understand: why.
    Broken(String),
}

/// A certificate, or bytes that are none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no certificate whose key a kernel could use: {0}")]
pub struct BadCertificate(pub String);

fn certificate(bytes: &[u8]) -> Result<Certificate, BadCertificate> {
    let read = match bytes.starts_with(b"-----BEGIN") {
        true => Certificate::from_pem(bytes),
        false => Certificate::from_der(bytes),
    };
    read.map_err(|error| BadCertificate(error.to_string()))
}

/// A certificate in DER or PEM, as firmware keeps it: in DER.
///
/// # Errors
/// No X.509 certificate.
pub fn der(bytes: &[u8]) -> Result<Vec<u8>, BadCertificate> {
    certificate(bytes)?.to_der().map_err(|error| BadCertificate(error.to_string()))
}

/// A key that may sign modules.
#[derive(Clone, Debug)]
pub struct Key {
    /// Whose it is: the subject.
    pub owner: String,
    /// The issuer in DER, and the serial number.
    issued: (Vec<u8>, Vec<u8>),
    /// The extension `subjectKeyIdentifier`.
    identifier: Option<Vec<u8>>,
    public: Public,
}

/// Keys that may sign modules.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    keys: Vec<Key>,
}

impl Keyring {
    /// The certificates in an uncompressed kernel. They lie one behind another with nothing that says where; DER does.
    pub fn of_kernel(kernel: &[u8]) -> Self {
        Self::scan(kernel, |_| ())
    }

    /// The certificates alone, one behind another: [`Self::of_kernel`] reads the same keys from them.
    pub fn certificates(kernel: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        Self::scan(kernel, |certificate| all.extend_from_slice(certificate));
        all
    }

    fn scan(kernel: &[u8], mut certificate: impl FnMut(&[u8])) -> Self {
        let mut ring = Self::default();
        let mut at = 0;
        while let Some(found) = kernel[at..].iter().position(|byte| *byte == 0x30) {
            at += found;
            let len = ring.certificate_at(&kernel[at..]);
            certificate(&kernel[at..at + len.unwrap_or(0)]);
            at += len.unwrap_or(1);
        }
        ring
    }

    /// Takes the certificate that bytes begin with; how long it is.
    fn certificate_at(&mut self, bytes: &[u8]) -> Option<usize> {
        // SEQUENCE of 256 bytes or more, in it a SEQUENCE of 256 or more, in it [0] { INTEGER 2 }: an X.509 v3 certificate.
        let [0x30, 0x82, a, b, 0x30, 0x82, _, _, 0xa0, 0x03, 0x02, 0x01, 0x02, ..] = *bytes else { return None };
        let len = 4 + usize::from(u16::from_be_bytes([a, b]));
        self.add(bytes.get(..len)?).ok()?;
        Some(len)
    }

    /// Adds a certificate, in DER or PEM.
    ///
    /// # Errors
    /// No X.509 certificate, or one whose key is neither RSA nor ECDSA on P-256 or P-384.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), BadCertificate> {
        let bad = |error: x509_cert::der::Error| BadCertificate(error.to_string());
        let certificate = certificate(bytes)?;
        let body = certificate.tbs_certificate();
        let identifier = body.get_extension::<SubjectKeyIdentifier>().map_err(bad)?;
        self.keys.push(Key {
            owner: body.subject().to_string(),
            issued: (body.issuer().to_der().map_err(bad)?, body.serial_number().as_bytes().to_vec()),
            identifier: identifier.map(|(_, found)| found.0.as_bytes().to_vec()),
            public: Public::of(body.subject_public_key_info()).map_err(BadCertificate)?,
        });
        Ok(())
    }

    /// The keys, in the order in which they came.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Whose `signature` `object` bears.
    pub fn verify(&self, object: &[u8], signature: &[u8]) -> Signed {
        let signers = match signers(signature) {
            Ok(signers) => signers,
            Err(why) => return Signed::Broken(why),
        };
        let mut last = Signed::Broken("needed somebody who signed, found nobody".to_owned());
        for signer in &signers {
            last = self.verified(object, signer);
            // One that is good is enough; one that lies is not.
            if !matches!(last, Signed::Stranger(_)) {
                return last;
            }
        }
        last
    }

    fn verified(&self, object: &[u8], signer: &SignerInfo) -> Signed {
        let Some(digest) = hash(signer.digest_alg.oid, object) else {
            return Signed::Broken(format!("needed SHA-2 as its hash, found {}", signer.digest_alg.oid));
        };
        let Some(key) = self.keys.iter().find(|key| key.is(&signer.sid)) else { return Signed::Stranger(name(&signer.sid)) };
        match key.public.verify(&digest, signer.digest_alg.oid, signer.signature.as_bytes()) {
            true => Signed::By(key.owner.clone()),
            false => Signed::Altered(key.owner.clone()),
        }
    }
}

impl Key {
    fn is(&self, named: &SignerIdentifier) -> bool {
        match named {
            SignerIdentifier::IssuerAndSerialNumber(found) => {
                found.serial_number.as_bytes() == self.issued.1
                    && found.issuer.to_der().is_ok_and(|issuer| issuer == self.issued.0)
            }
            SignerIdentifier::SubjectKeyIdentifier(found) => self.identifier.as_deref() == Some(found.0.as_bytes()),
        }
    }
}

/// Who signed, by the rules for modules: data that lies elsewhere, no attributes.
pub(super) fn signers(signature: &[u8]) -> Result<Vec<SignerInfo>, String> {
    let bad = |error: x509_cert::der::Error| format!("needed PKCS#7 in DER: {error}");
    let mut reader = SliceReader::new(signature).map_err(bad)?;
    let outer = ContentInfo::decode(&mut reader).map_err(bad)?;
    if !reader.is_finished() {
        return Err("needed nothing behind the PKCS#7, found more".to_owned());
    }
    if outer.content_type != rfc5911::ID_SIGNED_DATA {
        return Err(format!("needed SignedData, found {}", outer.content_type));
    }
    let data = outer.content.decode_as::<SignedData>().map_err(bad)?;
    if data.encap_content_info.econtent.is_some() {
        return Err("needed a signature alone, found one with its data".to_owned());
    }
    let signers = data.signer_infos.0.into_vec();
    match signers.iter().any(|signer| signer.signed_attrs.is_some()) {
        true => Err("needed a signature of the module itself, found one of attributes".to_owned()),
        false => Ok(signers),
    }
}

fn name(signer: &SignerIdentifier) -> String {
    match signer {
        SignerIdentifier::IssuerAndSerialNumber(found) => {
            format!("{}, serial number {}", found.issuer, hex::encode(found.serial_number.as_bytes()))
        }
        SignerIdentifier::SubjectKeyIdentifier(found) => format!("key identifier {}", hex::encode(found.0.as_bytes())),
    }
}

fn hash(algorithm: ObjectIdentifier, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm {
        rfc5912::ID_SHA_224 => Sha224::digest(bytes).to_vec(),
        rfc5912::ID_SHA_256 => Sha256::digest(bytes).to_vec(),
        rfc5912::ID_SHA_384 => Sha384::digest(bytes).to_vec(),
        rfc5912::ID_SHA_512 => Sha512::digest(bytes).to_vec(),
        _ => return None,
    })
}
