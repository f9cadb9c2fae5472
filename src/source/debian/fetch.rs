//! Brings the files of locked packages into the store, as blobs. Nothing that has another digest or size gets in.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, Result};

use super::mirror::{Mirrors, is_gone, local, unreachable};
use super::root::{HELPER, Root};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::{interrupt, space};
use crate::lock::LockedPackage;
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;

/// How many files one run of apt's fetcher brings: enough to use its connections well, few enough that progress is seen.
const BATCH: usize = 16;
/// How many missing files a message names.
const NAMED: usize = 10;

/// Makes the file of every package a blob of `store`. What is there already is not fetched again.
///
/// # Errors
/// [`Kind::Input`] when files are missing and `offline` is set, when one is no longer on the mirror, when the mirror cannot be
/// reached, and when a file is not the one that was locked.
pub fn fetch(packages: &[LockedPackage], mirror: Option<&str>, store: &Store, sink: &dyn Sink, offline: bool) -> Result<()> {
    let missing: Vec<_> = packages.iter().filter(|package| !store.has_blob(&package.sha256)).collect();
    let total = missing.iter().map(|package| package.size).sum();
    let detail = format!("{} of {} packages", missing.len(), packages.len());
    if missing.is_empty() {
        Stage::start(sink, "fetch", format!("{} packages", packages.len()), None, Unit::None).finish(true);
        return Ok(());
    }
    if offline {
        return Err(not_here(&missing).into());
    }
    let mut stage = Stage::start(sink, "fetch", detail, Some(total), Unit::Bytes);
    space::need(store.root(), total, "fetching packages")?;
    let mirrors = Mirrors::find(mirror)?;
    // Files carry their own digests: no archive is read here, so the architecture does not matter.
    let root = Root::make(&store.root().join("tmp"), Architecture::Amd64)?;
    let mut archives: BTreeMap<&str, Vec<&LockedPackage>> = BTreeMap::new();
    for package in missing {
        archives.entry(&package.archive).or_default().push(package);
    }
    for (archive, packages) in archives {
        let mut open = packages;
        for candidate in mirrors.of_archive(archive) {
            let mut gone = Vec::new();
            for batch in open.chunks(BATCH) {
                interrupt::check()?;
                gone.extend(bring(batch, candidate, &root, store, &mut stage)?);
            }
            open = gone;
        }
        if let Some(package) = open.first() {
            return Err(vanished(package, mirrors.of_archive(archive)).into());
        }
    }
    stage.finish(false);
    Ok(())
}

/// Brings one batch; answers those that `mirror` does not have.
fn bring<'a>(
    batch: &[&'a LockedPackage],
    mirror: &str,
    root: &Root,
    store: &Store,
    stage: &mut Stage,
) -> Result<Vec<&'a LockedPackage>> {
    let folder = tempfile::tempdir_in(store.root().join("tmp"))?;
    let place = |package: &LockedPackage| folder.path().join(package.sha256.to_hex());
    let failure = match local(mirror) {
        Some(mirror) => {
            for package in batch {
                copy(&mirror.join(&package.filename), &place(package))?;
            }
            None
        }
        None => {
            let mut command = root.cmd(HELPER).args(["-qq", "-o", "Acquire::http::Pipeline-Depth=10", "download-file"]);
            for package in batch {
                command = command.arg(uri(mirror, package)).arg(place(package));
            }
            command.run().err()
        }
    };
    let mut gone = Vec::new();
    for package in batch {
        let path = place(package);
        if path.is_file() {
            keep(package, &path, mirror, store)?;
            stage.advance(package.size);
            continue;
        }
        match &failure {
            Some(failure) if !is_gone(failure, &uri(mirror, package)) => return Err(unreachable(mirror, failure).into()),
            _ => gone.push(*package),
        }
    }
    Ok(gone)
}

/// Copies a file of a local mirror; one that is not there is left out.
fn copy(from: &Path, to: &Path) -> Result<()> {
    match File::open(from) {
        Ok(mut from) => {
            io::copy(&mut from, &mut File::create_new(to)?)?;
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(Kind::Input, format!("{}: cannot be read: {error}", from.display())).into()),
    }
}

/// The address of a package's file, escaped as apt does it.
fn uri(mirror: &str, package: &LockedPackage) -> String {
    let mut uri = format!("{mirror}/");
    for byte in package.filename.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri
}

/// Takes a fetched file into the store, if it is the right one.
fn keep(package: &LockedPackage, path: &Path, mirror: &str, store: &Store) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    // One byte more than needed tells a longer file from the right one.
    let (found, size) = Digest::of_reader((&file).take(package.size + 1)).with_context(|| path.display().to_string())?;
    if found != package.sha256 || size != package.size {
        let LockedPackage { name, version, sha256, .. } = package;
        let size = fs::metadata(path)?.len();
        return Err(Failure::new(
            Kind::Input,
            format!(
                "{}: package {name} {version} is not the file that was locked:\n  needed sha256 {sha256}, {} bytes\n  found  sha256 \
                 {found}, {size} bytes",
                uri(mirror, package),
                package.size
            ),
        )
        .hint("the mirror or a proxy gives another file: try another mirror; lock again only if you trust the new one")
        .into());
    }
    let file = tempfile::NamedTempFile::from_parts(file, tempfile::TempPath::try_from_path(path)?);
    store.keep_blob(file, &package.sha256)
}

fn not_here(missing: &[&LockedPackage]) -> Failure {
    let mut list: Vec<_> = missing.iter().take(NAMED).map(|p| format!("  {} {} ({})", p.name, p.version, p.sha256)).collect();
    if missing.len() > NAMED {
        list.push(format!("  and {} more", missing.len() - NAMED));
    }
    Failure::new(
        Kind::Input,
        format!("--offline, and {} locked packages are not in the cache:\n{}", missing.len(), list.join("\n")),
    )
    .hint("build once without --offline, or give the folder that `basalt vendor` made on a machine with a network")
}

fn vanished(package: &LockedPackage, mirrors: &[String]) -> Failure {
    let LockedPackage { name, version, archive, .. } = package;
    Failure::new(
        Kind::Input,
        format!("package {name} version {version} ({archive}) is no longer on the mirror {}", mirrors.join(" or ")),
    )
    .hint(format!(
        "take the version that is there now with `basalt lock --update {name}`, or build from a folder of `basalt vendor` that \
             still has it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Quiet;

    struct Fixture {
        folder: tempfile::TempDir,
        store: Store,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(&folder.path().join("cache")).unwrap();
            Self { folder, store }
        }

        fn mirror(&self) -> String {
            format!("file://{}/debian", self.folder.path().display())
        }

        /// A package whose file lies below `archive`'s mirror and has `bytes`; locked with `locked`.
        fn package(&self, name: &str, archive: &str, bytes: &[u8], locked: &[u8]) -> LockedPackage {
            let mirror = if archive.ends_with("-security") { "debian-security" } else { "debian" };
            let filename = format!("pool/main/{name}_1+2.deb");
            let path = self.folder.path().join(mirror).join(&filename);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            LockedPackage {
                name: name.into(),
                version: "1+2".into(),
                architecture: "all".into(),
                sha256: Digest::of(locked),
                size: locked.len() as u64,
                filename,
                archive: archive.into(),
                source: name.into(),
                source_version: "1+2".into(),
            }
        }

        fn fetch(&self, packages: &[LockedPackage], offline: bool) -> Result<()> {
            fetch(packages, Some(&self.mirror()), &self.store, &Quiet, offline)
        }
    }

    #[test]
    fn files_come_from_the_archive_s_own_mirror_and_stay() {
        let fixture = Fixture::new();
        let packages = [fixture.package("a", "trixie", b"aa", b"aa"), fixture.package("b", "trixie-security", b"bb", b"bb")];
        fixture.fetch(&packages, false).unwrap();
        fs::remove_dir_all(fixture.folder.path().join("debian")).unwrap();
        fixture.fetch(&packages, true).unwrap();
        assert_eq!(fs::read(fixture.store.blob_path(&Digest::of(b"bb"))).unwrap(), b"bb");
        assert_eq!(fs::read_dir(fixture.store.root().join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let fixture = Fixture::new();
        let wrong = fixture.package("wrong", "trixie", b"evil", b"good");
        let longer = fixture.package("longer", "trixie", b"good and more", b"good");
        let mut gone = fixture.package("gone", "trixie", b"x", b"gone");
        gone.filename = "pool/none.deb".into();
        let many: Vec<_> = (0..12).map(|n| fixture.package(&format!("p{n}"), "trixie", b"", format!("{n}").as_bytes())).collect();
        for (packages, offline, parts) in [
            (vec![wrong], false, vec!["package wrong 1+2 is not the file", "needed sha256", "4 bytes", "found  sha256"]),
            (vec![longer], false, vec!["package longer", "13 bytes"]),
            (vec![gone], false, vec!["package gone version 1+2 (trixie) is no longer on the mirror file:///"]),
            (many, true, vec!["12 locked packages are not in the cache", "  p9 1+2", "and 2 more"]),
        ] {
            let error = fixture.fetch(&packages, offline).unwrap_err();
            let failure = crate::failure::failure_in(&error).unwrap();
            assert_eq!(failure.kind, Kind::Input);
            assert!(failure.hint.is_some());
            for part in parts {
                assert!(failure.what.contains(part), "{part:?} in {}", failure.what);
            }
            assert!(!fixture.store.has_blob(&packages[0].sha256));
        }
    }

    #[test]
    fn no_network_is_not_a_vanished_file() {
        let fixture = Fixture::new();
        let package = fixture.package("a", "trixie", b"aa", b"aa");
        // Port 9 (discard) of this machine: nobody listens.
        let error = fetch(&[package], Some("http://127.0.0.1:9/debian"), &fixture.store, &Quiet, false).unwrap_err();
        let failure = crate::failure::failure_in(&error).unwrap();
        assert!(failure.kind == Kind::Input && failure.what.contains("cannot fetch from this mirror"), "{}", failure.what);
    }

    #[test]
    fn addresses_are_escaped() {
        let fixture = Fixture::new();
        let package = fixture.package("g++", "trixie", b"", b"");
        assert_eq!(uri("http://h/d", &package), "http://h/d/pool/main/g%2b%2b_1%2b2.deb");
    }
}
