//! A case's own copy of the reference recipe and of a cache that has its base: a build takes seconds, and nothing that the case does
//! is seen by another.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use nix::unistd::getuid;
use serde_json::Value;

use crate::{Account, Basalt, Image, KernelPackage, Scratch, reference_image, repository};

/// The kinds of entries of a cache.
const KINDS: [&str; 5] = ["base", "blobs", "overlay", "ostree", "oci-layer"];

/// A folder with `image-recipes/`, the lock included, and `cache/`.
#[derive(Debug)]
pub struct Warm {
    /// Where all of it lies.
    pub scratch: Scratch,
    /// The reference recipe: a copy that the case may change.
    pub recipe: PathBuf,
    /// The cache.
    pub cache: PathBuf,
}

impl Warm {
    /// With a cache that has packages, base, overlays, the commit and its compressed layers. Files are shared with the reference image's cache by hard
    /// links: nothing writes into a file of a cache. (What is written anew is the repository's lists and locks: they are copied.)
    pub fn new() -> Result<Self> {
        Self::with(&KINDS, |from, to| {
            let shared = from.parent().is_none_or(|folder| !folder.ends_with("ostree") && !folder.ends_with("repo"));
            let linked = if shared { fs::hard_link(from, to) } else { Err(io::ErrorKind::Unsupported.into()) };
            linked.or_else(|_| fs::copy(from, to).map(drop))
        })
    }

    /// With a cache that has packages, base and overlays only, and shares nothing, so that it can be given to another owner.
    pub fn apart() -> Result<Self> {
        Self::with(&KINDS[..3], |from, to| fs::copy(from, to).map(drop))
    }

    /// Locks the recipe anew when its lock has another kernel than `package`, which is the archive's.
    pub fn lock_kernel(&self, package: &KernelPackage) -> Result<()> {
        let lock = fs::read_to_string(self.recipe.with_extension("lock"))?;
        if !lock.contains(&format!("\"linux-image-{}\"", package.release)) {
            self.basalt(["lock"]).arg(&self.recipe).arg("--update").run(&self.scratch)?.exits(0);
        }
        Ok(())
    }

    /// Takes the commit and its compressed layers out of the cache, so that a build makes them again.
    pub fn forget_commit(&self) -> Result<()> {
        for kind in &KINDS[3..] {
            let folder = self.cache.join(kind);
            fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
        }
        Ok(())
    }

    fn with(kinds: &[&str], place: fn(&Path, &Path) -> io::Result<()>) -> Result<Self> {
        let image = reference()?;
        let scratch = Scratch::new()?;
        let recipe = scratch.copy(&repository().join("image-recipes"))?.join("gpu-node-stock.toml");
        let cache = scratch.folder("cache")?;
        for kind in kinds {
            let from = image.cache.join(kind);
            fill(&from, &cache.join(kind), place).with_context(|| format!("{}: cannot be copied", from.display()))?;
        }
        Ok(Self { scratch, recipe, cache })
    }

    /// `basalt VERB ARGS...` with this cache.
    pub fn basalt(&self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Basalt {
        Basalt::new(args).cache(&self.cache)
    }

    /// `basalt build RECIPE --out DIR`, where DIR is a folder of this name.
    pub fn build(&self, out: &str) -> Result<Basalt> {
        Ok(self.basalt(["build", "--out"]).arg(self.scratch.folder(out)?).arg(&self.recipe))
    }

    /// The manifest in the folder of this name.
    pub fn manifest(&self, out: &str) -> Result<Value> {
        manifest(&self.scratch.path().join(out))
    }

    /// The manifest of the reference image.
    pub fn expected() -> Result<Value> {
        manifest(&reference()?.folder)
    }

    /// Gives everything here to `account`. Only root has to, and can.
    pub fn give_to(&self, account: Account) -> Result<()> {
        if !getuid().is_root() {
            return Ok(());
        }
        // `id` in the place of a program that runs basalt.
        let user = self.basalt(["version"]).account(account).under(["sh", "-c", "id -u"]).run(&self.scratch)?;
        let user = user.stdout.trim();
        let done = Command::new("chown").args(["-R", &format!("{user}:{user}")]).arg(self.scratch.path()).output()?;
        ensure!(done.status.success(), "chown: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    /// Fails when the cache has something half-made, or entries of kinds other than `kinds`.
    #[track_caller]
    pub fn assert_cache_has_only(&self, kinds: &[&str]) {
        assert_whole(&self.cache, kinds);
    }
}

/// Fails when the cache at `folder` has something half-made, or entries of kinds other than `kinds`.
#[track_caller]
pub fn assert_whole(folder: &Path, kinds: &[&str]) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let inside: Vec<_> =
            fs::read_dir(entry.path()).map(|list| list.flatten().map(|item| item.path()).collect()).unwrap_or_default();
        let allowed = ["locks", "accel.json", "remembered"].contains(&name.as_str()) || kinds.contains(&name.as_str());
        // Layers are kept like commits.
        let allowed = allowed || (name == "oci-layer" && kinds.contains(&"ostree"));
        assert!(allowed || inside.is_empty(), "{} stayed in the cache: {inside:?}", entry.path().display());
    }
}

/// The `manifest.json` of a folder of artefacts.
pub fn manifest(folder: &Path) -> Result<Value> {
    let path = folder.join("manifest.json");
    Ok(serde_json::from_reader(File::open(&path).with_context(|| path.display().to_string())?)?)
}

/// The reference image, asked for once by each program of cases.
fn reference() -> Result<&'static Image> {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let image = reference_image()?;
    Ok(IMAGE.get_or_init(|| image))
}

fn fill(from: &Path, to: &Path, place: fn(&Path, &Path) -> io::Result<()>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fill(&entry.path(), &to, place)?;
        } else {
            place(&entry.path(), &to)?;
        }
    }
    Ok(())
}
