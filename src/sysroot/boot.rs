//! The boot filesystem: kernel and initramfs, the boot loader entry, and the first menu.
//!
//! `/boot/grub/grub.cfg` is a link into the folder that libostree switches atomically; with each deployment its grub2 back end has
//! grub-mkconfig write a new menu there. The first menu is ours: one entry, as grub-mkconfig and 15_ostree would name it.

use anyhow::Result;

use super::{BOOT_LABEL, Bootable};
use crate::tree::{Content, Directory, Meta, Node, Tree, TreePath};

/// The filesystem's tree.
pub(super) fn tree(image: &Tree, name: &str, bootable: &Bootable, args: &[String], time: i64) -> Result<Tree> {
    let folder = format!("/ostree/{name}-{}", bootable.checksum);
    let kernel = format!("{folder}/vmlinuz-{}", bootable.version);
    let initramfs = format!("{folder}/initramfs-{}.img", bootable.version);
    let title = format!("{} (ostree:0)", pretty_name(image));
    let options = args.join(" ");
    let entry = format!("title {title}\nversion 1\noptions {options}\nlinux {kernel}\ninitrd {initramfs}\n");

    let mut boot = Tree::new();
    let mut put = |path: &str, content: Content| boot.put_file(&TreePath::parse(path)?, Meta::root(0o644), content).map_err(anyhow::Error::from);
    put(&kernel, bootable.kernel.clone())?;
    put(&initramfs, bootable.initramfs.clone())?;
    put("/loader.1/entries/ostree-1.conf", Content::from_bytes(entry.into_bytes()))?;
    put("/loader.1/grub.cfg", Content::from_bytes(menu(&title, &kernel, &options, &initramfs).into_bytes()))?;
    for (path, target) in [("/boot", "."), ("/loader", "loader.1"), ("/grub/grub.cfg", "../loader/grub.cfg")] {
        boot.put(&TreePath::parse(path)?, Node::symlink(target))?;
    }
    boot.put(&TreePath::parse("/efi")?, Node::Directory(Directory::new(Meta::root(0o755))))?;
    super::root::set_times(&mut boot.root, time);
    Ok(boot)
}

fn menu(title: &str, kernel: &str, options: &str, initramfs: &str) -> String {
    format!(
        "# The first menu. libostree writes a new one with each deployment.\n\
         set default=0\n\
         set timeout=1\n\
         serial --unit=0 --speed=115200\n\
         terminal_input console serial\n\
         terminal_output console serial\n\
         search --no-floppy --label {BOOT_LABEL} --set=root\n\
         menuentry '{}' --class gnu-linux --class os --unrestricted 'ostree-0' {{\n\
         \tlinux {kernel} {}\n\
         \tinitrd {initramfs}\n\
         }}\n",
        title.replace('\'', ""),
        options.split(' ').map(quoted).collect::<Vec<_>>().join(" "),
    )
}

/// An argument for GRUB's own script language, which gives meaning to these characters.
fn quoted(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "=.,:/_-+@%".contains(c);
    if arg.chars().all(plain) { arg.to_owned() } else { format!("'{}'", arg.replace('\'', "'\\''")) }
}

/// `PRETTY_NAME` of os-release, as libostree names a deployment.
fn pretty_name(image: &Tree) -> String {
    let text = TreePath::parse("/usr/lib/os-release").ok().and_then(|path| image.file(&path)).and_then(|content| content.bytes().ok());
    let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches(['"', '\'']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_cannot_become_a_command_of_grub() {
        for (arg, text) in [
            ("console=ttyS0,115200", "console=ttyS0,115200"),
            ("a=$b", "'a=$b'"),
            ("a=b;reboot", "'a=b;reboot'"),
            ("a='}", "'a='\\''}'"),
        ] {
            assert_eq!(quoted(arg), text);
        }
    }
}
