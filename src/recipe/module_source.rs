//! Where kernel modules come from, as a recipe names it.
//!
//! An image's name may depend on the kernel (`registry.example.org/nvidia:${KERNEL_FULL_VERSION}`), which nobody knows before the base is
//! pinned: see [`crate::kmod::release`] for the variables.

use std::fmt;

use super::image::ImageSource;
use super::local;
use super::names::Verdict;
use crate::kmod::release::{Named, Release, Spelling};

/// A release whose parts are all different, to see what a template becomes.
const EXAMPLE: &str = "1.2.3-example";

/// Where kernel modules come from. Local paths are relative to the recipe's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleOrigin {
    /// A folder or tar archive.
    Path(String),
    /// A container image.
    Image(ImageTemplate),
    /// A Debian package that lies here.
    Deb(String),
    /// Packages of the base's archive, by names that may have variables.
    Packages(Vec<String>),
}

impl ModuleOrigin {
    /// The folder or archive.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Path(path) => Some(path),
            Self::Image(_) | Self::Deb(_) | Self::Packages(_) => None,
        }
    }

    /// The local package.
    pub fn deb(&self) -> Option<&str> {
        match self {
            Self::Deb(path) => Some(path),
            Self::Path(_) | Self::Image(_) | Self::Packages(_) => None,
        }
    }

    /// Whether nobody can pin it before the kernel is known.
    pub fn follows_kernel(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Packages(_))
    }
}

/// As people would name it.
impl fmt::Display for ModuleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) | Self::Deb(path) => f.write_str(path),
            Self::Image(template) => template.fmt(f),
            Self::Packages(names) => write!(f, "packages {}", names.join(", ")),
        }
    }
}

/// An [`ImageSource`] whose name may have variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageTemplate(String);

impl ImageTemplate {
    /// Reads what stands in the file `name`, whose folder local paths are relative to.
    ///
    /// # Errors
    /// Needed and found: with any kernel it would be no image.
    pub fn parse(name: &str, text: &str) -> Verdict<Self> {
        let local = ["oci:", "oci-archive:"].iter().find_map(|transport| Some((*transport, text.strip_prefix(*transport)?)));
        let text = match local {
            None => text.strip_prefix("docker://").unwrap_or(text).to_owned(),
            Some((transport, rest)) => {
                let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag)));
                let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
                format!("{transport}{}{tag}", local::join(name, path)?)
            }
        };
        let template = Self(text);
        let example = Release::parse(EXAMPLE).map_err(|unfit| unfit.to_string())?;
        template.fill(&example, Named { name: "name", namespace: Some("namespace") })?;
        Ok(template)
    }

    /// The image for a kernel.
    ///
    /// # Errors
    /// A namespace is needed, or the name with this release in it is none of an image.
    pub fn fill(&self, kernel: &Release, module: Named<'_>) -> Verdict<ImageSource> {
        let filled = kernel.fill(&self.0, module, Spelling::Tag).map_err(|unfit| unfit.to_string())?;
        ImageSource::parse("", &filled)
    }

    /// Whether it needs the namespace of its module.
    pub fn needs_namespace(&self) -> bool {
        self.0.contains("MOD_NAMESPACE")
    }
}

impl fmt::Display for ImageTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_named_by_their_kernel() {
        let release = Release::parse("6.12.117+deb13-amd64").unwrap();
        let named = Named { name: "nvidia", namespace: Some("gpu") };
        for (text, template, filled) in [
            (
                "docker://r.example.org/$MOD_NAMESPACE/${MOD_NAME}:${KERNEL_FULL_VERSION}",
                "r.example.org/$MOD_NAMESPACE/${MOD_NAME}:${KERNEL_FULL_VERSION}",
                "r.example.org/gpu/nvidia:6.12.117_deb13-amd64",
            ),
            ("oci:../images:${KERNEL_VERSION}", "oci:images:${KERNEL_VERSION}", "oci:images:6.12.117_deb13-amd64"),
            ("oci-archive:${KERNEL_X}.tar", "oci-archive:part/${KERNEL_X}.tar", "oci-archive:part/6.tar"),
            ("r.example.org/a:1", "r.example.org/a:1", "r.example.org/a:1"),
        ] {
            let read = ImageTemplate::parse("part/r.toml", text).unwrap();
            assert_eq!(read.to_string(), template);
            assert_eq!(read.fill(&release, named).unwrap().to_string(), filled);
        }
        for text in ["nvidia", "oci:", "oci:/abs:${KERNEL_X}", "r.example.org/a:${KERNEL}", "r.example.org/a:${KERNEL_X"] {
            assert!(ImageTemplate::parse("r.toml", text).is_err(), "{text}");
        }
        let without = Named { namespace: None, ..named };
        let template = ImageTemplate::parse("r.toml", "r.example.org/$MOD_NAMESPACE:1").unwrap();
        assert!(template.needs_namespace() && template.fill(&release, without).unwrap_err().contains("namespace"));
    }
}
