//! The one kernel of an image: where libostree looks for it, and that it runs on the right machine.

use anyhow::Result;

use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::tree::{Content, Node, Tree, TreePath};

const MODULES: &str = "/usr/lib/modules";
const SYSTEMD: &str = "/usr/lib/systemd/systemd";

/// Moves Debian's kernel, its configuration and its initramfs from `/boot` to `/usr/lib/modules/<version>`, where libostree looks.
///
/// # Errors
/// [`Kind::Invalid`]: no kernel, several, none for `architecture`, or one without an initramfs.
pub fn settle(tree: &mut Tree, architecture: Architecture) -> Result<()> {
    let version = only_version(tree)?;
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
    check_architecture(tree, &folder.join("vmlinuz"), architecture)
}

fn only_version(tree: &Tree) -> Result<String> {
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
            Err(Failure::new(Kind::Invalid, format!("needed one kernel, found {}: {}", several.len(), several.join(", ")))
                .hint("leave all but one of them out of the recipe's packages and layers")
                .into())
        }
    }
}

fn check_architecture(tree: &Tree, kernel: &TreePath, needed: Architecture) -> Result<()> {
    let wrong = |path: &TreePath, found: String| {
        Failure::new(Kind::Invalid, format!("{path}: needed a program for {needed}, found {found}"))
            .hint("take the base's packages and the layers' files from the architecture that the recipe names")
    };
    let Some(content) = tree.file(kernel) else {
        return Err(Failure::new(Kind::Invalid, format!("{kernel} is no regular file")).into());
    };
    let found = pe_machine(content)?.ok_or_else(|| wrong(kernel, "no EFI program".into()))?;
    if found != pe_number(needed) {
        return Err(wrong(kernel, format!("EFI machine {found:#06x}")).into());
    }
    let systemd = TreePath::parse(SYSTEMD)?;
    let Some(content) = tree.file(&systemd) else {
        return Err(Failure::new(Kind::Invalid, format!("{SYSTEMD} is missing: an image boots with systemd"))
            .hint("add systemd-sysv to the packages")
            .into());
    };
    match elf_machine(content)? {
        Some(found) if found == elf_number(needed) => Ok(()),
        Some(found) => Err(wrong(&systemd, format!("ELF machine {found}")).into()),
        None => Err(wrong(&systemd, "no ELF program".into()).into()),
    }
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
