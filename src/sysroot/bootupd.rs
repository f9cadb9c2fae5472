//! A tree that is made for bootupd: it brings what belongs on the EFI system partition, and a GRUB that reads boot entries itself
//! (`blscfg`). bootupd would install both on a running machine; here is what its `backend install --with-static-configs` writes.
//!
//! Whether a tree is one is seen by what it has, not by whose it is. The files are the tree's own: nothing is made up. What bootupd
//! remembers of its own installations (`/boot/bootupd-state.json`) is not written: it takes the loader for another's and leaves it.
//!
//! ```text
//! /usr/lib/bootupd/updates/EFI/{BOOT, fedora}              older: all of it as it goes to the partition
//! /usr/lib/efi/{shim, grub2}/VERSION/EFI/{BOOT, fedora}    newer: one folder a package, beside updates/EFI.json
//! /usr/lib/bootupd/grub2-static/{grub-static-pre.cfg, configs.d/*.cfg, grub-static-post.cfg, grub-static-efi.cfg}
//! ```

use anyhow::Result;

use super::grub;
use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::tree::{Content, Directory, LeafKind, Meta, Node, Tree, TreePath};

const UPDATES: &str = "/usr/lib/bootupd/updates";
const COMPONENTS: &str = "/usr/lib/efi";
const STATIC: &str = "/usr/lib/bootupd/grub2-static";
/// An empty environment block: a first line, and `#` up to 1024 bytes.
const ENVIRONMENT: &str = "# GRUB Environment Block\n";
const ENVIRONMENT_BYTES: usize = 1024;

/// What such a tree has.
#[derive(Debug)]
pub struct Bootupd<'a> {
    tree: &'a Tree,
    /// Each is a folder `EFI`. A later one wins.
    folders: Vec<&'a Directory>,
    /// The folder in `EFI` of whoever signed shim and GRUB: `fedora`.
    vendor: String,
}

impl<'a> Bootupd<'a> {
    /// What `tree` brings for bootupd; none when it is not made for it.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: what it brings does not boot `architecture`.
    pub fn of(tree: &'a Tree, architecture: Architecture) -> Result<Option<Self>> {
        let Some(updates) = tree.directory(&TreePath::parse(UPDATES)?) else { return Ok(None) };
        let mut folders = components(tree)?;
        if folders.is_empty() {
            folders.extend(folder(updates, "EFI"));
        }
        if folders.is_empty() {
            return Ok(None);
        }
        let (loader, shim) = match architecture {
            Architecture::Amd64 => ("BOOTX64.EFI", "shimx64.efi"),
            Architecture::Arm64 => ("BOOTAA64.EFI", "shimaa64.efi"),
        };
        let has = |name: &str| folders.iter().any(|efi| folder(efi, "BOOT").is_some_and(|boot| boot.children.contains_key(name)));
        if !has(loader) {
            let what = format!("{UPDATES} is there, and no EFI/BOOT/{loader}: firmware on {architecture} looks for that");
            return Err(wrong(what).into());
        }
        let vendors = folders.iter().flat_map(|efi| &efi.children).filter(|(name, node)| match node {
            Node::Directory(inside) => *name != "BOOT" && inside.children.contains_key(shim),
            Node::Leaf(_) => false,
        });
        let mut vendors: Vec<&String> = vendors.map(|(name, _)| name).collect();
        vendors.dedup();
        let [vendor] = vendors[..] else {
            return Err(wrong(format!("needed {shim} in one folder of EFI, found it in {}: {vendors:?}", vendors.len())).into());
        };
        let vendor = vendor.clone();
        Ok(Some(Self { tree, folders, vendor }))
    }

    /// The EFI system partition's files, all with the image's time.
    pub fn esp(&self, time: i64) -> Result<Tree> {
        let meta = Meta { mtime: time, ..Meta::root(0o755) };
        let mut esp = Tree { root: Directory::new(meta.clone()) };
        let top = TreePath::parse("/EFI")?;
        for folder in &self.folders {
            for (path, node) in folder.walk(top.clone()) {
                match content(node)? {
                    Some(content) => drop(esp.put_file(&path, meta.clone(), content.clone())?),
                    None => drop(esp.make_directory(&path)?),
                }
            }
        }
        let config = self.own("grub-static-efi.cfg")?.clone();
        esp.put_file(&top.join(&self.vendor).join("grub.cfg"), meta, config)?;
        super::date(&mut esp.root, time);
        Ok(esp)
    }

    /// Puts GRUB's configuration into the boot filesystem, readable by root only, as bootupd has it: it may have a password in it.
    pub fn put(&self, boot: &mut Tree, args: &[String], time: i64) -> Result<()> {
        let grub = TreePath::parse("/grub2")?;
        let meta = |mode| Meta { mtime: time, ..Meta::root(mode) };
        boot.put(&grub, Node::Directory(Directory::new(meta(0o700))))?;
        let environment = format!("{ENVIRONMENT:#<ENVIRONMENT_BYTES$}");
        let files = [("grub.cfg", Some(self.menu()?)), ("grubenv", Some(environment)), ("console.cfg", grub::console(args))];
        for (name, text) in files {
            let Some(text) = text else { continue };
            boot.put_file(&grub.join(name), meta(0o600), Content::from_bytes(text.into_bytes()))?;
        }
        Ok(())
    }

    /// The static configuration, put together as bootupd does.
    fn menu(&self) -> Result<String> {
        let text = |content: &Content| anyhow::Ok(String::from_utf8_lossy(&content.bytes()?).into_owned());
        let mut menu = String::from("# bootupd's static configuration, of the image\n\n");
        menu.push_str(&text(self.own("grub-static-pre.cfg")?)?);
        let folder = TreePath::parse(STATIC)?.join("configs.d");
        let names = self.tree.directory(&folder).into_iter().flat_map(|folder| folder.children.keys());
        for name in names.filter(|name| name.ends_with(".cfg")) {
            let Some(content) = self.tree.file(&folder.join(name)) else { continue };
            menu.push_str(&format!("\n### BEGIN {name} ###\n{}### END {name} ###\n", text(content)?));
        }
        // Older ones have `blscfg` here instead of in a file of its own.
        if let Some(content) = self.tree.file(&TreePath::parse(STATIC)?.join("grub-static-post.cfg")) {
            menu.push_str(&text(content)?);
        }
        Ok(menu)
    }

    /// A file of the static configuration.
    fn own(&self, name: &str) -> Result<&'a Content> {
        let path = TreePath::parse(STATIC)?.join(name);
        Ok(self.tree.file(&path).ok_or_else(|| wrong(format!("{UPDATES} is there, and {path} is missing")))?)
    }
}

/// The content of a file; none for a folder.
fn content(node: &Node) -> Result<Option<&Content>, Failure> {
    match node {
        Node::Directory(_) => Ok(None),
        Node::Leaf(leaf) => match &leaf.kind {
            LeafKind::File(content) => Ok(Some(content)),
            LeafKind::Symlink(target) => {
                Err(wrong(format!("the EFI system partition cannot have a link, and one to {target} was found")))
            }
        },
    }
}

/// The folders `EFI` of the newer layout, by package and version.
fn components(tree: &Tree) -> Result<Vec<&Directory>> {
    let packages = tree.directory(&TreePath::parse(COMPONENTS)?).into_iter().flat_map(inner);
    Ok(packages.flat_map(inner).filter_map(|version| folder(version, "EFI")).collect())
}

fn inner(directory: &Directory) -> impl Iterator<Item = &Directory> {
    directory.children.values().filter_map(|node| match node {
        Node::Directory(inner) => Some(inner),
        Node::Leaf(_) => None,
    })
}

fn folder<'a>(directory: &'a Directory, name: &str) -> Option<&'a Directory> {
    match directory.children.get(name)? {
        Node::Directory(inner) => Some(inner),
        Node::Leaf(_) => None,
    }
}

fn wrong(what: String) -> Failure {
    Failure::new(Kind::Invalid, what).hint(
        "a base made for bootupd has shim, GRUB and its static configuration of GRUB; without /usr/lib/bootupd/updates, Debian's are used",
    )
}
