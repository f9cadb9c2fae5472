//! Whether the files of an artefact folder are those of their manifest, and their disks what it says: each file, one verdict.
//!
//! "Differs", "missing" and "cannot be read" are three verdicts: who cannot read a file does not know whether it differs.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::artefact::manifest::{self, Listed, Manifest, SUMS};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci;
use crate::format::oci::layout::Layout;
use crate::host::interrupt::{self, Stoppable};

/// What was found of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checked {
    /// Its name.
    pub file: String,
    /// What was found.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a file is, next to what the manifest says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The same.
    Good,
    /// Another one.
    Differs {
        /// What the manifest says.
        needed: String,
        /// What was found.
        found: String,
    },
    /// It is not there.
    Missing,
    /// Nobody knows.
    Unreadable {
        /// Why.
        why: String,
    },
}

/// Checks the files that the manifest of `folder` lists; only `name`, when one is given.
///
/// # Errors
/// [`Kind::Input`]: no manifest, or none that lists `name`.
pub fn check(folder: &Path, name: Option<&str>) -> Result<(Manifest, Vec<Checked>)> {
    let Some(manifest) = manifest::read(folder)? else {
        let what = format!("{}: no {} that this Basalt reads", folder.display(), manifest::FILE);
        return Err(Failure::new(Kind::Input, what).hint("name a folder that `basalt build` made, or a file in it").into());
    };
    let mut checked = vec![Checked { file: manifest::FILE.to_owned(), verdict: of_sums(folder) }];
    for Listed { file, size, sha256, format } in manifest.files().filter(|listed| name.is_none_or(|name| name == listed.file)) {
        let path = folder.join(file);
        let verdict = match format {
            Some(format) if !format.is_disk() => of_image(&path, sha256, &manifest)?,
            _ => match of_file(&path, size, sha256)? {
                Verdict::Good if format.is_some() => of_disk(&path, &manifest),
                verdict => verdict,
            },
        };
        checked.push(Checked { file: file.to_owned(), verdict });
    }
    match name {
        Some(name) if checked.len() == 1 => {
            let what = format!("{}: the manifest beside it does not list it", folder.join(name).display());
            Err(Failure::new(Kind::Input, what).hint("name a file of the manifest, or its folder").into())
        }
        _ => Ok((manifest, checked)),
    }
}

fn unreadable(error: &io::Error) -> Verdict {
    match error.kind() {
        io::ErrorKind::NotFound => Verdict::Missing,
        _ => Verdict::Unreadable { why: error.to_string() },
    }
}

fn of_file(path: &Path, size: u64, sha256: Digest) -> Result<Verdict> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return Ok(unreadable(&error)),
    };
    let verdict = match file.metadata() {
        Err(error) => unreadable(&error),
        Ok(found) if found.len() != size => {
            Verdict::Differs { needed: format!("{size} bytes"), found: format!("{} bytes", found.len()) }
        }
        Ok(_) => match Digest::of_reader(Stoppable(file)) {
            Ok((found, _)) if found == sha256 => Verdict::Good,
            Ok((found, _)) => Verdict::Differs { needed: format!("sha256 {sha256}"), found: format!("sha256 {found}") },
            Err(error) => unreadable(&error),
        },
    };
    interrupt::check()?;
    Ok(verdict)
}

/// Whether the list of digests has the manifest's own.
fn of_sums(folder: &Path) -> Verdict {
    let read = |name: &str| fs::read(folder.join(name));
    match (read(SUMS), read(manifest::FILE)) {
        (Ok(sums), Ok(bytes)) => {
            let line = format!("{}  {}", Digest::of(&bytes), manifest::FILE);
            let sums = String::from_utf8_lossy(&sums);
            let found = sums.lines().find(|found| found.ends_with(&format!("  {}", manifest::FILE)));
            match found {
                Some(found) if found == line => Verdict::Good,
                found => Verdict::Differs { needed: found.unwrap_or("a line of it").to_owned(), found: line },
            }
        }
        (Err(error), _) => match unreadable(&error) {
            Verdict::Missing => Verdict::Unreadable { why: format!("{SUMS} is missing") },
            verdict => verdict,
        },
        (_, Err(error)) => unreadable(&error),
    }
}

/// A verdict when what was found is another one.
fn differs(what: &str, needed: String, found: String) -> Option<Verdict> {
    (needed != found).then(|| Verdict::Differs { needed: format!("{what} {needed}"), found: format!("{what} {found}") })
}

/// Whether the image is the one with this digest, every document and layer of it is that of its digest, and it says what the
/// manifest says of it.
fn of_image(path: &Path, sha256: Digest, manifest: &Manifest) -> Result<Verdict> {
    if let Err(error) = fs::metadata(path) {
        return Ok(unreadable(&error));
    }
    let read = || -> Result<Option<Verdict>> {
        let layout = Layout::open(path)?;
        for (descriptor, found, config) in layout.images()? {
            layout.verify(&found, &config)?;
            let label = |name: &str| config.config.labels.get(name).cloned().unwrap_or_else(|| "none".to_owned());
            let verdict = differs("image", oci::digest(&sha256), descriptor.digest.clone())
                .or_else(|| differs("commit", manifest.commit.to_hex(), label("ostree.commit")))
                .or_else(|| differs("plan", manifest.plan.to_string(), label("org.basalt.plan")));
            if verdict.is_some() {
                return Ok(verdict);
            }
        }
        Ok(None)
    };
    let found = read();
    interrupt::check()?;
    Ok(match found {
        Ok(verdict) => verdict.unwrap_or(Verdict::Good),
        Err(error) => Verdict::Differs { needed: "an image that is whole".into(), found: format!("{error:#}") },
    })
}

/// Whether the disk itself says what the manifest says of it.
fn of_disk(path: &Path, manifest: &Manifest) -> Verdict {
    let found = match super::inspect(path) {
        Ok(found) => found,
        Err(error) => return Verdict::Differs { needed: "a disk that can be read".into(), found: format!("{error:#}") },
    };
    let deployment = found.deployments.first();
    let text = |value: Option<&String>| value.cloned().unwrap_or_else(|| "none".to_owned());
    let ids = |ids: Vec<&str>| ids.join(" ");
    [
        differs("commit", manifest.commit.to_hex(), text(deployment.map(|deployment| &deployment.commit))),
        differs("plan", manifest.plan.to_string(), text(deployment.and_then(|deployment| deployment.plan.as_ref()))),
        differs(
            "partitions",
            ids(manifest.partitions.iter().map(|partition| partition.id.as_str()).collect()),
            ids(found.partitions.iter().map(|partition| partition.id.as_str()).collect()),
        ),
        differs(
            "kernel arguments",
            manifest.kernel_args.join(" "),
            deployment.map(|deployment| deployment.kernel_args.join(" ")).unwrap_or_default(),
        ),
    ]
    .into_iter()
    .flatten()
    .next()
    .unwrap_or(Verdict::Good)
}
