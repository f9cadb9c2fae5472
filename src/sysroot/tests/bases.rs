//! Bases that are not as Debian's: one with an SELinux policy, and one that is made for bootupd.

use super::{committed_of, options, ostree, staged, text, unpack};
use crate::commit::fixture::{KERNEL, base, file, info, path, put, written};
use crate::failure::{Kind, failure_in, kind_of};
use crate::store::Store;
use crate::sysroot::Sysroot;
use crate::tree::{Node, Tree};

const RULES: &str = "/.* default_t\n/ -d root_t\n/boot(/.*)? boot_t\n/boot/lost\\+found -d lost_t\n/lost\\+found -d lost_t\n\
                     /etc(/.*)? etc_t\n/etc/ssh(/.*)? ssh_t\n/usr(/.*)? usr_t\n/usr/bin(/.*)? bin_t\n/var(/.*)? var_t\n/var/none -- <<none>>\n";

fn with_policy() -> Tree {
    let mut tree = base();
    put(&mut tree, "/etc/selinux/config", file("SELINUX=permissive\nSELINUXTYPE=own\n"));
    put(&mut tree, "/etc/selinux/own/contexts/files/file_contexts", file(RULES));
    put(&mut tree, "/etc/selinux/own/contexts/files/file_contexts.subs_dist", file("/etc/init.d /usr/bin\n"));
    put(&mut tree, "/etc/init.d/script", file("#!"));
    tree
}

/// As bootupd's packages and `bootupctl backend generate-update-metadata` leave it.
fn for_bootupd() -> Tree {
    let mut tree = base();
    for package in ["/usr/lib/shim", "/usr/lib/grub"] {
        tree.remove(&path(package));
    }
    for (at, content) in [
        ("updates/EFI.json", "{}"),
        ("updates/EFI/BOOT/BOOTX64.EFI", "shim"),
        ("updates/EFI/BOOT/fbx64.efi", "fallback"),
        ("updates/EFI/vendor/shimx64.efi", "shim"),
        ("updates/EFI/vendor/grubx64.efi", "grub"),
        ("grub2-static/grub-static-pre.cfg", "search --label boot --set boot\nset root=$boot\n"),
        ("grub2-static/grub-static-efi.cfg", "search --label boot --set prefix\nconfigfile ($prefix)/grub2/grub.cfg\n"),
        ("grub2-static/configs.d/10_blscfg.cfg", "blscfg\n"),
        ("grub2-static/configs.d/01_users.cfg", "users\n"),
        ("grub2-static/configs.d/README", "no"),
    ] {
        put(&mut tree, &format!("/usr/lib/bootupd/{at}"), file(content));
    }
    tree
}

fn laid_out(base: Tree) -> Sysroot {
    let folder = tempfile::tempdir().unwrap();
    let (tree, commit) = committed_of(base, &Store::open(folder.path()).unwrap());
    staged(&commit, &tree, &options()).unwrap()
}

fn label(tree: &Tree, at: &str) -> Option<String> {
    let node = tree.get(&path(at));
    let meta = if at == "/" { &tree.root.meta } else { node.unwrap_or_else(|| panic!("{at} is missing")).meta() };
    meta.xattrs.get("security.selinux").map(|value| String::from_utf8(value.clone()).unwrap())
}

#[test]
fn every_file_of_the_disk_has_its_label() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, commit) = committed_of(with_policy(), &Store::open(folder.path()).unwrap());
    let sysroot = staged(&commit, &tree, &options()).unwrap();
    let deployment = format!("/ostree/deploy/node/deploy/{}.0", commit.checksum);
    for (at, wanted) in [
        ("/", "root_t"),
        ("/boot", "boot_t"),
        ("/lost+found", "lost_t"),
        ("/ostree/repo/config", "usr_t"),
        ("/ostree/boot.1", "usr_t"),
        ("/ostree/deploy/node/var", "var_t"),
        ("/ostree/deploy/node/var/.ostree-selabeled", "var_t"),
        (&format!("{deployment}.origin"), "etc_t"),
        (&deployment, "root_t"),
        (&format!("{deployment}/usr/bin/bash"), "bin_t"),
        (&format!("{deployment}/usr/etc/ssh/sshd_config"), "ssh_t"),
        (&format!("{deployment}/etc/ssh/sshd_config"), "ssh_t"),
        (&format!("{deployment}/etc/empty"), "etc_t"),
        (&format!("{deployment}/usr/etc/init.d/script"), "etc_t"),
        (&format!("{deployment}/etc/init.d/script"), "bin_t"),
        (&format!("{deployment}/home"), "default_t"),
    ] {
        assert_eq!(label(&sysroot.root, at).as_deref(), Some(format!("{wanted}\0").as_str()), "{at}");
    }
    let bare = sysroot.root.walk().filter(|(_, node)| !node.meta().xattrs.contains_key("security.selinux"));
    assert_eq!(bare.map(|(path, _)| path).collect::<Vec<_>>(), []);
    for (at, wanted) in [("/", "boot_t"), ("/loader.1/entries/ostree-1.conf", "boot_t"), ("/lost+found", "lost_t")] {
        assert_eq!(label(&sysroot.boot, at), Some(format!("{wanted}\0")), "{at}");
    }
    assert!(sysroot.esp.walk().all(|(_, node)| node.meta().xattrs.is_empty()), "FAT keeps none");
    // The same file is one object, whose label all its names share.
    let unlabelled = laid_out(base());
    assert!(unlabelled.root.walk().all(|(_, node)| !node.meta().xattrs.contains_key("security.selinux")));
    assert!(unlabelled.root.get(&path("/lost+found")).is_none(), "the filesystem's writer makes it");
}

#[test]
fn a_base_for_bootupd_boots_in_its_own_way() {
    let sysroot = laid_out(for_bootupd());
    let names: Vec<_> = sysroot.esp.walk().map(|(path, _)| path.to_string()).collect();
    assert_eq!(
        names,
        [
            "/EFI",
            "/EFI/BOOT",
            "/EFI/BOOT/BOOTX64.EFI",
            "/EFI/BOOT/fbx64.efi",
            "/EFI/vendor",
            "/EFI/vendor/grub.cfg",
            "/EFI/vendor/grubx64.efi",
            "/EFI/vendor/shimx64.efi"
        ]
    );
    assert!(text(&sysroot.esp, "/EFI/vendor/grub.cfg").contains("configfile ($prefix)/grub2/grub.cfg"));
    assert_eq!(
        text(&sysroot.boot, "/grub2/grub.cfg"),
        "# bootupd's static configuration, of the image\n\nsearch --label boot --set boot\nset root=$boot\n\n### BEGIN 01_users.cfg \
         ###\nusers\n### END 01_users.cfg ###\n\n### BEGIN 10_blscfg.cfg ###\nblscfg\n### END 10_blscfg.cfg ###\n"
    );
    let environment = text(&sysroot.boot, "/grub2/grubenv");
    assert!(environment.len() == 1024 && environment.starts_with("# GRUB Environment Block\n###"), "{environment}");
    assert!(text(&sysroot.boot, "/grub2/console.cfg").starts_with("serial --unit=0 --speed=115200\n"));
    assert_eq!(sysroot.boot.get(&path("/grub2/grub.cfg")).unwrap().meta().mode, 0o600);
    for absent in ["/grub", "/loader.1/grub.cfg"] {
        assert!(sysroot.boot.get(&path(absent)).is_none(), "{absent}");
    }
    assert!(text(&sysroot.boot, "/loader.1/entries/ostree-1.conf").contains(&format!("vmlinuz-{KERNEL}\n")));
    assert!(text(&sysroot.root, "/ostree/repo/config").contains("[sysroot]\nreadonly=true\nbootloader=none\n"));
}

#[test]
fn newer_bases_have_a_folder_for_each_package() {
    let mut tree = for_bootupd();
    tree.remove(&path("/usr/lib/bootupd/updates/EFI"));
    for (at, content) in [
        ("grub2/2.12-1/EFI/vendor/grubx64.efi", "grub"),
        ("shim/16-1/EFI/BOOT/BOOTX64.EFI", "shim"),
        ("shim/16-1/EFI/vendor/shimx64.efi", "shim"),
    ] {
        put(&mut tree, &format!("/usr/lib/efi/{at}"), file(content));
    }
    let esp = laid_out(tree).esp;
    assert_eq!((text(&esp, "/EFI/BOOT/BOOTX64.EFI"), text(&esp, "/EFI/vendor/grubx64.efi")), ("shim".into(), "grub".into()));
    assert!(esp.file(&path("/EFI/vendor/grub.cfg")).is_some());
}

#[test]
fn libostree_adds_an_entry_and_leaves_grub_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let (tree, commit) = committed_of(for_bootupd(), &store);
    let root = folder.path().join("root");
    unpack(&staged(&commit, &tree, &options()).unwrap(), &root);
    let before = std::fs::read(root.join("boot/grub2/grub.cfg")).unwrap();
    let mut next = tree;
    put(&mut next, "/usr/bin/new", file("new"));
    let mut info = info();
    info.image.version = "1.3".into();
    let second = written(&next, &info, &store);
    let repo = format!("--repo={}", root.join("ostree/repo").display());
    ostree(&[&repo, "pull-local", second.repository.to_str().unwrap(), &info.branch]);
    ostree(&["admin", "deploy", &format!("--sysroot={}", root.display()), "--os=node", &info.branch]);
    let entries = std::fs::read_dir(root.join("boot/loader/entries")).unwrap().count();
    assert_eq!(entries, 2);
    assert_eq!(std::fs::read(root.join("boot/grub2/grub.cfg")).unwrap(), before);
    assert!(!root.join("boot/loader/grub.cfg").exists());
}

#[test]
fn a_base_for_bootupd_that_lacks_something_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, commit) = committed_of(for_bootupd(), &Store::open(folder.path()).unwrap());
    type Change = fn(&mut Tree);
    let cases: [(Change, &str); 4] = [
        (
            |tree| drop(tree.remove(&path("/usr/lib/bootupd/updates/EFI/BOOT/BOOTX64.EFI"))),
            "/usr/lib/bootupd/updates is there, and no EFI/BOOT/BOOTX64.EFI: firmware on amd64 looks for that",
        ),
        (
            |tree| drop(tree.remove(&path("/usr/lib/bootupd/updates/EFI/vendor/shimx64.efi"))),
            "needed shimx64.efi in one folder of EFI, found it in 0: []",
        ),
        (
            |tree| drop(tree.remove(&path("/usr/lib/bootupd/grub2-static/grub-static-pre.cfg"))),
            "/usr/lib/bootupd/updates is there, and /usr/lib/bootupd/grub2-static/grub-static-pre.cfg is missing",
        ),
        (
            |tree| put(tree, "/usr/lib/bootupd/updates/EFI/BOOT/link", Node::symlink("BOOTX64.EFI")),
            "the EFI system partition cannot have a link, and one to BOOTX64.EFI was found",
        ),
    ];
    for (change, message) in cases {
        let mut tree = tree.clone();
        change(&mut tree);
        let error = staged(&commit, &tree, &options()).unwrap_err();
        assert_eq!((error.to_string().as_str(), kind_of(&error)), (message, Kind::Invalid));
        assert!(failure_in(&error).unwrap().hint.is_some());
    }
}
