//! Where an image that is a base comes from, as a recipe names it. The words for the transports are those of containers-transports(5).

use std::fmt;

use super::local;
use super::names::{self, Verdict};

/// Where a container image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// `registry/path`, with a tag or digest.
    Registry(String),
    /// A folder with an OCI layout.
    Folder(LocalImage),
    /// A tar archive of one.
    Archive(LocalImage),
}

/// An image in a folder or archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    /// Relative to the recipe's folder.
    pub path: String,
    /// Which image, where there are several.
    pub tag: Option<String>,
}

impl ImageSource {
    /// Reads what stands in the file `name`, whose folder local paths are relative to.
    ///
    /// # Errors
    /// Needed and found.
    pub fn parse(name: &str, text: &str) -> Verdict<Self> {
        let local = |rest: &str| {
            let (path, tag) = match rest.split_once(':') {
                Some((path, tag)) => (path, Some(tag)),
                None => (rest, None),
            };
            names::tag(tag.unwrap_or("latest"))?;
            Ok(LocalImage { path: local::join(name, path)?, tag: tag.map(str::to_owned) })
        };
        if let Some(rest) = text.strip_prefix("oci:") {
            return local(rest).map(Self::Folder);
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return local(rest).map(Self::Archive);
        }
        let reference = text.strip_prefix("docker://").unwrap_or(text);
        names::image_reference(reference)
            .map_err(|_| format!("needed registry/path:tag, oci:FOLDER[:TAG] or oci-archive:FILE[:TAG], found {text:?}"))?;
        Ok(Self::Registry(reference.to_owned()))
    }

    /// The folder or file that it lies in, when it lies here.
    pub fn local(&self) -> Option<&LocalImage> {
        match self {
            Self::Registry(_) => None,
            Self::Folder(image) | Self::Archive(image) => Some(image),
        }
    }
}

/// As [`ImageSource::parse`] reads it.
impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, image) = match self {
            Self::Registry(reference) => return f.write_str(reference),
            Self::Folder(image) => ("oci", image),
            Self::Archive(image) => ("oci-archive", image),
        };
        write!(f, "{transport}:{}", image.path)?;
        image.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_written() {
        for text in ["r.example.org/a/b:1", "oci:images/base", "oci:images/base:1.2", "oci-archive:../base.tar:x"] {
            assert_eq!(ImageSource::parse("r.toml", text).unwrap().to_string(), text);
        }
        let parsed = ImageSource::parse("f/r.toml", "oci:../base").unwrap();
        assert_eq!(parsed.to_string(), "oci:base");
        assert_eq!(ImageSource::parse("r.toml", "docker://r.example.org/a").unwrap().to_string(), "r.example.org/a");
        for text in ["", "base", "oci:", "oci:/abs", "oci:a:b:c", "dir:x", "docker-daemon:x", "r.example.org/A"] {
            assert!(ImageSource::parse("r.toml", text).is_err(), "{text}");
        }
    }
}
