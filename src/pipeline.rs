//! From a plan to artefacts: the table of contents, one line a stage. Plan, store and progress are passed in; nothing is looked up.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use anyhow::{Context, Result, bail};
use basalt_contract::KernelArgument;

use crate::artefact::disk::{self, Disk, Identity, Trees};
use crate::artefact::manifest::{self, DocumentKind, Manifest};
use crate::artefact::{self, Output, Source, oci, provenance, sbom};
use crate::commit::{self, Commit, CommitInfo, Image};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::layer::packages::Packages;
use crate::layer::{self, Layer};
use crate::lock::{OVERLAY_KIND, TREE_KIND};
use crate::plan::{Base, FileContent, Format, LayerContent, Plan};
use crate::progress::{Sink, Stage, Unit};
use crate::sign::{self, ModuleSigners};
use crate::source::Network;
use crate::store::Store;
use crate::sysroot::{self, Sysroot};
use crate::tree::{Tree, TreePath};

/// What a build answers.
#[derive(Debug)]
pub struct Built {
    /// What was made, and where.
    pub manifest: Manifest,
    /// Whether everything was there already and only had to be verified.
    pub up_to_date: bool,
}

/// Builds the artefacts of `plan` in `formats` into the folder `out`. The network is used only for what the base is made
/// from, when neither that nor the base is in the store, and never when it is offline. `signers` have the keys of kernel modules: they are
/// asked only for signatures that the store lacks.
///
/// # Errors
/// Of every stage; nothing half-made stays in `out` or in the store.
pub fn build(
    plan: &Plan,
    formats: &[Format],
    out: &Path,
    store: &Store,
    network: Network<'_>,
    signers: &ModuleSigners,
    sink: &dyn Sink,
) -> Result<Built> {
    if let Some(manifest) = verified(plan, formats, out, sink)? {
        return Ok(Built { manifest, up_to_date: true });
    }
    local(plan, store)?;
    if !layer::base::is_cached(plan, store) {
        layer::base::fetch(plan, store, network, sink)?;
    }
    layer::kernel_modules::fetch(plan, store, network, sink)?;
    let layers = produce(plan, store, signers, sink)?;
    let tree = commit::assemble(&layers, &image(plan))?;
    let modules = layer::kernel_modules::report(&tree)?;
    let tuned = layer::tuned::report(&tree)?;
    let profiles = tuned.as_ref().map(|tuned| tuned.arguments.as_slice()).unwrap_or_default();
    let arguments = plan.all_kernel_arguments(profiles)?;
    plan.wishes_agree_with(&arguments, &|profiles| layer::tuned::taken(profiles, &tree))?;
    tuned.iter().for_each(|tuned| tuned.tell(sink));
    let packages = &Packages::of(&plan.base, &tree)?;
    let digests = layers.iter().map(|layer| (layer.name.clone(), layer.digest)).collect();
    let info = CommitInfo { image: image(plan), branch: branch(plan), layers: digests, kernel_arguments: arguments };
    let (tell, told) = mpsc::sync_channel(1);
    let named = move |commit| tell.send(commit).unwrap_or_else(|_| tracing::debug!("the build has failed"));
    let (mut manifest, sbom, output, written) = thread::scope(|scope| {
        let storing = scope.spawn(|| commit::write(&tree, &info, store, sink, named));
        let stored = || storing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let kernel = sysroot::kernel(&tree, |key, compute| store.remember("boot-checksum", key, compute))?;
        let Ok(commit) = told.recv() else {
            stored()?;
            bail!("the commit was written and has no name");
        };
        let checksum = commit.checksum;
        let (tree, info) = (&tree, &info);
        // A registry's layers are compressed while the disk is laid out, whose node knows which of them it need not pull.
        let (wanted, layers, committed) = (formats.contains(&Format::Oci), &layers, Arc::clone(&commit));
        let (tell, told) = mpsc::sync_channel(1);
        let oci = scope.spawn(move || -> Result<Option<oci::Folder>> {
            if !wanted && !pulls(plan) {
                return Ok(None);
            }
            let image = &oci_subject(plan, &committed, tree, layers, packages);
            let packed = oci::Layers::of(image, store, sink)?;
            tell.send(packed.held()).unwrap_or_else(|_| tracing::debug!("the disk has failed"));
            wanted.then(|| oci::layout(image, &packed, store)).transpose()
        });
        // What failed there is told below.
        let held = || if pulls(plan) { told.recv().unwrap_or_default() } else { Vec::new() };
        let sysroot = sysroot::stage(&commit, tree, &kernel, &options(plan, &info.kernel_arguments), held)?;
        let disk = disk::layout(trees(&sysroot), &plan.disk, &identity(plan))?;
        let output = Output::open(out)?;
        // While the disk is written and hashed, which has time for it.
        let sbom = scope.spawn(move || manifest::json(&sbom::document(&subject(plan, info, checksum, tree, packages))?));
        let oci = oci.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let written = artefact::render(&Source { disk: &disk, oci }, formats, &plan.name, &output, sink)?;
        // Nothing appears whose commit is not safe.
        stored()?;
        let sbom = sbom.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        anyhow::Ok((manifest(plan, packages.list.len(), &commit, &sysroot, &disk), sbom, output, written))
    })?;
    // Giving back so many files takes a while, and nobody waits for it.
    thread::spawn(move || drop((layers, tree)));
    let kept = written.keep(&output)?;
    let document = |kind, bytes: Vec<u8>| manifest::document(&output, &plan.name, kind, &bytes);
    // The digest of the last artefact takes a while.
    manifest.documents.push(document(DocumentKind::Sbom, sbom)?);
    let rendered = kept.finish()?;
    let provenance = provenance::statement(plan, &info.branch, &manifest.commit, &rendered);
    manifest.documents.push(document(DocumentKind::Provenance, manifest::json(&provenance)?)?);
    (manifest.kernel_modules, manifest.tuned) = (modules, tuned);
    keys(plan, store, &output, &mut manifest)?;
    manifest.artefacts = manifest::Artefact::list(&plan.name, &rendered);
    manifest::write(&output, &manifest)?;
    Ok(Built { manifest, up_to_date: false })
}

/// The manifest of `out`, when it is that of `plan` and every file in it still has its digest.
fn verified(plan: &Plan, formats: &[Format], out: &Path, sink: &dyn Sink) -> Result<Option<Manifest>> {
    let stage = Stage::start(sink, "verify", out.display().to_string(), None, Unit::None);
    let manifest = artefact::up_to_date(out, plan.id(), formats)?;
    if manifest.is_some() {
        stage.finish(true);
    }
    Ok(manifest)
}

/// The public keys beside the artefacts, for whoever signs or verifies them. What the last build left of signatures goes.
fn keys(plan: &Plan, store: &Store, output: &Output, manifest: &mut Manifest) -> Result<()> {
    for kind in sign::folder::OF_IMAGE {
        output.remove(&kind.file_name(&plan.name))?;
    }
    let Some(trust) = plan.trust() else { return Ok(()) };
    manifest.repository = trust.repository.clone();
    for (key, path, kind) in [
        (&trust.commit, layer::trust::COMMIT_KEYS, DocumentKind::CommitKey),
        (&trust.image, layer::trust::IMAGE_KEY, DocumentKind::ImageKey),
    ] {
        if key.is_some() {
            let tree = layer::trust::produce(trust, store)?;
            let content = tree.file(&TreePath::parse(path)?).with_context(|| path.to_owned())?;
            manifest.documents.push(manifest::document(output, &plan.name, kind, &content.bytes()?)?);
        }
    }
    Ok(())
}

/// Makes sure that the store has every input of `plan`, also those that its next build would not touch.
///
/// # Errors
/// [`Kind::Input`]: what no mirror has and is not in the store, all of it; packages that cannot be had.
pub fn fetch(plan: &Plan, store: &Store, network: Network<'_>, sink: &dyn Sink) -> Result<()> {
    local(plan, store)?;
    layer::base::fetch(plan, store, network, sink)?;
    layer::kernel_modules::fetch(plan, store, network, sink)
}

/// Looks for the inputs of `plan` that came from somebody's disk, before minutes go into a base.
fn local(plan: &Plan, store: &Store) -> Result<(), Failure> {
    let mut missing = Vec::new();
    if let Base::Tree { digest } = &plan.base
        && store.entry(TREE_KIND, digest).is_none()
    {
        missing.push(format!("the base's tree {digest}"));
    }
    for layer in &plan.layers {
        let mut need = |there: bool, what: String, digest: &Digest| {
            if !there {
                missing.push(format!("{what}, sha256 {digest}"));
            }
        };
        match &layer.content {
            LayerContent::Overlay { digest } => need(store.entry(OVERLAY_KIND, digest).is_some(), layer.name.clone(), digest),
            LayerContent::Agent { sha256, .. } => need(store.has_blob(sha256), "the first-boot agent".to_owned(), sha256),
            LayerContent::UpdateClient { sha256, .. } => need(store.has_blob(sha256), "the update client".to_owned(), sha256),
            LayerContent::Files { files } => {
                for (path, file) in files {
                    if let FileContent::Blob { sha256, .. } = &file.content {
                        need(store.has_blob(sha256), format!("file {path}"), sha256);
                    }
                }
            }
            LayerContent::KernelModules(modules) => {
                for set in &modules.sets {
                    for digest in set.mappings.iter().filter_map(|mapping| mapping.source.local()) {
                        let there = store.entry(OVERLAY_KIND, digest).is_some() || store.has_blob(digest);
                        need(there, format!("kernel module {}", set.name), digest);
                    }
                }
                for file in modules.files() {
                    need(store.has_blob(&file.sha256), "a file that kernel modules are proven against".to_owned(), &file.sha256);
                }
            }
            LayerContent::Tuned(tuned) => {
                for source in &tuned.sources {
                    let there = store.entry(OVERLAY_KIND, &source.digest).is_some();
                    need(there, format!("tuned profiles {}", source.name), &source.digest);
                }
            }
            LayerContent::Trust(trust) => {
                trust
                    .keys()
                    .for_each(|(what, key)| need(store.has_blob(&key.sha256), format!("the key for each {what}"), &key.sha256));
            }
            LayerContent::Settings(_) => {}
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let what = format!("the cache lacks inputs of plan {} that no mirror has:\n  {}", plan.name, missing.join("\n  "));
    Err(Failure::new(Kind::Input, what).hint(
        "build from the recipe, which says where they lie, or from the folder that `basalt vendor` made: a plan alone names them only \
         by digest",
    ))
}

/// The layers of `plan`, lowest first.
fn produce(plan: &Plan, store: &Store, signers: &ModuleSigners, sink: &dyn Sink) -> Result<Vec<Layer>> {
    let base = layer::base::produce(plan, store, sink)?;
    let mut layers = vec![base];
    for wanted in &plan.layers {
        layers.push(layer::produce(wanted, &layers, store, signers)?);
    }
    Ok(layers)
}

/// Whether the node pulls its updates from a registry.
fn pulls(plan: &Plan) -> bool {
    plan.update.is_some() || plan.layers.iter().any(|layer| matches!(layer.content, LayerContent::UpdateClient { .. }))
}

fn options(plan: &Plan, arguments: &[KernelArgument]) -> sysroot::Options {
    let kernel_args = arguments.iter().flat_map(KernelArgument::words).map(str::to_owned).collect();
    sysroot::Options { kernel_args, update: plan.update.clone(), trust: plan.trust().cloned() }
}

fn trees(sysroot: &Sysroot) -> Trees<'_> {
    Trees { esp: &sysroot.esp, boot: &sysroot.boot, root: &sysroot.root }
}

fn identity(plan: &Plan) -> Identity {
    Identity { plan: plan.id(), time: plan.time, architecture: plan.architecture }
}

/// The manifest, without the files.
fn manifest(plan: &Plan, packages: usize, commit: &Commit, sysroot: &Sysroot, disk: &Disk) -> Manifest {
    let layer = |(name, digest): &(String, Digest)| manifest::Layer { name: name.clone(), digest: *digest };
    Manifest {
        version: manifest::VERSION,
        builder: manifest::BUILDER.to_owned(),
        name: plan.name.clone(),
        image_version: plan.image_version.clone(),
        plan: plan.id(),
        commit: commit.checksum,
        architecture: plan.architecture,
        time: plan.time,
        packages,
        kernel_args: sysroot.args.clone(),
        layers: commit.info.layers.iter().map(layer).collect(),
        sector_size: plan.disk.sector_size,
        partitions: disk.partitions.clone(),
        artefacts: Vec::new(),
        documents: Vec::new(),
        kernel_arguments: commit.info.kernel_arguments.clone(),
        kernel_modules: Vec::new(),
        tuned: None,
        repository: None,
    }
}

fn subject<'a>(
    plan: &'a Plan,
    info: &'a CommitInfo,
    commit: Digest,
    tree: &'a Tree,
    packages: &'a Packages,
) -> sbom::Subject<'a> {
    let (name, version, layers) = (&plan.name, &plan.image_version, &info.layers);
    sbom::Subject { name, version, plan: plan.id(), time: plan.time, commit, packages, layers, tree }
}

fn oci_subject<'a>(
    plan: &'a Plan,
    commit: &'a Commit,
    tree: &'a Tree,
    layers: &'a [Layer],
    packages: &'a Packages,
) -> oci::Subject<'a> {
    let packages = &packages.list;
    let Plan { name, image_version: version, architecture, time, .. } = plan;
    oci::Subject { name, version, plan: plan.id(), architecture: *architecture, time: *time, commit, tree, layers, packages }
}

fn image(plan: &Plan) -> Image {
    Image {
        name: plan.name.clone(),
        version: plan.image_version.clone(),
        plan_id: plan.id().0,
        architecture: plan.architecture,
        time: plan.time,
    }
}

/// The ref of the commits of an image.
fn branch(plan: &Plan) -> String {
    format!("basalt/{}/{}", plan.name, plan.architecture)
}

/// What a build of a plan takes from the store.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Packages, agent, update client, local files.
    pub blobs: Vec<Digest>,
    /// Entries by kind: local folders, the files of a base.
    pub entries: Vec<(&'static str, Digest)>,
}

/// What a build of `plan` takes from the store.
pub fn inputs(plan: &Plan) -> Inputs {
    let mut inputs = match &plan.base {
        Base::Debian { packages, .. } => {
            Inputs { blobs: packages.iter().map(|package| package.sha256).collect(), entries: Vec::new() }
        }
        Base::Oci(image) => Inputs { blobs: image.blobs().map(|blob| blob.sha256).collect(), entries: Vec::new() },
        Base::Tree { digest } => Inputs { blobs: Vec::new(), entries: vec![(TREE_KIND, *digest)] },
    };
    for layer in &plan.layers {
        match &layer.content {
            LayerContent::Overlay { digest } => inputs.entries.push((OVERLAY_KIND, *digest)),
            LayerContent::Agent { sha256, .. } | LayerContent::UpdateClient { sha256, .. } => inputs.blobs.push(*sha256),
            LayerContent::Files { files } => inputs.blobs.extend(files.values().filter_map(|file| match &file.content {
                FileContent::Blob { sha256, .. } => Some(*sha256),
                FileContent::Text(_) | FileContent::Symlink(_) => None,
            })),
            LayerContent::KernelModules(modules) => {
                for source in modules.sets.iter().flat_map(|set| &set.mappings).map(|mapping| &mapping.source) {
                    inputs.entries.extend(source.tree().map(|digest| (OVERLAY_KIND, *digest)));
                    inputs.blobs.extend(source.blobs());
                }
                inputs.blobs.extend(modules.files().map(|file| file.sha256));
                inputs.blobs.extend(modules.headers.iter().map(|package| package.sha256));
            }
            LayerContent::Tuned(tuned) => {
                inputs.entries.extend(tuned.sources.iter().map(|source| (OVERLAY_KIND, source.digest)));
            }
            LayerContent::Trust(trust) => inputs.blobs.extend(trust.keys().map(|(_, key)| key.sha256)),
            LayerContent::Settings(_) => {}
        }
    }
    inputs
}
