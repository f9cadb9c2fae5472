//! The reference image's next version, as a node gets it: an OCI image in a registry, sent there by `basalt push`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Registry, Warm};

/// A version that follows the reference image, built and sent by the built program.
#[derive(Debug)]
pub struct Update {
    /// The reference image's commit.
    pub from: String,
    /// The new one, as it was built. A node boots a merge of its layers, which has the same tree.
    pub to: String,
    /// The registry's name of the image: the digest of its manifest.
    pub digest: String,
    /// Where a node finds it: `10.0.2.2:PORT/hosts/gpu-node:VERSION`.
    pub image: String,
    /// How a node gets at it: for the credential `tmpfiles.extra`.
    pub tmpfiles: String,
    _registry: Registry,
    _warm: Warm,
}

const VERSION: &str = "version = \"0.1.0\"";
const MODULES: &str = "/usr/lib/modules";
const PATH: &str = "hosts/gpu-node";

impl Update {
    /// Builds the reference recipe with another version and `more` at its end, and sends it to a new registry. Its initramfs unpacks to
    /// the same, but is another file, so that a deployment needs a folder of its own on the boot filesystem.
    pub fn new(version: &str, more: &str) -> Result<Self> {
        let warm = Warm::new()?;
        let from = text(&Warm::expected()?, "commit")?;
        let repo = format!("--repo={}", warm.cache.join("ostree/repo").display());
        let files = run("ostree", &["ls", "--recursive", "--nul-filenames-only", &repo, &from, MODULES])?;
        let files = String::from_utf8(files)?;
        let initramfs = files.split('\0').find(|path| path.ends_with("/initramfs.img")).context("the commit has no initramfs")?;
        let mut bytes = run("ostree", &["cat", &repo, &from, initramfs])?;
        // The kernel passes over zeros after an archive.
        bytes.resize(bytes.len() + 4096, 0);
        let folder = warm.recipe.parent().context("a recipe lies in a folder")?;
        fs::write(folder.join("initramfs.img"), bytes)?;

        let recipe = fs::read_to_string(&warm.recipe)?;
        let raised = recipe.replacen(VERSION, &format!("version = {version:?}"), 1);
        ensure!(raised != recipe, "{}: needed {VERSION}", warm.recipe.display());
        let file = format!("[[file]]\npath = {initramfs:?}\nsource = \"initramfs.img\"\nmode = \"0600\"\nreplaces = true\n");
        fs::write(&warm.recipe, format!("{raised}\n{file}{more}"))?;
        warm.build("out")?.arg("--format=oci").run(&warm.scratch)?.exits(0);
        let to = text(&warm.manifest("out")?, "commit")?;

        let registry = Registry::start(&warm.scratch)?;
        let push = warm.basalt(["push", "--json"]).arg(warm.scratch.path().join("out")).arg(format!("{}/{PATH}", registry.host));
        let push = push.arg("--authfile").arg(&registry.auth_file).arg("--cert-dir").arg(&registry.certificates);
        let pushed = push.run(&warm.scratch)?.exits(0);
        let result = pushed.stdout.lines().last().unwrap_or_default();
        let digest = text(&serde_json::from_str(result).context("basalt push --json")?, "digest")?;
        let image = format!("{}/{PATH}:{version}", registry.from_guest);
        let tmpfiles = registry.tmpfiles(&warm.scratch)?;
        Ok(Self { from, to, digest, image, tmpfiles, _registry: registry, _warm: warm })
    }
}

fn text(document: &Value, key: &str) -> Result<String> {
    Ok(document[key].as_str().with_context(|| format!("{document}: no {key}"))?.to_owned())
}

fn run(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let done = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}
