//! The EFI system partition: the signed shim and GRUB of the image itself, where firmware looks on a disk it does not know.

use anyhow::Result;

use super::{grub, missing};
use crate::architecture::Architecture;
use crate::tree::{Content, Meta, Tree, TreePath};

/// A file of the partition, where the image has it, and the Debian package that brings it.
type Source = (&'static str, &'static str, &'static str);

const AMD64: [Source; 3] = [
    ("/EFI/BOOT/BOOTX64.EFI", "/usr/lib/shim/shimx64.efi.signed", "shim-signed"),
    ("/EFI/BOOT/mmx64.efi", "/usr/lib/shim/mmx64.efi.signed", "shim-helpers-amd64-signed"),
    ("/EFI/BOOT/grubx64.efi", "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed"),
];
const ARM64: [Source; 3] = [
    ("/EFI/BOOT/BOOTAA64.EFI", "/usr/lib/shim/shimaa64.efi.signed", "shim-signed"),
    ("/EFI/BOOT/mmaa64.efi", "/usr/lib/shim/mmaa64.efi.signed", "shim-helpers-arm64-signed"),
    ("/EFI/BOOT/grubaa64.efi", "/usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed", "grub-efi-arm64-signed"),
];

/// The partition's files, all with the image's time.
pub fn tree(tree: &Tree, architecture: Architecture, time: i64) -> Result<Tree> {
    let sources = match architecture {
        Architecture::Amd64 => AMD64,
        Architecture::Arm64 => ARM64,
    };
    let meta = Meta { mtime: time, ..Meta::root(0o755) };
    let mut esp = Tree::new();
    for (to, from, package) in sources {
        let content = tree.file(&TreePath::parse(from)?).ok_or_else(|| missing(from, package))?;
        esp.put_file(&TreePath::parse(to)?, meta.clone(), content.clone())?;
    }
    let stub = Content::from_bytes(grub::stub().into_bytes());
    esp.put_file(&TreePath::parse("/EFI/debian/grub.cfg")?, meta.clone(), stub)?;
    for folder in ["/EFI", "/EFI/BOOT", "/EFI/debian"] {
        esp.make_directory(&TreePath::parse(folder)?)?.meta.mtime = time;
    }
    esp.root.meta.mtime = time;
    Ok(esp)
}
