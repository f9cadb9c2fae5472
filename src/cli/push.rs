//! `basalt push`: an OCI image goes to a registry.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::Context;
use super::network::NetworkArgs;
use crate::artefact::manifest::{self, DocumentKind};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci;
use crate::format::oci::layout::{Layout, is_image};
use crate::plan::Format;
use crate::progress::{Stage, Unit};
use crate::registry;
use crate::sign::simple::{self, Payload};
use crate::sign::state;

/// Sends an OCI image to a registry, with the login that podman, docker and skopeo use. Only layers that the registry lacks are sent;
/// pushed again after a failure, it goes on where it stopped. The signature that `basalt sign` left beside it goes with it, as cosign has it.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// An OCI archive or folder, or a folder that build made
    #[arg(value_name = "ARTEFACT")]
    what: PathBuf,
    /// REGISTRY/PATH:TAG; without a tag it gets the image's version
    #[arg(value_name = "IMAGE")]
    image: String,
    #[command(flatten)]
    network: NetworkArgs,
    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the verb.
pub fn run(args: &PushArgs, context: &Context) -> Result<()> {
    let path = image(args)?;
    let images = Layout::open(&path)?.images()?;
    let [(descriptor, found, _)] = images.as_slice() else {
        let what = format!("{}: needed one image, found {}", path.display(), images.len());
        return Err(Failure::new(Kind::Input, what).hint("name an image that `basalt build --format oci` made").into());
    };
    let tag = descriptor.annotations.get(oci::REF_NAME).map_or("latest", String::as_str);
    let to = registry::destination(&args.image, tag)?;
    let size: u64 = found.layers.iter().map(|layer| layer.size).sum();
    let name = to.trim_start_matches("docker://");
    let signed = signature(&path, &descriptor.digest)?;
    if args.dry_run {
        return super::print(&format!("{name}\n  {} layers, at most {} KiB\n", found.layers.len(), size / 1024));
    }
    let access = args.network.access();
    let stage = Stage::start(&*context.sink, "push", name, None, Unit::None);
    // The signature first: no node sees the tag before it.
    let signature = match &signed {
        Some((digest, payload, der)) => Some(registry::push_signature(&simple::carrier(payload, der), digest, &to, &access)?),
        None => None,
    };
    let sent = registry::push(&path, found, &to, &access)?;
    stage.finish(sent.new.is_some_and(|(layers, _)| layers == 0));
    if args.json {
        let result = serde_json::json!({
            "version": crate::progress::VERSION, "event": "pushed", "image": name, "digest": sent.digest,
            "layers": sent.layers, "layers-sent": sent.new.map(|(layers, _)| layers),
            "bytes": size, "bytes-sent": sent.new.map(|(_, bytes)| bytes), "signature": signature,
        });
        return super::print(&format!("{result}\n"));
    }
    let source = path;
    let (path, _tag) = name.rsplit_once(':').unwrap_or((name, ""));
    let new = sent.new.map_or_else(
        || "the layers that were not there".to_owned(),
        |(layers, bytes)| format!("{layers} of {} layers, {} of {} KiB", sent.layers, bytes / 1024, size / 1024),
    );
    let mut text = format!("{name}\n  digest  {path}@{}\n  sent    {new}\n", sent.digest);
    match (&signature, &signed) {
        (Some(at), Some((_, payload, _))) => {
            text += &format!("  signed  {at}\n");
            let wanted = Payload::parse(payload).map(|payload| payload.repository().to_owned()).unwrap_or_default();
            if wanted != path {
                text += &format!("  note    the signature is for {wanted}: nodes that pull from {path} refuse it\n");
            }
        }
        _ if has_key(&source)? => text += "  signed  no: nodes with the recipe's key refuse it; sign it with `basalt sign`\n",
        _ => {}
    }
    super::print(&text)
}

/// Whether the build that made the image at `path` had a key for it.
fn has_key(path: &Path) -> Result<bool> {
    let found = path.parent().map(manifest::read).transpose()?.flatten();
    Ok(found.is_some_and(|found| found.documents.iter().any(|document| document.kind == DocumentKind::ImageKey)))
}

/// An image, what is signed of it, and the signature.
type Signed = (Digest, Vec<u8>, Vec<u8>);

/// What `basalt sign` left beside the image at `path`. None when it is unsigned.
fn signature(path: &Path, digest: &str) -> Result<Option<Signed>> {
    let Some((payload, der)) = state::read_image(path)? else { return Ok(None) };
    let said = Payload::parse(&payload).map(|payload| payload.digest().to_owned()).unwrap_or_default();
    let image = oci::parse_digest(digest).filter(|_| said == digest).ok_or_else(|| {
        Failure::new(
            Kind::Verification,
            format!("{}: the signature beside it is for another image: needed {digest}, found {said}", path.display()),
        )
        .hint("sign it again: basalt sign")
    })?;
    Ok(Some((image, payload, der)))
}

/// The image that is meant: in a folder that build made, the one of its manifest.
fn image(args: &PushArgs) -> Result<PathBuf> {
    if !args.what.is_dir() || is_image(&args.what) {
        return Ok(args.what.clone());
    }
    let found = manifest::read(&args.what)?;
    let artefact = found.iter().flat_map(|found| &found.artefacts).find(|artefact| artefact.format == Format::Oci);
    let artefact = artefact.ok_or_else(|| {
        Failure::new(Kind::Input, format!("{}: needed an OCI image in it, found none", args.what.display()))
            .hint("build one: basalt build RECIPE --format oci")
    })?;
    Ok(args.what.join(&artefact.file))
}
