//! The signed document of a sigstore signature over an image, "simple signing", and the OCI image that carries it to a registry.
//!
//! Sources: cosign's `specs/SIGNATURE_SPEC.md`; `docs/containers-signature.5.md` of containers/image. The signature of the image with
//! digest `sha256:HEX` is the image that has the tag `sha256-HEX.sig` in the same repository.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::format::oci::{self, Config, Descriptor, Index, Manifest, RootFs, Runtime};

/// The media type of a payload, as a layer.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of that layer: base64 of the signature.
pub const ANNOTATION: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    critical: Critical,
    /// Nothing: a time would be other bytes each time.
    optional: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Critical {
    identity: Identity,
    image: Image,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    docker_reference: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    docker_manifest_digest: String,
}

impl Payload {
    /// For the image `digest` in `repository` (`registry.example.org/hosts/node`).
    pub fn new(repository: &str, digest: &Digest) -> Self {
        Self {
            critical: Critical {
                identity: Identity { docker_reference: repository.to_owned() },
                image: Image { docker_manifest_digest: oci::digest(digest) },
                kind: KIND.to_owned(),
            },
            optional: None,
        }
    }

    /// Reads the bytes that were signed. None when they are no payload.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|payload: &Self| payload.critical.kind == KIND)
    }

    /// The bytes to sign.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a payload is always JSON")
    }

    /// The repository that it is for.
    pub fn repository(&self) -> &str {
        &self.critical.identity.docker_reference
    }

    /// The image that it is for, as OCI's documents write it.
    pub fn digest(&self) -> &str {
        &self.critical.image.docker_manifest_digest
    }
}

/// The OCI image that carries a signature: documents by their digests, the index that names them, and the manifest.
pub struct Carrier {
    /// What the layout's `blobs` hold.
    pub blobs: Vec<Vec<u8>>,
    /// The layout's index.
    pub index: Vec<u8>,
    /// The image.
    pub manifest: Manifest,
}

/// Carries `signature`, in DER, over `payload`.
pub fn carrier(payload: &[u8], signature: &[u8]) -> Carrier {
    fn json(value: &impl Serialize) -> Vec<u8> {
        serde_json::to_vec(value).expect("a document of ours is always JSON")
    }
    let mut layer = Descriptor::new(MEDIA_TYPE, &Digest::of(payload), payload.len() as u64);
    layer.annotations.insert(ANNOTATION.to_owned(), STANDARD.encode(signature));
    let config = json(&Config {
        created: None,
        architecture: String::new(),
        os: String::new(),
        config: Runtime::default(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![layer.digest.clone()] },
        history: Vec::new(),
    });
    let manifest = Manifest {
        schema_version: 2,
        media_type: oci::MANIFEST.to_owned(),
        config: Descriptor::new(oci::CONFIG, &Digest::of(&config), config.len() as u64),
        layers: vec![layer],
        annotations: Default::default(),
    };
    let bytes = json(&manifest);
    let descriptor = Descriptor::new(oci::MANIFEST, &Digest::of(&bytes), bytes.len() as u64);
    let index = Index { schema_version: 2, media_type: oci::INDEX.to_owned(), manifests: vec![descriptor] };
    Carrier { index: json(&index), blobs: vec![payload.to_vec(), config, bytes], manifest }
}

/// The repository of an image's name: without transport, tag and digest.
pub fn repository(image: &str) -> &str {
    let name = image.rsplit_once("://").map_or(image, |(_, name)| name);
    let name = name.split('@').next().unwrap_or(name);
    let tail = name.rfind('/').map_or(0, |slash| slash + 1);
    name[tail..].find(':').map_or(name, |colon| &name[..tail + colon])
}

/// The tag under which a registry has the signatures of an image.
pub fn tag(digest: &Digest) -> String {
    format!("sha256-{digest}.sig")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_that_of_the_specification() {
        let digest = Digest::of(b"");
        let payload = Payload::new("r.example.org/a/b", &digest);
        let text = format!(
            "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"r.example.org/a/b\"}},\"image\":{{\"docker-manifest-digest\":\
             \"sha256:{digest}\"}},\"type\":\"cosign container image signature\"}},\"optional\":null}}"
        );
        assert_eq!(String::from_utf8(payload.bytes()).unwrap(), text);
        assert_eq!(Payload::parse(text.as_bytes()), Some(payload));
        assert_eq!(Payload::parse(text.replace("cosign container", "other").as_bytes()), None);
    }

    #[test]
    fn repositories() {
        for (image, expected) in [
            ("r.example.org/a/b:1", "r.example.org/a/b"),
            ("localhost:5000/a", "localhost:5000/a"),
            ("docker://localhost:5000/a:x", "localhost:5000/a"),
            ("r.example.org/a@sha256:00", "r.example.org/a"),
            ("r.example.org/a:1@sha256:00", "r.example.org/a"),
        ] {
            assert_eq!(repository(image), expected, "{image}");
        }
    }
}
