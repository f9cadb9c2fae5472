//! A mirror that moves on: what is locked stays, what vanished is named, an update is shown. The mirror is a folder of our own, with
//! the packages that the warm cache has, signed with a key of our own.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::lock::{self, LockedPackage};
use qemu_tests::{Warm, assert_whole};

/// An essential package, so that no recipe is without it.
const MOVES: &str = "hostname";

/// A mirror of one suite.
struct Mirror {
    folder: PathBuf,
    keys: PathBuf,
}

fn tool(program: &str, args: &[&str], folder: &Path, keys: &Path) -> Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env("GNUPGHOME", keys).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    let output = command.output().with_context(|| program.to_owned())?;
    ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

impl Mirror {
    /// With every package of `packages` from the cache of `warm`, and a new key.
    fn new(warm: &Warm, packages: &[LockedPackage]) -> Result<Self> {
        let mirror = Self { folder: warm.scratch.folder("mirror")?, keys: warm.scratch.folder("keys")? };
        fs::set_permissions(&mirror.keys, fs::Permissions::from_mode(0o700))?;
        for package in packages {
            let to = mirror.folder.join(&package.filename);
            fs::create_dir_all(to.parent().context("no folder")?)?;
            fs::copy(warm.cache.join("blobs").join(package.sha256.to_hex()), to)?;
        }
        let me = "Case <case@example.org>";
        mirror.run("gpg", &["--batch", "--quiet", "--passphrase", "", "--quick-gen-key", me, "ed25519", "sign", "never"])?;
        fs::write(mirror.keyring(warm), mirror.run("gpg", &["--batch", "--export"])?)?;
        mirror.publish()?;
        Ok(mirror)
    }

    fn keyring(&self, warm: &Warm) -> PathBuf {
        warm.scratch.path().join("archive.gpg")
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<Vec<u8>> {
        tool(program, args, &self.folder, &self.keys)
    }

    /// Lists and signs what lies there now.
    fn publish(&self) -> Result<()> {
        let list = self.folder.join("dists/trixie/main/binary-amd64");
        fs::create_dir_all(&list)?;
        fs::write(list.join("Packages"), self.run("apt-ftparchive", &["packages", "pool"])?)?;
        for old in ["Release", "InRelease"] {
            let _ = fs::remove_file(self.folder.join("dists/trixie").join(old));
        }
        let mut args = Vec::new();
        for setting in ["Suite=trixie", "Codename=trixie", "Components=main", "Architectures=amd64"] {
            args.push("-o".to_owned());
            args.push(format!("APT::FTPArchive::Release::{setting}"));
        }
        args.extend(["release".to_owned(), "dists/trixie".to_owned()]);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        fs::write(self.folder.join("dists/trixie/Release"), self.run("apt-ftparchive", &args)?)?;
        self.run("gpg", &["--batch", "--quiet", "--clearsign", "--output", "dists/trixie/InRelease", "dists/trixie/Release"])?;
        self.run("gpgconf", &["--kill", "all"])?;
        Ok(())
    }

    /// Replaces `package` by its next version; the old one is gone.
    fn move_on(&self, package: &LockedPackage) -> Result<String> {
        let old = self.folder.join(&package.filename);
        let (tree, next) = (self.keys.join("tree"), format!("{}.1", package.version));
        let text = |path: &Path| path.display().to_string();
        self.run("dpkg-deb", &["--raw-extract", &text(&old), &text(&tree)])?;
        let control = tree.join("DEBIAN/control");
        let changed =
            fs::read_to_string(&control)?.replace(&format!("\nVersion: {}\n", package.version), &format!("\nVersion: {next}\n"));
        fs::write(control, changed)?;
        let new = old.with_file_name(format!("{}_next_amd64.deb", package.name));
        self.run("dpkg-deb", &["--root-owner-group", "--build", &text(&tree), &text(&new)])?;
        fs::remove_file(old)?;
        self.publish()?;
        Ok(next)
    }
}

fn packages(lock: &Path) -> Result<Vec<LockedPackage>> {
    let lock = lock::read(lock)?.context("no lock")?;
    Ok(lock.architecture.into_values().flat_map(|section| section.packages).collect())
}

/// A recipe for the essential packages of `mirror` and `package`, with what they need.
fn small(warm: &Warm, mirror: &Mirror, package: &str) -> Result<PathBuf> {
    let mut text = format!("name = \"small\"\nversion = \"1\"\n[base]\nminimal = true\npackages = [\"{package}\"]\n");
    writeln!(text, "mirror = \"file://{}\"\nkeyring = \"archive.gpg\"", mirror.folder.display())?;
    warm.scratch.write("small.toml", text)
}

/// The base is really made, of the essential packages and one more.
#[test]
fn cli_a_base_without_a_kernel_is_refused_and_not_kept() -> Result<()> {
    let warm = Warm::new()?;
    let mirror = Mirror::new(&warm, &packages(&warm.recipe.with_extension("lock"))?)?;
    let recipe = small(&warm, &mirror, "adduser")?;
    for folder in ["base", "ostree", "oci-layer"] {
        fs::remove_dir_all(warm.cache.join(folder))?;
    }
    let ran = warm.basalt(["build", "--out", "out"]).arg(&recipe).run(&warm.scratch)?.exits(3);
    ran.says("basalt: the base has no kernel: there is no /boot/vmlinuz-*").says("next: add linux-image-amd64 to its packages");
    warm.assert_cache_has_only(&["blobs", "overlay"]);
    assert!(!warm.scratch.path().join("out").exists());
    Ok(())
}

#[test]
fn cli_a_lock_outlives_its_mirror() -> Result<()> {
    let warm = Warm::new()?;
    let all = packages(&warm.recipe.with_extension("lock"))?;
    let mirror = Mirror::new(&warm, &all)?;
    let recipe = small(&warm, &mirror, "hostname")?;
    let lock = recipe.with_extension("lock");
    warm.basalt(["lock"]).arg(&recipe).run(&warm.scratch)?.exits(0);
    let before = fs::read_to_string(&lock)?;
    let old = packages(&lock)?.into_iter().find(|package| package.name == MOVES).context(MOVES)?;

    let next = mirror.move_on(&old)?;
    // What is locked stays: from the cache it can still be taken, and nothing looks for another.
    let plan = warm.basalt(["plan", "--json"]).arg(&recipe).run(&warm.scratch)?.exits(0).stdout;
    assert!(plan.contains(&old.sha256.to_hex()), "{plan}");
    warm.basalt(["vendor"]).arg(&recipe).arg("kept").run(&warm.scratch)?.exits(0);
    assert!(warm.scratch.path().join("kept/store/blobs").join(old.sha256.to_hex()).is_file());
    assert_eq!(fs::read_to_string(&lock)?, before);

    // A machine that does not have it is told what is gone, and what to do.
    let empty = warm.scratch.folder("empty")?;
    let ran = warm.basalt(["build", "--out", "out"]).cache(&empty).arg(&recipe).run(&warm.scratch)?.exits(4);
    let ran = ran.says(&format!("package {MOVES} version {} (trixie) is no longer on the mirror", old.version));
    ran.says(&format!("basalt lock --update {MOVES}"));
    assert_whole(&empty, &["blobs"]);
    assert!(!warm.scratch.path().join("out").exists());
    assert_eq!(fs::read_to_string(&lock)?, before);

    // A person decides.
    let ran = warm.basalt(["lock"]).arg(&recipe).arg("--update").arg(MOVES).run(&warm.scratch)?.exits(0);
    assert!(ran.stdout.contains(&format!("{MOVES}: {} -> {next}", old.version)), "{}", ran.stdout);
    let new = packages(&lock)?;
    assert_eq!(new.iter().filter(|package| package.version.ends_with(".1") && package.name == MOVES).count(), 1);
    assert_eq!(new.len(), before.matches(".package]]").count());
    Ok(())
}
