//! Rules of one's own, whose answers selabel_file(5) says. That Debian's whole policy is read as libselinux reads it is shown in
//! `qemu-tests/tests/vm_large_sectors.rs`.

use super::*;

fn contexts(text: &str) -> FileContexts {
    FileContexts::parse(&[Source { name: "fc", text }], ["", ""]).unwrap()
}

#[test]
fn the_last_rule_wins_but_one_path_beats_many() {
    let contexts = contexts(
        "# comment\n\n/.*\tu:r:default\n/usr/bin/a\t--\texact\n/usr(/.*)?\tusr\n/usr/bin(/.*)? bin\n/usr/bin/l.* -l link\n\
         /usr/bin/n.* <<none>>\n/proc -d <<none>>\n/usr/bin/[^/]*/x\\.d(/.*)? d\n",
    );
    use FileKind::{Directory, Regular, Symlink};
    for (path, kind, label) in [
        ("/", Directory, Some("u:r:default")),
        ("/x/y", Regular, Some("u:r:default")),
        ("/usr", Directory, Some("usr")),
        ("/usrlocal", Directory, Some("u:r:default")),
        ("/usr/bin", Directory, Some("bin")),
        ("/usr/bin/a", Regular, Some("exact")),
        ("/usr/bin/a", Symlink, Some("bin")),
        ("/usr/bin/link", Symlink, Some("link")),
        ("/usr/bin/link", Regular, Some("bin")),
        ("/usr/bin/none", Regular, None),
        ("/proc", Directory, None),
        ("/proc", Symlink, Some("u:r:default")),
        ("/usr/bin/é/x.d/y", Regular, Some("d")),
        ("/usr/bin/a/b/x.d/y", Regular, Some("bin")),
    ] {
        assert_eq!(contexts.label(path, kind), label, "{path} {kind:?}");
    }
    assert_eq!(contexts.len(), 8);
}

#[test]
fn later_files_win_and_paths_are_substituted_twice() {
    let rules = ["/usr/lib(/.*)? lib\n/home/[^/]+/x any\n", "/home/ann/.* ann\n", "/usr/lib/y local\n"];
    let sources: Vec<_> = rules.iter().map(|text| Source { name: "fc", text }).collect();
    let own = "# /a /b\n/odd\n/var/roothome /home/ann\n/mine /lib64\n";
    let distribution = "/lib /usr/lib\n/lib64 /usr/lib\n/alias /nowhere\n/alias /\n";
    let contexts = FileContexts::parse(&sources, [own, distribution]).unwrap();
    for (path, label) in [
        ("/lib/x", Some("lib")),
        ("/lib64/x", Some("lib")),
        ("/lib64", Some("lib")),
        ("/library", None),
        ("/mine/y", Some("local")),
        ("/var/roothome/x", Some("ann")),
        ("/home/bob/x", Some("any")),
        ("/alias/usr/lib/x", Some("lib")),
    ] {
        assert_eq!(contexts.label(path, FileKind::Regular), label, "{path}");
    }
}

#[test]
fn a_bad_line_is_named() {
    for (line, why) in [
        ("/a", "needed a path, perhaps a kind, and a label, found \"/a\""),
        ("/a -x l", "needed a kind of file (--, -d, -l, -c, -b, -p or -s), found \"-x\""),
        ("/a --", "needed a label, found \"--\""),
        ("/a(?!b) l", "the regular expression \"/a(?!b)\" cannot be used: regex parse error"),
        ("/a(b l", "the regular expression \"/a(b\" cannot be used: regex parse error"),
        ("/a.*+ l", "the regular expression \"/a.*+\" cannot be used: a possessive quantifier"),
    ] {
        let text = format!("/x l\n{line}\n");
        let error = FileContexts::parse(&[Source { name: "fc", text: &text }], ["", ""]).unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("fc", 2));
        assert!(error.why.starts_with(why), "{line}: {}", error.why);
    }
}
