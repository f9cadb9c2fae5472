//! What libostree's own program says of the layout: the tree is written to a folder, as the disk would have it.

mod bases;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{HeldLayer, Options, Sysroot, stage};
use crate::commit::fixture::{KERNEL, base, info, layer, own, owned, path, put, written};
use crate::commit::{self, Commit};
use crate::digest::Digest;
use crate::failure::{Kind, kind_of};
use crate::format::bls::Entry;
use crate::host::cmd::Cmd;
use crate::plan::{Key, Trust};
use crate::store::Store;
use crate::tree::{Content, Meta, Node, Tree, tar};

/// A commit of the small base, whose files belong to whoever runs the tests.
fn committed(store: &Store) -> (Tree, Commit) {
    let mut base = base();
    let xattrs = [("user.b".to_owned(), b"2".to_vec()), ("user.a".to_owned(), b"\0".to_vec())].into();
    put(&mut base, "/usr/bin/marked", Node::file(Meta { xattrs, ..own(0o755) }, Content::from_bytes(*b"marked")));
    committed_of(base, store)
}

/// A commit of `base`, whose files belong to whoever runs the tests.
fn committed_of(base: Tree, store: &Store) -> (Tree, Commit) {
    let tree = owned(&commit::assemble(&[layer("base", base)], &info().image).unwrap());
    let commit = written(&tree, &info(), store);
    (tree, commit)
}

fn options() -> Options {
    Options { kernel_args: vec!["console=ttyS0,115200".into(), "quiet".into()], ..Options::default() }
}

fn text(tree: &Tree, at: &str) -> String {
    String::from_utf8(tree.file(&path(at)).unwrap_or_else(|| panic!("{at} is missing")).bytes().unwrap()).unwrap()
}

/// Unpacks root and boot filesystem into one folder.
fn unpack(sysroot: &Sysroot, folder: &Path) {
    for (tree, at) in [(&sysroot.root, folder.to_owned()), (&sysroot.boot, folder.join("boot"))] {
        let archive = tempfile::NamedTempFile::new().unwrap();
        tar::write(&owned(tree), archive.as_file()).unwrap();
        fs::create_dir_all(&at).unwrap();
        Cmd::new("tar").args(["--xattrs", "--xattrs-include=*", "-xpf"]).arg(archive.path()).arg("-C").arg(&at).run().unwrap();
    }
}

fn ostree(args: &[&str]) -> String {
    // Neither the immutable bit nor attributes of the system can be set by an ordinary user.
    let cmd = Cmd::new("ostree").env("OSTREE_SYSROOT_DEBUG", "mutable-deployments,no-xattrs").args(args);
    String::from_utf8(cmd.run().unwrap().stdout).unwrap()
}

/// Every path with kind, mode, size or target and number of links; and what may differ put right.
fn listing(folder: &Path) -> BTreeSet<String> {
    let output = Cmd::new("find").arg(folder).args(["-printf", "%P %y %#m %l %s %n\n"]).run().unwrap();
    let is_open = |line: &&str| {
        // Ours: the first menu. Newer libostree: a scratch folder, and no name in the entry's file name. Sizes of folders say nothing.
        !line.starts_with("boot/grub")
            && !line.contains("grub.cfg")
            && !line.starts_with("boot/efi")
            && !line.contains("/backing")
    };
    let same = |line: &str| {
        let line = line.replace("ostree-1-node.conf", "ostree-1.conf");
        let fields: Vec<_> = line.split(' ').collect();
        match fields.as_slice() {
            [path, "d", mode, ..] => format!("{path} d {mode}"),
            // pull-local links them, too.
            [path, "f", mode, _, size, _] if [".dirtree", ".dirmeta", ".commit"].iter().any(|end| path.ends_with(end)) => {
                format!("{path} f {mode} {size}")
            }
            [path, "f", mode, _, _, _] if path.ends_with(".conf") || path.ends_with("repo/config") => format!("{path} f {mode}"),
            _ => line,
        }
    };
    String::from_utf8(output.stdout).unwrap().lines().filter(is_open).map(same).collect()
}

fn staged_with(commit: &Commit, tree: &Tree, options: &Options, held: Vec<HeldLayer>) -> anyhow::Result<Sysroot> {
    stage(commit, tree, &super::kernel(tree, |_, compute| compute())?, options, || held)
}

fn staged(commit: &Commit, tree: &Tree, options: &Options) -> anyhow::Result<Sysroot> {
    staged_with(commit, tree, options, Vec::new())
}

#[test]
fn libostree_makes_the_same_from_the_same_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let (tree, commit) = committed(&store);
    let ours = folder.path().join("ours");
    unpack(&staged(&commit, &tree, &options()).unwrap(), &ours);

    let theirs = folder.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    let sysroot = format!("--sysroot={}", theirs.display());
    let repo = format!("--repo={}", theirs.join("ostree/repo").display());
    ostree(&["admin", "init-fs", "--modern", theirs.to_str().unwrap()]);
    ostree(&["admin", "os-init", "node", &sysroot]);
    ostree(&[&repo, "config", "set", "sysroot.bootloader", "none"]);
    ostree(&[&repo, "pull-local", commit.repository.to_str().unwrap(), "basalt/node/amd64"]);
    let args = ["root=LABEL=root", "rw", "console=ttyS0,115200", "quiet"].map(|arg| format!("--karg-append={arg}"));
    let mut deploy = vec!["admin", "deploy", &sysroot, "--os=node"];
    deploy.extend(args.iter().map(String::as_str));
    deploy.push("basalt/node/amd64");
    ostree(&deploy);

    // On one filesystem libostree links the kernel into /boot; ours is another filesystem.
    for entry in
        fs::read_dir(theirs.join("boot/ostree")).unwrap().flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap())
    {
        let linked = entry.unwrap().path();
        let copy = folder.path().join("copy");
        fs::copy(&linked, &copy).unwrap();
        fs::rename(&copy, &linked).unwrap();
    }

    let (ours_list, theirs_list) = (listing(&ours), listing(&theirs));
    let only_ours: Vec<_> = ours_list.difference(&theirs_list).collect();
    let only_theirs: Vec<_> = theirs_list.difference(&ours_list).collect();
    assert_eq!(only_ours, Vec::<&String>::new(), "only theirs: {only_theirs:#?}");
    // os-init of older versions fills /var; newer ones leave it to systemd-tmpfiles, as we do.
    let unexpected: Vec<_> = only_theirs.iter().filter(|line| !line.starts_with("ostree/deploy/node/var/")).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    let entry = |folder: &Path, name: &str| {
        Entry::parse(&fs::read_to_string(folder.join("boot/loader/entries").join(name)).unwrap()).unwrap()
    };
    let (our_entry, their_entry) = (entry(&ours, "ostree-1.conf"), entry(&theirs, "ostree-1-node.conf"));
    for key in ["version", "options", "linux", "initrd"] {
        assert_eq!(our_entry.get(key), their_entry.get(key), "{key}");
    }
    let origin = format!("ostree/deploy/node/deploy/{}.0.origin", commit.checksum);
    assert_eq!(fs::read(ours.join(&origin)).unwrap(), fs::read(theirs.join(&origin)).unwrap());
}

#[test]
fn libostree_checks_lists_deploys_and_prunes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let (tree, commit) = committed(&store);
    let root = folder.path().join("root");
    unpack(&staged(&commit, &tree, &options()).unwrap(), &root);
    let repo = format!("--repo={}", root.join("ostree/repo").display());
    let sysroot = format!("--sysroot={}", root.display());
    assert!(ostree(&[&repo, "fsck"]).contains("no errors found"));
    assert!(ostree(&["admin", "status", &sysroot]).contains(&format!("node {}.0", commit.checksum)));

    // A second commit; GRUB's menu is the VM tests' business.
    let mut next = tree;
    put(&mut next, "/usr/bin/new", Node::file(own(0o755), Content::from_bytes(*b"new")));
    let mut info = info();
    info.image.version = "1.3".into();
    let second = written(&next, &info, &store);
    ostree(&[&repo, "config", "set", "sysroot.bootloader", "none"]);
    ostree(&[&repo, "pull-local", second.repository.to_str().unwrap(), &info.branch]);
    fs::write(root.join(format!("ostree/deploy/node/deploy/{}.0/etc/edited", commit.checksum)), "kept").unwrap();
    ostree(&["admin", "deploy", &sysroot, "--os=node", &info.branch]);
    let status = ostree(&["admin", "status", &sysroot]);
    assert!(status.contains(&format!("node {}.0", second.checksum)) && status.contains(&format!("node {}.0", commit.checksum)));
    let merged = root.join(format!("ostree/deploy/node/deploy/{}.0/etc/edited", second.checksum));
    assert_eq!(fs::read_to_string(merged).unwrap(), "kept");
    ostree(&["admin", "undeploy", &sysroot, "1"]);
    assert!(!root.join(format!("ostree/deploy/node/deploy/{}.0", commit.checksum)).exists());
    assert!(ostree(&[&repo, "fsck"]).contains("no errors found"));
}

#[test]
fn libostree_finds_the_layers_that_the_disk_holds() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let (tree, commit) = committed(&store);
    let files: Vec<_> = commit.files.values().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let layers = [("one", &files[..1]), ("all", &files[..])];
    let layers = layers.map(|(name, files)| HeldLayer { sha256: Digest::of(name.as_bytes()), objects: files.to_vec() }).to_vec();
    let root = folder.path().join("root");
    unpack(&staged_with(&commit, &tree, &options(), layers.clone()).unwrap(), &root);
    let repo = format!("--repo={}", root.join("ostree/repo").display());
    assert!(ostree(&[&repo, "fsck"]).contains("no errors found"));
    let listed = ostree(&[&repo, "refs", "--list", "ostree/container/blob"]);
    assert_eq!(listed.lines().count(), layers.len(), "{listed}");
    for layer in layers {
        let list = ostree(&[&repo, "ls", "--nul-filenames-only", &format!("ostree/container/blob/sha256_3A_{}", layer.sha256)]);
        let found: BTreeSet<_> =
            list.split('\0').map(|name| name.trim_start_matches('/')).filter(|name| !name.is_empty()).collect();
        let objects: Vec<_> = layer.objects.iter().map(|object| object.to_hex()).collect();
        assert_eq!(found, objects.iter().map(String::as_str).collect());
    }
}

#[test]
fn the_parts_that_firmware_and_grub_read() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, commit) = committed(&Store::open(folder.path()).unwrap());
    let sysroot = staged(&commit, &tree, &options()).unwrap();
    assert_eq!(text(&sysroot.esp, "/EFI/BOOT/BOOTX64.EFI"), "shim");
    assert_eq!(text(&sysroot.esp, "/EFI/BOOT/grubx64.efi"), "grub");
    assert!(text(&sysroot.esp, "/EFI/debian/grub.cfg").contains("--label boot"));
    let menu = text(&sysroot.boot, "/loader.1/grub.cfg");
    assert!(menu.contains("menuentry 'Test OS 1.2 (ostree:0)'") && menu.contains(&sysroot.args.join(" ")), "{menu}");
    assert_eq!(sysroot.boot.get(&path("/grub/grub.cfg")), Some(&Node::symlink("../loader/grub.cfg")));
    assert_eq!(sysroot.args[..4], ["root=LABEL=root", "rw", "console=ttyS0,115200", "quiet"]);
    assert_eq!(sysroot.initramfs[0].bytes().unwrap(), b"initramfs");

    let origin = format!("/ostree/deploy/node/deploy/{}.0.origin", commit.checksum);
    let update = Options { update: Some("registry.example/node:1".into()), ..options() };
    let sysroot = staged(&commit, &tree, &update).unwrap();
    assert_eq!(
        text(&sysroot.root, &origin),
        "[origin]\ncontainer-image-reference=ostree-unverified-registry:registry.example/node:1\n"
    );
}

#[test]
fn with_a_key_for_commits_there_is_room_for_a_signature_that_libostree_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let (tree, commit) = committed(&store);
    let key = Some(Key { sha256: Digest::of(b""), size: 0 });
    let trust = Some(Trust { commit: key, ..Trust::default() });
    let sysroot = staged(&commit, &tree, &Options { trust, ..options() }).unwrap();
    let hex = commit.checksum.to_hex();
    let at = path(&format!("/ostree/repo/objects/{}/{}.commitmeta", &hex[..2], &hex[2..]));
    let unsigned = sysroot.root.file(&at).unwrap().bytes().unwrap();
    assert_eq!(unsigned.len(), crate::sign::metadata::LENGTH);
    let root = folder.path().join("root");
    unpack(&sysroot, &root);
    let repo = format!("--repo={}", root.join("ostree/repo").display());
    assert!(ostree(&[&repo, "fsck"]).contains("no errors found"));
    let room = ostree(&[&repo, "show", "--print-detached-metadata-key=basalt.room", &hex]);
    assert!(room.starts_with("[byte 0x00, "), "{room}");
    assert!(staged(&commit, &tree, &options()).unwrap().root.file(&at).is_none(), "without a key there is none");
}

#[test]
fn what_is_missing_is_named_with_its_package() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, commit) = committed(&Store::open(folder.path()).unwrap());
    for (at, package) in [
        ("/usr/lib/shim/shimx64.efi.signed", "shim-signed"),
        ("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed"),
        (&format!("/usr/lib/modules/{KERNEL}/initramfs.img"), "dracut"),
        ("/usr/lib/os-release", "base-files"),
    ] {
        let mut tree = tree.clone();
        tree.remove(&path(at)).unwrap();
        let error = staged(&commit, &tree, &options()).unwrap_err();
        assert_eq!(kind_of(&error), Kind::Invalid);
        assert!(error.to_string().starts_with(&format!("{at} is missing")), "{error}");
        assert!(crate::failure::failure_in(&error).unwrap().hint.as_ref().unwrap().contains(package));
    }
}
