//! The reference image's next version, as a node gets it: another commit, in a repository on a disk beside the node's own.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Warm;

/// A version that follows the reference image, built by the built program.
#[derive(Debug)]
pub struct Update {
    /// The reference image's commit.
    pub from: String,
    /// The new one.
    pub to: String,
    /// The root filesystem of the new one, labelled `update`, as a disk without partitions. Its `ostree/repo` holds the commit.
    pub disk: PathBuf,
    _warm: Warm,
}

/// The branch of both.
pub const BRANCH: &str = "basalt/gpu-node/amd64";
const VERSION: &str = "version = \"0.1.0\"";
const MODULES: &str = "/usr/lib/modules";

impl Update {
    /// Builds the reference recipe with another version and `more` at its end. Its initramfs unpacks to the same, but is another file,
    /// so that a deployment needs a folder of its own on the boot filesystem.
    pub fn new(version: &str, more: &str) -> Result<Self> {
        let warm = Warm::new()?;
        let from = text(&Warm::expected()?, "commit")?;
        let repo = warm.cache.join("ostree/repo");
        let files = run("ostree", &["ls", "--recursive", "--nul-filenames-only", &repo_is(&repo), &from, MODULES])?;
        let files = String::from_utf8(files)?;
        let initramfs = files.split('\0').find(|path| path.ends_with("/initramfs.img")).context("the commit has no initramfs")?;
        let mut bytes = run("ostree", &["cat", &repo_is(&repo), &from, initramfs])?;
        // The kernel passes over zeros after an archive.
        bytes.resize(bytes.len() + 4096, 0);
        let folder = warm.recipe.parent().context("a recipe lies in a folder")?;
        fs::write(folder.join("initramfs.img"), bytes)?;

        let recipe = fs::read_to_string(&warm.recipe)?;
        let raised = recipe.replacen(VERSION, &format!("version = {version:?}"), 1);
        ensure!(raised != recipe, "{}: needed {VERSION}", warm.recipe.display());
        let file = format!("[[file]]\npath = {initramfs:?}\nsource = \"initramfs.img\"\nmode = \"0600\"\nreplaces = true\n");
        fs::write(&warm.recipe, format!("{raised}\n{file}{more}"))?;
        warm.build("out")?.arg("--format=raw").run(&warm.scratch)?.exits(0);

        let built = warm.manifest("out")?;
        let disk = warm.scratch.path().join("update.ext4");
        root_filesystem(&warm.scratch.path().join("out/gpu-node.raw"), &built, &disk)?;
        fs::remove_dir_all(warm.scratch.path().join("out"))?;
        Ok(Self { from, to: text(&built, "commit")?, disk, _warm: warm })
    }
}

/// Copies the root filesystem out of a raw disk. With label and UUID of its own it can lie beside a node's.
fn root_filesystem(raw: &Path, manifest: &Value, to: &Path) -> Result<()> {
    let partitions = manifest["partitions"].as_array().context("manifest.json: no partitions")?;
    let root = partitions.iter().find(|partition| partition["label"] == "root").context("manifest.json: no root partition")?;
    let number = |key: &str| root[key].as_u64().with_context(|| format!("manifest.json: the root partition has no {key}"));
    let (start, size) = (number("start")?, number("size")?);
    let mut raw = File::open(raw)?;
    raw.seek(SeekFrom::Start(start))?;
    io::copy(&mut raw.take(size), &mut File::create(to)?)?;
    run("tune2fs", &["-L", "update", "-U", "random", to.to_str().context("a path is text")?]).map(drop)
}

fn repo_is(repo: &Path) -> String {
    format!("--repo={}", repo.display())
}

fn text(manifest: &Value, key: &str) -> Result<String> {
    Ok(manifest[key].as_str().with_context(|| format!("manifest.json: no {key}"))?.to_owned())
}

fn run(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let done = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}
