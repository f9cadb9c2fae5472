//! The reference image that the VM cases share: built once, by the built program, and never written to (machines have overlays).

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};

use basalt::digest::Digest;
use basalt::vm::{Disk, Machine, choose_accel};

use crate::{Basalt, Scratch, programs, repository};

/// Artefacts of the reference recipe.
#[derive(Clone, Debug)]
pub struct Image {
    /// The folder with the artefacts and their `manifest.json`.
    pub folder: PathBuf,
    /// The cache that it was built with.
    pub cache: PathBuf,
}

const RECIPE: &str = "image-recipes/gpu-node-stock.toml";

/// The cache that it is built with, there or not: packages and bases for cases that need no image.
pub fn shared_cache() -> PathBuf {
    std::env::var_os("BASALT_CACHE").map_or_else(|| repository().join("target/reference-image/cache"), PathBuf::from)
}

/// Builds `image-recipes/gpu-node-stock.toml` (raw, qcow2 and OCI), or has the builder verify that it is built: an unchanged plan does nothing
/// else. Another case that comes here meanwhile waits.
pub fn reference_image() -> Result<Image> {
    let folder = repository().join("target/reference-image");
    fs::create_dir_all(&folder)?;
    let lock = File::create(folder.join(".lock"))?;
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).context("target/reference-image/.lock")?;
    let image = Image { cache: shared_cache(), folder: folder.join("out") };
    // A plan does not say which program carries it out.
    let (built_by, program) = (folder.join("built-by"), Digest::of(&fs::read(programs::basalt()?)?).to_string());
    if fs::read_to_string(&built_by).ok().as_ref() != Some(&program) && image.folder.exists() {
        fs::remove_dir_all(&image.folder)?;
    }
    fs::write(&built_by, program)?;
    let scratch = Scratch::new()?;
    let ran = Basalt::new(["build", "--quiet", "--format", "raw,qcow2,oci", "--out"])
        .arg(&image.folder)
        .arg(repository().join(RECIPE))
        .cache(&image.cache)
        .run(&scratch)?;
    ensure!(ran.code == 0, "basalt build {RECIPE}: exit code {}\n{}", ran.code, ran.stderr);
    drop(lock);
    Ok(image)
}

impl Image {
    /// Its one artefact whose name ends so: `raw`, `qcow2`.
    pub fn artefact(&self, ending: &str) -> Result<PathBuf> {
        let ending = format!(".{ending}");
        let entries = fs::read_dir(&self.folder)?.collect::<Result<Vec<_>, _>>()?;
        let mut paths: Vec<_> =
            entries.iter().map(fs::DirEntry::path).filter(|path| path.to_string_lossy().ends_with(&ending)).collect();
        ensure!(paths.len() == 1, "{}: needed one artefact *{ending}, found {paths:?}", self.folder.display());
        paths.pop().context("no artefact")
    }

    /// A machine with its raw disk, written to a larger one as on every node, and the command channel; what it writes is discarded.
    pub fn machine(&self) -> Result<Machine> {
        let disk = Disk { size: Some(4 << 30), ..Disk::new(&self.artefact("raw")?) };
        Ok(Machine::new(disk, choose_accel(&self.cache)?).channel())
    }
}
