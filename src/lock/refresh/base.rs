//! Pins the base: packages and a registry's image stay as they are until a person asks for newer ones or the recipe names others; what
//! lies here is pinned as it is now.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::{Inputs, Mode, Question, TREE_KIND};
use crate::failure::{Failure, Kind};
use crate::layer::{cache, foreign};
use crate::lock::{LockedBase, LockedDebian, LockedImage, LockedPackage, LockedTree, Section};
use crate::recipe::{Debian, ImageSource, Origin};
use crate::tree::dump;

/// The base as the lock has it.
pub(super) struct Pinned {
    /// The image's time, in seconds since 1970.
    pub date: i64,
    /// What it is made from.
    pub base: LockedBase,
    /// Its packages, when it is made of packages.
    pub packages: Vec<LockedPackage>,
    /// The headers of its kernels, when modules are to be proven against them.
    pub headers: Vec<LockedPackage>,
}

/// Pins the base of a recipe. `old` is the lock's section so far.
pub(super) fn pin(inputs: Inputs<'_>, old: Option<&Section>, mode: &Mode, notes: &mut Vec<String>) -> Result<Pinned> {
    let base = &inputs.recipe.base;
    if let (Mode::Update(names), None) = (mode, base.debian())
        && let Some(name) = names.first()
    {
        let what = format!("needed no package to update, found {name:?}: the base is not made of packages");
        return Err(Failure::new(Kind::Usage, what).hint("update the whole base: basalt lock RECIPE --update").into());
    }
    match &base.origin {
        Origin::Debian(debian) => {
            let question = LockedDebian::of(inputs.recipe, inputs.architecture).context("a base of kind debian")?;
            let Packages { date, packages, headers } = packages(inputs, debian, &question, old, mode, notes)?;
            Ok(Pinned { date, base: LockedBase::Debian(question), packages, headers })
        }
        Origin::Image(from) => {
            let (date, image) = image(inputs, from, old, mode)?;
            Ok(Pinned { date, base: LockedBase::Oci(image), packages: Vec::new(), headers: Vec::new() })
        }
        Origin::Tree(path) => {
            let (date, tree) = tree(inputs, path, old)?;
            Ok(Pinned { date, base: LockedBase::Tree(tree), packages: Vec::new(), headers: Vec::new() })
        }
    }
}

fn image(inputs: Inputs<'_>, from: &ImageSource, old: Option<&Section>, mode: &Mode) -> Result<(i64, LockedImage)> {
    let same = old.and_then(|old| match &old.base {
        LockedBase::Oci(image) if image.from == from.to_string() => Some((old.date, image.clone())),
        _ => None,
    });
    let asks = from.local().is_some() || matches!(mode, Mode::Update(_));
    if let Some(same) = same.filter(|_| !asks) {
        return Ok(same);
    }
    // What --locked refuses is said without asking a registry.
    if let (Mode::Locked, None, Some(old)) = (mode, from.local(), old) {
        let name = match &old.base {
            LockedBase::Oci(image) => format!("image {}", image.from),
            LockedBase::Debian(debian) => format!("Debian {}", debian.suite),
            LockedBase::Tree(tree) => format!("tree {}", tree.path),
        };
        let what = format!("recipe {} differs from its lock:\n  base: needed {name}, found image {from}", inputs.recipe.name);
        return Err(Failure::new(Kind::Input, what).hint("run `basalt lock RECIPE` to accept this, or undo the change").into());
    }
    let (image, date) = inputs.resolver.image(from, &inputs.recipe.folder, inputs.architecture)?;
    Ok((date, image))
}

/// Imports the files of a system. Times are no part of them; the newest is the image's until a file changes.
fn tree(inputs: Inputs<'_>, path: &str, old: Option<&Section>) -> Result<(i64, LockedTree)> {
    let rootfs = foreign::rootfs::read(&inputs.recipe.local(path), inputs.store)?;
    let digest = dump::digest(&rootfs.tree);
    inputs
        .store
        .entry_or_make(TREE_KIND, &digest, |folder| cache::write(folder, &rootfs.tree))
        .with_context(|| format!("{path}: cannot be imported"))?;
    let tree = LockedTree { path: path.to_owned(), digest };
    let same = old.filter(|old| matches!(&old.base, LockedBase::Tree(before) if before.digest == digest));
    Ok((same.map_or(rootfs.newest, |old| old.date), tree))
}

/// Debian's packages as the lock has them.
struct Packages {
    date: i64,
    packages: Vec<LockedPackage>,
    headers: Vec<LockedPackage>,
}

fn packages(
    inputs: Inputs<'_>,
    debian: &Debian,
    base: &LockedDebian,
    old: Option<&Section>,
    mode: &Mode,
    notes: &mut Vec<String>,
) -> Result<Packages> {
    let headers = inputs.recipe.wants_headers();
    let kept = |old: &Section| Packages {
        date: old.date,
        packages: old.packages.clone(),
        headers: if headers { old.headers.clone() } else { Vec::new() },
    };
    let same = old.filter(|old| old.base.debian() == Some(base));
    let whole = same.filter(|old| !headers || fitting(&old.packages, [old.headers.as_slice()]).is_ok());
    match (mode, old, whole) {
        (Mode::Build, _, Some(old)) | (Mode::Locked, Some(old), _) => return Ok(kept(old)),
        _ => {}
    }
    let keyring = debian.keyring.as_ref().map(|path| inputs.recipe.local(path));
    let question = Question {
        architecture: inputs.architecture,
        base: base.clone(),
        mirror: debian.mirror.clone(),
        keyring,
        headers,
        prefer: None,
    };
    let mut answer = inputs.resolver.packages(&question)?;
    answer.packages.sort_by(|a, b| a.name.cmp(&b.name));
    let packages = match (mode, same) {
        // Only headers were asked for.
        (Mode::Build, Some(old)) => old.packages.clone(),
        (Mode::Update(names), Some(old)) if !names.is_empty() => hold(&old.packages, answer.packages, names, notes)?,
        (Mode::Update(names), None) if !names.is_empty() => {
            notes.push("the recipe asks for other packages than the lock: all are taken from today's archive".to_owned());
            answer.packages
        }
        _ => answer.packages,
    };
    let before = old.map(|old| old.headers.as_slice()).unwrap_or_default();
    let headers = if headers { fitting(&packages, [answer.headers.as_slice(), before])? } else { Vec::new() };
    // An archive is signed anew several times a day: as long as no package changes, the image's time stays.
    let date = match old {
        Some(old) if old.packages == packages => old.date,
        Some(old) => old.date.max(answer.date),
        None => answer.date,
    };
    Ok(Packages { date, packages, headers })
}

/// The headers of each kernel among `packages`, out of `from`.
///
/// Fails when one has none: an archive keeps only those of its newest kernels.
fn fitting<'a>(
    packages: &[LockedPackage],
    from: impl IntoIterator<Item = &'a [LockedPackage]> + Clone,
) -> Result<Vec<LockedPackage>> {
    let headers = packages.iter().filter_map(|kernel| Some((kernel, kernel.headers_among(from.clone().into_iter().flatten())?)));
    let pinned = headers.map(|(kernel, found)| {
        found.cloned().map_err(|missing| {
            let what = format!("kernel modules: needed {missing}, which has what the kernel exports; the archive has it no more");
            let hint =
                format!("take the archive's kernel: basalt lock RECIPE --update {}; or name [kernel] symvers", kernel.source);
            Failure::new(Kind::Input, what).hint(hint).into()
        })
    });
    pinned.collect()
}

/// Takes only the named packages from `new`, with all others of their source packages (they fit only each other); the rest stays as it
/// was. What is new to the answer comes, because something named needs it; what left it goes only with its source package.
fn hold(old: &[LockedPackage], new: Vec<LockedPackage>, names: &[String], notes: &mut Vec<String>) -> Result<Vec<LockedPackage>> {
    let mut sources = BTreeSet::new();
    for name in names {
        let matching = |package: &&LockedPackage| package.name == *name || package.source == *name;
        let found: Vec<_> = old.iter().chain(&new).filter(matching).map(|package| package.source.clone()).collect();
        if found.is_empty() {
            let what = format!("needed a package of the lock to update, found none that is named {name:?}");
            return Err(Failure::new(Kind::Usage, what).hint("name binary or source packages that the lock lists").into());
        }
        sources.extend(found);
    }
    let mut held = Vec::new();
    for package in old {
        let today = new.iter().find(|other| other.name == package.name);
        match today {
            Some(today) if sources.contains(&package.source) || sources.contains(&today.source) => held.push(today.clone()),
            None if sources.contains(&package.source) => {}
            None => {
                notes.push(format!("package {} {} is held, but nothing needs it today", package.name, package.version));
                held.push(package.clone());
            }
            Some(_) => held.push(package.clone()),
        }
    }
    for package in new {
        if !old.iter().any(|other| other.name == package.name) {
            if !sources.contains(&package.source) {
                notes.push(format!("package {} {} comes too: today's packages need it", package.name, package.version));
            }
            held.push(package);
        }
    }
    Ok(held)
}
