//! Kernel modules built from somebody's source, for the kernel of a recipe: so that CI can fill a registry by the kernel's release.
//!
//! ```text
//! folder, .deb, package --Source::read--> Source          recipe's lock --Kernel--> environment::pin --> locked headers and compiler
//! Source, patches, environment --chroot--> files (cached by what they are made from) --image--> OCI image in KMM's layout
//! ```
//!
//! This is the one place where programs of the target run: its compiler, make and dkms, in a root of locked packages that mmdebstrap
//! makes in a user namespace, as for a base. What comes out has no trace of time, host or number of processors.
//!
//! Architecture invariant: nothing of an image's tree is made here. A recipe takes the modules like anybody's.

mod chroot;
pub mod environment;
mod image;
mod mistake;
mod source;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

pub use chroot::prune;
pub use environment::Kernel;
pub use image::Image;
pub use source::{Source, Wanted};

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::module;
use crate::layer::cache;
use crate::lock::LockedPackage;
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;
use crate::tree::{Content, Meta, Tree, TreePath};

/// Changes whenever the same inputs would give other modules. The hook's text is part of the key by itself.
const RULES: u32 = 1;
/// The store's word for its entries.
const KIND: &str = "prebuilt";
/// Where KMM looks for modules in an image: <https://kmm.sigs.k8s.io/documentation/module_loader_image/>.
const MODULES: &str = "/opt/lib/modules";

/// What is built, and in what.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is compiled.
    pub source: &'a Source,
    /// Applied to it in this order, as `patch -p1` does: name and text.
    pub patches: &'a [(String, Vec<u8>)],
    /// Arguments for make, `VARIABLE=value`.
    pub make: &'a [String],
    /// Whether debug data stay.
    pub keep_debug: bool,
    /// For which kernel.
    pub kernel: &'a Kernel,
    /// For which machines.
    pub architecture: Architecture,
    /// What is installed, by name.
    pub packages: &'a [LockedPackage],
    /// What of it was asked for; the others come with it.
    pub requested: &'a [String],
    /// What the compiler takes for today, in seconds since 1970.
    pub time: i64,
}

/// Everything that decides the modules.
#[derive(Serialize)]
struct Key<'a> {
    rules: u32,
    hook: &'a str,
    name: &'a str,
    version: &'a str,
    source: Digest,
    patches: Vec<Digest>,
    make: &'a [String],
    keep_debug: bool,
    release: &'a str,
    architecture: Architecture,
    packages: Vec<(&'a str, Digest)>,
    time: i64,
}

/// What was built.
#[derive(Debug)]
pub struct Built {
    /// The modules and their index, below [`MODULES`].
    pub tree: Tree,
    /// Name and bytes of each module.
    pub modules: Vec<(String, u64)>,
    /// Whether the store had them.
    pub cached: bool,
}

/// Builds the modules of `request`, or takes them from the store. `log` gets all that make said, when it fails.
///
/// # Errors
/// [`Kind::Verification`]: the source does not compile for this kernel, a patch does not apply, or no module came out: with the first
/// thing that went wrong. [`Kind::Tool`], [`Kind::Input`]: as for making a base.
pub fn build(request: &Request<'_>, log: &Path, store: &Store, sink: &dyn Sink) -> Result<Built> {
    let source = request.source;
    if source.dkms && !request.make.is_empty() {
        let what =
            format!("{}: needed no argument for make, found {:?}: dkms.conf says how it is called", source.name, request.make[0]);
        return Err(Failure::new(Kind::Usage, what).hint("leave --make out, or --patch dkms.conf").into());
    }
    let detail = format!("{} {} for {}", source.name, source.version, request.kernel.release);
    let stage = Stage::start(sink, "compile", detail, None, Unit::None);
    let entry = store.entry_or_make(KIND, &key(request), |folder| {
        let out = folder.join("out");
        fs::create_dir(&out)?;
        chroot::run(request, &out, log, store)?;
        let tree = tree(request, &out)?;
        fs::remove_dir_all(&out)?;
        cache::write(folder, &tree)
    })?;
    stage.finish(entry.cached);
    let tree = cache::read(&entry.path)?;
    let mut modules = Vec::new();
    for (path, node) in tree.walk() {
        if let (Some((_, file)), crate::tree::Node::Leaf(leaf)) = (path.split_last(), node)
            && let (Some(name), crate::tree::LeafKind::File(content)) = (module::name_of(file), &leaf.kind)
        {
            modules.push((name, content.len()));
        }
    }
    Ok(Built { tree, modules, cached: entry.cached })
}

fn key(request: &Request<'_>) -> Digest {
    Digest::of_value(&Key {
        rules: RULES,
        hook: chroot::HOOK,
        name: &request.source.name,
        version: &request.source.version,
        source: request.source.digest,
        patches: request.patches.iter().map(|(_, text)| Digest::of(text)).collect(),
        make: request.make,
        keep_debug: request.keep_debug,
        release: &request.kernel.release,
        architecture: request.architecture,
        packages: request.packages.iter().map(|package| (package.name.as_str(), package.sha256)).collect(),
        time: request.time,
    })
}

/// What lies in `out`, as an image has it. Modules lose the signature that dkms gives them by a key that nobody keeps.
fn tree(request: &Request<'_>, out: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let folder = TreePath::parse(MODULES)?.join(&request.kernel.release);
    tree.make_directory(&folder)?;
    let mut found = 0;
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file whose name is no text")?;
        let bytes = fs::read(entry.path())?;
        let is_module = module::name_of(&name).is_some();
        let kept = if is_module {
            module::signature::strip(&bytes).map_err(|bad| anyhow::anyhow!("{name}: {bad}"))?.to_vec()
        } else {
            bytes
        };
        found += usize::from(is_module);
        tree.put_file(&folder.join(&name), Meta::root(0o644), Content::from_bytes(kept))?;
    }
    if found == 0 {
        let what = format!("{}: was made, and no module (*.ko) came out", request.source.name);
        let hint = "give what its Makefile asks for, as in --make CONFIG_NETDEVSIM=m";
        return Err(Failure::new(Kind::Verification, what).hint(hint).into());
    }
    Ok(tree)
}
