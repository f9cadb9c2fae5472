//! A base that is made for bootupd. No such base is at hand: Debian's signed shim and GRUB stand in one's place, so that the layout is
//! read back, and nothing is booted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::Warm;
use serde_json::Value;

/// From Debian's packages, and where bootupd has it.
const PROGRAMS: [(&str, &str); 4] = [
    ("/usr/lib/shim/shimx64.efi.signed", "updates/EFI/BOOT/BOOTX64.EFI"),
    ("/usr/lib/shim/shimx64.efi.signed", "updates/EFI/vendor/shimx64.efi"),
    ("/usr/lib/shim/mmx64.efi.signed", "updates/EFI/vendor/mmx64.efi"),
    ("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "updates/EFI/vendor/grubx64.efi"),
];
const TEXTS: [(&str, &str); 4] = [
    ("updates/EFI.json", "{\"timestamp\":\"2026-01-01T00:00:00Z\",\"version\":\"shim-1,grub2-1\"}\n"),
    ("grub2-static/grub-static-pre.cfg", "search --label boot --set boot --no-floppy\nset root=$boot\n"),
    ("grub2-static/configs.d/10_blscfg.cfg", "blscfg\n"),
    (
        "grub2-static/grub-static-efi.cfg",
        "search --label boot --set prefix --no-floppy\nset prefix=($prefix)/grub2\nconfigfile $prefix/grub.cfg\n",
    ),
];

fn output(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {args:?}: {}\n{stderr}", output.status);
    Ok(output.stdout)
}

fn start(manifest: &Value, label: &str) -> Result<String> {
    let partitions = manifest["partitions"].as_array().context("no partitions")?;
    let partition = partitions.iter().find(|partition| partition["label"] == label).with_context(|| label.to_owned())?;
    Ok(partition["start"].as_u64().context("no start")?.to_string())
}

/// A file of an ext4 filesystem, read by debugfs.
fn file(filesystem: &str, path: &str) -> Result<String> {
    Ok(String::from_utf8(output("debugfs", &["-R", &format!("cat {path}"), filesystem])?)?)
}

#[test]
fn cli_a_base_made_for_bootupd_brings_its_own_way_to_boot() -> Result<()> {
    let warm = Warm::new()?;
    let commit = Warm::expected()?["commit"].as_str().context("no commit")?.to_owned();
    let repository = format!("--repo={}", warm.cache.join("ostree/repo").display());
    let overlay = warm.scratch.folder("image-recipes/bootupd/usr/lib/bootupd")?;
    let put = |at: &str, bytes: &[u8]| -> Result<PathBuf> {
        let path = overlay.join(at);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(&path, bytes)?;
        Ok(path)
    };
    let mut programs = Vec::new();
    for (from, at) in PROGRAMS {
        programs.push((at, put(at, &output("ostree", &[&repository, "cat", &commit, from])?)?));
    }
    for (at, text) in TEXTS {
        put(at, text.as_bytes())?;
    }
    let recipe = fs::read_to_string(&warm.recipe)? + "\n[[overlay]]\npath = \"bootupd\"\n";
    fs::write(&warm.recipe, recipe)?;
    warm.build("out")?.arg("--format").arg("raw").run(&warm.scratch)?.exits(0);
    let manifest = warm.manifest("out")?;
    let raw = warm.scratch.path().join("out/gpu-node.raw").display().to_string();
    output("sgdisk", &["-v", &raw])?;

    let esp = format!("{raw}@@{}", start(&manifest, "EFI-SYSTEM")?);
    let names = String::from_utf8(output("mdir", &["-i", &esp, "-b", "-/", "::/"])?)?;
    let mut names: Vec<_> = names.lines().filter(|name| !name.ends_with('/')).collect();
    names.sort_unstable();
    let wanted = ["BOOT/BOOTX64.EFI", "vendor/grub.cfg", "vendor/grubx64.efi", "vendor/mmx64.efi", "vendor/shimx64.efi"];
    assert_eq!(names, wanted.map(|name| format!("::/EFI/{name}")));
    for (at, path) in programs {
        let name = at.trim_start_matches("updates");
        assert!(output("mtype", &["-i", &esp, &format!("::{name}")])? == fs::read(path)?, "{name}");
    }
    assert_eq!(String::from_utf8(output("mtype", &["-i", &esp, "::/EFI/vendor/grub.cfg"])?)?, TEXTS[3].1);

    let boot = format!("{raw}?offset={}", start(&manifest, "boot")?);
    let menu = file(&boot, "/grub2/grub.cfg")?;
    assert!(menu.contains(TEXTS[1].1) && menu.contains("\nblscfg\n"), "{menu}");
    assert_eq!(file(&boot, "/grub2/grubenv")?.len(), 1024);
    assert!(file(&boot, "/grub2/console.cfg")?.contains("serial --unit=0 --speed=115200"));
    assert!(file(&boot, "/loader.1/entries/ostree-1.conf")?.contains("\nlinux /ostree/gpu-node-"));
    assert_eq!(file(&boot, "/loader.1/grub.cfg")?, "", "no menu beside the entries");
    let root = format!("{raw}?offset={}", start(&manifest, "root")?);
    assert!(file(&root, "/ostree/repo/config")?.contains("\n[sysroot]\nreadonly=true\nbootloader=none\n"));
    Ok(())
}
