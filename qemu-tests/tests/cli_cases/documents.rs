//! The bill of materials and the provenance, read by programs of those who made the formats.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use qemu_tests::{Warm, reference_image, run_program, venv};
use serde_json::Value;

/// The validators, from PyPI. The versions name the folder in which they are installed once.
const VALIDATORS: [&str; 2] = ["spdx-tools==0.8.5", "in-toto-attestation==0.9.3"];

/// Reads a statement with its predicate, as in-toto's own library has it, and prints the subjects' digests.
const STATEMENT: &str = r#"
import json, sys
from google.protobuf import json_format
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
text = open(sys.argv[1]).read()
statement = Statement.copy_from_pb(json_format.Parse(text, statement_pb2.Statement()))
statement.validate()
assert statement.pb.predicate_type == "https://slsa.dev/provenance/v1", statement.pb.predicate_type
predicate = json_format.ParseDict(json.loads(text)["predicate"], provenance_pb2.Provenance())
definition = predicate.build_definition
assert definition.build_type and definition.external_parameters and predicate.run_details.builder.id
for material in definition.resolved_dependencies:
    ResourceDescriptor.copy_from_pb(material).validate()
for subject in statement.pb.subject:
    print(subject.digest["sha256"], subject.name)
"#;

#[test]
fn cli_documents_are_valid_to_the_validators_of_their_formats() -> Result<()> {
    let (image, manifest, bin) = (reference_image()?, Warm::expected()?, venv(&VALIDATORS)?);
    let document = |name: &str| image.folder.join(format!("gpu-node.{name}.json")).display().to_string();
    run_program(&bin.join("pyspdxtools"), &["--infile", &document("spdx"), "--version", "SPDX-2.3"])?;

    let subjects = run_program(&bin.join("python"), &["-c", STATEMENT, &document("intoto")])?;
    let artefacts = manifest["artefacts"].as_array().context("no artefacts")?.iter();
    let line = |digest: &Value, name: &Value| format!("{} {}", digest.as_str().unwrap_or(""), name.as_str().unwrap_or(""));
    let mut wanted: Vec<_> = artefacts.map(|artefact| line(&artefact["sha256"], &artefact["file"])).collect();
    wanted.push(format!("{} basalt/gpu-node/amd64", manifest["commit"].as_str().context("no commit")?));
    assert_eq!(subjects.lines().collect::<Vec<_>>(), wanted);
    Ok(())
}

#[test]
fn cli_documents_name_every_input_of_the_lock() -> Result<()> {
    let (image, warm) = (reference_image()?, Warm::new()?);
    let read = |name: &str| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(image.folder.join(name))?)?) };
    let lock: toml::Value = toml::from_str(&fs::read_to_string(warm.recipe.with_extension("lock"))?)?;
    let text = |value: &toml::Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let packages = lock["architecture"]["amd64"]["package"].as_array().context("no packages in the lock")?;
    let wanted: BTreeMap<_, _> = packages.iter().map(|package| (text(package, "sha256"), text(package, "name"))).collect();

    let sbom = read("gpu-node.spdx.json")?;
    let listed = sbom["packages"].as_array().context("no packages")?;
    let digest = |package: &Value| package["checksums"][0]["checksumValue"].as_str().map(str::to_owned);
    let found: BTreeMap<_, _> =
        listed.iter().filter_map(|package| Some((digest(package)?, package["name"].as_str()?.to_owned()))).collect();
    assert_eq!(found, wanted);
    // Some packages have a file of an older form, which says nothing that can be relied on.
    let licensed =
        listed.iter().filter(|package| digest(package).is_some() && package["licenseDeclared"] != "NOASSERTION").count();
    assert!(licensed * 10 > wanted.len() * 8, "{licensed} of {}", wanted.len());
    let bash = listed.iter().find(|package| package["name"] == "bash").context("no bash")?;
    assert!(bash["licenseDeclared"].as_str().is_some_and(|licence| licence.contains("GPL-3.0-or-later")), "{bash}");

    let provenance = read("gpu-node.intoto.json")?;
    let materials = provenance["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().context("no materials")?;
    let materials: Vec<_> = materials.iter().filter_map(|material| material["digest"]["sha256"].as_str()).collect();
    for digest in wanted.keys() {
        assert!(materials.contains(&digest.as_str()), "{digest}");
    }
    let agent = text(&lock["architecture"]["amd64"]["agent"], "sha256");
    assert!(materials.contains(&agent.as_str()), "the agent {agent}");
    Ok(())
}
