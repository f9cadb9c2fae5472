//! The kernel of the layers below, and what it says of itself.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::failure::{Failure, Kind};
use crate::format::modules_index::{Index, ModulePath};
use crate::format::{compressed, module};
use crate::host::interrupt;
use crate::kmod::Facts;
use crate::kmod::mapping;
use crate::kmod::release::Release;
use crate::plan::{KernelMatch, ModuleSet};
use crate::tree::{Content, Directory, LeafKind, Node, Tree, TreePath};

/// Where kernels keep their modules.
const MODULES: &str = "/usr/lib/modules";
/// So many links are followed.
const LINKS: usize = 40;
/// Where a base may keep its kernel's exports: below the kernel's folder.
const SYMVERS: [&str; 5] = ["symvers.xz", "symvers.gz", "symvers.zst", "symvers", "build/Module.symvers"];

/// The one kernel of a tree.
pub struct Target<'a> {
    /// `6.12.117+deb13-amd64`.
    pub release: Release,
    /// Its modules, as depmod knows them.
    pub index: Index,
    /// The layers below.
    pub below: &'a Tree,
    /// Where firmware lies beside that of the modules' own sources. None: nobody knows what the image has.
    pub firmware: Option<Vec<&'a Tree>>,
    folder: TreePath,
    /// Whether the index says what a module depends on: a package has no index before it is installed.
    indexed: bool,
}

/// The release of the one kernel of a base that has been installed.
///
/// # Errors
/// As [`Target::of`].
pub fn release(below: &Tree) -> Result<Release> {
    let has_index = |folder: &Directory| folder.children.contains_key("modules.dep");
    Ok(only(below, has_index)?.0)
}

/// The one kernel whose folder of modules is as asked for.
fn only(below: &Tree, fits: impl Fn(&Directory) -> bool) -> Result<(Release, TreePath)> {
    let all = TreePath::parse(MODULES)?;
    let fits = |node: &Node| matches!(node, Node::Directory(inner) if fits(inner));
    let folders = below.directory(&all).into_iter().flat_map(|folder| &folder.children);
    let names: Vec<_> = folders.filter(|(_, node)| fits(node)).map(|(name, _)| name.as_str()).collect();
    let [name] = names[..] else {
        let found = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let what = format!("kernel modules: needed one kernel with modules in {MODULES}, found {found}");
        return Err(Failure::new(Kind::Invalid, what).hint("add one kernel to the packages of the recipe").into());
    };
    let release = Release::parse(name).map_err(|unfit| Failure::new(Kind::Invalid, format!("{MODULES}: {unfit}")))?;
    Ok((release, all.join(name)))
}

impl<'a> Target<'a> {
    /// Finds it: the folder of modules that has an index.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: none, or several; an index that depmod did not write.
    pub fn of(below: &'a Tree) -> Result<Self> {
        let (release, folder) = only(below, |folder| folder.children.contains_key("modules.dep"))?;
        let files = index_files(below.directory(&folder).context("a kernel without a folder")?)?;
        let index = Index::read(&files).with_context(|| format!("{folder}: the index of its modules"))?;
        Ok(Self { release, index, below, firmware: Some(vec![below]), folder, indexed: true })
    }

    /// Finds the one kernel of a package that was unpacked and not installed, or of a base.
    ///
    /// # Errors
    /// As [`Target::of`].
    pub fn of_package(below: &'a Tree) -> Result<Self> {
        if release(below).is_ok() {
            return Self::of(below);
        }
        let has_modules =
            |folder: &Directory| folder.walk(TreePath::root()).any(|(path, _)| module::name_of(path.relative()).is_some());
        let (release, folder) = only(below, has_modules)?;
        let modules = below.directory(&folder).context("a kernel without a folder")?;
        let paths = modules.walk(TreePath::root()).filter_map(|(path, node)| {
            let is_module = matches!(node, Node::Leaf(_)) && module::name_of(path.relative()).is_some();
            is_module.then(|| ModulePath::parse(path.relative()).with_context(|| folder.to_string()))
        });
        let index = Index::of_paths(paths.collect::<Result<Vec<_>>>()?);
        Ok(Self { release, index, below, firmware: None, folder, indexed: false })
    }

    /// What those of the kernel's own modules say that use one of `changed`, which are no more what they were. `exports` says whether a
    /// module exports anything: without an index that spares reading all modules for one that has no users.
    ///
    /// # Errors
    /// Modules that cannot be read.
    pub fn users(&self, changed: &BTreeSet<ModulePath>, exports: impl Fn(&str) -> bool) -> Result<Vec<Facts>> {
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let others = self.index.paths().filter(|path| !changed.contains(*path));
        if self.indexed {
            let uses = |path: &&ModulePath| {
                let dependencies = self.index.dependencies(&path.name()).unwrap_or_default();
                dependencies.iter().any(|dependency| changed.contains(*dependency))
            };
            return others.filter(uses).map(|path| self.facts(path)).collect();
        }
        let names: BTreeSet<_> = changed.iter().map(ModulePath::name).filter(|name| exports(name)).collect();
        let mut users = Vec::new();
        for path in others.filter(|_| !names.is_empty()) {
            interrupt::check()?;
            let facts = self.facts(path)?;
            users.extend(facts.depends.iter().any(|name| names.contains(name)).then_some(facts));
        }
        Ok(users)
    }

    /// A path below the kernel's folder, in the image.
    pub fn path(&self, relative: &str) -> Result<TreePath> {
        Ok(TreePath::parse(&format!("{}/{relative}", self.folder))?)
    }

    /// A file below the kernel's folder.
    pub fn file(&self, relative: &str) -> Result<Option<&'a Content>> {
        Ok(self.below.file(&self.path(relative)?))
    }

    /// The kernel image itself: where it lies in a tree that is not yet a commit, or in one.
    pub fn image(&self) -> Result<&Content> {
        let places = [self.path("vmlinuz")?, TreePath::parse(&format!("/boot/vmlinuz-{}", self.release))?];
        let found = places.iter().find_map(|path| self.below.file(path));
        Ok(found.ok_or_else(|| {
            Failure::new(
                Kind::Invalid,
                format!("the kernel {}: needed {} or {}, found neither", self.release, places[0], places[1]),
            )
        })?)
    }

    /// The exports that come with the base: beside its modules, or in the kernel's headers.
    pub fn symvers(&self) -> Result<Option<Vec<u8>>> {
        let headers = TreePath::parse(&format!("/usr/src/linux-headers-{}/Module.symvers", self.release))?;
        if let Some(content) = self.below.file(&headers) {
            return Ok(Some(content.bytes()?));
        }
        for name in SYMVERS {
            if let Some(content) = self.file(name)? {
                return Ok(Some(compressed::unpack_all(&content.bytes()?).with_context(|| format!("{}/{name}", self.folder))?));
            }
        }
        Ok(None)
    }

    /// What one of the kernel's own modules says.
    pub fn facts(&self, path: &ModulePath) -> Result<Facts> {
        let content = self.file(path.as_str())?.with_context(|| format!("{path}: in the index, and not there"))?;
        Facts::read(path.as_str(), &content.bytes()?, None).with_context(|| path.to_string())
    }

    /// Modules that are part of the kernel.
    pub fn built_in(&self) -> Result<BTreeSet<String>> {
        let Some(content) = self.file("modules.builtin")? else { return Ok(BTreeSet::new()) };
        Ok(String::from_utf8_lossy(&content.bytes()?).lines().filter_map(module::name_of).collect())
    }

    /// Where the kernel's modules lie that the recipe takes away.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: the kernel has none of this name.
    pub fn removed<'s>(&self, sets: impl IntoIterator<Item = &'s ModuleSet>) -> Result<Vec<ModulePath>> {
        let names: BTreeSet<_> = sets.into_iter().flat_map(|set| &set.remove).map(|name| module::canonical(name)).collect();
        let path = |name: &String| {
            self.index.path(name).cloned().ok_or_else(|| {
                let what = format!("in-tree-modules-to-remove: needed a module of {}, found {name:?}", self.release);
                Failure::new(Kind::Invalid, what)
                    .hint("name it as modprobe does; one that is built into the kernel cannot go")
                    .into()
            })
        };
        names.iter().map(path).collect()
    }

    /// Which of the mappings is for this kernel.
    pub fn choose<'m, T: Copy>(&self, mappings: impl IntoIterator<Item = (&'m KernelMatch, T)>) -> Result<Option<T>> {
        let mappings = mappings.into_iter().map(|(kernel, what)| Ok((kernel.matcher()?, what)));
        let mappings = mappings.collect::<Result<Vec<_>>>()?;
        Ok(mapping::first(mappings.iter().map(|(matcher, what)| (matcher, *what)), &self.release))
    }
}

/// Where a path of `tree` leads, when links lie on its way. None where they turn in a circle, or out of the tree.
pub fn real(tree: &Tree, path: &TreePath) -> Option<TreePath> {
    let mut path = path.clone();
    for _ in 0..LINKS {
        let mut at = TreePath::root();
        let parts: Vec<_> = path.parts().map(str::to_owned).collect();
        let link = parts.iter().enumerate().find_map(|(index, part)| {
            let parent = at.clone();
            at = parent.join(part);
            let Node::Leaf(leaf) = tree.get(&at)? else { return None };
            let LeafKind::Symlink(target) = &leaf.kind else { return None };
            let begin = if target.starts_with('/') { String::new() } else { parent.relative().to_owned() };
            Some(format!("{begin}/{target}/{}", parts[index + 1..].join("/")))
        });
        let Some(next) = link else { return Some(path) };
        path = normal(&next)?;
    }
    None
}

/// A path without `.` and `..`. None where it climbs out of the tree.
fn normal(text: &str) -> Option<TreePath> {
    let mut path = TreePath::root();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => path = path.split_last()?.0,
            part => path = path.join(part),
        }
    }
    Some(path)
}

/// The files of depmod, and what it reads beside modules.
fn index_files(folder: &Directory) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for (name, node) in folder.children.iter().filter(|(name, _)| name.starts_with("modules.")) {
        if let Node::Leaf(leaf) = node
            && let LeafKind::File(content) = &leaf.kind
        {
            files.insert(name.clone(), content.bytes()?);
        }
    }
    Ok(files)
}
