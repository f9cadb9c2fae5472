//! Resolving and fetching against a signed archive of our own, whose packages move on.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Request, fetch, resolve};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Kind, failure_in};
use crate::host::cmd::Cmd;
use crate::progress::Quiet;
use crate::store::Store;

/// An archive with the suite `trixie` alone: no updates, no security.
struct Archive {
    folder: tempfile::TempDir,
}

impl Archive {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("debian/pool")).unwrap();
        fs::create_dir(folder.path().join("gpg")).unwrap();
        let archive = Self { folder };
        archive.gpg(&["--passphrase", "", "--quick-gen-key", "test@example.org", "ed25519", "sign", "never"]);
        archive.gpg(&["--output", &archive.keyring().display().to_string(), "--export"]);
        archive
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keyring(&self) -> PathBuf {
        self.path("keys.gpg")
    }

    fn gpg(&self, args: &[&str]) {
        Cmd::new("gpg").args(["--batch", "--quiet", "--yes"]).args(args).env("GNUPGHOME", self.path("gpg")).run().unwrap();
    }

    /// Makes the packages of the archive, with name, version and further fields, and signs its lists.
    fn publish(&self, packages: &[(&str, &str, &str)], date: &str) {
        let pool = self.path("debian/pool");
        fs::remove_dir_all(&pool).unwrap();
        fs::create_dir(&pool).unwrap();
        let mut list = String::new();
        for (name, version, fields) in packages {
            let root = self.path("package");
            fs::create_dir_all(root.join("DEBIAN")).unwrap();
            let control = format!(
                "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: N <n@example.org>\n{fields}Description: none\n"
            );
            fs::write(root.join("DEBIAN/control"), &control).unwrap();
            let file = format!("{name}_{}_all.deb", version.split(':').next_back().unwrap());
            let deb = Cmd::new("dpkg-deb").args(["--root-owner-group", "-b"]).arg(&root).arg(pool.join(&file));
            deb.env("SOURCE_DATE_EPOCH", "1").run().unwrap();
            let bytes = fs::read(pool.join(&file)).unwrap();
            let _ = write!(list, "{control}Filename: pool/{file}\nSize: {}\nSHA256: {}\n\n", bytes.len(), Digest::of(&bytes));
        }
        let dists = self.path("debian/dists/trixie");
        fs::create_dir_all(dists.join("main/binary-amd64")).unwrap();
        fs::write(dists.join("main/binary-amd64/Packages"), &list).unwrap();
        let release = format!(
            "Origin: Test\nSuite: trixie\nCodename: trixie\nDate: {date}\nArchitectures: amd64\nComponents: main\nSHA256:\n {} {} \
             main/binary-amd64/Packages\n",
            Digest::of(list.as_bytes()),
            list.len()
        );
        let path = self.path("Release");
        fs::write(&path, release).unwrap();
        let out = dists.join("InRelease").display().to_string();
        self.gpg(&["--output", &out, "--clearsign", &path.display().to_string()]);
    }

    fn request(&self, packages: &[&str]) -> Request {
        Request {
            suite: "trixie".into(),
            components: vec!["main".into()],
            architecture: Architecture::Amd64,
            packages: packages.iter().map(|&name| name.into()).collect(),
            mirror: Some(format!("file://{}", self.path("debian").display())),
            keyring: Some(self.keyring()),
            headers: false,
            prefer: None,
        }
    }
}

impl Drop for Archive {
    /// gpg leaves an agent behind.
    fn drop(&mut self) {
        let _ = Cmd::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", self.path("gpg")).run();
    }
}

fn store(folder: &Path) -> Store {
    Store::open(&folder.join("a cache")).unwrap()
}

const FIRST: [(&str, &str, &str); 4] = [
    ("base-x", "1:2+b1", "Essential: yes\nDepends: libx (>= 1)\n"),
    ("libx", "1.5", "Source: x (1.4)\n"),
    ("hello+", "3~rc1", "Recommends: other\n"),
    ("other", "1", ""),
];

#[test]
fn essential_and_wanted_packages_and_what_they_need() {
    let archive = Archive::new();
    archive.publish(&FIRST, "Thu, 01 Oct 2026 00:00:00 UTC");
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let request = archive.request(&["hello+"]);
    let resolved = resolve(&request, &store, &Quiet).unwrap();
    let seen: Vec<_> =
        resolved.packages.iter().map(|p| format!("{} {} {} {}", p.name, p.version, p.source, p.source_version)).collect();
    assert_eq!(seen, ["base-x 1:2+b1 base-x 1:2+b1", "hello+ 3~rc1 hello+ 3~rc1", "libx 1.5 x 1.4"]);
    assert_eq!(resolved.date, 1_790_812_800);
    assert!(resolved.packages.iter().all(|package| package.archive == "trixie"));
    fetch(&resolved.packages, request.mirror.as_deref(), &store, &Quiet, false).unwrap();
    assert!(resolved.packages.iter().all(|package| store.has_blob(&package.sha256)));
    assert_eq!(fs::read_dir(store.root().join("tmp")).unwrap().count(), 0, "nothing is left over");
}

#[test]
fn an_archive_that_moved_on() {
    let archive = Archive::new();
    archive.publish(&FIRST, "Thu, 01 Oct 2026 00:00:00 UTC");
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let request = archive.request(&[]);
    let before = resolve(&request, &store, &Quiet).unwrap();
    archive.publish(&[("base-x", "1:2+b1", FIRST[0].2), ("libx", "1.6", "")], "Fri, 02 Oct 2026 00:00:00 UTC");
    let error = fetch(&before.packages, request.mirror.as_deref(), &store, &Quiet, false).unwrap_err();
    let failure = failure_in(&error).unwrap();
    assert_eq!(failure.kind, Kind::Input);
    assert!(
        failure.what.starts_with("package libx version 1.5 (trixie) is no longer on the mirror file:///"),
        "{}",
        failure.what
    );
    assert!(failure.hint.as_deref().unwrap().contains("basalt lock --update libx"));
    let after = resolve(&request, &store, &Quiet).unwrap();
    assert_eq!(after.packages[1].version, "1.6");
    fetch(&after.packages, request.mirror.as_deref(), &store, &Quiet, false).unwrap();
}

#[test]
fn what_cannot_be_resolved() {
    let archive = Archive::new();
    archive.publish(&[FIRST[0], FIRST[1], ("broken", "1", "Depends: nothing-here\n")], "Thu, 01 Oct 2026 00:00:00 UTC");
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let other_keys = Archive::new();
    let cases = [
        (archive.request(&["lybx"]), "there is no package \"lybx\" in trixie"),
        (archive.request(&["broken"]), "the packages of the recipe do not fit together: apt-get failed"),
        (Request { suite: "sarge".into(), ..archive.request(&[]) }, "this mirror has no suite sarge"),
        (
            Request { keyring: Some(other_keys.keyring()), ..archive.request(&[]) },
            "cannot fetch from this mirror: apt-get failed",
        ),
    ];
    for (request, message) in cases {
        let error = resolve(&request, &store, &Quiet).unwrap_err();
        let failure = failure_in(&error).unwrap();
        assert_eq!(failure.kind, Kind::Input, "{message}");
        assert!(failure.what.contains(message) && failure.hint.is_some(), "{message}: {}", failure.what);
    }
}
