//! Which packages, in which versions, a base needs today: apt's answer, pinned by the digests of the archive's signed lists.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::control::{names, stanzas};
use super::mirror::{Mirrors, has_archive, unreachable};
use super::root::{Archive, HELPER, Root};
use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::host::interrupt;
use crate::lock::LockedPackage;
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;

/// What a base asks of Debian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `trixie`. Its `-updates` and `-security` archives are read too.
    pub suite: String,
    /// `main`.
    pub components: Vec<String>,
    /// For which machines.
    pub architecture: Architecture,
    /// Packages wanted beside the essential ones. No recommended packages are added. `NAME/SUITE`: from another suite of the mirror.
    pub packages: Vec<String>,
    /// `http://HOST/debian` or `file:///FOLDER`; none means the mirror that this machine's apt uses. One that is named here need not
    /// have `-updates` and `-security`; that one is also looked for at `<mirror>-security`.
    pub mirror: Option<String>,
    /// The keys that sign the archive; none means Debian's.
    pub keyring: Option<PathBuf>,
    /// Whether the headers of each kernel are looked up, too.
    pub headers: bool,
    /// Another archive of the mirror, whose packages win: `trixie-backports`.
    pub prefer: Option<String>,
}

/// Debian's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// All packages, by name.
    pub packages: Vec<LockedPackage>,
    /// The headers of the kernels among them, when they were asked for and the archive has them: what a kernel exports is there.
    pub headers: Vec<LockedPackage>,
    /// The newest date of the archives that were read, in seconds since 1970.
    pub date: i64,
}

/// Asks the mirror. Works below the store's `tmp` and keeps nothing.
///
/// # Errors
/// [`Kind::Invalid`] for a suite, component or name that cannot be one; [`Kind::Input`] when there is no such package, when packages
/// do not fit together, and when the mirror cannot be asked.
pub fn resolve(request: &Request, store: &Store, sink: &dyn Sink) -> Result<Resolved> {
    check(request)?;
    let stage = Stage::start(sink, "resolve", format!("{} for {}", request.suite, request.architecture), None, Unit::None);
    let root = Root::make(&store.root().join("tmp"), request.architecture)?;
    let mirrors = Mirrors::find(request.mirror.as_deref())?;
    let archives = archives(request, &root, &mirrors)?;
    root.set_archives(&archives, &request.components, request.keyring.as_deref())?;
    root.cmd("apt-get").args(["-qq", "update"]).run().map_err(|failure| unreachable(&mirrors.main, &failure))?;
    let lists = lists(&root)?;
    known(&request.packages, &lists)?;
    let chosen = choose(request, &root)?;
    interrupt::check()?;
    let packages = describe(&chosen, &lists)?;
    let headers = if request.headers { headers(&packages, &lists)? } else { Vec::new() };
    let date = date(&root)?;
    stage.finish(false);
    Ok(Resolved { packages, headers, date })
}

/// What the lists have of the headers of each kernel among `packages`: they are of the same version, and not installed.
fn headers(packages: &[LockedPackage], lists: &[List]) -> Result<Vec<LockedPackage>> {
    let mut found = Vec::new();
    for (name, version) in packages.iter().filter_map(|package| Some((package.headers()?, &package.version))) {
        for list in lists {
            let mut stanzas = stanzas(&list.text);
            let it = stanzas.find(|stanza| stanza.get("Package") == Some(&name) && stanza.get("Version") == Some(version));
            if let Some(stanza) = it {
                found.push(locked(&stanza, &list.archive).with_context(|| format!("the list of {} at {name}", list.archive))?);
                break;
            }
        }
    }
    Ok(found)
}

/// Refuses words that are no suite, component or package: apt would read some of them as something else (`name-`, `-o`, `?pattern`).
pub(super) fn check(request: &Request) -> Result<()> {
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c))
    };
    let package = |text: &str| {
        text.len() > 1
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
    };
    let bad = std::iter::once(("suite", &request.suite))
        .chain(request.prefer.iter().map(|text| ("suite", text)))
        .chain(request.components.iter().map(|text| ("component", text)))
        .find(|(_, text)| !word(text))
        .or_else(|| {
            let fits = |text: &str| {
                let (name, suite) = of_suite(text);
                package(name) && suite.is_none_or(word)
            };
            request.packages.iter().map(|text| ("package", text)).find(|(_, text)| !fits(text))
        });
    match bad {
        None => Ok(()),
        Some((what, text)) => Err(Failure::new(Kind::Invalid, format!("{text:?} cannot be the name of a {what}"))
            .hint("needed a bare name such as trixie, main or linux-image-amd64")
            .into()),
    }
}

/// The suite's archives. The first must be there; the others are read where the mirror has them.
pub(super) fn archives(request: &Request, root: &Root, mirrors: &Mirrors) -> Result<Vec<Archive>> {
    let suite = &request.suite;
    let mut archives = vec![Archive { mirror: mirrors.main.clone(), name: suite.clone() }];
    if !has_archive(root, &mirrors.main, suite)? {
        return Err(Failure::new(
            Kind::Input,
            format!("{}: this mirror has no suite {suite} (no dists/{suite}/InRelease)", mirrors.main),
        )
        .hint("correct suite or mirror under [base] of the recipe")
        .into());
    }
    for name in [format!("{suite}-updates"), format!("{suite}-security")] {
        for mirror in mirrors.of_archive(&name) {
            if has_archive(root, mirror, &name)? {
                archives.push(Archive { mirror: mirror.clone(), name });
                break;
            }
        }
    }
    let named = request.packages.iter().filter_map(|package| of_suite(package).1);
    let others: BTreeSet<_> = request.prefer.as_deref().into_iter().chain(named).collect();
    for name in others {
        if archives.iter().any(|archive| archive.name == name) {
            continue;
        }
        if !has_archive(root, &mirrors.main, name)? {
            let what = format!("{}: this mirror has no suite {name} (no dists/{name}/InRelease)", mirrors.main);
            return Err(Failure::new(Kind::Input, what).hint("name a suite that it has").into());
        }
        archives.push(Archive { mirror: mirrors.main.clone(), name: name.to_owned() });
    }
    Ok(archives)
}

/// A package's name, and the suite that it is wanted from.
pub(super) fn of_suite(package: &str) -> (&str, Option<&str>) {
    package.split_once('/').map_or((package, None), |(name, suite)| (name, Some(suite)))
}

/// The list of packages of one archive's component.
pub(super) struct List {
    archive: String,
    text: String,
}

pub(super) fn lists(root: &Root) -> Result<Vec<List>> {
    let format = "$(RELEASE)\t$(FILENAME)";
    let output = root.cmd("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).run()?;
    let targets = String::from_utf8_lossy(&output.stdout);
    let mut lists = Vec::new();
    for (archive, file) in targets.lines().filter_map(|line| line.split_once('\t')) {
        // apt reads what it wrote, whatever the compression.
        let output = root.cmd(HELPER).args(["cat-file", file]).run()?;
        let text = String::from_utf8(output.stdout).with_context(|| format!("the package list of {archive} is not UTF-8"))?;
        lists.push(List { archive: archive.to_owned(), text });
    }
    Ok(lists)
}

/// Fails when a package of `wanted` is in no list, and says which names are near.
pub(super) fn known(wanted: &[String], lists: &[List]) -> Result<()> {
    let mut known = BTreeSet::new();
    for stanza in lists.iter().flat_map(|list| stanzas(&list.text)) {
        known.extend(stanza.get("Package"));
        known.extend(stanza.get("Provides").into_iter().flat_map(names));
    }
    let Some(missing) = wanted.iter().map(|name| of_suite(name).0).find(|name| !known.contains(name)) else { return Ok(()) };
    let archives: Vec<_> = lists.iter().map(|list| list.archive.as_str()).collect();
    let failure = Failure::new(Kind::Input, format!("there is no package {missing:?} in {}", archives.join(", ")));
    let near = nearest(missing, &known);
    let next =
        if near.is_empty() { "remove it from the recipe, or add its component".into() } else { format!("did you mean {near}?") };
    Err(failure.hint(next).into())
}

/// The three names most like `name`, for people.
fn nearest(name: &str, known: &BTreeSet<&str>) -> String {
    let mut near: Vec<_> = known
        .iter()
        .map(|other| (strsim::damerau_levenshtein(name, other), *other))
        .filter(|(distance, _)| *distance <= name.len().div_ceil(4))
        .collect();
    near.sort_unstable();
    near.iter().take(3).map(|(_, other)| *other).collect::<Vec<_>>().join(", ")
}

/// A file that apt would fetch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// With %-escapes undone.
    uri: String,
    size: u64,
}

/// Asks apt which packages together give the essential ones and those wanted.
fn choose(request: &Request, root: &Root) -> Result<Vec<Chosen>> {
    let prefer = request.prefer.as_deref().map(|name| ["-t", name]);
    let essential = format!("?narrow(?architecture({}),?essential)", request.architecture);
    let output = root
        .cmd("apt-get")
        .args(prefer.iter().flatten())
        .args(["-qq", "--print-uris", "--reinstall", "install", "--", &essential])
        .args(&request.packages)
        .run()
        .map_err(|failure| match failure.kind {
            Kind::Failed => {
                Failure::new(Kind::Input, format!("the packages of the recipe do not fit together: {}", failure.what))
                    .hint("change packages under [base] of the recipe, or try later: the archive may be changing right now")
            }
            _ => failure,
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let chosen: Vec<_> = text.lines().filter(|line| line.starts_with('\'')).filter_map(read_uri).collect();
    anyhow::ensure!(!chosen.is_empty(), "apt-get --print-uris named no package; it wrote {text:?}");
    Ok(chosen)
}

/// Reads `'URI' NAME SIZE HASH`.
pub(super) fn read_uri(line: &str) -> Option<Chosen> {
    let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let size = rest.split(' ').nth(1)?.parse().ok()?;
    Some(Chosen { uri: unescape(uri), size })
}

fn unescape(uri: &str) -> String {
    let mut bytes = Vec::with_capacity(uri.len());
    let mut rest = uri.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| tail.get(..2)).flatten().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Finds what the lists say of each chosen file.
pub(super) fn describe(chosen: &[Chosen], lists: &[List]) -> Result<Vec<LockedPackage>> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut open: HashMap<String, &Chosen> = chosen.iter().map(|file| (last(&file.uri), file)).collect();
    let mut packages = Vec::new();
    for list in lists {
        for stanza in stanzas(&list.text) {
            let Some(filename) = stanza.get("Filename") else { continue };
            let Some(file) = open.get(&last(filename)) else { continue };
            let package =
                locked(&stanza, &list.archive).with_context(|| format!("the list of {} at {filename}", list.archive))?;
            if file.uri.ends_with(&format!("/{filename}")) && file.size == package.size {
                open.remove(&last(filename));
                packages.push(package);
            }
        }
    }
    let lost: Vec<_> = open.values().map(|file| file.uri.as_str()).collect();
    anyhow::ensure!(lost.is_empty(), "apt chose files that are in no list: {}", lost.join(", "));
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(packages)
}

fn locked(stanza: &super::control::Stanza, archive: &str) -> Result<LockedPackage> {
    let field = |name| stanza.get(name).with_context(|| format!("it has no {name}"));
    let (name, version) = (field("Package")?, field("Version")?);
    // "Source: name (version)"; both only where they differ from the package's own.
    let source = stanza.get("Source").unwrap_or(name);
    let (source, source_version) = source.split_once(" (").map_or((source, version), |(a, b)| (a, b.trim_end_matches(')')));
    Ok(LockedPackage {
        name: name.into(),
        version: version.into(),
        architecture: field("Architecture")?.into(),
        sha256: field("SHA256")?.parse()?,
        size: field("Size")?.parse()?,
        filename: field("Filename")?.into(),
        archive: archive.into(),
        source: source.into(),
        source_version: source_version.into(),
    })
}

/// The newest date of the signed Release files.
fn date(root: &Root) -> Result<i64> {
    let mut newest = None;
    for entry in std::fs::read_dir(root.folder().join("lists"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with("_InRelease") || name.ends_with("_Release") {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            newest = newest.max(Some(release_date(&text).with_context(|| name)?));
        }
    }
    newest.context("apt kept no Release file")
}

/// The `Date` of a Release file, signed or not.
fn release_date(text: &str) -> Result<i64> {
    let date = stanzas(text).find_map(|stanza| stanza.get("Date")).context("a Release file without Date")?;
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    let stamp = parser.parse_timestamp(date.replace("UTC", "+0000")).with_context(|| format!("Date: {date}"))?;
    Ok(stamp.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "Package: g++\nVersion: 4:1.2-1\nArchitecture: amd64\nSource: gcc-defaults (1.5)\nProvides: c++-compiler\n\
        Filename: pool/main/g/g++_1.2-1_amd64.deb\nSize: 10\n\
        SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\n\
        Package: base-files\nVersion: 13\nArchitecture: amd64\nFilename: pool/main/b/base-files_13_amd64.deb\nSize: 5\n\
        SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n";

    fn lists() -> Vec<List> {
        vec![List { archive: "trixie".into(), text: LIST.into() }]
    }

    #[test]
    fn apt_s_choice_is_looked_up() {
        let line = "'http://h/debian/pool/main/g/g%2b%2b_1.2-1_amd64.deb' g++_4%3a1.2-1_amd64.deb 10 SHA256:00";
        let chosen = read_uri(line).unwrap();
        let found = describe(&[chosen], &lists()).unwrap();
        let [package] = &found[..] else { panic!("one package: {found:?}") };
        assert_eq!((package.name.as_str(), package.version.as_str(), package.size), ("g++", "4:1.2-1", 10));
        assert_eq!((package.source.as_str(), package.source_version.as_str()), ("gcc-defaults", "1.5"));
        assert_eq!(package.archive, "trixie");
        let other = Chosen { uri: "http://h/debian/pool/main/b/base-files_13_amd64.deb".into(), size: 6 };
        assert!(describe(&[other], &lists()).unwrap_err().to_string().contains("in no list"));
    }

    #[test]
    fn the_headers_of_a_kernel_are_of_its_version() {
        let stanza = |name: &str, version: &str| {
            let sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
            format!(
                "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {sum}\n\n"
            )
        };
        let text = stanza("linux-headers-6.12.1-amd64", "6.12.1-1") + &stanza("linux-headers-6.12.1-amd64", "6.12.1-2");
        let lists = [List { archive: "trixie".into(), text: text + &stanza("linux-image-6.12.1-amd64", "6.12.1-2") }];
        let image = |version: &str| {
            let text = stanza("linux-image-6.12.1-amd64", version);
            vec![locked(&stanzas(&text).next().unwrap(), "trixie").unwrap()]
        };
        let found = headers(&image("6.12.1-2"), &lists).unwrap();
        assert_eq!((found.len(), found[0].version.as_str()), (1, "6.12.1-2"));
        assert_eq!(headers(&image("6.12.1-3"), &lists).unwrap(), []);
    }

    #[test]
    fn an_unknown_package_is_named_with_its_neighbours() {
        known(&["g++".into(), "c++-compiler".into(), "base-files/trixie".into()], &lists()).unwrap();
        let error = known(&["basefiles".into()], &lists()).unwrap_err();
        let failure = crate::failure::failure_in(&error).unwrap();
        assert_eq!(failure.kind, Kind::Input);
        assert_eq!(failure.what, "there is no package \"basefiles\" in trixie");
        assert_eq!(failure.hint.as_deref(), Some("did you mean base-files?"));
    }

    #[test]
    fn words_that_are_no_names() {
        let request = Request {
            suite: "trixie".into(),
            components: vec!["main".into(), "non-free-firmware".into()],
            architecture: Architecture::Amd64,
            packages: vec!["g++".into(), "libstdc++6".into(), "7zip".into(), "aa/sid".into()],
            mirror: None,
            keyring: None,
            headers: false,
            prefer: None,
        };
        check(&request).unwrap();
        for bad in ["-oAPT::Get::Simulate=1", "?essential", "a b", "a=1", "a/sid", "aa/-t", "aa/", "A", "", "a"] {
            let error = check(&Request { packages: vec![bad.into()], ..request.clone() }).unwrap_err();
            assert_eq!(crate::failure::kind_of(&error), Kind::Invalid, "{bad}");
        }
        assert!(check(&Request { suite: "a\nSigned-By: x".into(), ..request }).is_err());
    }

    #[test]
    fn dates_of_release_files() {
        let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nDate: Sat, 05 Sep 2026 09:40:41 UTC\n";
        assert_eq!(release_date(signed).unwrap(), 1_788_601_241);
        assert_eq!(release_date("Date: Thu, 01 Jan 1970 00:01:00 +0000\n").unwrap(), 60);
        assert!(release_date("Origin: Debian\n").is_err());
    }
}
