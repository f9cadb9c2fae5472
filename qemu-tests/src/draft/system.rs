//! A system as small as a base can be.

use super::Member;

/// The version of the kernel of [`system`].
pub const KERNEL: &str = "6.12.1-case";

/// The members of a system as small as a base can be. It does not boot: kernel and systemd are the beginnings of programs for amd64.
pub fn system() -> Vec<Member> {
    let folders = [
        "etc",
        "usr",
        "usr/bin",
        "usr/lib",
        "usr/lib/grub",
        "usr/lib/grub/x86_64-efi-signed",
        "usr/lib/modules",
        "usr/lib/shim",
        "usr/lib/systemd",
        "usr/share",
        "usr/share/case",
        "var",
        "var/lib",
    ];
    let mut members: Vec<_> = folders.iter().map(|name| Member::folder(&format!("{name}/"))).collect();
    members.push(Member::folder(&format!("usr/lib/modules/{KERNEL}/")));
    let files: [(&str, &[u8]); 7] = [
        ("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n"),
        ("etc/group", b"root:x:0:\n"),
        ("usr/lib/os-release", b"ID=case\nPRETTY_NAME=\"A case\"\n"),
        ("usr/lib/shim/shimx64.efi.signed", b"shim"),
        ("usr/lib/shim/mmx64.efi.signed", b"mm"),
        ("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", b"grub"),
        ("usr/share/case/file", b"lowest\n"),
    ];
    members.extend(files.map(|(name, bytes)| Member::file(name, bytes)));
    members.push(Member::file("usr/lib/systemd/systemd", elf()));
    members.push(Member::file(&format!("usr/lib/modules/{KERNEL}/vmlinuz"), efi(0x8664)));
    members.push(Member::file(&format!("usr/lib/modules/{KERNEL}/initramfs.img"), b"initramfs"));
    members.extend([("bin", "usr/bin"), ("lib", "usr/lib")].map(|(name, target)| Member::link(name, target)));
    members
}

/// The start of an EFI program for `machine`: 0x8664 is amd64, 0xaa64 arm64 (Microsoft's PE format).
pub fn efi(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 128];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[60] = 64;
    bytes[64..68].copy_from_slice(b"PE\0\0");
    bytes[68..70].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// The start of an ELF program for amd64.
fn elf() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18] = 62;
    bytes
}
