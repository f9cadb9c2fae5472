//! `load-early` of `[[kernel-module]]`: the initramfs of an image, unpacked by other programs, has the modules, and modprobe finds them there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use basalt::format::compressed;
use qemu_tests::run;

use super::kernel_modules::Case;

const INVALID: i32 = Kind::Invalid.exit_code() as i32;
/// The first thing in the archive that the base's initramfs does not have.
const FIRST: &[u8] = b"etc/modules-load.d\0";
/// A module that Debian's initramfs does not have, nor what it needs.
const ENTRY: &str = r#"
[[kernel-module]]
name = "sampler"
path = "modules"
load-early = ["act_sample"]
parameters = { act_sample = "case=1" }
blacklist = ["nouveau"]
in-tree-modules-to-remove = ["act_sample"]
"#;

/// An initramfs of the last build.
struct Unpacked {
    /// All files as the kernel lays them.
    root: PathBuf,
    /// The base's part.
    base: Vec<u8>,
}

impl Unpacked {
    fn of(case: &Case, out: &str) -> Result<Self> {
        let manifest = case.warm.manifest(out)?;
        let commit = manifest["commit"].as_str().context("no commit")?;
        let folder = case.warm.scratch.path().join(format!("its-{out}"));
        let path = format!("/usr/lib/modules/{}/initramfs.img", case.package.release);
        case.ostree(&["checkout", "--user-mode", &format!("--subpath={path}"), commit, &folder.display().to_string()])?;
        let bytes = fs::read(folder.join("initramfs.img"))?;
        let (plain, len) = compressed::unpack_first(&bytes)?.context("no compressed part")?;
        let at = len.next_multiple_of(4);
        let found = bytes.windows(FIRST.len()).rposition(|window| window == FIRST).context("no archive behind it")?;
        // 110 bytes of a header come before the name.
        ensure!(found == at + 110, "the archive begins at {}, the base's part ends at {len}", found - 110);
        let root = folder.join("root");
        fs::create_dir(&root)?;
        for (name, part) in [("base.cpio", &plain[..]), ("ours.cpio", &bytes[at..])] {
            fs::write(folder.join(name), part)?;
            let mut bsdtar = Command::new("bsdtar");
            bsdtar.args(["--no-same-owner", "--exclude", "dev/*", "-xf"]).arg(folder.join(name)).arg("-C").arg(&root);
            run(&mut bsdtar)?;
        }
        Ok(Self { root, base: bytes[..len].to_vec() })
    }

    /// The files that modprobe would load, in its order.
    fn modprobe(&self, case: &Case, module: &str) -> Result<Vec<PathBuf>> {
        let root = self.root.display().to_string();
        let modprobe = ["-d", &root, "-S", &case.package.release, "--ignore-install", "--show-depends", module];
        let shown = run(Command::new("/sbin/modprobe").args(modprobe))?;
        Ok(shown.lines().filter_map(|line| line.split_whitespace().nth(1)).map(PathBuf::from).collect())
    }

    /// The lines of the index, each with its words sorted: which of two dependencies comes first differs between versions of depmod.
    fn index(&self, case: &Case) -> Result<BTreeSet<Vec<String>>> {
        let text = fs::read_to_string(self.root.join("usr/lib/modules").join(&case.package.release).join("modules.dep"))?;
        let words = |line: &str| {
            let mut words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            words[1..].sort_unstable();
            words
        };
        Ok(text.lines().map(words).collect())
    }
}

#[test]
fn cli_modules_come_into_the_initramfs_with_all_that_they_need() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("act_sample")?;
    case.modules(&[(&file, &bytes)])?;
    case.building(ENTRY, "out")?.run(&case.warm.scratch)?.exits(0);
    let unpacked = Unpacked::of(&case, "out")?;
    let release = &case.package.release;
    let files = unpacked.modprobe(&case, "act_sample")?;
    ensure!(files.len() > 1 && files.iter().all(|file| file.is_file()), "{files:?}");
    ensure!(files.last().is_some_and(|last| last.ends_with(format!("updates/sampler/{file}"))), "{files:?}");
    ensure!(fs::read(&files[files.len() - 1])? == bytes, "other bytes");
    let text = |path: &str| fs::read_to_string(unpacked.root.join(path)).with_context(|| path.to_owned());
    ensure!(text("etc/modules-load.d/basalt-early.conf")? == "act_sample\n");
    ensure!(text("usr/lib/modprobe.d/basalt-sampler.conf")? == "options act_sample case=1\nblacklist nouveau\n");
    // What was there is still found, and depmod has nothing to add.
    ensure!(unpacked.modprobe(&case, "virtio_blk")?.iter().all(|file| file.is_file()), "virtio_blk");
    let ours = unpacked.index(&case)?;
    ensure!(ours.len() > 500, "{} modules", ours.len());
    run(Command::new("/sbin/depmod").arg("-b").arg(&unpacked.root).arg(release))?;
    ensure!(ours == unpacked.index(&case)?, "depmod makes another index");

    // Another module: dracut has not run, and the base's part is the same.
    let plain = basalt::format::module::unpack(&bytes)?.into_owned();
    case.modules(&[("act_sample.ko", &plain)])?;
    let other = format!("{ENTRY}compress = \"none\"\n");
    let ran = case.building(&other, "other")?.arg("--json").run(&case.warm.scratch)?.exits(0);
    ensure!(!ran.stdout.contains("dracut"), "{}", ran.stdout);
    let other = Unpacked::of(&case, "other")?;
    ensure!(other.base == unpacked.base, "the base's initramfs was made again");
    ensure!(other.modprobe(&case, "act_sample")?.iter().any(|file| file.ends_with("updates/sampler/act_sample.ko")));
    // And the same bytes again.
    case.building(&format!("{ENTRY}compress = \"none\"\n"), "again")?.run(&case.warm.scratch)?.exits(0);
    ensure!(case.warm.manifest("again")?["artefacts"] == case.warm.manifest("other")?["artefacts"], "other bytes");
    Ok(())
}

/// A module that takes the place of one which the initramfs has must be there, too: udev would load the old one first.
#[test]
fn cli_what_replaces_a_module_of_the_initramfs_is_there_unasked() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("virtio_blk")?;
    case.modules(&[(&file, &bytes)])?;
    let entry = "\n[[kernel-module]]\nname = \"disks\"\npath = \"modules\"\nin-tree-modules-to-remove = [\"virtio_blk\"]\n";
    case.building(entry, "out")?.run(&case.warm.scratch)?.exits(0);
    // Nothing is loaded early, so that the archive begins with another thing.
    let manifest = case.warm.manifest("out")?;
    let commit = manifest["commit"].as_str().context("no commit")?;
    let folder = case.warm.scratch.path().join("its");
    let path = format!("/usr/lib/modules/{}/initramfs.img", case.package.release);
    case.ostree(&["checkout", "--user-mode", &format!("--subpath={path}"), commit, &folder.display().to_string()])?;
    let bytes_of = fs::read(folder.join("initramfs.img"))?;
    let (_, len) = compressed::unpack_first(&bytes_of)?.context("no compressed part")?;
    let archive = folder.join("ours.cpio");
    fs::write(&archive, &bytes_of[len.next_multiple_of(4)..])?;
    let listed = run(Command::new("bsdtar").arg("-tf").arg(&archive))?;
    let has = |path: &str| listed.lines().any(|line| line.ends_with(path));
    ensure!(has(&format!("/updates/disks/{file}")) && has("/modules.dep") && !has("basalt-early.conf"), "{listed}");
    let root = folder.join("root");
    fs::create_dir(&root)?;
    run(Command::new("bsdtar").arg("-xf").arg(&archive).arg("-C").arg(&root))?;
    let index = fs::read_to_string(root.join(format!("usr/lib/modules/{}/modules.dep", case.package.release)))?;
    let lines: Vec<_> =
        index.lines().filter(|line| line.split(':').next().is_some_and(|path| path.contains("/virtio_blk."))).collect();
    ensure!(lines.len() == 1 && lines[0].starts_with("updates/disks/"), "{lines:?}");
    ensure!(Path::new(&root.join(format!("usr/lib/modules/{}/updates/disks/{file}", case.package.release))).is_file());
    Ok(())
}

#[test]
fn cli_a_module_that_nobody_has_does_not_come_early() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("act_sample")?;
    case.modules(&[(&file, &bytes)])?;
    let entry = ENTRY.replace("load-early = [\"act_sample\"]", "load-early = [\"act_sampel\"]");
    let words = "kernel module sampler: load-early: needed a module of the kernel";
    case.building(&entry, "out")?.run(&case.warm.scratch)?.exits(INVALID).says(words);
    Ok(())
}
