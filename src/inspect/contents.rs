//! The files in layers of an OCI image, and how two images differ.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::compare::{Comparison, Values, changed, file_differences};
use super::image::{Image, describe};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci::layout::Layout;
use crate::format::oci::{self, Descriptor, Manifest};
use crate::host::interrupt;

/// Where objects of a repository lie in the layers of an encapsulated commit.
const REPO: &str = "sysroot/ostree/repo/";
/// A layer is not longer than this when it is unpacked: what is longer is a bomb.
const LAYER: u64 = 16 << 30;
/// A layer has not more members than this.
const MEMBERS: usize = 1_000_000;
/// A name is not longer than this, for messages.
const NAMED: usize = 200;

/// Files by path, each with what is known of it.
type Files = BTreeMap<String, Values>;

/// Compares the first image of each archive or folder. Layers that both have are not read.
///
/// # Errors
/// As [`super::image::inspect`]; [`Kind::Verification`] for a layer that is damaged, or longer than any is.
pub fn compare(old: &Path, new: &Path) -> Result<Comparison> {
    let (one, other) = (Layout::open(old)?, Layout::open(new)?);
    let ((before, had), (after, has)) = (first(&one, old)?, first(&other, new)?);
    let (mut was, mut is) = (Files::new(), Files::new());
    read_new(&one, &had, &has, &mut was).with_context(|| old.display().to_string())?;
    read_new(&other, &has, &had, &mut is).with_context(|| new.display().to_string())?;
    let kind = |file: &Values| file.get("kind").cloned().unwrap_or_default();
    let files = file_differences(&was, &is, kind, |old, new| Ok(changed(old, new)))?;
    Ok(Comparison { version: super::VERSION, fields: changed(&fields(&before), &fields(&after)), packages: Vec::new(), files })
}

fn first(layout: &Layout, path: &Path) -> Result<(Image, Manifest)> {
    let found = layout.images()?.into_iter().next();
    let (descriptor, manifest, config) =
        found.ok_or_else(|| Failure::new(Kind::Input, format!("{}: needed an image, found none", path.display())))?;
    Ok((describe(descriptor, &manifest, &config), manifest))
}

fn fields(image: &Image) -> Values {
    let mut values = Values::new();
    let texts = [
        ("image", Some(&image.digest)),
        ("tag", image.tag.as_ref()),
        ("version", image.image_version.as_ref()),
        ("architecture", Some(&image.architecture)),
        ("created", image.created.as_ref()),
        ("plan", image.plan.as_ref()),
        ("commit", image.commit.as_ref()),
        ("kernel", image.kernel.as_ref()),
    ];
    for (what, text) in texts {
        values.insert(what.to_owned(), text.cloned().unwrap_or_default());
    }
    for (index, layer) in image.layers.iter().enumerate() {
        let name = layer.comment.clone().unwrap_or_else(|| (index + 1).to_string());
        values.insert(format!("layer {name}"), format!("{} ({} bytes)", layer.digest, layer.size));
    }
    values
}

/// Reads the files in layers of `manifest` that `other` does not have, lowest first.
fn read_new(layout: &Layout, manifest: &Manifest, other: &Manifest, files: &mut Files) -> Result<()> {
    let has = |layer: &&Descriptor| other.layers.iter().any(|there| there.digest == layer.digest);
    for layer in manifest.layers.iter().filter(|layer| !has(layer)) {
        let blob = layout.blob(layer)?;
        let reader: Box<dyn Read> = match layer.media_type.as_str() {
            oci::LAYER_GZIP | "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
                Box::new(MultiGzDecoder::new(BufReader::new(blob)))
            }
            oci::LAYER => blob,
            found => {
                let what = format!("layer {}: needed a tar, plain or gzip, found media type {found:?}", layer.digest);
                return Err(Failure::new(Kind::Input, what).hint("convert it: skopeo copy --format oci").into());
            }
        };
        read_layer(reader, files).map_err(|error| match interrupt::check() {
            Err(interrupted) => interrupted.into(),
            Ok(()) => anyhow::Error::from(
                Failure::new(Kind::Verification, format!("layer {}: {error:#}", layer.digest)).hint("fetch the image again"),
            ),
        })?;
    }
    Ok(())
}

/// The files of an unpacked layer, each with what is known of it.
///
/// # Errors
/// No tar, or one of more members or bytes than any layer has.
pub fn files(layer: impl Read) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut files = Files::new();
    read_layer(layer, &mut files)?;
    Ok(files)
}

fn read_layer(reader: impl Read, files: &mut Files) -> Result<()> {
    let mut archive = tar::Archive::new(reader.take(LAYER));
    let mut objects: BTreeMap<String, Values> = BTreeMap::new();
    let mut length = 0;
    for (count, entry) in archive.entries()?.enumerate() {
        interrupt::check()?;
        anyhow::ensure!(count < MEMBERS, "needed at most {MEMBERS} members, found more");
        let mut entry = entry?;
        length += entry.size();
        anyhow::ensure!(length < LAYER, "needed at most {LAYER} bytes when unpacked, found more");
        let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").trim_end_matches('/').to_owned();
        let target = entry.link_name_bytes().map(|bytes| String::from_utf8_lossy(&bytes).trim_start_matches("./").to_owned());
        let header = entry.header();
        let kind = header.entry_type();
        let mut values = Values::from([
            ("mode".to_owned(), format!("{:04o}", header.mode()?)),
            ("owner".to_owned(), format!("{}:{}", header.uid()?, header.gid()?)),
        ]);
        let mut put = |key: &str, value: String| drop(values.insert(key.to_owned(), value));
        match kind {
            EntryType::Directory => put("kind", "folder".into()),
            EntryType::Symlink => {
                put("kind", "link".into());
                put("target", target.clone().unwrap_or_default());
            }
            EntryType::Link => {
                let first = target.as_deref().unwrap_or_default();
                let found = objects.get(first).or_else(|| files.get(&format!("/{first}"))).cloned();
                // Hard links to attributes, and to files of lower layers that both images have.
                values = found.unwrap_or_else(|| Values::from([("kind".to_owned(), format!("hard link to {first}"))]));
            }
            EntryType::Regular | EntryType::Continuous => {
                put("kind", "file".into());
                put("size", entry.size().to_string());
                let (sha256, _) = Digest::of_reader(&mut entry)?;
                put("content", format!("sha256 {sha256}"));
            }
            _ => put("kind", "device, pipe or socket".into()),
        }
        if let Some(object) = name.strip_prefix(REPO) {
            remember(&mut objects, &name, object, values, target.as_deref());
        } else if !name.is_empty() {
            anyhow::ensure!(
                name.len() <= 4096,
                "a name of {} bytes: {}...",
                name.len(),
                name.chars().take(NAMED).collect::<String>()
            );
            files.insert(format!("/{name}"), values);
        }
    }
    Ok(())
}

/// Keeps an object that files are hard links to, with its attributes, which stand before it.
fn remember(objects: &mut BTreeMap<String, Values>, name: &str, object: &str, mut values: Values, target: Option<&str>) {
    if object.ends_with(".file-xattrs-link") {
        let attributes = target.and_then(|target| target.rsplit_once("/objects/")).map(|(_, rest)| rest.to_owned());
        let file = name.trim_end_matches("-xattrs-link").to_owned();
        objects.insert(format!("{file} attributes"), Values::from([("xattrs".to_owned(), attributes.unwrap_or_default())]));
    } else if object.ends_with(".file") {
        let attributes = objects.remove(&format!("{name} attributes")).unwrap_or_default();
        values.extend(attributes);
        objects.insert(name.to_owned(), values);
    }
}
