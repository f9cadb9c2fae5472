//! Secure Boot is no decoration: the reference disk with one byte changed in its kernel, or in its GRUB, does not boot.
//!
//! The bytes are letters of texts (a version, a title), so that nothing but the signature breaks: without Secure Boot the same disk
//! boots. That the unchanged disk boots with Secure Boot is what `vm_reference` shows.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Running, SecureBoot, choose_accel};
use qemu_tests::{Image, Scratch, manifest, reference_image, run};
use serde_json::Value;

/// For the firmware, shim, GRUB and a kernel's first lines, beside others.
const WAIT: Duration = Duration::from_secs(400);
const BLOCK: usize = 4096;
const GRUB: &str = "::/EFI/BOOT/grubx64.efi";
/// In the kernel's header, which the signature covers; nothing reads it at boot.
const KERNEL_TEXT: &[u8] = b" (debian-kernel@";
/// The title of the menu.
const GRUB_TEXT: &[u8] = b"GNU GRUB  version";
/// The first line of any kernel.
const KERNEL_RUNS: &str = "Linux version ";

#[test]
fn vm_a_changed_kernel_and_a_changed_grub_are_refused() -> Result<()> {
    let image = reference_image()?;
    let scratch = Scratch::new()?;
    let mut disk = Copy::of(&image, &scratch)?;

    disk.change_kernel()?;
    let mut vm = disk.boot(SecureBoot::On)?;
    vm.expect("GNU GRUB  version", WAIT)?;
    vm.expect("bad shim signature", WAIT)?;
    vm.expect("you need to load the kernel first", WAIT)?;
    vm.expect("Press any key to continue", WAIT)?;
    vm.console()?.send("\r")?;
    vm.expect("GNU GRUB  version", WAIT).context("the menu waits for somebody")?;
    never_ran(&mut vm, KERNEL_RUNS)?;
    drop(vm);

    disk.change_grub()?;
    let mut vm = disk.boot(SecureBoot::On)?;
    vm.expect("Verification failed: (0x1A) Security Violation", WAIT)?;
    never_ran(&mut vm, "GRUB")?;
    drop(vm);

    let mut vm = disk.boot(SecureBoot::Off)?;
    vm.expect("gNU GRUB  version", WAIT)?;
    vm.expect(KERNEL_RUNS, WAIT)?;
    Ok(())
}

fn never_ran(vm: &mut Running, its_text: &str) -> Result<()> {
    let shown = vm.console()?.text();
    ensure!(!shown.contains(its_text), "what was to be refused has run:\n{shown}");
    Ok(())
}

/// A copy of the raw disk that the case changes.
struct Copy<'a> {
    image: &'a Image,
    manifest: Value,
    folder: &'a Path,
    path: PathBuf,
}

impl<'a> Copy<'a> {
    fn of(image: &'a Image, scratch: &'a Scratch) -> Result<Self> {
        let path = scratch.path().join("copy.raw");
        run(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(image.artefact("raw")?).arg(&path))?;
        Ok(Self { image, manifest: manifest(&image.folder)?, folder: scratch.path(), path })
    }

    fn boot(&self, secure_boot: SecureBoot) -> Result<Running> {
        let machine = Machine::new(Disk::new(&self.path), choose_accel(&self.image.cache)?);
        Ok(machine.secure_boot(secure_boot).start()?)
    }

    /// Where the partition begins, in bytes.
    fn start(&self, label: &str) -> Result<u64> {
        let partitions = self.manifest["partitions"].as_array().context("manifest.json: no partitions")?;
        let partition = partitions.iter().find(|partition| partition["label"] == label);
        partition
            .and_then(|partition| partition["start"].as_u64())
            .with_context(|| format!("manifest.json: no partition {label}"))
    }

    /// In the block of the disk where the byte lies: the file keeps its place.
    fn change_kernel(&mut self) -> Result<()> {
        let before = self.read_kernel("kernel.before")?;
        let bytes = fs::read(&before)?;
        let at = find(&bytes, KERNEL_TEXT)? + 2;
        let blocks = self.debugfs(&format!("blocks {}", self.kernel()?))?;
        let block: u64 = blocks.split_whitespace().nth(at / BLOCK).context("the kernel has fewer blocks than bytes")?.parse()?;
        let place = self.start("boot")? + block * BLOCK as u64 + (at % BLOCK) as u64;
        File::options().write(true).open(&self.path)?.write_all_at(b"D", place)?;
        self.is_no_longer_signed(&before, &self.read_kernel("kernel.after")?)
    }

    fn change_grub(&mut self) -> Result<()> {
        let before = self.read_grub("grub.before")?;
        let mut bytes = fs::read(&before)?;
        let at = find(&bytes, GRUB_TEXT)?;
        bytes[at] = b'g';
        let changed = self.folder.join("grub.changed");
        fs::write(&changed, bytes)?;
        run(Command::new("mcopy").args(["-o", "-i", &self.esp()?]).arg(changed).arg(GRUB))?;
        self.is_no_longer_signed(&before, &self.read_grub("grub.after")?)
    }

    /// The one letter is the difference, and it lies within what Debian has signed, in the opinion of sbverify. (That asks for a
    /// certificate to trust, too; it has none, so that only what it says about the hash counts.)
    fn is_no_longer_signed(&self, before: &Path, after: &Path) -> Result<()> {
        let (old, new) = (fs::read(before)?, fs::read(after)?);
        let different = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        ensure!(old.len() == new.len() && different == 1, "{}: {different} bytes differ", after.display());
        for (program, mismatch) in [(before, false), (after, true)] {
            let told = Command::new("sbverify").arg(program).output().context("sbverify (apt install sbsigntool)")?;
            let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
            ensure!(told.contains("Signature verification failed"), "{}: sbverify found no signature: {told}", program.display());
            ensure!(told.contains("Hash doesn't match image") == mismatch, "{}: sbverify: {told}", program.display());
        }
        Ok(())
    }

    /// The path of the kernel on the boot partition, as the boot menu has it.
    fn kernel(&self) -> Result<String> {
        let entry = self.debugfs("cat /loader/entries/ostree-1.conf")?;
        let line = entry.lines().find_map(|line| line.strip_prefix("linux "));
        Ok(line.with_context(|| format!("no kernel in the boot entry:\n{entry}"))?.to_owned())
    }

    fn read_kernel(&self, name: &str) -> Result<PathBuf> {
        let to = self.folder.join(name);
        self.debugfs(&format!("dump {} {}", self.kernel()?, to.display()))?;
        Ok(to)
    }

    fn read_grub(&self, name: &str) -> Result<PathBuf> {
        let to = self.folder.join(name);
        run(Command::new("mcopy").args(["-i", &self.esp()?, GRUB]).arg(&to))?;
        Ok(to)
    }

    fn debugfs(&self, request: &str) -> Result<String> {
        let filesystem = format!("{}?offset={}", self.path.display(), self.start("boot")?);
        run(Command::new("debugfs").args(["-R", request, &filesystem]))
    }

    /// The ESP as mtools wants it named.
    fn esp(&self) -> Result<String> {
        Ok(format!("{}@@{}", self.path.display(), self.start("EFI-SYSTEM")?))
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Result<usize> {
    let at = bytes.windows(text.len()).position(|window| window == text);
    at.with_context(|| format!("no {:?} in the program", String::from_utf8_lossy(text)))
}
