//! From a commit to what stands on a disk: the trees of the EFI system partition, the boot and the root filesystem.
//!
//! Pure: trees in, named trees out. The layout is that of `ostree admin init-fs --modern`, `os-init` and `deploy` of libostree
//! 2025.2, made natively, so that no program of the host decides a byte; the node's own libostree goes on from there: it lists the
//! deployment, adds others, rewrites the boot menu.
//!
//! Architecture invariant: a renderer (disk, later ISO, PXE, BFB) gets a [`Sysroot`] and nothing of recipe or plan.

mod boot;
mod esp;
mod root;

use anyhow::Result;

use crate::architecture::Architecture;
use crate::commit::Commit;
use crate::digest::{Digest, Hasher};
use crate::failure::{Failure, Kind};
use crate::tree::{Content, LeafKind, Node, Tree, TreePath};

/// Label of the boot filesystem. GRUB and `/etc/fstab` find it by this.
pub const BOOT_LABEL: &str = "boot";
/// Label of the root filesystem: `root=LABEL=root`.
pub const ROOT_LABEL: &str = "root";
/// Label of the EFI system partition.
pub const ESP_LABEL: &str = "EFI-SYSTEM";

/// What stands on a disk, and how it is started: all that a renderer gets.
#[derive(Clone, Debug)]
pub struct Sysroot {
    /// The EFI system partition.
    pub esp: Tree,
    /// The boot filesystem, mounted at `/boot`.
    pub boot: Tree,
    /// The root filesystem: OSTree's repository and deployment.
    pub root: Tree,
    /// The kernel.
    pub kernel: Content,
    /// Parts of the initramfs, to be loaded one after the other.
    pub initramfs: Vec<Content>,
    /// The kernel's arguments, all of them.
    pub args: Vec<String>,
    /// What it runs on.
    pub architecture: Architecture,
    /// The commit that it deploys.
    pub commit: Digest,
}

/// What a sysroot needs to know that is not in the commit.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kernel arguments of the recipe, in order.
    pub kernel_args: Vec<String>,
    /// Where the node looks for updates: an image reference. None: the branch of the commit.
    pub update: Option<String>,
}

/// The kernel of a deployment, and OSTree's name for the pair of kernel and initramfs.
struct Bootable {
    version: String,
    kernel: Content,
    initramfs: Content,
    checksum: Digest,
}

/// Lays out the sysroot that has `commit`, whose tree is `tree`, as its only deployment.
///
/// # Errors
/// [`Kind::Invalid`] when the tree has no boot loader: shim or GRUB.
pub fn stage(commit: &Commit, tree: &Tree, options: &Options) -> Result<Sysroot> {
    let image = &commit.info.image;
    let bootable = bootable(tree)?;
    let mut args = vec![format!("root=LABEL={ROOT_LABEL}"), "rw".to_owned()];
    args.extend(options.kernel_args.iter().cloned());
    args.push(format!("ostree={}", root::boot_link(&image.name, &bootable.checksum)));
    Ok(Sysroot {
        esp: esp::tree(tree, image.architecture, image.time)?,
        boot: boot::tree(tree, &image.name, &bootable, &args, image.time)?,
        root: root::tree(commit, tree, &bootable.checksum, options.update.as_deref())?,
        kernel: bootable.kernel,
        initramfs: vec![bootable.initramfs],
        args,
        architecture: image.architecture,
        commit: commit.checksum,
    })
}

/// Finds the one kernel; libostree's checksum of the pair is that of the kernel's bytes followed by the initramfs's.
fn bootable(tree: &Tree) -> Result<Bootable> {
    let modules = TreePath::parse("/usr/lib/modules")?;
    let has_kernel = |node: &Node| matches!(node, Node::Directory(inner) if inner.children.contains_key("vmlinuz"));
    let found = tree.directory(&modules).and_then(|directory| directory.children.iter().find(|(_, node)| has_kernel(node)));
    let Some((version, _)) = found else {
        return Err(Failure::new(Kind::Invalid, format!("{modules}/<version>/vmlinuz is missing: nothing to boot")).into());
    };
    let kernel = needed(tree, &format!("{modules}/{version}/vmlinuz"), "linux-image-amd64")?;
    let initramfs = needed(tree, &format!("{modules}/{version}/initramfs.img"), "dracut")?;
    let mut hasher = Hasher::new();
    std::io::copy(&mut kernel.reader(), &mut hasher)?;
    std::io::copy(&mut initramfs.reader(), &mut hasher)?;
    Ok(Bootable { version: version.clone(), kernel, initramfs, checksum: hasher.finish() })
}

/// A file of the tree that an image cannot do without; symbolic links within the tree's folder are followed once.
fn needed(tree: &Tree, path: &str, package: &str) -> Result<Content> {
    let path = TreePath::parse(path)?;
    let missing = || {
        Failure::new(Kind::Invalid, format!("{path} is missing: the image could not boot"))
            .hint(format!("add {package} to the packages of the recipe's base"))
    };
    if let Some(content) = tree.file(&path) {
        return Ok(content.clone());
    }
    let Some(Node::Leaf(leaf)) = tree.get(&path) else { return Err(missing().into()) };
    let (LeafKind::Symlink(target), Some((folder, _))) = (&leaf.kind, path.split_last()) else { return Err(missing().into()) };
    let target = if target.starts_with('/') { TreePath::parse(target)? } else { TreePath::parse(&format!("{folder}/{target}"))? };
    Ok(tree.file(&target).ok_or_else(missing)?.clone())
}
