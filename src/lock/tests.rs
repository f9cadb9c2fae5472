//! Locks that are made, kept and refused, over folders and a pretended archive.

mod modules;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{
    Answer, Changes, Inputs, Lock, LockedBase, LockedBlob, LockedDebian, LockedFile, LockedImage, LockedOverlay, LockedPackage,
    Mode, Question, Resolver, Section, VERSION, refresh,
};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Kind, failure_in};
use crate::recipe::{self, ImageSource};
use crate::store::Store;
use crate::tree::{Tree, TreePath};

/// A package of the source of the same name.
pub(super) fn package(name: &str, version: &str) -> LockedPackage {
    LockedPackage {
        name: name.into(),
        version: version.into(),
        architecture: if name == "zstd" { "all".into() } else { "amd64".into() },
        sha256: if name == "bash" { Digest::of(b"") } else { Digest::of(format!("{name} {version}").as_bytes()) },
        size: 4,
        filename: format!("pool/main/b/{name}.deb"),
        archive: "trixie".into(),
        source: name.into(),
        source_version: version.into(),
    }
}

/// An image as it is when it is asked for the `n`th time.
fn image(from: &str, n: usize) -> LockedImage {
    let blob = |what: &str| LockedBlob {
        sha256: Digest::of(format!("{from} {n} {what}").as_bytes()),
        size: 4,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
    };
    LockedImage { from: from.into(), manifest: blob("manifest"), config: blob("config"), layers: vec![blob("layer")] }
}

pub(super) fn section() -> Section {
    let file = |name: &str| LockedFile { name: name.into(), sha256: Digest::of(b"abc"), size: 3 };
    let files = BTreeMap::from([(TreePath::parse("/etc/a").unwrap(), Digest::of(b"a"))]);
    let requested = vec!["bash".into(), "zstd".into()];
    Section {
        date: 1_780_000_000,
        base: LockedBase::Debian(LockedDebian { suite: "trixie".into(), components: vec!["main".into()], requested }),
        agent: Some(file("basalt-firstboot")),
        update_client: None,
        kernel_modules: vec![],
        tuned: vec![],
        kernel: None,
        module_images: vec![],
        module_packages: vec![],
        overlays: vec![LockedOverlay { name: "50-x".into(), digest: Digest::of(b"tree"), files }],
        files: vec![file("motd")],
        packages: vec![package("bash", "1"), package("zstd", "1")],
        headers: vec![],
    }
}

pub(super) fn lock(section: Section) -> Lock {
    Lock { version: VERSION, recipe: "web".into(), architecture: BTreeMap::from([(Architecture::Amd64, section)]) }
}

const RECIPE: &str = "\
name = \"web\"
version = \"1\"
[base]
minimal = true
packages = [\"bash\", \"zstd\"]
[[overlay]]
path = \"50-x\"
modes = { \"/etc/a\" = \"0440\" }
[[file]]
path = \"/etc/motd\"
source = \"motd\"
[agent]
path = \"agent\"
";

/// A recipe's folder, a store and an archive.
struct Desk {
    folder: tempfile::TempDir,
    store: Store,
    archive: RefCell<Vec<LockedPackage>>,
    date: RefCell<i64>,
    asked: RefCell<u32>,
    /// Images that were asked for.
    images: RefCell<Vec<String>>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        fs::create_dir_all(folder.path().join("50-x/etc")).unwrap();
        write("web.toml", RECIPE);
        write("50-x/etc/a", "a");
        write("motd", "hello");
        write("agent", "\x7fELF");
        let store = Store::open(&folder.path().join("cache")).unwrap();
        let archive = RefCell::new(vec![package("zstd", "1"), package("bash", "1")]);
        Self { folder, store, archive, date: RefCell::new(100), asked: RefCell::new(0), images: RefCell::default() }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn refresh(&self, previous: Option<&Lock>, mode: Mode) -> anyhow::Result<(Lock, Changes)> {
        let recipe = recipe::load(&self.folder.path().join("web.toml"))?;
        let (agent, update_client): (Option<&Path>, Option<&Path>) = (None, None);
        let (architecture, store) = (Architecture::Amd64, &self.store);
        refresh(Inputs { recipe: &recipe, architecture, store, agent, update_client, resolver: self }, previous, &mode)
    }
}

impl Resolver for Desk {
    fn packages(&self, question: &Question) -> anyhow::Result<Answer> {
        *self.asked.borrow_mut() += 1;
        let packages = self.archive.borrow().clone();
        let headers =
            packages.iter().filter(|_| question.headers).filter_map(|kernel| Some(package(&kernel.headers()?, &kernel.version)));
        Ok(Answer { date: *self.date.borrow(), headers: headers.collect(), packages })
    }

    fn image(&self, from: &ImageSource, _: &Path, _: Architecture) -> anyhow::Result<(LockedImage, i64)> {
        let mut images = self.images.borrow_mut();
        images.push(from.to_string());
        Ok((image(&from.to_string(), images.len()), 7))
    }

    fn named(&self, _: &Question, names: &[String]) -> anyhow::Result<Vec<LockedPackage>> {
        *self.asked.borrow_mut() += 1;
        Ok(names.iter().map(|name| package(name, "1")).collect())
    }

    fn base(&self, image: &LockedImage, _: i64) -> anyhow::Result<Tree> {
        anyhow::bail!("nobody asks for {}", image.from)
    }
}

fn versions(lock: &Lock) -> Vec<String> {
    let packages = &lock.architecture[&Architecture::Amd64].packages;
    packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
}

#[test]
fn everything_is_pinned_and_imported() {
    let desk = Desk::new();
    let (lock, changes) = desk.refresh(None, Mode::Build).unwrap();
    let section = &lock.architecture[&Architecture::Amd64];
    assert_eq!(versions(&lock), ["bash 1", "zstd 1"]);
    assert_eq!((section.date, section.files.len()), (100, 1));
    // The agent brings the overlay that starts it.
    let [own, agents] = &section.overlays[..] else { panic!("{:?}", section.overlays) };
    assert_eq!(agents.name, "builtin:50-basalt-firstboot");
    assert!(desk.store.has_blob(&section.files[0].sha256) && desk.store.has_blob(&section.agent.as_ref().unwrap().sha256));
    let entry = desk.store.entry(super::OVERLAY_KIND, &own.digest).unwrap();
    let tree = crate::layer::cache::read(&entry).unwrap();
    let a = TreePath::parse("/etc/a").unwrap();
    assert_eq!((tree.get(&a).unwrap().meta().mode, tree.file(&a).unwrap().bytes().unwrap()), (0o440, b"a".to_vec()));
    assert_eq!(changes.list.len(), 6, "{changes}");
    assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
}

#[test]
fn a_second_look_changes_nothing_and_asks_nobody() {
    let desk = Desk::new();
    let (lock, _) = desk.refresh(None, Mode::Build).unwrap();
    *desk.archive.borrow_mut() = vec![package("bash", "9")];
    for mode in [Mode::Build, Mode::Locked] {
        let (again, changes) = desk.refresh(Some(&lock), mode).unwrap();
        assert!(changes.is_empty() && again == lock, "{changes}");
    }
    assert_eq!(*desk.asked.borrow(), 1);
}

#[test]
fn local_inputs_are_pinned_anew_or_refused() {
    let desk = Desk::new();
    let (lock, _) = desk.refresh(None, Mode::Build).unwrap();
    desk.write("50-x/etc/a", "other");
    desk.write("50-x/etc/new", "n");
    desk.write("motd", "bye");
    let (new, changes) = desk.refresh(Some(&lock), Mode::Build).unwrap();
    assert_eq!(changes.to_string(), "overlay 50-x: /etc/a changed, /etc/new added\nfile motd: changed\n");
    assert_eq!(versions(&new), versions(&lock));
    let error = desk.refresh(Some(&lock), Mode::Locked).unwrap_err();
    let failure = failure_in(&error).unwrap();
    assert_eq!(failure.kind, Kind::Input);
    let (needed, found) = (Digest::of(b"hello"), Digest::of(b"bye"));
    assert!(failure.what.contains("overlay 50-x: needed sha256 "), "{failure}");
    assert!(failure.what.ends_with(&format!("\n  file motd: needed sha256 {needed}, found sha256 {found}")), "{failure}");
    let missing = desk.refresh(None, Mode::Locked).unwrap_err();
    assert_eq!(missing.to_string(), "recipe web: needed a lock for amd64, found none");
}

#[test]
fn another_question_is_asked_anew() {
    let desk = Desk::new();
    let (lock, _) = desk.refresh(None, Mode::Build).unwrap();
    desk.write("web.toml", &RECIPE.replace("\"zstd\"]", "\"vim\"]"));
    *desk.archive.borrow_mut() = vec![package("bash", "2"), package("vim", "1")];
    *desk.date.borrow_mut() = 200;
    let error = desk.refresh(Some(&lock), Mode::Locked).unwrap_err().to_string();
    assert_eq!(error, "recipe web differs from its lock:\n  asked packages: vim added, zstd removed");
    let (new, changes) = desk.refresh(Some(&lock), Mode::Build).unwrap();
    assert_eq!(versions(&new), ["bash 2", "vim 1"]);
    assert_eq!(new.architecture[&Architecture::Amd64].date, 200);
    assert!(changes.to_string().starts_with("asked packages: vim added, zstd removed\npackage bash: 1 -> 2\n"), "{changes}");
}

#[test]
fn an_update_takes_what_is_named_and_holds_the_rest() {
    let desk = Desk::new();
    let with_source = |name: &str, version: &str, source: &str| LockedPackage { source: source.into(), ..package(name, version) };
    *desk.archive.borrow_mut() = vec![
        package("bash", "1"),
        package("zstd", "1"),
        with_source("linux-image-1", "1", "linux"),
        with_source("linux-image", "1", "linux"),
    ];
    let (lock, _) = desk.refresh(None, Mode::Build).unwrap();
    *desk.archive.borrow_mut() = vec![
        package("bash", "2"),
        package("libnew", "2"),
        with_source("linux-image-2", "2", "linux"),
        with_source("linux-image", "2", "linux"),
    ];
    let (one, changes) = desk.refresh(Some(&lock), Mode::Update(vec!["linux-image".into()])).unwrap();
    assert_eq!(versions(&one), ["bash 1", "libnew 2", "linux-image 2", "linux-image-2 2", "zstd 1"]);
    assert_eq!(
        changes.notes,
        ["package zstd 1 is held, but nothing needs it today", "package libnew 2 comes too: today's packages need it"]
    );
    let (all, _) = desk.refresh(Some(&lock), Mode::Update(Vec::new())).unwrap();
    assert_eq!(versions(&all), ["bash 2", "libnew 2", "linux-image 2", "linux-image-2 2"]);
    let unknown = desk.refresh(Some(&lock), Mode::Update(vec!["nope".into()])).unwrap_err();
    assert_eq!(failure_in(&unknown).unwrap().kind, Kind::Usage);
}

#[test]
fn an_update_without_news_keeps_the_images_time() {
    let desk = Desk::new();
    let (lock, _) = desk.refresh(None, Mode::Build).unwrap();
    *desk.date.borrow_mut() = 300;
    let (again, changes) = desk.refresh(Some(&lock), Mode::Update(Vec::new())).unwrap();
    assert!(again == lock && changes.is_empty());
}

#[test]
fn a_missing_update_client_names_the_next_step() {
    let desk = Desk::new();
    desk.write("web.toml", &format!("{RECIPE}[update]\nclient = true\n"));
    let error = desk.refresh(None, Mode::Build).unwrap_err();
    let failure = failure_in(&error).unwrap();
    assert!(failure.what.starts_with("needed ostree-container, the update client, beside the program basalt"), "{failure}");
}

#[test]
fn a_missing_agent_names_the_next_step() {
    let desk = Desk::new();
    desk.write("web.toml", &RECIPE.replace("path = \"agent\"", "enable = true"));
    let error = desk.refresh(None, Mode::Build).unwrap_err();
    let failure = failure_in(&error).unwrap();
    assert_eq!(failure.kind, Kind::Input);
    assert!(failure.hint.as_ref().unwrap().starts_with("run `make programs`"));
}

#[test]
fn headers_follow_the_kernel_and_are_asked_for_when_modules_come() {
    let desk = Desk::new();
    let kernel = |version: &str| package("linux-image-6.12.1-amd64", version);
    desk.archive.borrow_mut().push(kernel("1"));
    let headers = |lock: &Lock| -> Vec<String> {
        let headers = &lock.architecture[&Architecture::Amd64].headers;
        headers.iter().map(|package| format!("{} {}", package.name, package.version)).collect()
    };
    let (without, _) = desk.refresh(None, Mode::Build).unwrap();
    assert_eq!((headers(&without), *desk.asked.borrow()), (vec![], 1));
    fs::create_dir(desk.folder.path().join("modules")).unwrap();
    desk.write("modules/a.ko", "");
    let recipe = fs::read_to_string(desk.folder.path().join("web.toml")).unwrap();
    desk.write("web.toml", &format!("{recipe}\n[[kernel-module]]\nname = \"a\"\npath = \"modules\"\n"));
    // The packages stay as they are.
    desk.archive.borrow_mut().push(package("zsh", "2"));
    let (with, changes) = desk.refresh(Some(&without), Mode::Build).unwrap();
    assert_eq!(headers(&with), ["linux-headers-6.12.1-amd64 1"]);
    assert_eq!(versions(&with), versions(&without));
    assert!(changes.list.iter().any(|change| change.what == "package linux-headers-6.12.1-amd64"), "{changes}");
    assert_eq!(desk.refresh(Some(&with), Mode::Locked).unwrap().0, with);
    assert_eq!(*desk.asked.borrow(), 2);
    // The archive has moved on.
    desk.archive.borrow_mut().retain(|package| !package.name.starts_with("linux-"));
    desk.archive.borrow_mut().push(kernel("2"));
    let error = desk.refresh(Some(&without), Mode::Build).unwrap_err();
    let failure = failure_in(&error).unwrap();
    assert_eq!(failure.kind, Kind::Input);
    assert!(
        failure.what.contains("linux-headers-6.12.1-amd64 1,") && failure.hint.as_ref().unwrap().contains("lock RECIPE --update")
    );
    // Those that are pinned are kept with their kernel, and change with it.
    assert_eq!(headers(&desk.refresh(Some(&with), Mode::Update(vec!["zstd".into()])).unwrap().0), headers(&with));
    assert_eq!(headers(&desk.refresh(Some(&with), Mode::Update(vec![])).unwrap().0), ["linux-headers-6.12.1-amd64 2"]);
}
