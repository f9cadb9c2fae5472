//! Where artefacts come from: an in-toto statement with SLSA provenance, whose materials are the inputs that the lock pins.
//!
//! Source: <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md> and <https://slsa.dev/spec/v1.0/provenance>. It is not
//! signed, and names no time, machine or user: the same build gives the same statement, whoever runs it.

use serde_json::{Value, json};

use super::Rendered;
use super::manifest::BUILDER;
use super::sbom::package_url;
use crate::digest::Digest;
use crate::plan::{Base, FileContent, LayerContent, ModuleSource, Plan};

/// What the parameters below mean.
const BUILD_TYPE: &str = "urn:basalt:build:1";
const BUILDER_ID: &str = "urn:basalt:builder";

/// The statement about `rendered`, files that were made of `plan`, and about the commit in them.
pub fn statement(plan: &Plan, branch: &str, commit: &Digest, rendered: &[Rendered]) -> Value {
    let file = |rendered: &Rendered| {
        let name = rendered.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        subject(&name, &rendered.sha256)
    };
    let subjects: Vec<Value> = rendered.iter().map(file).chain([subject(branch, commit)]).collect();
    let formats: Vec<_> = rendered.iter().map(|rendered| rendered.format).collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "plan": plan.id(),
                    "image": plan.name,
                    "version": plan.image_version,
                    "architecture": plan.architecture,
                    "formats": formats,
                },
                "resolvedDependencies": materials(plan),
            },
            "runDetails": { "builder": { "id": BUILDER_ID, "version": { "basalt": BUILDER } } },
        },
    })
}

/// Gives the subjects of `statement` that these names have other digests: of artefacts that were signed since.
pub fn restate<'a>(statement: &mut Value, digests: impl Iterator<Item = (&'a str, &'a Digest)>) {
    for (name, sha256) in digests {
        let subjects = statement["subject"].as_array_mut().into_iter().flatten();
        if let Some(found) = subjects.into_iter().find(|found| found["name"] == name) {
            *found = subject(name, sha256);
        }
    }
}

fn subject(name: &str, sha256: &Digest) -> Value {
    json!({ "name": name, "digest": { "sha256": sha256.to_hex() } })
}

/// What kernel modules come from.
fn module_source(name: &str, source: &ModuleSource) -> Vec<Value> {
    match source {
        ModuleSource::Tree(digest) => vec![json!({ "name": name, "digest": { "basaltTree": digest.to_hex() } })],
        ModuleSource::Image(image) => {
            let digest = image.manifest.sha256;
            let uri = format!("pkg:oci/kernel-module@sha256%3A{digest}");
            vec![json!({ "uri": uri, "name": image.from, "digest": { "sha256": digest } })]
        }
        ModuleSource::Deb(package) => vec![subject(name, &package.sha256)],
        ModuleSource::Packages(packages) => packages.iter().map(|package| subject(&package.name, &package.sha256)).collect(),
    }
}

/// Every input by its digest.
fn materials(plan: &Plan) -> Vec<Value> {
    let mut materials: Vec<Value> = match &plan.base {
        Base::Debian { suite, packages, .. } => {
            let package = |package: &crate::lock::LockedPackage| {
                let uri = package_url(&package.name, &package.version, &package.architecture, suite);
                json!({ "uri": uri, "digest": { "sha256": package.sha256.to_hex() } })
            };
            packages.iter().map(package).collect()
        }
        // purl-spec, type oci: the digest is the version.
        Base::Oci(image) => {
            let digest = image.manifest.sha256;
            vec![json!({ "uri": format!("pkg:oci/base@sha256%3A{digest}"), "name": image.from, "digest": { "sha256": digest } })]
        }
        Base::Tree { digest } => vec![json!({ "name": "base", "digest": { "basaltTree": digest.to_hex() } })],
    };
    for layer in &plan.layers {
        match &layer.content {
            // The digest is that of the tree, not of a file.
            LayerContent::Overlay { digest } => {
                materials.push(json!({ "name": layer.name, "digest": { "basaltTree": digest.to_hex() } }))
            }
            LayerContent::Agent { sha256, .. } => materials.push(subject("basalt-firstboot", sha256)),
            LayerContent::UpdateClient { sha256, .. } => materials.push(subject("ostree-container", sha256)),
            LayerContent::Files { files } => materials.extend(files.iter().filter_map(|(path, file)| match &file.content {
                FileContent::Blob { sha256, .. } => Some(subject(&format!("file {path}"), sha256)),
                FileContent::Text(_) | FileContent::Symlink(_) => None,
            })),
            LayerContent::KernelModules(modules) => {
                for set in &modules.sets {
                    let name = format!("kernel module {}", set.name);
                    materials.extend(set.mappings.iter().flat_map(|mapping| module_source(&name, &mapping.source)));
                }
                materials.extend(modules.symvers.iter().map(|file| subject("Module.symvers", &file.sha256)));
                materials.extend(modules.headers.iter().map(|package| subject(&package.name, &package.sha256)));
                materials.extend(modules.keys.iter().map(|key| subject("kernel module key", &key.sha256)));
                let signers = modules.sets.iter().filter_map(|set| set.sign.as_ref());
                materials.extend(signers.map(|signer| subject("kernel module certificate", &signer.certificate.sha256)));
            }
            LayerContent::Tuned(tuned) => materials.extend(tuned.sources.iter().map(|source| {
                json!({ "name": format!("tuned profiles {}", source.name), "digest": { "basaltTree": source.digest.to_hex() } })
            })),
            LayerContent::Trust(trust) => {
                materials.extend(trust.keys().map(|(what, key)| subject(&format!("{what} key"), &key.sha256)))
            }
            LayerContent::Settings(_) => {}
        }
    }
    materials
}
