//! Links, presets, accounts and their mistakes.

use std::path::Path;

use super::produce;
use crate::commit::fixture::{base, overlay, path};
use crate::commit::merged;
use crate::failure::{Kind, failure_in, kind_of};
use crate::host::cmd::Cmd;
use crate::layer::Layer;
use crate::plan::{Settings, User};
use crate::tree::{LeafKind, Node, Tree};

const UNITS: &[(&str, &str)] = &[
    ("/usr/lib/systemd/system/ssh.service", "[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\nAlso=keys.service\n"),
    ("/usr/lib/systemd/system/keys.service", "[Install]\nRequiredBy=ssh.service\n"),
    ("/usr/lib/systemd/system/getty@.service", "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n"),
    ("/usr/lib/systemd/system/log@.service", "[Install]\nWantedBy=%p-%i.target\n"),
    ("/usr/lib/systemd/system/static.service", "[Service]\n"),
    ("/usr/lib/systemd/system/odd.service", "[Install]\nWantedBy=%H.target\n"),
    ("/usr/lib/systemd/system/dropped.timer", "[Unit]\n"),
    ("/usr/lib/systemd/system/dropped.timer.d/1.conf", "[Install]\nWantedBy=timers.target\n"),
    ("/usr/lib/systemd/system/vendor.service", "[Install]\nWantedBy=basic.target\n"),
    ("/usr/lib/systemd/system/old.service", "[Install]\nWantedBy=basic.target\n"),
];

/// The small base with units, some of them enabled.
fn below() -> Tree {
    let mut units = overlay("units", UNITS);
    for (at, target) in [
        ("/etc/systemd/system/basic.target.wants/old.service", "/usr/lib/systemd/system/old.service"),
        ("/etc/systemd/system/older.service", "/usr/lib/systemd/system/old.service"),
        ("/usr/lib/systemd/system/basic.target.wants/vendor.service", "../vendor.service"),
        ("/etc/systemd/system/masked.service", "/dev/null"),
        ("/usr/lib/systemd/system/dbus-org.old.service", "old.service"),
    ] {
        units.tree.put(&path(at), Node::symlink(target)).unwrap();
    }
    merged(&[crate::commit::fixture::layer("base", base()), units]).unwrap()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Links as `path -> target`, without the folder that they are all in.
fn links(tree: &Tree) -> Vec<String> {
    let link = |(at, node): (crate::tree::TreePath, &Node)| match node {
        Node::Leaf(leaf) => match &leaf.kind {
            LeafKind::Symlink(target) => {
                Some(format!("{} -> {target}", at.to_string().trim_start_matches("/etc/systemd/system/")))
            }
            LeafKind::File(_) => None,
        },
        Node::Directory(_) => None,
    };
    tree.walk().filter_map(link).collect()
}

fn text(tree: &Tree, at: &str) -> String {
    String::from_utf8(tree.file(&path(at)).unwrap_or_else(|| panic!("{at} is missing")).bytes().unwrap()).unwrap()
}

#[test]
fn enabling_makes_the_links_that_systemctl_makes() {
    let below = below();
    for (name, expected, preset) in [
        (
            "ssh",
            &[
                "multi-user.target.wants/ssh.service -> /usr/lib/systemd/system/ssh.service",
                "ssh.service.requires/keys.service -> /usr/lib/systemd/system/keys.service",
                "sshd.service -> /usr/lib/systemd/system/ssh.service",
            ][..],
            "enable ssh.service\nenable keys.service\n",
        ),
        (
            "getty@.service",
            &["getty.target.wants/getty@tty1.service -> /usr/lib/systemd/system/getty@.service"],
            "enable getty@.service tty1\n",
        ),
        (
            "getty@tty2.service",
            &["getty.target.wants/getty@tty2.service -> /usr/lib/systemd/system/getty@.service"],
            "enable getty@.service tty2\n",
        ),
        (
            "log@a.service",
            &["log-a.target.wants/log@a.service -> /usr/lib/systemd/system/log@.service"],
            "enable log@.service a\n",
        ),
        (
            "dropped.timer",
            &["timers.target.wants/dropped.timer -> /usr/lib/systemd/system/dropped.timer"],
            "enable dropped.timer\n",
        ),
        ("old.service", &[], "enable old.service\n"),
        ("dbus-org.old.service", &[], "enable old.service\n"),
    ] {
        let settings = Settings { enable: names(&[name]), ..Settings::default() };
        let produced = produce(&settings, &below).unwrap();
        assert_eq!(links(&produced.tree), expected, "{name}");
        assert_eq!(text(&produced.tree, "/usr/lib/systemd/system-preset/10-basalt.preset"), preset);
        assert!(produced.removals.is_empty());
    }
}

/// Puts what `tree` has for systemd into a folder.
fn stage(tree: &Tree, folder: &Path) {
    for (at, node) in tree.walk().filter(|(at, _)| at.to_string().contains("/systemd/system")) {
        let to = folder.join(at.relative());
        match node {
            Node::Directory(_) => std::fs::create_dir_all(&to).unwrap(),
            Node::Leaf(leaf) => match &leaf.kind {
                LeafKind::File(content) => std::fs::write(&to, content.bytes().unwrap()).unwrap(),
                LeafKind::Symlink(target) => std::os::unix::fs::symlink(target, &to).unwrap(),
            },
        }
    }
}

/// The administrator's links in a folder, as [`links`] has them, sorted.
fn links_in(folder: &Path) -> Vec<String> {
    let find = Cmd::new("find").arg(folder.join("etc/systemd/system")).args(["-type", "l", "-printf", "%P -> %l\n"]);
    let mut links: Vec<_> = String::from_utf8(find.run().unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    links.sort();
    links
}

/// The real systemctl, on the same tree, makes the same links.
#[test]
fn systemctl_agrees() {
    let below = below();
    let folder = tempfile::tempdir().unwrap();
    stage(&below, folder.path());
    let enable = ["ssh.service", "getty@tty2.service", "getty@.service", "log@a.service", "dropped.timer"];
    let settings = Settings { enable: names(&enable), disable: names(&["old.service"]), ..Settings::default() };
    let produced = produce(&settings, &below).unwrap();
    let systemctl = |verb: &str, units: &[&str]| {
        let root = format!("--root={}", folder.path().display());
        Cmd::new("systemctl").arg(root).arg(verb).args(units).run().unwrap();
    };
    systemctl("disable", &["old.service"]);
    systemctl("enable", &enable);
    for at in &produced.removals {
        assert!(folder.path().join(at.relative()).symlink_metadata().is_err(), "{at} is still there");
    }
    let theirs: Vec<_> = links_in(folder.path()).into_iter().filter(|link| !link.ends_with("/dev/null")).collect();
    let mut ours = links(&produced.tree);
    ours.sort();
    assert_eq!(ours, theirs);
}

/// systemd applies all presets at the first boot. What the distribution's enable and the recipe switches off must stay off then, and
/// what the recipe enables must stay on.
#[test]
fn the_first_boot_agrees_with_the_recipe() {
    let files = [
        ("/usr/lib/systemd/system-preset/90-systemd.preset", "enable net.service\nenable wait.service\nenable time.service\n"),
        ("/usr/lib/systemd/system-preset/99-basalt.preset", "disable *\n"),
        ("/usr/lib/systemd/system/net.service", "[Install]\nWantedBy=multi-user.target\nAlso=wait.service gen.service\n"),
        ("/usr/lib/systemd/system/wait.service", "[Install]\nWantedBy=network-online.target\n"),
        ("/usr/lib/systemd/system/gen.service", "[Install]\nWantedBy=sysinit.target\n"),
        ("/usr/lib/systemd/system/time.service", "[Install]\nWantedBy=sysinit.target\n"),
        ("/usr/lib/systemd/system/log@.service", "[Install]\nWantedBy=multi-user.target\nDefaultInstance=a\n"),
    ];
    let mut units = overlay("units", &files);
    let linked = path("/etc/systemd/system/sysinit.target.wants/time.service");
    units.tree.put(&linked, Node::symlink("/usr/lib/systemd/system/time.service")).unwrap();
    let lower = [crate::commit::fixture::layer("base", base()), units];
    let below = merged(&lower).unwrap();

    let unmasked = Settings { enable: names(&["net"]), disable: names(&["wait"]), ..Settings::default() };
    for settings in [unmasked.clone(), Settings { enable: Vec::new(), ..unmasked }] {
        let error = produce(&settings, &below).unwrap_err();
        let failure = failure_in(&error).unwrap();
        assert!(failure.what.contains("wait.service cannot be disabled: net.service is enabled and brings it"), "{failure}");
        assert_eq!(failure.about.as_ref().unwrap().key, "systemd.disable");
    }

    let settings = Settings {
        enable: names(&["net", "log@b.service", "log@.service"]),
        disable: names(&["time"]),
        mask: names(&["wait"]),
        ..Settings::default()
    };
    let made = produce(&settings, &below).unwrap();
    let above = Layer { removals: made.removals, ..crate::commit::fixture::layer("settings", made.tree) };
    let [base, units] = lower;
    let image = merged(&[base, units, above]).unwrap();
    for mode in ["enable-only", "full"] {
        let folder = tempfile::tempdir().unwrap();
        stage(&image, folder.path());
        let before = links_in(folder.path());
        assert!(before.contains(&"wait.service -> /dev/null".to_owned()) && !before.concat().contains("time"), "{before:?}");
        let root = format!("--root={}", folder.path().display());
        Cmd::new("systemctl").args([&root, "preset-all", &format!("--preset-mode={mode}")]).run().unwrap();
        assert_eq!(links_in(folder.path()), before, "{mode}");
    }
}

#[test]
fn disabling_and_masking_take_away() {
    let settings = Settings { disable: names(&["old"]), mask: names(&["ssh.service", "masked"]), ..Settings::default() };
    let produced = produce(&settings, &below()).unwrap();
    let removed: Vec<_> = produced.removals.iter().map(ToString::to_string).collect();
    assert_eq!(removed, ["/etc/systemd/system/basic.target.wants/old.service", "/etc/systemd/system/older.service"]);
    assert_eq!(links(&produced.tree), ["ssh.service -> /dev/null"]);
    let preset = text(&produced.tree, "/usr/lib/systemd/system-preset/10-basalt.preset");
    assert_eq!(preset, "disable old.service\ndisable ssh.service\ndisable masked.service\n");
}

#[test]
fn mistakes_are_named_with_what_was_meant() {
    let below = below();
    let unit =
        |enable: &[&str], disable: &[&str]| Settings { enable: names(enable), disable: names(disable), ..Settings::default() };
    let user = |name: &str, user: User| Settings { users: [(name.to_owned(), user)].into(), ..Settings::default() };
    let of = |uid, groups: &[&str], shell: Option<&str>| User {
        uid,
        groups: names(groups),
        shell: shell.map(str::to_owned),
        ssh_keys: vec![],
    };
    for (settings, what, hint) in [
        (unit(&["shh.service"], &[]), "no layer has the unit shh.service", "did you mean ssh.service?"),
        (unit(&["static"], &[]), "static.service has no [Install]", "drop-in"),
        (unit(&["log@.service"], &[]), "needed an instance", "log@NAME.service"),
        (unit(&["masked"], &[]), "/etc/systemd/system/masked.service masks it", "leave out"),
        (unit(&["odd"], &[]), "found %H", "as a file"),
        (unit(&["old"], &["old"]), "both enabled and disabled", "leave it out"),
        (unit(&[], &["vendor"]), "basic.target.wants/vendor.service starts it", "mask = [\"vendor.service\"]"),
        (user("ann", of(101, &[], None)), "the user sshd has 101", "another"),
        (user("sshd", of(1000, &[], None)), "needed number 1000 for it alone, but the user sshd has 101", "another"),
        (user("ann", of(1000, &["sudoo"], None)), "no layer has the group sudoo", "did you mean sudo?"),
        (user("ann", of(1000, &[], Some("/bin/fish"))), "no layer has the shell /bin/fish", "package"),
    ] {
        let error = produce(&settings, &below).unwrap_err();
        assert!(error.to_string().contains(what), "needed {what:?}, found {error}");
        assert_eq!(kind_of(&error), Kind::Invalid);
        let found = failure_in(&error).unwrap().hint.clone().unwrap();
        assert!(found.contains(hint), "needed hint {hint:?}, found {found}");
    }
    let bad = user("An n", of(1000, &[], None));
    assert!(produce(&bad, &below).unwrap_err().to_string().contains("lower-case"));
    let bad = Settings { root_ssh_keys: names(&["a\nb"]), ..Settings::default() };
    assert!(produce(&bad, &below).unwrap_err().to_string().contains("one line"));
}

#[test]
fn people_are_declared_and_systemd_makes_them() {
    let ann = User { uid: 1000, groups: names(&["sudo"]), shell: None, ssh_keys: names(&["ssh-ed25519 AAAA ann"]) };
    let settings = Settings {
        users: [("ann".to_owned(), ann)].into(),
        root_ssh_keys: names(&["ssh-ed25519 BBBB root"]),
        host_name: Some("node-1".into()),
        network: [("10-all.network".to_owned(), "[Match]\n".to_owned())].into(),
        ..Settings::default()
    };
    let tree = produce(&settings, &below()).unwrap().tree;
    assert_eq!(text(&tree, "/usr/lib/basalt/authorized_keys/ann"), "ssh-ed25519 AAAA ann\n");
    assert_eq!(text(&tree, "/usr/lib/basalt/authorized_keys/root"), "ssh-ed25519 BBBB root\n");
    assert_eq!(
        text(&tree, "/etc/ssh/sshd_config.d/50-basalt.conf"),
        "AuthorizedKeysFile .ssh/authorized_keys /run/basalt/authorized_keys/%u /usr/lib/basalt/authorized_keys/%u\n"
    );
    assert_eq!(
        (text(&tree, "/etc/hostname"), text(&tree, "/etc/systemd/network/10-all.network")),
        ("node-1\n".into(), "[Match]\n".into())
    );

    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    std::fs::write(folder.path().join("etc/group"), "root:x:0:\nsudo:x:27:\n").unwrap();
    let sysusers = text(&tree, "/usr/lib/sysusers.d/10-basalt.conf");
    std::fs::write(folder.path().join("users.conf"), sysusers).unwrap();
    let root = format!("--root={}", folder.path().display());
    Cmd::new("systemd-sysusers").arg(root).arg(folder.path().join("users.conf")).run().unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join("etc").join(name)).unwrap();
    assert!(read("passwd").contains("ann:x:1000:1000:ann:/var/home/ann:/bin/bash"), "{}", read("passwd"));
    assert!(read("group").contains("sudo:x:27:ann") && read("group").contains("ann:x:1000:"), "{}", read("group"));
}
