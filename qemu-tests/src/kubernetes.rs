//! Readers of Kubernetes' own, built from their source as `kubernetes/go.sum` pins it: of node feature discovery's feature files, and of the kubelet's
//! configuration and arguments.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;

use crate::repository;
use crate::tool::run;

/// Debian's: `.ci/install-packages` brings it.
const GO: &str = "/usr/bin/go";

/// What becomes of labels.
#[derive(Debug, Deserialize)]
pub struct NodeLabels {
    /// Those that the node gets.
    pub given: BTreeMap<String, String>,
    /// Those that it does not get, and why.
    pub refused: BTreeMap<String, String>,
}

impl NodeLabels {
    /// Those in the feature files of the node whose root folder is `root`.
    pub fn of_features(root: &Path) -> Result<Self> {
        fs::copy(program("nfd")?, root.join("nfd"))?;
        let mut command = Command::new("unshare");
        let printed = run(command.arg("--map-root-user").arg("--root").arg(root).arg("/nfd"))?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Those with which a kubelet registers that is begun with these arguments. With one that is refused it would not begin.
    pub fn of_registration(arguments: &[&str]) -> Result<Self> {
        Ok(serde_json::from_str(&run(Command::new(program("node-labels")?).args(arguments))?)?)
    }
}

/// A drop-in of the kubelet's configuration, as the types of its API take it: an unknown key or another type is an error.
pub fn kubelet_configuration(path: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&run(Command::new(program("kubelet")?).arg(path))?)?)
}

/// Builds one of the readers. Go knows what is built, and fetches and compiles into caches of its own.
fn program(name: &str) -> Result<PathBuf> {
    let program = repository().join("target/kubernetes").join(name);
    let mut build = Command::new(GO);
    build.args(["build", "-o"]).arg(&program).arg(format!("./{name}")).current_dir(repository().join("qemu-tests/kubernetes"));
    run(build.envs([("GOFLAGS", "-mod=readonly"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")]))?;
    Ok(program)
}
