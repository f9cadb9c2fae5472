//! The bill of materials: an SPDX 2.3 document in JSON, of the packages with their sources and licences, and of the layers.
//!
//! Source: <https://spdx.github.io/spdx-spec/v2.3/>. The same image gives the same document: its time is the image's, its name space
//! comes from the PlanId. Licences are what the packages' own copyright files say, each short name once; what they mean together is
//! for a lawyer, so that nothing is "concluded".

mod licence;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::digest::Digest;
use crate::layer::packages::{Package, Packages};
use crate::plan::PlanId;
use crate::tree::{Tree, TreePath};

/// The name space of documents.
const NAMESPACE: Uuid = uuid!("a9b4a2de-5a23-4cf5-8a3c-0f2f2a0a3c54");
/// What SPDX says where nothing is said.
const NO_ASSERTION: &str = "NOASSERTION";

/// What the document is about.
pub struct Subject<'a> {
    /// Name of the image.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Of its plan.
    pub plan: PlanId,
    /// Its time, in seconds since 1970.
    pub time: i64,
    /// Checksum of its commit.
    pub commit: Digest,
    /// The packages of its base.
    pub packages: &'a Packages,
    /// Name and digest of its layers, lowest first.
    pub layers: &'a [(String, Digest)],
    /// What is in it: the licences stand in `/usr/share/doc`.
    pub tree: &'a Tree,
}

/// The document.
///
/// # Errors
/// When a copyright file cannot be read, or the image's time is none.
pub fn document(subject: &Subject<'_>) -> Result<Value> {
    let image = "SPDXRef-Image";
    let mut packages = vec![json!({
        "SPDXID": image,
        "name": subject.name,
        "versionInfo": subject.version,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "comment": format!("plan {}, OSTree commit {}", subject.plan, subject.commit),
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", image)];
    let mut extracted = BTreeMap::new();
    let mut sources = BTreeMap::new();
    for package in &subject.packages.list {
        let id = format!("SPDXRef-Package-{}", idstring(&package.name));
        let said = licence::declared(subject.tree, &package.name).with_context(|| format!("the licence of {}", package.name))?;
        packages.push(binary(
            &id,
            package,
            subject.packages,
            said.as_ref().map_or(NO_ASSERTION, |said| said.expression.as_str()),
        ));
        extracted.extend(said.into_iter().flat_map(|said| said.references).map(|name| (licence::reference(&name), name)));
        relationships.push(relationship(image, "CONTAINS", &id));
        let source = format!("SPDXRef-Source-{}-{}", idstring(&package.source), idstring(&package.source_version));
        relationships.push(relationship(&id, "GENERATED_FROM", &source));
        sources.entry(source).or_insert(package);
    }
    packages.extend(sources.iter().map(|(id, package)| source(id, package, subject.packages)));
    for (name, digest) in subject.layers {
        let id = format!("SPDXRef-Layer-{}", idstring(name));
        packages.push(layer(&id, name, digest));
        relationships.push(relationship(image, "CONTAINS", &id));
    }
    let created = jiff::Timestamp::from_second(subject.time).context("the image's time")?;
    Ok(json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{}-{}", subject.name, subject.version),
        "documentNamespace": format!("urn:uuid:{}", Uuid::new_v5(&NAMESPACE, subject.plan.to_string().as_bytes())),
        "creationInfo": {
            "created": created.to_string(),
            "creators": [format!("Tool: basalt-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": packages,
        "relationships": relationships,
        "hasExtractedLicensingInfos": extracted.iter().map(|(id, name)| json!({
            "licenseId": id,
            "name": name,
            "extractedText": format!("{name}: the text stands in the image, in /usr/share/doc/*/copyright"),
        })).collect::<Vec<_>>(),
    }))
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

fn binary(id: &str, package: &Package, of: &Packages, licence: &str) -> Value {
    let Package { name, version, architecture, file, .. } = package;
    let mut value = json!({
        "SPDXID": id,
        "name": name,
        "versionInfo": version,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": licence,
        "copyrightText": NO_ASSERTION,
        "supplier": supplier(of),
        "externalRefs": [purl(name, version, architecture, of)],
    });
    if let Some((file, sha256)) = file {
        value["packageFileName"] = json!(file);
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256.to_hex() }]);
    }
    value
}

fn supplier(of: &Packages) -> &'static str {
    if of.distribution == "debian" { "Organization: Debian" } else { NO_ASSERTION }
}

fn source(id: &str, package: &Package, of: &Packages) -> Value {
    json!({
        "SPDXID": id,
        "name": package.source,
        "versionInfo": package.source_version,
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
        "primaryPackagePurpose": "SOURCE",
        "supplier": supplier(of),
        "externalRefs": [purl(&package.source, &package.source_version, "source", of)],
    })
}

fn layer(id: &str, name: &str, digest: &Digest) -> Value {
    json!({
        "SPDXID": id,
        "name": format!("layer {name}"),
        "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": NO_ASSERTION,
        "copyrightText": NO_ASSERTION,
        "comment": format!("digest of the layer's tree: sha256:{digest}"),
    })
}

/// How package managers name a package of Debian: <https://github.com/package-url/purl-spec>.
pub fn package_url(name: &str, version: &str, architecture: &str, suite: &str) -> String {
    format!("pkg:deb/debian/{}@{}?arch={architecture}&distro={suite}", encoded(name), encoded(version))
}

fn purl(name: &str, version: &str, architecture: &str, of: &Packages) -> Value {
    let url = match &of.suite {
        Some(suite) => package_url(name, version, architecture, suite),
        None => format!("pkg:deb/{}/{}@{}?arch={architecture}", encoded(&of.distribution), encoded(name), encoded(version)),
    };
    json!({
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": url,
    })
}

/// What a package URL may not have is written as `%XX`.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// What an SPDX identifier may have: letters, digits, dots and dashes. Different names stay different.
fn idstring(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => char::from(byte).to_string(),
        _ => format!("-x{byte:02x}"),
    };
    text.bytes().map(byte).collect()
}

/// The copyright file of a package.
fn copyright(tree: &Tree, package: &str) -> Result<Option<String>> {
    let path = TreePath::parse(&format!("/usr/share/doc/{package}/copyright"))?;
    let content = tree.file(&path).map(|content| content.bytes()).transpose()?;
    Ok(content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Meta};

    #[test]
    fn names_become_identifiers_and_urls() {
        assert_eq!(idstring("libstdc++6"), "libstdc-x2b-x2b6");
        assert_eq!(idstring("overlay 10-basalt-node"), "overlay-x2010-basalt-node");
        let url = package_url("libstdc++6", "1:14.2.0-19+b1", "amd64", "trixie");
        assert_eq!(url, "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19%2Bb1?arch=amd64&distro=trixie");
    }

    #[test]
    fn a_document_of_one_package() {
        let mut tree = Tree::new();
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+\n\nFiles: a\nLicense: own-words\n";
        let at = TreePath::parse("/usr/share/doc/one/copyright").unwrap();
        tree.put_file(&at, Meta::root(0o644), Content::from_bytes(text.as_bytes())).unwrap();
        let package = Package {
            name: "one".into(),
            version: "1-2".into(),
            architecture: "all".into(),
            source: "one-source".into(),
            source_version: "1-1".into(),
            file: Some(("one_1-2_all.deb".into(), Digest::of(b"one"))),
        };
        let packages = Packages { distribution: "debian".into(), suite: Some("trixie".into()), list: vec![package] };
        let subject = Subject {
            name: "node",
            version: "1",
            plan: PlanId(Digest::of(b"plan")),
            time: 1_700_000_000,
            commit: Digest::of(b"commit"),
            packages: &packages,
            layers: &[("base".into(), Digest::of(b"base"))],
            tree: &tree,
        };
        let document = document(&subject).unwrap();
        assert_eq!(document["creationInfo"]["created"], "2023-11-14T22:13:20Z");
        let names: Vec<_> = document["packages"].as_array().unwrap().iter().map(|package| &package["name"]).collect();
        assert_eq!(names, ["node", "one", "one-source", "layer base"]);
        assert_eq!(document["packages"][1]["licenseDeclared"], "GPL-2.0-or-later AND LicenseRef-own-words");
        assert_eq!(document["hasExtractedLicensingInfos"][0]["licenseId"], "LicenseRef-own-words");
        assert_eq!(document["relationships"].as_array().unwrap().len(), 4);
        let again = super::document(&subject).unwrap();
        assert_eq!(document, again);
    }
}
