//! The EFI system partition: shim, GRUB, and a stub that finds the real menu by the boot filesystem's label.
//!
//! Debian signs GRUB with the built-in prefix `/EFI/debian`: there it looks for its first configuration, also when it was started
//! from the removable path `/EFI/BOOT`, which needs no entry in the firmware.

use anyhow::Result;

use super::{BOOT_LABEL, needed};
use crate::architecture::Architecture;
use crate::tree::{Content, Meta, Tree, TreePath};

/// File in the image, its package, and its name in `/EFI/BOOT`.
type Program = (&'static str, &'static str, &'static str);

const AMD64: [Program; 3] = [
    ("/usr/lib/shim/shimx64.efi.signed", "shim-signed", "BOOTX64.EFI"),
    ("/usr/lib/shim/mmx64.efi.signed", "shim-helpers-amd64-signed", "mmx64.efi"),
    ("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed", "grubx64.efi"),
];

const ARM64: [Program; 3] = [
    ("/usr/lib/shim/shimaa64.efi.signed", "shim-signed", "BOOTAA64.EFI"),
    ("/usr/lib/shim/mmaa64.efi.signed", "shim-helpers-arm64-signed", "mmaa64.efi"),
    ("/usr/lib/grub/arm64-efi-signed/grubaa64.efi.signed", "grub-efi-arm64-signed", "grubaa64.efi"),
];

/// The partition's tree.
pub(super) fn tree(image: &Tree, architecture: Architecture, time: i64) -> Result<Tree> {
    let programs = match architecture {
        Architecture::Amd64 => AMD64,
        Architecture::Arm64 => ARM64,
    };
    let mut esp = Tree::new();
    let meta = Meta { mtime: time, ..Meta::root(0o755) };
    for (path, package, name) in programs {
        let content = needed(image, path, package)?;
        esp.put_file(&TreePath::parse("/EFI/BOOT")?.join(name), meta.clone(), content)?;
    }
    let stub = format!(
        "search --no-floppy --label {BOOT_LABEL} --set=root\nset prefix=($root)/grub\nconfigfile ($root)/grub/grub.cfg\n"
    );
    esp.put_file(&TreePath::parse("/EFI/debian/grub.cfg")?, meta, Content::from_bytes(stub.into_bytes()))?;
    super::root::set_times(&mut esp.root, time);
    Ok(esp)
}
