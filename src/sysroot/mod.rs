//! What stands on a disk, derived from a commit: three named trees, kernel, initramfs and arguments. Renderers take only this.
//!
//! Pure: the layout that `ostree admin init-fs`, `os-init` and `deploy` of libostree 2025.2 make, without running them, so that the
//! node's own libostree accepts it, deploys beside it and prunes it. As there, the first deployment has boot version 1.
//!
//! What boots is what the tree has: [`bootupd`]'s folder for the ESP with a GRUB that reads boot entries itself, or Debian's shim and
//! GRUB, as here. Where the tree has an SELinux policy, everything around the deployment gets its label, too.
//!
//! ```text
//! esp   EFI/BOOT/{BOOTX64.EFI (shim), grubx64.efi, mmx64.efi}  EFI/debian/grub.cfg
//! boot  loader -> loader.1  loader.1/{entries/ostree-1.conf, grub.cfg}  grub/grub.cfg -> ../loader/grub.cfg
//!       ostree/NAME-BOOTCSUM/{vmlinuz-VERSION, initramfs-VERSION.img}
//! root  boot/  ostree/repo  ostree/deploy/NAME/{deploy/COMMIT.0, var}  ostree/boot.1 -> boot.1.1
//! ```

mod boot;
mod bootupd;
mod deployment;
mod esp;
mod grub;
mod limit;
mod repository;

#[cfg(test)]
mod tests;

pub use boot::value as os_release;

use anyhow::Result;

use self::bootupd::Bootupd;
use crate::architecture::Architecture;
use crate::commit::{self, Commit, Labels};
use crate::digest::{Digest, Hasher};
use crate::failure::{Failure, Kind};
use crate::plan::Trust;
use crate::tree::{Content, Directory, Meta, Node, Tree, TreePath};

/// How the filesystems are found, everywhere: the root filesystem's label.
pub const ROOT_LABEL: &str = "root";
/// The boot filesystem's label.
pub const BOOT_LABEL: &str = "boot";
/// The label of the EFI system partition.
pub const ESP_LABEL: &str = "EFI-SYSTEM";

/// What the commit does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Kernel arguments, in order, after `root=` and `rw`, before `ostree=`.
    pub kernel_args: Vec<String>,
    /// Where the node looks for updates: an image in a registry. None: the commit's own branch.
    pub update: Option<String>,
    /// Whose signatures the node demands; with a key for commits the repository has room for the signature of its own.
    pub trust: Option<Trust>,
}

/// A layer of an image in a registry whose objects are on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLayer {
    /// Digest of the compressed layer: what an image's manifest names it by.
    pub sha256: Digest,
    /// The objects of its files and links.
    pub objects: Vec<Digest>,
}

/// All that a renderer needs.
#[derive(Clone, Debug)]
pub struct Sysroot {
    /// Name of the image, and of its stateroot.
    pub name: String,
    /// What it runs on.
    pub architecture: Architecture,
    /// The image's time: that of everything which has no other.
    pub time: i64,
    /// The EFI system partition, labelled [`ESP_LABEL`].
    pub esp: Tree,
    /// The boot filesystem, labelled [`BOOT_LABEL`].
    pub boot: Tree,
    /// The root filesystem, labelled [`ROOT_LABEL`].
    pub root: Tree,
    /// The kernel.
    pub kernel: Content,
    /// What is unpacked into the first root, in this order.
    pub initramfs: Vec<Content>,
    /// Every kernel argument.
    pub args: Vec<String>,
}

/// What all parts of the layout need to know.
struct Layout<'a> {
    commit: &'a Commit,
    tree: &'a Tree,
    options: &'a Options,
    kernel: &'a Kernel,
    /// When the tree is made for it.
    bootupd: Option<Bootupd<'a>>,
    /// When the tree has an SELinux policy.
    labels: Option<Labels>,
}

/// The kernel of a tree and its initramfs, with the owners and modes that they have in the commit.
#[derive(Clone, Debug)]
pub struct Kernel {
    version: String,
    vmlinuz: (Meta, Content),
    initramfs: (Meta, Content),
    /// What libostree names its folder by: the digest of both, one after the other.
    checksum: Digest,
}

/// Lays out the filesystems of a node on which `commit`, whose tree is `tree` with `kernel` in it, is the only deployment. `held` is asked
/// late which layers the node need not pull, because it was installed with what is in them.
///
/// # Errors
/// [`Kind::Invalid`]: something that a bootable system needs is missing from the tree; the error names the Debian package. An initramfs that
/// GRUB could not load.
pub fn stage(
    commit: &Commit,
    tree: &Tree,
    kernel: &Kernel,
    options: &Options,
    held: impl FnOnce() -> Vec<HeldLayer>,
) -> Result<Sysroot> {
    limit::check(&kernel.initramfs.1)?;
    let image = &commit.info.image;
    let bootupd = Bootupd::of(tree, image.architecture)?;
    let layout = Layout { commit, tree, options, kernel, bootupd, labels: Labels::of(tree)? };
    let esp = match &layout.bootupd {
        Some(bootupd) => bootupd.esp(image.time)?,
        None => esp::tree(tree, image.architecture, image.time)?,
    };
    Ok(Sysroot {
        name: image.name.clone(),
        architecture: image.architecture,
        time: image.time,
        esp,
        boot: boot::tree(&layout)?,
        root: root(&layout, held)?,
        args: layout.args(),
        kernel: kernel.vmlinuz.1.clone(),
        initramfs: vec![kernel.initramfs.1.clone()],
    })
}

fn root(layout: &Layout, held: impl FnOnce() -> Vec<HeldLayer>) -> Result<Tree> {
    let checkout = deployment::check_out(layout)?;
    let mut root = layout.empty_tree();
    root.make_directory(&TreePath::parse("/boot")?)?;
    deployment::put_surroundings(&mut root, layout)?;
    repository::put(&mut root, layout, &checkout.objects, &held())?;
    layout.label(&mut root, "/", &|path| seen_as(layout.name(), path))?;
    date(&mut root.root, layout.time());
    // Last: its folders keep time 0, as its files do.
    root.put(&layout.deployment()?, Node::Directory(checkout.deployed))?;
    Ok(root)
}

/// Under which path something of the root filesystem is labelled. `/ostree` is like `/usr`, which most of it becomes; objects have the
/// labels of the files that they are.
fn seen_as(name: &str, path: &str) -> Option<String> {
    if !path.starts_with("/ostree") {
        return Some(path.to_owned());
    }
    if path.ends_with(".file") {
        return None;
    }
    if path.ends_with(".origin") {
        // As libostree has it.
        return Some("/etc/ostree/remotes.d/dummy.conf".to_owned());
    }
    Some(match path.strip_prefix(&format!("/ostree/deploy/{name}/var")) {
        Some(below) => format!("/var{below}"),
        None => format!("/usr{path}"),
    })
}

/// Gives every folder the image's time.
fn date(directory: &mut Directory, time: i64) {
    directory.meta.mtime = time;
    for node in directory.children.values_mut() {
        if let Node::Directory(inner) = node {
            date(inner, time);
        }
    }
}

impl Layout<'_> {
    fn name(&self) -> &str {
        &self.commit.info.image.name
    }

    fn time(&self) -> i64 {
        self.commit.info.image.time
    }

    /// Owner, mode and time of what libostree would make on the node.
    fn meta(&self, mode: u16) -> Meta {
        Meta { mtime: self.time(), ..Meta::root(mode) }
    }

    fn empty_tree(&self) -> Tree {
        Tree { root: Directory::new(self.meta(0o755)) }
    }

    /// Labels `tree`, which is mounted at `at`: see [`Labels::put`]. ext4's `lost+found` needs a label, too.
    fn label(&self, tree: &mut Tree, at: &str, seen: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        if let Some(labels) = &self.labels {
            tree.put(&TreePath::parse("/lost+found")?, Node::Directory(Directory::new(self.meta(0o700))))?;
            labels.put(&mut tree.root, at, seen);
        }
        Ok(())
    }

    fn text(&self, text: impl Into<String>) -> Node {
        Node::file(self.meta(0o644), Content::from_bytes(text.into().into_bytes()))
    }

    /// The stateroot's folder on the root filesystem.
    fn stateroot(&self) -> Result<TreePath> {
        Ok(TreePath::parse(&format!("/ostree/deploy/{}", self.name()))?)
    }

    /// The deployment's folder on the root filesystem.
    fn deployment(&self) -> Result<TreePath> {
        Ok(self.stateroot()?.join("deploy").join(&self.deployment_name()))
    }

    fn deployment_name(&self) -> String {
        format!("{}.0", self.commit.checksum)
    }

    /// Every kernel argument.
    fn args(&self) -> Vec<String> {
        let ours = [format!("root=LABEL={ROOT_LABEL}"), "rw".to_owned()];
        let ostree = format!("ostree=/ostree/boot.1/{}/{}/0", self.name(), self.kernel.checksum);
        ours.into_iter().chain(self.options.kernel_args.iter().cloned()).chain([ostree]).collect()
    }
}

/// Finds the kernel of `tree`. Its checksum takes a while: `remember` is given a digest that decides it, and what computes it.
///
/// # Errors
/// [`Kind::Invalid`]: kernel or initramfs is missing; the error names the Debian package.
pub fn kernel(tree: &Tree, remember: impl FnOnce(&Digest, &dyn Fn() -> Result<Digest>) -> Result<Digest>) -> Result<Kernel> {
    let folder = TreePath::parse("/usr/lib/modules")?;
    let version = commit::kernel_version(tree)
        .ok_or_else(|| missing("/usr/lib/modules/<version>/vmlinuz", "linux-image-amd64"))?
        .to_owned();
    let file = |name: &str| {
        let path = folder.join(&version).join(name);
        let meta = tree.get(&path).map(|node| Meta { mtime: 0, ..node.meta().clone() });
        match (meta, tree.file(&path)) {
            (Some(meta), Some(content)) => Ok((meta, content.clone())),
            _ => Err(missing(&path.to_string(), "dracut")),
        }
    };
    let (vmlinuz, initramfs) = (file("vmlinuz")?, file("initramfs.img")?);
    let contents = [&vmlinuz.1, &initramfs.1];
    let checksum = || {
        let mut hasher = Hasher::new();
        for content in contents {
            std::io::copy(&mut content.reader(), &mut hasher)?;
        }
        Ok(hasher.finish())
    };
    let checksum = remember(&Digest::of_value(&contents.map(Content::digest)), &checksum)?;
    Ok(Kernel { version, vmlinuz, initramfs, checksum })
}

fn missing(path: &str, package: &str) -> Failure {
    Failure::new(Kind::Invalid, format!("{path} is missing from the image: it cannot boot"))
        .hint(format!("add {package} to the recipe's packages"))
}
