//! What a node is offered: versions of the reference image as OCI images in a registry, sent there by `basalt push`, signed by somebody
//! whom the node trusts, by somebody else, or by nobody.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{Registry, Signer, Warm, demanding};

const VERSION: &str = "version = \"0.1.0\"";
const MODULES: &str = "/usr/lib/modules";
const PATH: &str = "hosts/gpu-node";

/// The builder, with a registry and two who sign: one whom the node trusts, and somebody else.
#[derive(Debug)]
pub struct Factory {
    warm: Warm,
    registry: Registry,
    /// Whose signatures the node wants.
    pub trusted: Signer,
    /// Somebody else.
    pub foreign: Signer,
    /// How a node gets at the registry: for the credential `tmpfiles.extra`.
    pub tmpfiles: String,
    /// The reference recipe.
    plain: String,
}

impl Factory {
    /// With nothing built, and nothing in the registry.
    pub fn new() -> Result<Self> {
        let warm = Warm::new()?;
        let (trusted, foreign) = (Signer::new(&warm.scratch, "trusted")?, Signer::new(&warm.scratch, "foreign")?);
        let plain = fs::read_to_string(&warm.recipe)?;
        let registry = Registry::start(&warm.scratch)?;
        let tmpfiles = registry.tmpfiles(&warm.scratch)?;
        Ok(Self { registry, warm, trusted, foreign, tmpfiles, plain })
    }

    /// Builds the reference recipe with this version and `more` at its end into the folder `out`, for nodes that trust these two.
    /// Answers its commit.
    pub fn build(&self, version: &str, more: &str, commit: &Signer, image: &Signer, out: &str) -> Result<String> {
        let folder = self.warm.recipe.parent().context("a recipe lies in a folder")?;
        ensure!(self.plain.contains(VERSION), "{}: needed {VERSION}", self.warm.recipe.display());
        let raised = self.plain.replacen(VERSION, &format!("version = {version:?}"), 1);
        fs::write(&self.warm.recipe, demanding(&raised, folder, &self.image("stable"), commit, image)? + more)?;
        let format = if out == "node" { "raw" } else { "oci" };
        self.warm.build(out)?.args(["--format", format]).run(&self.warm.scratch)?.exits(0);
        let manifest = self.warm.manifest(out)?;
        Ok(manifest["commit"].as_str().context("manifest.json: no commit")?.to_owned())
    }

    /// A `[[file]]` for [`Factory::build`]: an initramfs that unpacks to the same as `commit`'s and is another file, so that a deployment
    /// needs a folder of its own on the boot filesystem.
    pub fn other_initramfs(&self, commit: &str) -> Result<String> {
        let repo = format!("--repo={}", self.warm.cache.join("ostree/repo").display());
        let ostree = |args: &[&str]| -> Result<Vec<u8>> {
            let done = Command::new("ostree").args(args).output().context("ostree")?;
            ensure!(done.status.success(), "ostree {args:?}: {}", String::from_utf8_lossy(&done.stderr));
            Ok(done.stdout)
        };
        let files = String::from_utf8(ostree(&["ls", "--recursive", "--nul-filenames-only", &repo, commit, MODULES])?)?;
        let initramfs = files.split('\0').find(|path| path.ends_with("/initramfs.img")).context("the commit has no initramfs")?;
        let mut bytes = ostree(&["cat", &repo, commit, initramfs])?;
        // The kernel passes over zeros after an archive.
        bytes.resize(bytes.len() + 4096, 0);
        fs::write(self.warm.recipe.with_file_name("initramfs.img"), bytes)?;
        Ok(format!("\n[[file]]\npath = {initramfs:?}\nsource = \"initramfs.img\"\nmode = \"0600\"\nreplaces = true\n"))
    }

    /// `basalt sign` of what is in the folder `out`.
    pub fn sign(&self, out: &str, commit: Option<&Signer>, image: Option<&Signer>) -> Result<()> {
        let mut run = self.warm.basalt(["sign"]).arg(self.warm.scratch.path().join(out));
        if let Some(signer) = commit {
            run = run.arg("--commit-key").arg(&signer.commit_key);
        }
        if let Some(signer) = image {
            run = run.arg("--image-key").arg(&signer.image_key);
        }
        run.run(&self.warm.scratch)?.exits(0);
        Ok(())
    }

    /// Sends what is in the folder `out` under `tag`; answers the digest of its manifest.
    pub fn push(&self, out: &str, tag: &str) -> Result<String> {
        let push = self.warm.basalt(["push", "--json", "--authfile"]).arg(&self.registry.auth_file);
        let push = push.arg("--cert-dir").arg(&self.registry.certificates).arg(self.warm.scratch.path().join(out));
        let ran = push.arg(format!("{}/{PATH}:{tag}", self.registry.host)).run(&self.warm.scratch)?.exits(0);
        let result: Value = serde_json::from_str(ran.stdout.lines().last().context("no result")?)?;
        Ok(result["digest"].as_str().context("no digest")?.to_owned())
    }

    /// The layers of the image in the folder `out`, as a node's repository would name each.
    pub fn layers(&self, out: &str) -> Result<BTreeSet<String>> {
        let image = self.warm.scratch.path().join(out).join("gpu-node.oci");
        let read = |path: &str| -> Result<Value> {
            let path = image.join(path);
            Ok(serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?)
        };
        let digest = |value: &Value| value["digest"].as_str().map(str::to_owned).context("a descriptor without a digest");
        let manifest = read(&format!("blobs/{}", digest(&read("index.json")?["manifests"][0])?.replace(':', "/")))?;
        let layers = manifest["layers"].as_array().context("a manifest without layers")?;
        layers.iter().map(|layer| Ok(digest(layer)?.replace(':', "_3A_"))).collect()
    }

    /// Lets the manifest of one digest have the signature of another's.
    pub fn copy_signature(&self, from: &str, to: &str) -> Result<()> {
        let at = |digest: &str| format!("docker://{}/{PATH}:{}.sig", self.registry.host, digest.replace(':', "-"));
        let copy = Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--preserve-digests", "--src-cert-dir"])
            .arg(&self.registry.certificates)
            .arg("--dest-cert-dir")
            .arg(&self.registry.certificates)
            .arg("--authfile")
            .arg(&self.registry.auth_file)
            .args([at(from), at(to)])
            .output()?;
        ensure!(copy.status.success(), "{}", String::from_utf8_lossy(&copy.stderr));
        Ok(())
    }

    /// How a node names the image with this tag: `10.0.2.2:PORT/hosts/gpu-node:TAG`.
    pub fn image(&self, tag: &str) -> String {
        format!("{}/{PATH}:{tag}", self.registry.from_guest)
    }

    /// The raw disk in the folder `node`, and the cache for [`basalt::vm::choose_accel`].
    pub fn disk(&self) -> (PathBuf, PathBuf) {
        (self.warm.scratch.path().join("node/gpu-node.raw"), self.warm.cache.clone())
    }
}
