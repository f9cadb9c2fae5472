//! What layers become, and what libostree's own program says of the commit.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::fixture::{KERNEL, base, efi, elf, file, image, info, layer, overlay, own, path, put, written};
use super::{Commit, CommitInfo, assemble, prune};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Kind, kind_of};
use crate::host::cmd::Cmd;
use crate::layer::Layer;
use crate::lock::OVERLAY_KIND;
use crate::store::Store;
use crate::tree::{Content, Node, Tree, dump, tar};

fn assembled(layers: &[Layer]) -> Tree {
    assemble(layers, &image()).unwrap()
}

fn text(tree: &Tree, at: &str) -> String {
    String::from_utf8(tree.file(&path(at)).unwrap_or_else(|| panic!("{at} is missing")).bytes().unwrap()).unwrap()
}

#[test]
fn a_base_becomes_what_ostree_deploys() {
    let opt = overlay("driver", &[("/opt/vendor/tool", "x"), ("/etc/driver.conf", "y")]);
    let tree = assembled(&[layer("base", base()), opt]);
    let top: Vec<_> = tree.root.children.keys().map(String::as_str).collect();
    assert_eq!(
        top,
        [
            "bin", "boot", "dev", "home", "lib", "media", "mnt", "opt", "ostree", "proc", "root", "run", "srv", "sys", "sysroot",
            "tmp", "usr", "var"
        ]
    );
    for (at, target) in [
        ("/home", "var/home"),
        ("/root", "var/roothome"),
        ("/usr/local", "../var/usrlocal"),
        ("/media", "run/media"),
        ("/ostree", "sysroot/ostree"),
    ] {
        assert_eq!(tree.get(&path(at)), Some(&Node::symlink(target)), "{at}");
    }
    for empty in ["/var", "/boot", "/run", "/dev"] {
        assert!(tree.directory(&path(empty)).unwrap().children.is_empty(), "{empty}");
    }
    let modules = tree.directory(&path(&format!("/usr/lib/modules/{KERNEL}"))).unwrap();
    assert_eq!(modules.children.keys().collect::<Vec<_>>(), ["initramfs.img", "modules.dep", "vmlinuz"]);
    assert_eq!(text(&tree, "/usr/etc/driver.conf"), "y");
    assert_eq!(text(&tree, "/usr/lib/opt/vendor/tool"), "x");
    assert_eq!(text(&tree, "/usr/share/factory/var/roothome/.bashrc"), "alias\n");
    assert_eq!(
        text(&tree, "/usr/lib/os-release"),
        "PRETTY_NAME=\"Test OS\"\nID=test\nIMAGE_ID=\"node\"\nIMAGE_VERSION=\"1.2\"\n"
    );
    let info = basalt_contract::ImageInfo::from_json(text(&tree, "/usr/lib/basalt/image.json").as_bytes()).unwrap();
    assert_eq!((info.name.as_str(), info.image_time), ("node", 1_780_000_000));
    let (uid, gid) = (own(0).uid, own(0).gid);
    let lines = text(&tree, "/usr/lib/tmpfiles.d/basalt-var-generated.conf");
    for line in [
        format!("d /var/cache/private 0700 {uid} {gid} -"),
        "L /var/lib/dpkg - - - - ../../usr/lib/sysimage/dpkg".into(),
        "L /var/opt/vendor - - - - ../../usr/lib/opt/vendor".into(),
        format!("d /var/opt/empty 0755 {uid} {gid} -"),
        format!("C /var/roothome/.bashrc 0644 {uid} {gid} -"),
        "d /var/usrlocal 0755 0 0 -".into(),
    ] {
        assert!(lines.lines().any(|found| found == line), "{line} is missing from\n{lines}");
    }
}

#[test]
fn systemd_makes_from_the_lines_what_was_under_var() {
    let tree = assembled(&[layer("base", base())]);
    let folder = tempfile::tempdir().unwrap();
    let bashrc = folder.path().join("usr/share/factory/var/roothome/.bashrc");
    fs::create_dir_all(bashrc.parent().unwrap()).unwrap();
    fs::write(&bashrc, "alias\n").unwrap();
    // An ordinary user cannot give things to root.
    let own = format!(" {} {} -", own(0).uid, own(0).gid);
    let conf = folder.path().join("var.conf");
    fs::write(&conf, text(&tree, "/usr/lib/tmpfiles.d/basalt-var-generated.conf").replace(" 0 0 -", &own)).unwrap();
    Cmd::new("systemd-tmpfiles").arg("--create").arg(format!("--root={}", folder.path().display())).arg(&conf).run().unwrap();
    let mode = |at: &str| fs::metadata(folder.path().join(at)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("var/cache/private"), mode("var/roothome"), mode("var/usrlocal")), (0o700, 0o755, 0o755));
    assert_eq!(fs::read_to_string(folder.path().join("var/roothome/.bashrc")).unwrap(), "alias\n");
    assert_eq!(fs::read_link(folder.path().join("var/lib/dpkg")).unwrap().to_str(), Some("../../usr/lib/sysimage/dpkg"));
}

#[test]
fn what_cannot_be_an_image_is_refused_with_layer_path_and_next_step() {
    let no_kernel = {
        let mut tree = base();
        tree.remove(&path("/boot"));
        tree
    };
    let with = |at: &str, bytes: Vec<u8>| {
        let mut tree = base();
        put(&mut tree, at, file(bytes));
        tree
    };
    let arm = Cell::One(with("/usr/lib/systemd/systemd", elf(183)));
    let arm_kernel = Cell::One(with(&format!("/boot/vmlinuz-{KERNEL}"), efi(0xaa64)));
    let script = Cell::One(with(&format!("/boot/vmlinuz-{KERNEL}"), b"#!".to_vec()));
    let two = overlay("kernel", &[("/usr/lib/modules/7.0/vmlinuz", "x")]);
    let over = |at: &str| Cell::Two(overlay("mine", &[(at, "other")]));
    for (cell, what, hint) in [
        (over("/etc/passwd"), "/etc/passwd: a file of layer base, a file of layer mine", "replaces = [\"/etc/passwd\"]"),
        (Cell::Two(overlay("files", &[("/etc/passwd", "x")])), "a file of layer files", "replaces = true"),
        (over("/var/lib/x"), "layer mine: /var/lib/x cannot be part", "/usr/share/factory"),
        (over("/home/me/x"), "layer mine: /home/me/x cannot be part", "below /usr"),
        (over("/run/x"), "layer mine: /run/x cannot be part", "tmpfiles.d"),
        (over("/boot/x"), "layer mine: /boot/x cannot be part", "/usr/lib/modules"),
        (over("/usr/etc/x"), "layer mine: /usr/etc cannot be part", "below /etc"),
        (over("/bin/x"), "/bin: a symbolic link of layer base, a directory of layer mine", "into usr/bin"),
        (Cell::Two(two), &format!("needed one kernel, found 2: {KERNEL} of layer base, 7.0 of layer kernel"), "all but one"),
        (Cell::One(no_kernel), "no kernel", "linux-image"),
        (arm, "/usr/lib/systemd/systemd: needed a program for amd64, found ELF machine 183", "architecture"),
        (arm_kernel, "found EFI machine 0xaa64", "architecture"),
        (script, "found no EFI program", "architecture"),
    ] {
        let layers = match cell {
            Cell::One(tree) => vec![layer("base", tree)],
            Cell::Two(above) => vec![layer("base", base()), above],
        };
        let error = assemble(&layers, &image()).unwrap_err();
        assert!(error.to_string().contains(what), "needed {what:?}, found {error}");
        assert_eq!(kind_of(&error), Kind::Invalid);
        let found = crate::failure::failure_in(&error).unwrap().hint.clone().unwrap();
        assert!(found.contains(hint), "needed hint {hint:?}, found {found}");
    }
    let mut arm_image = image();
    arm_image.architecture = Architecture::Arm64;
    assert!(assemble(&[layer("base", base())], &arm_image).unwrap_err().to_string().contains("for arm64"));
}

/// A base alone, or the usual base with a layer above.
enum Cell {
    One(Tree),
    Two(Layer),
}

#[test]
fn a_layer_may_replace_and_remove() {
    let mut above = overlay("mine", &[("/etc/passwd", "mine")]);
    above.replaces = vec![path("/etc")];
    above.removals = vec![path("/etc/group"), path("/no/such")];
    let tree = assembled(&[layer("base", base()), above]);
    assert_eq!(text(&tree, "/usr/etc/passwd"), "mine");
    assert!(tree.get(&path("/usr/etc/group")).is_none());
}

/// A store, a tree, its commit.
fn committed(store: &Store, layers: &[Layer]) -> (Tree, Commit) {
    let tree = assembled(layers);
    let commit = written(&tree, &info(), store);
    (tree, commit)
}

fn ostree(commit: &Commit, args: &[&str]) -> String {
    let repo = format!("--repo={}", commit.repository.display());
    String::from_utf8(Cmd::new("ostree").arg(repo).args(args).run().unwrap().stdout).unwrap()
}

#[test]
fn libostree_agrees_with_every_object() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (tree, commit) = committed(&store, &[layer("base", base())]);
    assert!(ostree(&commit, &["fsck"]).contains("no errors found"));
    let checksum = commit.checksum.to_hex();
    assert_eq!(ostree(&commit, &["rev-parse", "basalt/node/amd64"]).trim(), checksum);
    assert_eq!(ostree(&commit, &["show", "--print-metadata-key=version", &checksum]).trim(), "'1.2'");
    assert_eq!(ostree(&commit, &["show", "--print-metadata-key=ostree.linux", &checksum]).trim(), format!("'{KERNEL}'"));
    let arguments = ostree(&commit, &["show", "--print-metadata-key=basalt.kernel-arguments", &checksum]);
    assert_eq!(arguments.trim(), "[('quiet', ['recipe'])]");

    // The independent way: libostree imports the same tree from a tar of its own reading.
    let archive = folder.path().join("tree.tar");
    tar::write(&tree, fs::File::create(&archive).unwrap()).unwrap();
    ostree(&commit, &["commit", "--branch=check", &format!("--tree=tar={}", archive.display())]);
    let listed = |name: &str| ostree(&commit, &["ls", "-R", "-C", "-X", name]);
    assert_eq!(listed(&checksum), listed("check"));
}

#[test]
fn nothing_is_read_twice_and_the_same_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (tree, first) = committed(&store, &[layer("base", base())]);
    let other = tempfile::tempdir().unwrap();
    let (_, elsewhere) = committed(&Store::open(other.path()).unwrap(), &[layer("base", base())]);
    assert_eq!(first.checksum, elsewhere.checksum);
    assert_eq!(first.metadata, elsewhere.metadata);

    // A pack that cannot be read any more: whoever reads it fails.
    let pack = folder.path().join("pack");
    fs::write(&pack, b"").unwrap();
    let pack = crate::tree::Pack::open(&pack).unwrap();
    let mut unreadable = tree.clone();
    let at = path("/usr/bin/bash");
    let content = tree.file(&at).unwrap();
    let gone = Content::packed(pack, 0, content.len(), content.digest());
    unreadable.put_file(&at, tree.get(&at).unwrap().meta().clone(), gone).unwrap();
    let again = written(&unreadable, &info(), &store);
    assert_eq!(again.checksum, first.checksum);
    assert_eq!(again.files, first.files);
    assert_eq!(dump::digest(&unreadable), dump::digest(&tree));

    // What the index promises and the repository has lost is made again.
    let object = first.files[&path("/usr/bin/one")].to_hex();
    let lost = first.repository.join("objects").join(&object[..2]).join(format!("{}.file", &object[2..]));
    fs::remove_file(&lost).unwrap();
    let mended = written(&tree, &info(), &store);
    assert_eq!(mended.checksum, first.checksum);
    assert!(lost.exists());
}

#[test]
fn two_writers_at_once_give_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let tree = assembled(&[layer("base", base())]);
    let write = || written(&tree, &info(), &store).checksum;
    let (a, b) = std::thread::scope(|scope| {
        let (a, b) = (scope.spawn(write), scope.spawn(write));
        (a.join().unwrap(), b.join().unwrap())
    });
    assert_eq!(a, b);
}

#[test]
fn what_no_image_has_any_more_is_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let entry = |digest: &Digest| store.entry_or_make(OVERLAY_KIND, digest, |at| Ok(fs::write(at.join("pack"), "x")?)).unwrap();
    let [old, new] = ["old", "new"].map(|text| {
        let mine = overlay("mine", &[("/usr/lib/mine", text)]);
        let digest = dump::digest(&mine.tree);
        let info = CommitInfo { layers: vec![("overlay mine".into(), digest)], ..info() };
        entry(&digest);
        (written(&assembled(&[layer("base", base()), mine]), &info, &store), info.layers[0].1)
    });
    let other = Store::open(folder.path()).unwrap();
    let busy = store.alone().unwrap_err().to_string();
    assert!(busy.contains("in use by another build"), "{busy}");
    drop(other);
    let alone = store.alone().unwrap();
    let pruned = prune(&store, &alone).unwrap();
    // The file, its folders, the commit.
    assert!(pruned.objects >= 3 && pruned.overlays == 1 && pruned.bytes > 0, "{pruned:?}");
    assert_eq!(prune(&store, &alone).unwrap(), Default::default());
    drop(alone);
    assert!(store.entry(OVERLAY_KIND, &new.1).is_some() && store.entry(OVERLAY_KIND, &old.1).is_none());
    assert!(ostree(&new.0, &["fsck"]).contains("no errors found"));
    assert!(!ostree(&new.0, &["refs"]).is_empty());
    let gone = old.0.repository.join("objects").join(&old.0.checksum.to_hex()[..2]);
    assert!(!gone.join(format!("{}.commit", &old.0.checksum.to_hex()[2..])).exists());
    // It can be made again.
    let mine = overlay("mine", &[("/usr/lib/mine", "old")]);
    let again = written(&assembled(&[layer("base", base()), mine]), &old.0.info, &store);
    assert_eq!(again.checksum, old.0.checksum);
    assert!(ostree(&again, &["fsck"]).contains("no errors found"));
}
