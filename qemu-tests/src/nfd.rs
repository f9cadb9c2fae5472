//! Node feature discovery's own reader of feature files, built from its source as `nfd/go.sum` pins it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Deserialize;

use crate::repository;
use crate::tool::run;

/// Debian's: `.ci/install-packages` brings it.
const GO: &str = "/usr/bin/go";

/// What becomes of the feature files of a node.
#[derive(Debug, Deserialize)]
pub struct Features {
    /// The labels that the node gets.
    pub given: BTreeMap<String, String>,
    /// Those that it does not get, and why.
    pub refused: BTreeMap<String, String>,
}

impl Features {
    /// Reads those of the node whose root folder is `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let program = repository().join("target/nfd/nfd");
        // Go knows what is built, and fetches and compiles into caches of its own.
        let mut build = Command::new(GO);
        build.args(["build", "-o"]).arg(&program).current_dir(repository().join("qemu-tests/nfd"));
        run(build.envs([("GOFLAGS", "-mod=readonly"), ("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")]))?;
        fs::copy(&program, root.join("nfd"))?;
        let mut command = Command::new("unshare");
        let printed = run(command.arg("--map-root-user").arg("--root").arg(root).arg("/nfd"))?;
        Ok(serde_json::from_str(&printed)?)
    }
}
