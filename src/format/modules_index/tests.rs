//! Small indexes, with what depmod(8) made of such modules. That whole kernels come out as depmod has them is shown in
//! `qemu-tests/tests/cli_cases/modules_index.rs`.

use std::collections::BTreeMap;

use super::*;

/// One that depmod of kmod 34 has made, of modules of Debian's 6.12; with a few symbols only.
const FILES: [(&str, &str); 7] = [
    (
        "modules.order",
        "kernel/fs/mbcache.ko\nkernel/fs/ext4/ext4.ko\nkernel/fs/jbd2/jbd2.ko\nkernel/lib/crc16.ko\nkernel/drivers/block/loop.ko\n",
    ),
    (
        "modules.dep",
        "kernel/fs/mbcache.ko.xz:\n\
         kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz\n\
         kernel/fs/jbd2/jbd2.ko.xz:\nkernel/lib/crc16.ko.xz:\nkernel/drivers/block/loop.ko.xz:\n",
    ),
    (
        "modules.alias",
        "# Aliases extracted from modules themselves.\nalias fs-ext4 ext4\nalias ext3 ext4\nalias fs-ext3 ext4\nalias ext2 ext4\n\
         alias fs-ext2 ext4\nalias devname:loop-control loop\nalias char-major-10-237 loop\nalias block-major-7-* loop\n",
    ),
    (
        "modules.symbols",
        "# Aliases for symbols, used by symbol_request().\n\
         alias symbol:jbd2_journal_start jbd2\nalias symbol:jbd2_journal_stop jbd2\nalias symbol:crc16 crc16\nalias symbol:mb_cache_create mbcache\n",
    ),
    (
        "modules.softdep",
        "# Soft dependencies extracted from modules themselves.\n\
         softdep ext4 pre: crypto-crc32c\nsoftdep jbd2 pre: crypto-crc32c\n",
    ),
    ("modules.weakdep", "# Weak dependencies extracted from modules themselves.\n"),
    ("modules.devname", "# Device nodes to trigger on-demand module loading.\nloop loop-control c10:237\n"),
];

fn files() -> BTreeMap<String, Vec<u8>> {
    FILES.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
}

fn index() -> Index {
    Index::read(&files()).unwrap()
}

fn path(text: &str) -> ModulePath {
    ModulePath::parse(text).unwrap()
}

fn module(at: &str, exports: &[&str], imports: &[&str]) -> Module {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let (exports, imports) = (owned(exports), owned(imports));
    Module { path: path(at), aliases: Vec::new(), softdeps: Vec::new(), weakdeps: Vec::new(), exports, imports }
}

fn text(index: &Index, file: &str) -> String {
    String::from_utf8(index.files().unwrap()[file].clone()).unwrap()
}

fn line(index: &Index, start: &str) -> String {
    text(index, "modules.dep").lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
}

const JBD2: [&str; 2] = ["jbd2_journal_start", "jbd2_journal_stop"];

#[test]
fn what_is_read_is_written() {
    let written = index().files().unwrap();
    for (name, text) in FILES.iter().filter(|(name, _)| *name != "modules.order") {
        let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
        let (mut ours, mut theirs) = (lines(std::str::from_utf8(&written[*name]).unwrap()), lines(text));
        // Some of the symbols were left out above by hand: their order is not depmod's.
        if *name == "modules.symbols" {
            ours.sort();
            theirs.sort();
        }
        assert_eq!(ours, theirs, "{name}");
    }
}

/// Keys and values of modules.builtin.bin; what both depmods wrote, in hexadecimal digits.
#[test]
fn both_layouts_are_those_of_depmod() {
    let mut trie = Trie::default();
    for key in GOLDEN_KEYS {
        trie.insert(key, "", 0).unwrap();
    }
    for (layout, golden) in [(Layout::ParentsLast, GOLDEN_LAST), (Layout::ParentsFirst, GOLDEN_FIRST)] {
        assert_eq!(hex::encode(trie.write(layout).unwrap()), golden, "{layout:?}");
        assert_eq!(Trie::read(&hex::decode(golden).unwrap()), Ok((trie.clone(), layout)));
    }
    let empty = Trie::default().write(Layout::ParentsLast).unwrap();
    assert_eq!(hex::encode(&empty), "b007f457000200010000000c");
    assert_eq!(Trie::read(&empty), Ok((Trie::default(), Layout::ParentsFirst)));
}

const GOLDEN_KEYS: [&str; 2] = ["amd_uncore", "iosf_mbi"];
const GOLDEN_LAST: &str = "b007f45700020001200000306d645f756e636f7265000000000100000000006f73665f6d626900000000\
     0100000000006169c000000c00000000000000000000000000000000000000000000000000000000c000001f";
const GOLDEN_FIRST: &str = "b007f457000200012000000c6169c0000032000000000000000000000000000000000000000000000000\
     00000000c00000456d645f756e636f7265000000000100000000006f73665f6d626900000000010000000000";

#[test]
fn bad_lines_are_named() {
    for (file, from, to, line, why) in [
        ("modules.dep", "kernel/fs/mbcache.ko.xz:\n", "kernel/fs/mbcache.ko.xz\n", 1, "needed PATH: PATH..."),
        ("modules.dep", "kernel/lib/crc16.ko.xz:\n", "kernel/lib/crc16.ko.xz:x\n", 4, "needed PATH: PATH..., found \"x\" after"),
        ("modules.dep", ": kernel/lib/crc16.ko.xz", ": kernel/crc16.ko.xz", 2, "kernel/crc16.ko.xz has no line of its own"),
        (
            "modules.dep",
            ": kernel/lib/crc16.ko.xz",
            ": kernel/lib/crc16.ko.xz kernel/lib/crc16.ko.xz",
            2,
            "needed each module once",
        ),
        ("modules.dep", "jbd2.ko.xz:\n", "jbd2.ko.xz: kernel/fs/jbd2/jbd2.ko.xz\n", 2, "needed kernel/fs/jbd2/jbd2.ko.xz after"),
        ("modules.dep", "loop.ko.xz:\n", "loop.ko.xz:", 5, "needed the end of the line"),
        ("modules.dep", "block/loop.ko", "block/ext4.ko", 5, "needed each module once, found ext4 after line 2"),
        ("modules.dep", "kernel/lib/crc16.ko.xz:\n", "", 2, "kernel/lib/crc16.ko.xz has no line"),
        ("modules.order", "kernel/fs/mbcache.ko\n", "", 1, "needed kernel/fs/ext4/ext4.ko.xz, which depmod puts there"),
        ("modules.alias", "alias ext3 ext4", "alias ext3", 3, "needed alias ALIAS MODULE"),
        ("modules.alias", "alias ext3 ext4", "alias éxt3 ext4", 3, "needed ASCII"),
        ("modules.alias", "alias ext3 ext4", "alias ext3 ext5", 3, "needed a module of modules.dep, found \"ext5\""),
        ("modules.alias", "# Aliases", "# Alias", 1, "needed \"# Aliases extracted"),
        ("modules.symbols", ":crc16", ":jbd2_journal_stop", 4, "needed each symbol once"),
        ("modules.softdep", "softdep jbd2 pre", "softdep  pre", 3, "needed a module of modules.dep, found \"\""),
        ("modules.devname", "c10:237", "c10:238", 2, "needed \"loop loop-control c10:237\""),
    ] {
        let mut files = files();
        let text = String::from_utf8(files[file].clone()).unwrap();
        assert!(text.contains(from), "{file}: {from}");
        files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
        let file = if file == "modules.order" { "modules.dep" } else { file };
        match Index::read(&files).unwrap_err() {
            ReadError::Line { file: of, line: at, why: found } => {
                assert_eq!((of, at), (file, line), "{found}");
                assert!(found.starts_with(why), "{found}");
            }
            other => panic!("{file}, {from}: {other}"),
        }
    }
    let mut files = files();
    files.remove("modules.symbols");
    assert_eq!(Index::read(&files), Err(ReadError::Missing { file: "modules.symbols" }));
}

#[test]
fn new_modules_depend_on_what_exports_their_symbols() {
    let mut new =
        module("updates/new-a.ko", &["new"], &["kmalloc", "crc16", "jbd2_journal_stop", "crc16", ".new_b", "__this_module"]);
    new.aliases = vec!["pci:v-[0-9]-".to_owned(), "bad]-x".to_owned(), "devname:new/a".to_owned(), "char-major-10-5".to_owned()];
    new.softdeps = vec!["post: loop".to_owned()];
    let other = module("extra/new-b.ko.zst", &["new_b"], &["mb_cache_create"]);
    let extended = index().with(&[], &[new, other], &SearchOrder::default()).unwrap();
    let index = extended.index;
    assert_eq!(
        line(&index, "updates/new-a"),
        "updates/new-a.ko: extra/new-b.ko.zst kernel/lib/crc16.ko.xz kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz"
    );
    assert_eq!(extended.unresolved, [Unresolved { module: path("updates/new-a.ko"), symbol: "kmalloc".to_owned() }]);
    assert_eq!(text(&index, "modules.devname").lines().last(), Some("new_a new/a c10:5"));
    assert!(text(&index, "modules.alias").contains("alias pci:v-[0-9]- new_a\nalias bad]-x new_a\n"));
    assert!(text(&index, "modules.softdep").ends_with("softdep new_a post: loop\n"));
    let (aliases, _) = Trie::read(&index.files().unwrap()["modules.alias.bin"]).unwrap();
    let place = u32::try_from(index.paths().position(|path| path.name() == "new_a").unwrap()).unwrap();
    assert_eq!(aliases.get("pci:v_[0-9]_"), [Value { priority: place, text: "new_a".to_owned() }]);
    assert!(aliases.get("bad]_x").is_empty());
    assert_eq!(index.exporter("new_b"), Some(&path("extra/new-b.ko.zst")));
}

#[test]
fn users_of_a_replaced_module_follow_its_symbols() {
    let search = SearchOrder::default();
    let replaced = module("updates/jbd2.ko", &JBD2, &["mb_cache_create"]);
    let extended = index().with(&[], &[replaced], &search).unwrap();
    assert_eq!(extended.passed_over, [path("kernel/fs/jbd2/jbd2.ko.xz")]);
    assert_eq!(
        line(&extended.index, "kernel/fs/ext4"),
        "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz updates/jbd2.ko kernel/fs/mbcache.ko.xz"
    );
    assert_eq!(line(&extended.index, "kernel/fs/jbd2"), "");
    assert!(!text(&extended.index, "modules.softdep").contains("jbd2"));

    // By another name, too, and when the old one is removed.
    let renamed = module("updates/ours.ko", &JBD2, &[]);
    let extended = index().with(&[path("kernel/fs/jbd2/jbd2.ko.xz")], &[renamed], &search).unwrap();
    assert_eq!(extended.index.dependencies("ext4").unwrap().iter().filter(|path| path.as_str() == "updates/ours.ko").count(), 1);

    // Half of the symbols: which of them ext4 imports, only its file says.
    let half = module("updates/jbd2.ko", &JBD2[..1], &[]);
    let unknown = Unknown { module: path("kernel/fs/ext4/ext4.ko.xz"), dependency: path("kernel/fs/jbd2/jbd2.ko.xz") };
    assert_eq!(index().with(&[], std::slice::from_ref(&half), &search), Err(ExtendError::Unknown(vec![unknown.clone()])));
    assert_eq!(index().with(&[path("kernel/fs/jbd2/jbd2.ko.xz")], &[], &search), Err(ExtendError::Unknown(vec![unknown])));
    let read = module("kernel/fs/ext4/ext4.ko.xz", &[], &["crc16", JBD2[1]]);
    let extended = index().with(&[], &[half, read], &search).unwrap();
    assert_eq!(line(&extended.index, "kernel/fs/ext4"), "kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz");
    assert_eq!(extended.unresolved, [Unresolved { module: path("kernel/fs/ext4/ext4.ko.xz"), symbol: JBD2[1].to_owned() }]);
}

#[test]
fn what_only_went_through_a_replaced_module_is_unknown() {
    // ext4 uses jbd2, which uses mbcache now: whether ext4 imports from mbcache itself, no line says any more.
    let search = SearchOrder::default();
    let through = module("kernel/fs/jbd2/jbd2.ko.xz", &JBD2, &["mb_cache_create"]);
    let index = index().with(&[], &[through], &search).unwrap().index;
    let error = index.with(&[], &[module("updates/jbd2.ko", &JBD2, &[])], &search).unwrap_err();
    let unknown = Unknown { module: path("kernel/fs/ext4/ext4.ko.xz"), dependency: path("kernel/fs/mbcache.ko.xz") };
    assert_eq!(error, ExtendError::Unknown(vec![unknown]));
}

#[test]
fn an_order_that_no_text_says_is_reported() {
    let search = SearchOrder::default();
    let mut files = files();
    for name in ["modules.alias", "modules.symbols", "modules.softdep", "modules.weakdep"] {
        let header = files[name].split_inclusive(|byte| *byte == b'\n').next().unwrap().to_vec();
        files.insert(name.to_owned(), header);
    }
    files.insert("modules.dep".to_owned(), Vec::new());
    files.insert("modules.devname".to_owned(), Vec::new());
    files.insert("modules.order".to_owned(), b"k/t.ko\nk/s.ko\nk/b.ko\nk/c.ko\n".to_vec());
    let user = module("k/s.ko", &[], &["c", "b"]);
    let others = [module("k/t.ko", &[], &["b"]), module("k/b.ko", &["b"], &[]), module("k/c.ko", &["c"], &[])];
    let added: Vec<_> = others.into_iter().chain([user.clone()]).collect();
    let index = Index::read(&files).unwrap().with(&[], &added, &search).unwrap().index;
    assert_eq!(text(&index, "modules.dep"), "k/t.ko: k/b.ko\nk/s.ko: k/c.ko k/b.ko\nk/b.ko:\nk/c.ko:\n");
    // Without t, s is the last user of both.
    let extended = index.with(&[path("k/t.ko")], &[], &search).unwrap();
    assert_eq!(extended.guessed, [path("k/s.ko")]);
    let extended = index.with(&[path("k/t.ko")], &[user], &search).unwrap();
    assert_eq!(extended.guessed, []);
    assert_eq!(line(&extended.index, "k/s"), "k/s.ko: k/b.ko k/c.ko");
}

#[test]
fn contradictions_are_refused() {
    let search = SearchOrder::default();
    let with = |removed: &[&str], added: &[Module]| {
        let removed: Vec<_> = removed.iter().map(|text| path(text)).collect();
        index().with(&removed, added, &search).unwrap_err().to_string()
    };
    let (a, b) = (module("updates/a.ko", &["a"], &["b"]), module("updates/b.ko", &["b"], &["a", "crc16"]));
    let cycle = with(&[], &[a.clone(), b]);
    assert!(["the modules a -> b depend on each other", "the modules b -> a depend on each other"].contains(&&*cycle), "{cycle}");
    assert_eq!(with(&[], &[a.clone(), a.clone()]), "updates/a.ko is added twice");
    assert_eq!(with(&["kernel/x.ko"], &[]), "kernel/x.ko cannot be removed: the index has no such module");
    assert!(
        with(&[], &[module("extra/loop.ko", &[], &[])])
            .starts_with("extra/loop.ko and kernel/drivers/block/loop.ko.xz are the same")
    );
    for bad in [
        Module { aliases: vec!["a\nb".to_owned()], ..a.clone() },
        Module { softdeps: vec!["é".to_owned()], ..a.clone() },
        Module { exports: vec![String::new()], ..a.clone() },
        Module { imports: vec!["a b".to_owned()], ..a.clone() },
        Module { aliases: vec!["x".repeat(5000)], ..a },
    ] {
        assert!(with(&[], &[bad]).starts_with("updates/a.ko: needed "));
    }
}
