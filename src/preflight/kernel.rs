//! The kernel that a preflight is about: a package of Debian's archive or a file of one, or another base.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::failure::{Failure, Kind};
use crate::layer::foreign::rootfs;
use crate::layer::kernel_modules::deb;
use crate::lock::{self, Inputs, LockedPackage};
use crate::progress::Sink;
use crate::recipe::{ImageSource, LocalImage};
use crate::source::{Network, debian};
use crate::tree::{Tree, TreePath};

/// How the packages of kernels begin.
const PACKAGE: &str = "linux-image-";

/// Which kernel, as the command line names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A package of the base's archive, perhaps of another suite of it.
    Package {
        /// `linux-image-amd64`, or one with a release.
        name: String,
        /// `trixie-backports`.
        suite: Option<String>,
    },
    /// Packages that lie here: the kernel's, perhaps its headers'.
    Debs(Vec<PathBuf>),
    /// The files of a system, or of a kernel alone: a folder or tar archive.
    Tree(PathBuf),
    /// A container image of a system.
    Image(ImageSource),
}

impl Wanted {
    /// Reads the words of the command line: several are packages that lie here.
    ///
    /// # Errors
    /// Needed and found.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let is_deb = |word: &String| word.ends_with(".deb");
        if !words.is_empty() && words.iter().all(is_deb) {
            return Ok(Self::Debs(words.iter().map(PathBuf::from).collect()));
        }
        let [word] = words else {
            return Err(format!("needed one kernel, or .deb files, found {}", words.join(", ")));
        };
        if let Some(image) = local_image(word) {
            return Ok(Self::Image(image));
        }
        if Path::new(word).exists() {
            return Ok(Self::Tree(word.into()));
        }
        if word.starts_with(PACKAGE) {
            let (name, suite) =
                word.split_once('/').map_or((word.as_str(), None), |(name, suite)| (name, Some(suite.to_owned())));
            return Ok(Self::Package { name: name.to_owned(), suite });
        }
        ImageSource::parse("", word).map(Self::Image).map_err(|_| {
            format!(
                "needed a folder or archive that is there, a .deb file, a package {PACKAGE}...[/SUITE], oci:FOLDER[:TAG], \
                 oci-archive:FILE[:TAG] or registry/path:tag, found {word:?}"
            )
        })
    }
}

/// An image that lies here; other than in a recipe its path may be absolute.
fn local_image(word: &str) -> Option<ImageSource> {
    let image = |rest: &str| {
        let (path, tag) = rest.split_once(':').map_or((rest, None), |(path, tag)| (path, Some(tag.to_owned())));
        LocalImage { path: path.to_owned(), tag }
    };
    let folder = word.strip_prefix("oci:").map(|rest| ImageSource::Folder(image(rest)));
    folder.or_else(|| word.strip_prefix("oci-archive:").map(|rest| ImageSource::Archive(image(rest))))
}

/// A kernel with its files.
#[derive(Debug)]
pub struct Other {
    /// What people call it.
    pub name: String,
    /// Its files, with those of its system where that was asked about.
    pub tree: Tree,
    /// Whether it is a whole system.
    pub whole: bool,
    /// The package with its headers, where the archive has it: a blob of the store.
    pub headers: Vec<LockedPackage>,
}

/// Brings the kernel.
///
/// # Errors
/// [`Kind::Input`]: there is none such; [`Kind::Usage`]: a package, and a base that is not made of packages.
pub fn bring(wanted: &Wanted, inputs: Inputs<'_>, network: Network<'_>, sink: &dyn Sink) -> Result<Other> {
    match wanted {
        Wanted::Package { name, suite } => package(name, suite.as_deref(), inputs, network, sink),
        Wanted::Debs(files) => {
            let names: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
            let tree = deb::trees(names.iter().map(String::as_str).zip(files.iter().cloned()), inputs.store)?;
            Ok(Other { name: names.join(", "), tree: deb::move_lib(tree)?, whole: false, headers: Vec::new() })
        }
        Wanted::Tree(path) => {
            let tree = deb::move_lib(rootfs::read(path, inputs.store)?.tree)?;
            let says_so = ["/usr/lib/os-release", "/etc/os-release"].map(TreePath::parse);
            let whole = says_so.iter().flatten().any(|path| tree.get(path).is_some());
            Ok(Other { name: path.display().to_string(), tree, whole, headers: Vec::new() })
        }
        Wanted::Image(from) => {
            let (image, date) = inputs.resolver.image(from, Path::new("."), inputs.architecture)?;
            let tree = inputs.resolver.base(&image, date)?;
            Ok(Other { name: from.to_string(), tree, whole: true, headers: Vec::new() })
        }
    }
}

fn package(name: &str, suite: Option<&str>, inputs: Inputs<'_>, network: Network<'_>, sink: &dyn Sink) -> Result<Other> {
    let store = inputs.store;
    let question = lock::question(inputs).ok_or_else(|| {
        let what = format!("needed a base that is made of packages to look for {name}, found another");
        Failure::new(Kind::Usage, what).hint("name the package's file: --kernel FILE.deb")
    })?;
    let shown = suite.map_or_else(|| name.to_owned(), |suite| format!("{name}/{suite}"));
    let base = lock::LockedDebian { requested: vec![name.to_owned()], ..question.base };
    let question = lock::Question { base, headers: true, prefer: suite.map(str::to_owned), ..question };
    let resolved = inputs.resolver.packages(&question)?;
    let kernels: Vec<_> = resolved.packages.iter().filter_map(LockedPackage::kernel).collect();
    let [release] = kernels[..] else {
        let found = if kernels.is_empty() { "none".to_owned() } else { kernels.join(", ") };
        return Err(Failure::new(Kind::Input, format!("{shown}: needed a package of one kernel, found {found}")).into());
    };
    // Its image, and what of it has a package of its own.
    let is_its = |package: &&LockedPackage| {
        package.name.starts_with("linux-") && package.name.trim_end_matches("-unsigned").ends_with(&format!("-{release}"))
    };
    let parts: Vec<_> = resolved.packages.iter().filter(is_its).cloned().collect();
    let all: Vec<_> = parts.iter().chain(&resolved.headers).cloned().collect();
    debian::fetch(&all, question.mirror.as_deref(), store, sink, network.offline)?;
    let tree = deb::trees(parts.iter().map(|part| (part.name.as_str(), store.blob_path(&part.sha256))), store)?;
    let version = &parts.first().context("a kernel's package")?.version;
    let name = format!("{shown} {version}");
    Ok(Other { name, tree: deb::move_lib(tree)?, whole: false, headers: resolved.headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Wanted, String> {
        Wanted::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn kernels_are_named_as_people_have_them() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().display().to_string();
        let package = |name: &str, suite: Option<&str>| Wanted::Package { name: name.into(), suite: suite.map(str::to_owned) };
        let image = |path: &str, tag: Option<&str>| LocalImage { path: path.into(), tag: tag.map(str::to_owned) };
        for (words, wanted) in [
            (&["linux-image-amd64"][..], package("linux-image-amd64", None)),
            (&["linux-image-amd64/trixie-backports"], package("linux-image-amd64", Some("trixie-backports"))),
            (&["a.deb", "/b.deb"], Wanted::Debs(vec!["a.deb".into(), "/b.deb".into()])),
            (&[&there], Wanted::Tree(there.clone().into())),
            (&["oci:/images/base:1"], Wanted::Image(ImageSource::Folder(image("/images/base", Some("1"))))),
            (&["oci-archive:base.tar"], Wanted::Image(ImageSource::Archive(image("base.tar", None)))),
            (&["r.example.org/base:1"], Wanted::Image(ImageSource::Registry("r.example.org/base:1".into()))),
        ] {
            assert_eq!(parse(words).unwrap(), wanted);
        }
        for words in [&["a.deb", "b"][..], &["no-such-folder"], &[]] {
            assert!(parse(words).unwrap_err().starts_with("needed "), "{words:?}");
        }
    }
}
