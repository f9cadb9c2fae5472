//! The boot filesystem: kernel and initramfs, libostree's boot entry, and GRUB's first menu where GRUB does not read the entry itself.
//! libostree rewrites all but the kernel's folder with each deployment.

use anyhow::Result;

use super::{Layout, date, grub, missing};
use crate::format::bls::Entry;
use crate::tree::{Node, Tree, TreePath};

const OS_RELEASE: &str = "/usr/lib/os-release";

/// The boot filesystem.
pub fn tree(layout: &Layout) -> Result<Tree> {
    let mut boot = layout.empty_tree();
    let version = &layout.kernel.version;
    let folder = format!("/ostree/{}-{}", layout.name(), layout.kernel.checksum);
    let linux = format!("{folder}/vmlinuz-{version}");
    let initrd = format!("{folder}/initramfs-{version}.img");
    for (path, (meta, content)) in [(&linux, &layout.kernel.vmlinuz), (&initrd, &layout.kernel.initramfs)] {
        boot.put_file(&TreePath::parse(path)?, meta.clone(), content.clone())?;
    }

    let title = title(layout)?;
    let args = layout.args();
    let deployment = layout.deployment()?;
    let mut entry = Entry::new();
    entry.push("title", &title)?;
    entry.push("version", "1")?;
    entry.push("options", args.join(" "))?;
    entry.push("linux", &linux)?;
    entry.push("initrd", &initrd)?;
    // For Android's boot loader; libostree writes them everywhere.
    entry.push("aboot", format!("{deployment}/usr/lib/ostree-boot/aboot.img"))?;
    entry.push("abootcfg", format!("{deployment}/usr/lib/ostree-boot/aboot.cfg"))?;
    boot.put(&TreePath::parse("/loader.1/entries/ostree-1.conf")?, layout.text(entry.to_string()))?;
    // An absolute path below /boot means the same whether the filesystem is mounted there or read by the boot loader.
    for (path, target) in [("/boot", "."), ("/loader", "loader.1")] {
        boot.put(&TreePath::parse(path)?, Node::symlink(target))?;
    }
    match &layout.bootupd {
        Some(bootupd) => bootupd.put(&mut boot, &args, layout.time())?,
        None => {
            boot.put(&TreePath::parse("/loader.1/grub.cfg")?, layout.text(grub::menu(&title, &linux, &initrd, &args)))?;
            boot.put(&TreePath::parse("/grub/grub.cfg")?, Node::symlink("../loader/grub.cfg"))?;
        }
    }
    boot.make_directory(&TreePath::parse("/efi")?)?;
    layout.label(&mut boot, "/boot", &|path| Some(path.to_owned()))?;
    date(&mut boot.root, layout.time());
    Ok(boot)
}

/// As libostree makes it: the system's name, the commit's version, which deployment.
fn title(layout: &Layout) -> Result<String> {
    let content = layout.tree.file(&TreePath::parse(OS_RELEASE)?).ok_or_else(|| missing(OS_RELEASE, "base-files"))?;
    let text = String::from_utf8_lossy(&content.bytes()?).into_owned();
    let name = value(&text, "PRETTY_NAME")
        .or_else(|| value(&text, "ID"))
        .ok_or_else(|| missing("PRETTY_NAME in os-release", "base-files"))?;
    let version = &layout.commit.info.image.version;
    Ok(if name.contains(version.as_str()) { format!("{name} (ostree:0)") } else { format!("{name} {version} (ostree:0)") })
}

/// A value of os-release(5), without its quotes.
pub fn value(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?.trim();
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value);
    let mut text = String::new();
    let mut escaped = false;
    for c in inner.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(c);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_os_release() {
        let text = "ID=debian\nPRETTY_NAME=\"Debian \\\"13\\\"\"\nNAME='x y'\nIDX=no\n";
        assert_eq!(value(text, "PRETTY_NAME").unwrap(), "Debian \"13\"");
        assert_eq!(value(text, "ID").unwrap(), "debian");
        assert_eq!(value(text, "NAME").unwrap(), "x y");
        assert_eq!(value(text, "VERSION"), None);
    }
}
