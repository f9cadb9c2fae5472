//! The signature that goes behind a module, byte for byte as scripts/sign-file of the kernel makes it: PKCS#7 (CMS) with no certificate, no
//! attributes and no data, its signer named by issuer and serial number.
//!
//! ```text
//! ContentInfo { signedData, SignedData { 1, { hash }, { data }, { SignerInfo { 1, issuer, serial, hash, algorithm, signature } } } }
//! algorithm: rsaEncryption with NULL, or ecdsa-with-SHA... without parameters; a hash has none
//! ```
//!
//! The private key is elsewhere: whoever has it signs the object's hash, and answers the bytes that an algorithm calls a signature.
//!
//! Sources: scripts/sign-file.c, RFC 5652, RFC 5754, RFC 5758.

use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use x509_cert::Certificate as X509;
use x509_cert::der::asn1::{Any, ObjectIdentifier, OctetString, SetOfVec};
use x509_cert::der::oid::db::{rfc5911, rfc5912};
use x509_cert::der::{self, Decode, DecodePem, Encode};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::keyring::{self, BadCertificate};
use super::verify::Public;
use crate::format::module::signature;

/// What a module is hashed by before it is signed. The kernel must know it before it loads a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// The word for it: `sha256`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The hash of `bytes`.
    pub fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// The one that a module's signature was made with: none where it has none of these.
    pub fn of_module(module: &[u8]) -> Option<Self> {
        let (_, signature) = signature::split(module).ok()?;
        let signers = keyring::signers(signature?).ok()?;
        let used = signers.first()?.digest_alg.oid;
        Self::ALL.into_iter().find(|hash| hash.oid() == used)
    }

    const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha256 => rfc5912::ID_SHA_256,
            Self::Sha384 => rfc5912::ID_SHA_384,
            Self::Sha512 => rfc5912::ID_SHA_512,
        }
    }

    const fn with_ecdsa(self) -> ObjectIdentifier {
        match self {
            Self::Sha256 => rfc5912::ECDSA_WITH_SHA_256,
            Self::Sha384 => rfc5912::ECDSA_WITH_SHA_384,
            Self::Sha512 => rfc5912::ECDSA_WITH_SHA_512,
        }
    }
}

/// Whose signature modules get.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The subject.
    pub owner: String,
    signer: SignerIdentifier,
    public: Public,
}

impl Certificate {
    /// Reads one, in DER or PEM.
    ///
    /// # Errors
    /// No X.509 certificate, or one whose key is neither RSA nor ECDSA on P-256 or P-384.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadCertificate> {
        let bad = |error: der::Error| BadCertificate(error.to_string());
        let certificate = match bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
            true => X509::from_pem(bytes.trim_ascii_start()).map_err(bad)?,
            false => X509::from_der(bytes).map_err(bad)?,
        };
        let body = certificate.tbs_certificate();
        Ok(Self {
            owner: body.subject().to_string(),
            signer: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: body.issuer().clone(),
                serial_number: body.serial_number().clone(),
            }),
            public: Public::of(body.subject_public_key_info()).map_err(BadCertificate)?,
        })
    }

    /// Whether `raw` is this key's signature over `hashed`, which `hash` made: RSA's number (PKCS#1 v1.5), or ECDSA's two in DER.
    pub fn verifies(&self, hash: Hash, hashed: &[u8], raw: &[u8]) -> bool {
        self.public.verify(hashed, hash.oid(), raw)
    }

    /// How long `r` and `s` of an ECDSA signature are together: tokens give them without DER. None for RSA.
    pub fn ecdsa_len(&self) -> Option<usize> {
        match self.public {
            Public::Rsa(_) => None,
            Public::P256(_) => Some(64),
            Public::P384(_) => Some(96),
        }
    }

    /// An ECDSA signature in DER, from `r` and `s` as tokens give them. None where they are none, or where the key is RSA.
    pub fn ecdsa_der(&self, raw: &[u8]) -> Option<Vec<u8>> {
        match self.public {
            Public::Rsa(_) => None,
            Public::P256(_) => Some(p256::ecdsa::Signature::from_slice(raw).ok()?.to_der().as_bytes().to_vec()),
            Public::P384(_) => Some(p384::ecdsa::Signature::from_slice(raw).ok()?.to_der().as_bytes().to_vec()),
        }
    }

    /// Whether `public`, in DER, is the key that this certificate is for.
    pub fn is_for(&self, public: &Public) -> bool {
        self.public == *public
    }

    /// The kind of its key, for people.
    pub const fn key_kind(&self) -> &'static str {
        match self.public {
            Public::Rsa(_) => "RSA",
            Public::P256(_) => "ECDSA on P-256",
            Public::P384(_) => "ECDSA on P-384",
        }
    }

    /// PKCS#7 around the signature `raw`: what comes behind the module.
    ///
    /// # Errors
    /// Bytes too long for DER.
    pub fn wrap(&self, hash: Hash, raw: &[u8]) -> der::Result<Vec<u8>> {
        let hashed_by = AlgorithmIdentifierOwned { oid: hash.oid(), parameters: None };
        let signature_algorithm = match self.public {
            Public::Rsa(_) => AlgorithmIdentifierOwned { oid: rfc5912::RSA_ENCRYPTION, parameters: Some(Any::null()) },
            Public::P256(_) | Public::P384(_) => AlgorithmIdentifierOwned { oid: hash.with_ecdsa(), parameters: None },
        };
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: self.signer.clone(),
            digest_alg: hashed_by.clone(),
            signed_attrs: None,
            signature_algorithm,
            signature: OctetString::new(raw)?,
            unsigned_attrs: None,
        };
        let data = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: SetOfVec::try_from(vec![hashed_by])?,
            encap_content_info: EncapsulatedContentInfo { econtent_type: rfc5911::ID_DATA, econtent: None },
            certificates: None,
            crls: None,
            signer_infos: SignerInfos(SetOfVec::try_from(vec![signer])?),
        };
        ContentInfo { content_type: rfc5911::ID_SIGNED_DATA, content: Any::encode_from(&data)? }.to_der()
    }
}
