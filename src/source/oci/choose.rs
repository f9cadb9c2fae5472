//! Which image of several is meant, and whether it can be a base. Pure.

use anyhow::Result;

use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci::{self, Config, Descriptor, Index, Manifest};
use crate::lock::{LockedBlob, LockedImage};

/// The one of a list that is for `architecture`.
///
/// # Errors
/// [`Kind::Input`]: there is none; all that there are, are named.
pub(super) fn of_list<'i>(from: &str, index: &'i Index, architecture: Architecture) -> Result<&'i Descriptor, Failure> {
    let fits = |descriptor: &&Descriptor| {
        let platform = descriptor.platform.as_ref();
        platform.is_some_and(|platform| platform.os == "linux" && platform.architecture == architecture.debian())
    };
    index.manifests.iter().find(fits).ok_or_else(|| {
        let names =
            index.manifests.iter().filter_map(|one| one.platform.as_ref()).map(|one| format!("{}/{}", one.os, one.architecture));
        not_for(from, architecture, &names.collect::<Vec<_>>())
    })
}

/// Those of a folder or archive that have `tag`, if one is asked for, and are not said to be for other machines.
///
/// # Errors
/// [`Kind::Input`]: there is none.
pub(super) fn candidates(
    from: &str,
    all: Vec<Descriptor>,
    tag: Option<&str>,
    architecture: Architecture,
) -> Result<Vec<Descriptor>, Failure> {
    let tags = tags(&all);
    let tagged: Vec<_> = all
        .into_iter()
        .filter(|one| tag.is_none_or(|tag| one.annotations.get(oci::REF_NAME).is_some_and(|it| it == tag)))
        .collect();
    if let (Some(tag), true) = (tag, tagged.is_empty()) {
        let found = if tags.is_empty() { "no tag".to_owned() } else { tags };
        return Err(Failure::new(Kind::Input, format!("{from}: needed an image with the tag {tag:?}, found {found}"))
            .hint("name one that is there"));
    }
    let platform = |one: &Descriptor| one.platform.as_ref().map(|it| format!("{}/{}", it.os, it.architecture));
    let wanted = format!("linux/{}", architecture.debian());
    let (fitting, others): (Vec<_>, Vec<_>) = tagged.into_iter().partition(|one| platform(one).is_none_or(|it| it == wanted));
    if fitting.is_empty() {
        return Err(not_for(from, architecture, &others.iter().filter_map(platform).collect::<Vec<_>>()));
    }
    Ok(fitting)
}

/// The only one of `images`, which are all that are left.
///
/// # Errors
/// [`Kind::Input`]: none is for `architecture`, or several are.
pub(super) fn only(
    from: &str,
    images: Vec<(Descriptor, Manifest, Config)>,
    architecture: Architecture,
) -> Result<(Descriptor, Manifest, Config), Failure> {
    let platforms: Vec<_> = images.iter().map(|(_, _, config)| format!("{}/{}", config.os, config.architecture)).collect();
    let mut fitting: Vec<_> = images
        .into_iter()
        .filter(|(_, _, config)| config.os == "linux" && config.architecture == architecture.debian())
        .collect();
    match (fitting.pop(), fitting.len()) {
        (None, _) => Err(not_for(from, architecture, &platforms)),
        (Some(image), 0) => Ok(image),
        (Some(last), others) => {
            let all: Vec<_> = fitting.into_iter().chain([last]).map(|(descriptor, ..)| descriptor).collect();
            let what = format!("{from}: needed one image for {architecture}, found {}: {}", others + 1, tags(&all));
            Err(Failure::new(Kind::Input, what).hint("say which one: add its tag after \":\""))
        }
    }
}

fn tags(all: &[Descriptor]) -> String {
    all.iter().filter_map(|one| one.annotations.get(oci::REF_NAME).cloned()).collect::<Vec<_>>().join(", ")
}

fn not_for(from: &str, architecture: Architecture, found: &[String]) -> Failure {
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    Failure::new(Kind::Input, format!("{from}: needed an image for linux/{architecture}, found {found}"))
        .hint("name an image that is made for this architecture, too")
}

/// What the lock says of an image whose manifest has these bytes. `known` is what named it: its digest must be that of the bytes.
///
/// # Errors
/// [`Kind::Input`]: another manifest; [`Kind::Invalid`]: no image of a system.
pub(super) fn locked(from: &str, bytes: &[u8], known: Option<&str>) -> Result<(LockedImage, Manifest), Failure> {
    let sha256 = Digest::of(bytes);
    if let Some(known) = known.filter(|known| **known != oci::digest(&sha256)) {
        let what = format!("{from}: its manifest is not that of its digest: needed {known}, found {}", oci::digest(&sha256));
        return Err(Failure::new(Kind::Input, what).hint("it was altered: do not use this copy"));
    }
    let invalid =
        |what: String| Failure::new(Kind::Invalid, format!("{from}: {what}")).hint("name a container image of a system");
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("its manifest is none of OCI or Docker: {error}")))?;
    let media_type = match manifest.media_type.as_str() {
        "" => oci::MANIFEST,
        known @ (oci::MANIFEST | oci::DOCKER_MANIFEST) => known,
        other => return Err(invalid(format!("needed an image's manifest, found {other}"))),
    };
    if ![oci::CONFIG, oci::DOCKER_CONFIG].contains(&manifest.config.media_type.as_str()) {
        return Err(invalid(format!("needed the configuration of a container image, found {}", manifest.config.media_type)));
    }
    if let Some((index, layer)) = manifest.layers.iter().enumerate().find(|(_, layer)| !oci::is_layer(&layer.media_type)) {
        return Err(invalid(format!("layer {}: needed a tar (plain, gzip or zstd), found {}", index + 1, layer.media_type)));
    }
    if manifest.layers.is_empty() {
        return Err(invalid("needed layers, found none".to_owned()));
    }
    let blob = |descriptor: &Descriptor| {
        let sha256 = oci::parse_digest(&descriptor.digest)
            .ok_or_else(|| invalid(format!("needed a digest \"sha256:...\", found {:?}", descriptor.digest)))?;
        Ok::<_, Failure>(LockedBlob { sha256, size: descriptor.size, media_type: descriptor.media_type.clone() })
    };
    let image = LockedImage {
        from: from.to_owned(),
        manifest: LockedBlob { sha256, size: bytes.len() as u64, media_type: media_type.to_owned() },
        config: blob(&manifest.config)?,
        layers: manifest.layers.iter().map(blob).collect::<Result<_, _>>()?,
    };
    Ok((image, manifest))
}

/// When the image was made, in seconds since 1970. 0 where it does not say.
///
/// # Errors
/// [`Kind::Invalid`]: no configuration, for other machines, or a time that is none.
pub(super) fn time(from: &str, config: &[u8], architecture: Architecture) -> Result<i64, Failure> {
    let invalid =
        |what: String| Failure::new(Kind::Invalid, format!("{from}: {what}")).hint("name a container image of a system");
    let config: Config = serde_json::from_slice(config).map_err(|error| invalid(format!("its configuration: {error}")))?;
    if config.os != "linux" || config.architecture != architecture.debian() {
        return Err(not_for(from, architecture, &[format!("{}/{}", config.os, config.architecture)]));
    }
    let Some(created) = config.created else { return Ok(0) };
    let time: jiff::Timestamp = created.parse().map_err(|_| invalid(format!("needed a time, found created: {created:?}")))?;
    Ok(time.as_second().max(0))
}
