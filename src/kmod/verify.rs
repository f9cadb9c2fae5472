//! Public keys of certificates: RSA (PKCS#1 v1.5) and ECDSA on P-256 and P-384, what kernels sign modules with.

use p384::ecdsa::signature::hazmat::PrehashVerifier;
use rsa::pkcs8::DecodePublicKey;
use rsa::{Pkcs1v15Sign, RsaPublicKey};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use x509_cert::der::Encode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5912;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// A key that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Public {
    /// RSA, signing by PKCS#1 v1.5.
    Rsa(Box<RsaPublicKey>),
    /// ECDSA.
    P256(Box<p256::ecdsa::VerifyingKey>),
    /// ECDSA.
    P384(Box<p384::ecdsa::VerifyingKey>),
}

impl Public {
    pub(super) fn of(info: &SubjectPublicKeyInfoOwned) -> Result<Self, String> {
        let der = info.to_der().map_err(|error| error.to_string())?;
        if let Ok(key) = RsaPublicKey::from_public_key_der(&der) {
            return Ok(Self::Rsa(Box::new(key)));
        }
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_der(&der) {
            return Ok(Self::P256(Box::new(key)));
        }
        if let Ok(key) = p384::ecdsa::VerifyingKey::from_public_key_der(&der) {
            return Ok(Self::P384(Box::new(key)));
        }
        Err(format!("needed RSA, ECDSA on P-256 or on P-384, found {}", info.algorithm.oid))
    }

    /// Whether `signature` is of `digest`, which `algorithm` made.
    pub(super) fn verify(&self, digest: &[u8], algorithm: ObjectIdentifier, signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => scheme(algorithm).is_some_and(|scheme| key.verify(scheme, digest, signature).is_ok()),
            Self::P256(key) => {
                p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
            Self::P384(key) => {
                p384::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify_prehash(digest, &signature).is_ok())
            }
        }
    }
}

fn scheme(algorithm: ObjectIdentifier) -> Option<Pkcs1v15Sign> {
    Some(match algorithm {
        rfc5912::ID_SHA_224 => Pkcs1v15Sign::new::<Sha224>(),
        rfc5912::ID_SHA_256 => Pkcs1v15Sign::new::<Sha256>(),
        rfc5912::ID_SHA_384 => Pkcs1v15Sign::new::<Sha384>(),
        rfc5912::ID_SHA_512 => Pkcs1v15Sign::new::<Sha512>(),
        _ => return None,
    })
}
