//! The one kernel of an image: where libostree looks for it, and that it runs on the right machine.

use anyhow::Result;

use super::assemble;
use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::layer::{Layer, agent, update_client};
use crate::tree::{Content, Node, Tree, TreePath};

const MODULES: &str = "/usr/lib/modules";
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Moves Debian's kernel, its configuration and its initramfs from `/boot` to `/usr/lib/modules/<version>`, where libostree looks.
/// `layers` are those that `tree` was merged from, for messages.
///
/// # Errors
/// [`Kind::Invalid`]: no kernel, several, none for `architecture`, or one without an initramfs; systemd or the agent for another one.
pub fn settle(tree: &mut Tree, architecture: Architecture, layers: &[Layer]) -> Result<()> {
    let version = only_version(tree, layers)?;
    let folder = TreePath::parse(MODULES)?.join(&version);
    for (there, here) in [("vmlinuz", "vmlinuz"), ("initrd.img", "initramfs.img"), ("config", "config")] {
        let from = TreePath::parse(&format!("/boot/{there}-{version}"))?;
        let to = folder.join(here);
        if tree.get(&to).is_none()
            && let Some(node) = tree.remove(&from)
        {
            tree.put(&to, node)?;
        }
    }
    for name in ["vmlinuz", "vmlinuz.old", "initrd.img", "initrd.img.old"] {
        tree.remove(&TreePath::root().join(name));
    }
    let initramfs = folder.join("initramfs.img");
    if tree.file(&initramfs).is_none() {
        return Err(Failure::new(Kind::Invalid, format!("{initramfs} is missing: kernel {version} has no initramfs"))
            .hint("the base needs dracut with its module `ostree`")
            .into());
    }
    check_architecture(tree, &folder.join("vmlinuz"), architecture, layers)
}

fn only_version(tree: &Tree, layers: &[Layer]) -> Result<String> {
    let mut versions: Vec<String> = Vec::new();
    if let Some(modules) = tree.directory(&TreePath::parse(MODULES)?) {
        let has_kernel = |node: &Node| matches!(node, Node::Directory(inner) if inner.children.contains_key("vmlinuz"));
        versions.extend(modules.children.iter().filter(|(_, node)| has_kernel(node)).map(|(name, _)| name.clone()));
    }
    if let Some(boot) = tree.directory(&TreePath::parse("/boot")?) {
        versions.extend(boot.children.keys().filter_map(|name| name.strip_prefix("vmlinuz-")).map(str::to_owned));
    }
    versions.sort();
    versions.dedup();
    match versions.as_slice() {
        [version] => Ok(version.clone()),
        [] => Err(Failure::new(Kind::Invalid, format!("no kernel: needed one {MODULES}/<version>/vmlinuz, found none"))
            .hint("add a kernel to the packages: linux-image-amd64")
            .into()),
        several => {
            let found: Vec<_> = several.iter().map(|version| (version, kernel_of(version, layers))).collect();
            let names = found.iter().map(|(version, from)| match from {
                Some((layer, _)) => format!("{version} of layer {}", layer.name),
                None => (*version).clone(),
            });
            let what = format!("needed one kernel, found {}: {}", several.len(), names.collect::<Vec<_>>().join(", "));
            let failure =
                Failure::new(Kind::Invalid, what).hint("leave all but one of them out of the recipe's packages and layers");
            // The upper ones are what a person added.
            let base = layers.first().map(|layer| layer.name.as_str());
            let added = found.iter().filter_map(|(_, from)| from.as_ref()).find(|(layer, _)| Some(layer.name.as_str()) != base);
            Err(match added {
                Some((layer, path)) => assemble::about(layer, path, failure),
                None => failure,
            }
            .into())
        }
    }
}

/// The layer that brings the kernel `version`, and where.
fn kernel_of<'a>(version: &str, layers: &'a [Layer]) -> Option<(&'a Layer, TreePath)> {
    let paths = [format!("{MODULES}/{version}/vmlinuz"), format!("/boot/vmlinuz-{version}")];
    let paths: Vec<_> = paths.iter().filter_map(|path| TreePath::parse(path).ok()).collect();
    layers.iter().rev().find_map(|layer| Some((layer, paths.iter().find(|path| layer.tree.get(path).is_some())?.clone())))
}

fn check_architecture(tree: &Tree, kernel: &TreePath, needed: Architecture, layers: &[Layer]) -> Result<()> {
    let about = |path: &TreePath, failure: Failure| match layers.iter().rev().find(|layer| layer.tree.get(path).is_some()) {
        Some(layer) => assemble::about(layer, path, failure),
        None => failure,
    };
    let wrong = |path: &TreePath, found: String| {
        let failure = Failure::new(Kind::Invalid, format!("{path}: needed a program for {needed}, found {found}"))
            .hint("take the base's packages and the layers' files from the architecture that the recipe names");
        about(path, failure)
    };
    let Some(content) = tree.file(kernel) else {
        let failure = Failure::new(Kind::Invalid, format!("{kernel}: needed the kernel, found no regular file"))
            .hint("leave out the layer that puts something else there");
        return Err(about(kernel, failure).into());
    };
    let found = pe_machine(content)?.ok_or_else(|| wrong(kernel, "no EFI program".into()))?;
    if found != pe_number(needed) {
        return Err(wrong(kernel, format!("EFI machine {found:#06x}")).into());
    }
    let systemd = TreePath::parse(SYSTEMD)?;
    if tree.file(&systemd).is_none() {
        return Err(Failure::new(Kind::Invalid, format!("{SYSTEMD} is missing: an image boots with systemd"))
            .hint("add systemd-sysv to the packages")
            .into());
    }
    for path in [systemd, TreePath::parse(agent::PATH)?, TreePath::parse(update_client::PATH)?] {
        let Some(content) = tree.file(&path) else { continue };
        match elf_machine(content)? {
            Some(found) if found == elf_number(needed) => {}
            Some(found) => return Err(wrong(&path, format!("ELF machine {found}")).into()),
            None => return Err(wrong(&path, "no ELF program".into()).into()),
        }
    }
    Ok(())
}

/// `Machine` of the COFF header (Microsoft's PE format).
const fn pe_number(architecture: Architecture) -> u16 {
    match architecture {
        Architecture::Amd64 => 0x8664,
        Architecture::Arm64 => 0xaa64,
    }
}

/// `e_machine` of the ELF header: EM_X86_64, EM_AARCH64.
const fn elf_number(architecture: Architecture) -> u16 {
    match architecture {
        Architecture::Amd64 => 62,
        Architecture::Arm64 => 183,
    }
}

fn pe_machine(content: &Content) -> std::io::Result<Option<u16>> {
    let mut start = [0; 64];
    if content.len() < 64 {
        return Ok(None);
    }
    content.read_exact_at(&mut start, 0)?;
    let offset = u64::from(u32::from_le_bytes([start[60], start[61], start[62], start[63]]));
    let mut header = [0; 6];
    if &start[..2] != b"MZ" || offset + 6 > content.len() {
        return Ok(None);
    }
    content.read_exact_at(&mut header, offset)?;
    Ok(header.strip_prefix(b"PE\0\0").map(|machine| u16::from_le_bytes([machine[0], machine[1]])))
}

fn elf_machine(content: &Content) -> std::io::Result<Option<u16>> {
    let mut header = [0; 20];
    if content.len() < 20 {
        return Ok(None);
    }
    content.read_exact_at(&mut header, 0)?;
    // Byte 5 says little endian, as both of our architectures are.
    let ours = &header[..4] == b"\x7fELF" && header[5] == 1;
    Ok(ours.then(|| u16::from_le_bytes([header[18], header[19]])))
}
