//! The real tools judge: `fsck.fat` and mtools.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::read::Volume;
use super::*;
use crate::format::bytes::Opened;
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
                assert!(read_back(&image, &at.to_string()) == content.bytes().unwrap(), "{at} with sectors of {sector_size}");
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

fn opened(image: &Path) -> Volume {
    Volume::open(Arc::new(Opened::new(File::open(image).unwrap()).unwrap())).unwrap()
}

fn read_back(image: &Path, at: &str) -> Vec<u8> {
    let volume = opened(image);
    volume.file(&volume.find(at).unwrap().unwrap()).unwrap()
}

#[test]
fn names_and_times_are_read_back() {
    let image = tempfile::NamedTempFile::new().unwrap();
    write(&layout(&sample(), &options(64 << 20, 512)).unwrap(), image.path());
    let volume = opened(image.path());
    assert_eq!((volume.label(), volume.id(), volume.kind()), ("EFI-SYSTEM", 0x1234_abcd, "FAT32"));
    let names: Vec<_> = volume.root().unwrap().into_iter().map(|entry| (entry.name, entry.is_folder)).collect();
    assert_eq!(names, [("EFI".to_owned(), true), ("loader".to_owned(), true), ("many".to_owned(), true)]);
    let many = volume.folder(&volume.find("MANY").unwrap().unwrap()).unwrap();
    assert_eq!(many.len(), 200);
    let program = volume.find("/efi/boot/bootx64.efi").unwrap().unwrap();
    assert_eq!((program.name.as_str(), program.modified), ("BOOTX64.EFI", Some(1_700_000_000)), "pairs of seconds");
    let long = volume.find("/loader/entries/a name that is long, with größe.conf").unwrap().unwrap();
    assert_eq!((long.len, long.modified), (8, Some(315_532_800)), "no time before 1980");
    for nothing in ["/EFI/none", "/EFI/BOOT/empty/x", "/"] {
        assert_eq!(volume.find(nothing).unwrap(), None, "{nothing}");
    }
}

#[test]
fn volumes_of_mkfs_fat_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bytes: Vec<u8> = (0..60_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    std::fs::write(at("file"), &bytes).unwrap();
    for (arguments, mib, kind) in [
        (&["-F", "16", "-n", "ESP"][..], 32, "FAT16"),
        (&["-F", "32", "-n", "ESP"], 64, "FAT32"),
        (&["-F", "32", "-S", "4096", "-n", "ESP"], 300, "FAT32"),
    ] {
        let image = at("image");
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        Cmd::new("mkfs.fat").args(arguments).arg(&image).run().unwrap();
        for command in
            [&["mmd", "-i", "image", "::/Some Folder"][..], &["mcopy", "-i", "image", "file", "::/Some Folder/lower.txt"]]
        {
            Cmd::new(command[0]).args(&command[1..]).folder(folder.path()).run().unwrap();
        }
        let volume = opened(&image);
        assert_eq!((volume.label(), volume.kind()), ("ESP", kind));
        assert!(read_back(&image, "/some folder/LOWER.TXT") == bytes, "{kind}");
        let found = volume.folder(&volume.find("/Some Folder").unwrap().unwrap()).unwrap();
        assert_eq!(found.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["lower.txt"]);
    }
}

#[test]
fn what_is_no_volume_says_so() {
    let open = |bytes: Vec<u8>| Volume::open(Arc::new(bytes)).err().unwrap().to_string();
    assert_eq!(open(vec![0; 100]), "no FAT filesystem: needed 512 bytes");
    assert!(open(vec![0; 4096]).starts_with("no FAT filesystem: its boot sector says sectors of 0 bytes"));
}
