//! A Debian system that other programs made: mmdebstrap (apt, dpkg, dracut) a root as a tar, umoci a container image of it. What the
//! builder makes from them is compared with what these programs put in.
//!
//! Its packages are those of the reference recipe with SELinux, as the builder locks them, so that it is made only once. The image has
//! three layers: the root; changes, which umoci finds by itself; an opaque folder.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::digest::Digest;
use basalt::lock::{self, LockedPackage};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::getuid;

use crate::{Basalt, Scratch, repository, run, shared_cache};

/// What brings SELinux to Debian, and reads labels.
const POLICY: (&str, &str) = ("packages = [", r#"packages = ["selinux-policy-default", "selinux-utils", "policycoreutils", "#);

/// What of the reference recipe is left out: Python takes time to unpack, and shows nothing here.
const LEFT_OUT: [&str; 2] = [", \"tuned\"", "[tuned]\nactive = \"basalt-node\"\n"];

/// What a person runs at the end of mmdebstrap for a root that OSTree can boot. `$1`: the root.
const HOOK: &str = r#"#!/bin/sh
set -e
mkdir -p "$1/usr/lib/ostree"
printf '[sysroot]\nreadonly = true\n\n[composefs]\nenabled = no\n' > "$1/usr/lib/ostree/prepare-root.conf"
kernel=$(ls "$1/usr/lib/modules")
set -- "$1" --force --no-hostonly --add ostree --kver "$kernel" --compress "zstd -3 -T1 -q"
root=$1; shift
chroot "$root" dracut "$@" "/usr/lib/modules/$kernel/initramfs.img"
"#;

/// What the second layer changes, in the unpacked root.
const CHANGES: &str = r#"
printf 'of the second layer\n' > etc/motd
rm etc/issue.net
rm -r usr/share/pixmaps
chmod 600 etc/bash.bashrc
ln -sf ../lib/os-release usr/share/case-link
mkdir usr/share/case
printf 'new\n' > usr/share/case/Gruß
ln usr/bin/dash usr/bin/dash-again
"#;

/// Every path that the upper layers change, and how: `added`, `removed`, or what of it is another.
pub const CHANGED: [(&str, &str); 12] = [
    ("/etc/bash.bashrc", "mode"),
    ("/etc/issue.net", "removed"),
    ("/etc/motd", "size"),
    ("/usr/bin/dash-again", "added"),
    ("/usr/share/case", "added"),
    ("/usr/share/case/Gruß", "added"),
    ("/usr/share/case-link", "added"),
    ("/usr/share/menu/bash", "removed"),
    ("/usr/share/menu/dash", "removed"),
    ("/usr/share/menu/only", "added"),
    ("/usr/share/pixmaps", "removed"),
    ("/usr/share/pixmaps/debian-logo.png", "removed"),
];

/// The system. Nobody makes another in its place while this value lives.
#[derive(Debug)]
pub struct Foreign {
    /// The root as mmdebstrap wrote it.
    pub tar: PathBuf,
    /// An OCI folder: the tag `base` has the root, `changed` the two layers above it, too.
    pub image: PathBuf,
    /// What is installed in it.
    pub packages: Vec<LockedPackage>,
    _lock: Flock<File>,
}

/// The system, made now if its inputs are not those of the last one. It lies in the user's cache folder. The reference image need not be
/// there: both can be made at the same time.
pub fn foreign_base() -> Result<Foreign> {
    let (scratch, cache) = (Scratch::new()?, shared_cache());
    let recipe = scratch.copy(&repository().join("image-recipes"))?.join("gpu-node-stock.toml");
    let mut text = fs::read_to_string(&recipe)?;
    for (from, to) in LEFT_OUT.map(|part| (part, "")).into_iter().chain([POLICY]) {
        ensure!(text.contains(from), "the reference recipe has no {from:?} to change");
        text = text.replacen(from, to, 1);
    }
    fs::write(&recipe, text)?;
    Basalt::new(["lock"]).arg(&recipe).cache(&cache).run(&scratch)?.exits(0);
    let lock = lock::read(&recipe.with_extension("lock"))?.context("no lock was written")?;
    let packages: Vec<_> = lock.architecture.into_values().flat_map(|section| section.packages).collect();
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let folder = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).context("HOME is not set")?;
    let folder = folder.join("basalt-foreign");
    fs::create_dir_all(&folder)?;
    let lock = Flock::lock(File::create(folder.join("lock"))?, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let foreign = Foreign { tar: folder.join("root.tar"), image: folder.join("image"), packages, _lock: lock };
    let digests: Vec<_> = foreign.packages.iter().map(|package| package.sha256).collect();
    let key = Digest::of_value(&(HOOK, CHANGES, digests)).to_string();
    if fs::read_to_string(folder.join("made-from")).ok().as_ref() != Some(&key) {
        let _ = fs::remove_file(folder.join("made-from"));
        // So that the cache has all packages.
        Basalt::new(["vendor"]).arg(&recipe).arg(scratch.path().join("vendor")).cache(&cache).run(&scratch)?.exits(0);
        foreign.make(&cache)?;
        fs::write(folder.join("made-from"), key)?;
    }
    foreign._lock.relock(FlockArg::LockShared)?;
    Ok(foreign)
}

impl Foreign {
    fn make(&self, cache: &Path) -> Result<()> {
        if self.image.exists() {
            fs::remove_dir_all(&self.image)?;
        }
        let scratch = Scratch::new()?;
        self.make_root(cache, &scratch).context("mmdebstrap's root")?;
        self.make_image(&scratch).context("umoci's image")
    }

    /// A tar of all packages, from a repository of exactly these.
    fn make_root(&self, cache: &Path, scratch: &Scratch) -> Result<()> {
        let packages = scratch.folder("packages")?;
        for package in &self.packages {
            let to = packages.join(format!("{}.deb", package.name));
            fs::copy(cache.join("blobs").join(package.sha256.to_string()), &to)?;
            fs::set_permissions(to, fs::Permissions::from_mode(0o644))?;
        }
        let list = run(Command::new("apt-ftparchive").args(["packages", "."]).current_dir(&packages))?;
        fs::write(packages.join("Packages"), list)?;
        let hook = scratch.write("hook", HOOK)?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
        let names: Vec<_> = self.packages.iter().map(|package| package.name.as_str()).collect();
        let made = scratch.folder("made")?.join("root.tar");
        run(Command::new("mmdebstrap")
            // Debian's hook for kernels would run dracut for this machine.
            .env("INITRD", "No")
            .env("TMPDIR", scratch.folder("tmp")?)
            .args(["--quiet", "--mode=unshare", "--variant=essential", "--format=tar"])
            .arg(format!("--include={}", names.join(",")))
            .arg(format!("--customize-hook={}", hook.display()))
            .arg("")
            .arg(&made)
            .arg(format!("deb [trusted=yes] copy://{} ./", packages.display())))?;
        fs::copy(&made, &self.tar)?;
        Ok(())
    }

    fn make_image(&self, scratch: &Scratch) -> Result<()> {
        let at = |tag: &str| format!("{}:{tag}", self.image.display());
        // An ordinary user cannot give files to others: umoci notes the owners then.
        let rootless = (!getuid().is_root()).then_some("--rootless");
        run(Command::new("umoci").arg("init").arg("--layout").arg(&self.image))?;
        run(Command::new("umoci").args(["new", "--image", &at("base")]))?;
        run(Command::new("umoci").args(["raw", "add-layer", "--image", &at("base")]).arg(&self.tar))?;
        let bundle = scratch.path().join("bundle");
        run(Command::new("umoci").arg("unpack").args(rootless).args(["--image", &at("base")]).arg(&bundle))?;
        run(Command::new("sh").args(["-ec", CHANGES]).current_dir(bundle.join("rootfs")))?;
        run(Command::new("umoci").args(["repack", "--image", &at("changed")]).arg(&bundle))?;
        scratch.write("menu/only", "left alone\n")?;
        let menu = scratch.path().join("menu");
        let insert = ["insert", "--opaque", "--image", &at("changed")];
        run(Command::new("umoci").args(insert).args(rootless).arg(menu).arg("/usr/share/menu")).map(drop)
    }
}
