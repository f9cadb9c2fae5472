//! The real tools judge a whole disk, in both sector sizes.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::*;
use crate::artefact::write;
use crate::digest::Digest;
use crate::failure::kind_of;
use crate::host::cmd::Cmd;
use crate::tree::{Content, Meta, TreePath};

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn noise(len: usize, seed: u32) -> Content {
    let mut state = seed | 1;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(len)
    .collect();
    Content::from_bytes(bytes)
}

/// Small trees of the three kinds.
pub(in crate::artefact) fn trees() -> [Tree; 3] {
    let [mut esp, mut boot, mut root] = [Tree::new(), Tree::new(), Tree::new()];
    let file = Meta::root(0o644);
    esp.put_file(&path("/EFI/BOOT/BOOTX64.EFI"), file.clone(), noise(900_000, 1)).unwrap();
    esp.put_file(&path("/EFI/debian/grub.cfg"), file.clone(), Content::from_bytes(*b"configfile\n")).unwrap();
    boot.put_file(&path("/ostree/image-1/vmlinuz"), file.clone(), noise(3 << 20, 2)).unwrap();
    boot.put_file(&path("/ostree/image-1/initramfs.img"), file.clone(), noise(5 << 20, 3)).unwrap();
    boot.put(&path("/loader"), Node::symlink("loader.1")).unwrap();
    let shared = Node::file(file.clone(), noise(70_000, 4));
    root.put(&path("/ostree/repo/objects/00/a.file"), shared.clone()).unwrap();
    root.put(&path("/ostree/deploy/image/usr/bin/a"), shared).unwrap();
    for n in 0..300 {
        root.put_file(&path(&format!("/many/{n}")), file.clone(), noise(n * 37, n as u32)).unwrap();
    }
    [esp, boot, root]
}

pub(in crate::artefact) fn identity(seed: &[u8]) -> Identity {
    Identity { plan: PlanId(Digest::of(seed)), time: 1_700_000_000, architecture: Architecture::Amd64 }
}

pub(in crate::artefact) fn lay_out(trees: &[Tree; 3], disk: &plan::Disk, seed: &[u8]) -> anyhow::Result<Disk> {
    let [esp, boot, root] = trees;
    layout(Trees { esp, boot, root }, disk, &identity(seed))
}

fn sectors(sector_size: u32) -> plan::Disk {
    plan::Disk { sector_size, ..plan::Disk::default() }
}

/// Writes the disk and, beside it, each partition.
fn write_out(disk: &Disk, folder: &Path) -> (PathBuf, Vec<PathBuf>) {
    let image = folder.join("disk");
    write::write(&disk.extents, &File::create(&image).unwrap(), 4, |_| Ok(())).unwrap();
    let cut = |partition: &Partition| {
        let out = folder.join(&partition.label);
        let option = |name: &str, value: &Path| format!("{name}={}", value.display());
        let mib = |name: &str, bytes: u64| format!("{name}={}", bytes / MIB);
        Cmd::new("dd")
            .args([option("if", &image), option("of", &out), "bs=1M".into(), "conv=sparse".into()])
            .args([mib("skip", partition.start), mib("count", partition.size)])
            .run()
            .unwrap();
        out
    };
    let parts = disk.partitions.iter().map(cut).collect();
    (image, parts)
}

#[test]
fn every_tool_is_content() {
    for sector_size in [512, 4096] {
        let disk = lay_out(&trees(), &sectors(sector_size), b"plan").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (image, parts) = write_out(&disk, folder.path());
        if sector_size == 512 {
            let verdict = Cmd::new("sgdisk").arg("-v").arg(&image).run().unwrap();
            let verdict = String::from_utf8(verdict.stdout).unwrap();
            assert!(verdict.contains("No problems found"), "{verdict}");
        }
        let output = Cmd::new("fsck.fat").arg("-n").arg(&parts[0]).run().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
        for part in &parts[1..] {
            Cmd::new("e2fsck").arg("-fn").arg(part).run().unwrap();
        }
        // What the manifest will say is what a program finds on the disk.
        for (partition, part) in disk.partitions.iter().zip(&parts) {
            let found = Cmd::new("blkid").args(["--probe", "--output", "export"]).arg(part).run().unwrap();
            let found = String::from_utf8(found.stdout).unwrap();
            for (key, value) in [("LABEL", &partition.label), ("TYPE", &partition.filesystem), ("UUID", &partition.filesystem_id)]
            {
                assert!(found.lines().any(|line| line == format!("{key}={value}")), "{key}={value} in\n{found}");
            }
        }
        let listing = Cmd::new("partx")
            .args(["--sector-size", &sector_size.to_string(), "--bytes", "--noheadings", "--raw"])
            .args(["--output", "START,SIZE,NAME,UUID,TYPE"])
            .arg(&image)
            .run()
            .unwrap();
        let wanted: String = disk
            .partitions
            .iter()
            .map(|Partition { label, kind, id, start, size, .. }| format!("{} {size} {label} {id} {kind}\n", start / 512))
            .collect();
        assert_eq!(String::from_utf8(listing.stdout).unwrap(), wanted);
    }
}

#[test]
fn the_plan_decides_every_identifier() {
    let trees = trees();
    let [first, same, other] = [b"a", b"a", b"b"].map(|seed| lay_out(&trees, &sectors(512), seed).unwrap());
    assert_eq!(first.extents.digest().unwrap(), same.extents.digest().unwrap());
    assert_ne!(first.extents.digest().unwrap(), other.extents.digest().unwrap());
    for (one, two) in first.partitions.iter().zip(&other.partitions) {
        assert_eq!((&one.kind, one.start, one.size), (&two.kind, two.start, two.size));
        assert!(one.id != two.id && one.filesystem_id != two.filesystem_id);
    }
    let mut ids: Vec<_> = first.partitions.iter().flat_map(|part| [&part.id, &part.filesystem_id]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6);
}

#[test]
fn sizes_are_small_fixed_or_refused() {
    let trees = trees();
    let sizes = |disk: &plan::Disk| {
        lay_out(&trees, disk, b"").map(|disk| disk.partitions.iter().map(|part| part.size / MIB).collect::<Vec<_>>())
    };
    let small = sizes(&sectors(512)).unwrap();
    assert_eq!(small[0], 64);
    assert_eq!(sizes(&sectors(4096)).unwrap()[0], 260);
    // Three times 8 MiB, 32 MiB, tables and a journal; 64 MiB, tables and a journal.
    assert!((60..92).contains(&small[1]) && (131..156).contains(&small[2]), "{small:?}");
    let fixed =
        plan::Disk { sector_size: 512, esp_size: Some(100 * MIB), boot_size: Some(300 * MIB), root_size: Some(1000 * MIB) };
    assert_eq!(sizes(&fixed).unwrap(), [100, 300, 1000]);
    for (role, mib) in [(Role::Esp, 32), (Role::Boot, 20), (Role::Root, 60)] {
        let size = Some(mib * MIB);
        let disk = match role {
            Role::Esp => plan::Disk { esp_size: size, ..fixed.clone() },
            Role::Boot => plan::Disk { boot_size: size, ..fixed.clone() },
            Role::Root => plan::Disk { root_size: size, ..fixed.clone() },
        };
        let error = sizes(&disk).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Invalid);
        let text = error.to_string();
        assert!(text.starts_with(&format!("{} partition: needed ", role.label())), "{text}");
        assert!(text.ends_with(&format!(" MiB, found {mib} MiB")), "{text}");
        // The number that is named is enough.
        let needed: u64 = text.split_whitespace().nth(3).unwrap().parse().unwrap();
        let size = Some(needed * MIB);
        let disk = match role {
            Role::Esp => plan::Disk { esp_size: size, ..fixed.clone() },
            Role::Boot => plan::Disk { boot_size: size, ..fixed.clone() },
            Role::Root => plan::Disk { root_size: size, ..fixed.clone() },
        };
        sizes(&disk).unwrap();
    }
    let odd = plan::Disk { esp_size: Some(64 * MIB + 512), ..fixed };
    assert_eq!(sizes(&odd).unwrap_err().to_string(), "EFI-SYSTEM partition: needed whole MiB, found 67109376 bytes");
}
