//! The real tools judge: `fsck.fat` and mtools.

use std::fs::File;
use std::path::Path;

use super::*;
use crate::host::cmd::Cmd;
use crate::tree::Meta;

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

fn put(tree: &mut Tree, at: &str, mtime: i64, bytes: &[u8]) {
    let meta = Meta { mtime, ..Meta::root(0o644) };
    tree.put_file(&path(at), meta, Content::from_bytes(bytes)).unwrap();
}

/// A tree like an ESP's, with every kind of name, and a folder of more than one cluster in either size.
fn sample() -> Tree {
    let mut tree = Tree::new();
    let program: Vec<u8> = (0..70_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    put(&mut tree, "/EFI/BOOT/BOOTX64.EFI", 1_700_000_001, &program);
    put(&mut tree, "/EFI/BOOT/grubx64.efi", 1_700_000_000, &program[..4096]);
    put(&mut tree, "/EFI/BOOT/empty", 0, b"");
    put(&mut tree, "/EFI/debian/grub.cfg", 0, b"configfile\n");
    put(&mut tree, "/loader/entries/a name that is long, with größe.conf", 0, b"title x\n");
    for n in 0..200 {
        put(&mut tree, &format!("/many/entry-number-{n}.conf"), 0, format!("{n}").as_bytes());
    }
    tree
}

fn options(size: u64, sector_size: u32) -> Options<'static> {
    Options { size, sector_size, label: "EFI-SYSTEM", volume_id: 0x1234_abcd, time: 1_700_000_000 }
}

fn write(extents: &Extents, at: &Path) {
    let file = File::create(at).unwrap();
    file.set_len(extents.len()).unwrap();
    extents.write_to(&file, 0, |_| Ok(())).unwrap();
}

fn fsck(at: &Path) {
    let output = Cmd::new("fsck.fat").arg("-n").arg(at).run().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // Two lines: the version and the count. Everything else is a complaint.
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn fsck_is_content_and_mtools_reads_it_back() {
    for (sector_size, mib) in [(512, 64), (512, 300), (4096, 260)] {
        let tree = sample();
        let extents = layout(&tree, &options(mib << 20, sector_size)).unwrap();
        assert_eq!(extents.digest().unwrap(), layout(&tree, &options(mib << 20, sector_size)).unwrap().digest().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("esp");
        write(&extents, &image);
        fsck(&image);
        for (at, node) in tree.walk() {
            if let Node::Leaf(leaf) = node
                && let LeafKind::File(content) = &leaf.kind
            {
                let found = Cmd::new("mtype").arg("-i").arg(&image).arg(format!("::{at}")).run().unwrap();
                assert!(found.stdout == content.bytes().unwrap(), "{at} with sectors of {sector_size}");
            }
        }
        let listing = Cmd::new("mdir").arg("-i").arg(&image).arg("::/EFI/BOOT").run().unwrap();
        let listing = String::from_utf8(listing.stdout).unwrap();
        for wanted in ["EFI-SYSTEM", "1234-ABCD", "grubx64.efi", "2023-11-14  22:13", "1980-01-01   0:00"] {
            assert!(listing.contains(wanted), "{wanted} in:\n{listing}");
        }
    }
}

#[test]
fn a_full_volume_is_clean_and_one_byte_more_is_too_small() {
    for sector_size in [512, 4096] {
        let mut tree = Tree::new();
        let size = smallest(&tree, sector_size).unwrap();
        let shape = Geometry::of(size, sector_size.into()).unwrap();
        // One content at many places, so that the test holds little in memory; some clusters are left for the folder.
        let piece = Content::from_bytes(vec![7; 4 << 20]);
        for n in 0..(shape.clusters - 20) * shape.cluster / piece.len() {
            tree.put_file(&path(&format!("/{n}")), Meta::root(0o644), piece.clone()).unwrap();
        }
        tree.put_file(&path("/Z"), Meta::root(0o644), Content::from_bytes(*b"")).unwrap();
        let files = Files::of(&tree).unwrap();
        let rest = (shape.clusters - files.clusters(&shape)) * shape.cluster;
        tree.put_file(&path("/Z"), Meta::root(0o644), Content::from_bytes(vec![9; rest as usize])).unwrap();
        let full = layout(&tree, &options(size, sector_size)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        write(&full, &folder.path().join("esp"));
        fsck(&folder.path().join("esp"));
        tree.put_file(&path("/Z"), Meta::root(0o644), Content::from_bytes(vec![9; rest as usize + 1])).unwrap();
        let error = layout(&tree, &options(size, sector_size)).unwrap_err();
        assert_eq!(error, FatError::TooSmall { needed: size + (1 << 20), found: size });
    }
}

#[test]
fn what_is_refused() {
    let refused = |at: &str| {
        let mut tree = sample();
        put(&mut tree, at, 0, b"");
        layout(&tree, &options(64 << 20, 512)).unwrap_err().to_string()
    };
    assert_eq!(refused("/EFI/a:b"), "/EFI/a:b: FAT cannot have this name: it has a control character or one of \"*/:<>?\\|");
    assert_eq!(refused("/efi/x"), "/efi: FAT takes this name and \"EFI\" beside it for the same");
    let mut tree = sample();
    tree.put(&path("/EFI/link"), Node::symlink("BOOT")).unwrap();
    assert_eq!(layout(&tree, &options(64 << 20, 512)).unwrap_err(), FatError::Symlink(path("/EFI/link")));
    let tree = sample();
    for (size, sector_size) in [(32 << 20, 512), (64 << 20, 4096)] {
        let error = layout(&tree, &options(size, sector_size)).unwrap_err();
        assert!(matches!(error, FatError::TooSmall { found, .. } if found == size), "{error}");
    }
    assert_eq!(layout(&tree, &options(64 << 20, 1024)).unwrap_err(), FatError::SectorSize(1024));
    let lower = Options { label: "esp", ..options(64 << 20, 512) };
    assert_eq!(layout(&tree, &lower).unwrap_err(), FatError::Label("esp".into()));
}
