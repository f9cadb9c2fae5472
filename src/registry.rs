//! Sends OCI images to a registry, and brings them from one. skopeo does it: it reads the login that podman, docker and skopeo share (auth.json), speaks TLS with
//! the machine's certificates, sends only blobs that the registry lacks, and tries again after a while.
//!
//! What skopeo says of a failure becomes one of a few errors, each with the next step.

mod explain;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::digest::Digest;
use crate::failure::{Failure, Kind, failure_in};
use crate::format::oci::{self, Manifest};
use crate::host::cmd::{Cmd, Output};
use crate::host::interrupt;
use crate::host::tools::{self, Tool};
use crate::sign::simple::{self, Carrier};

const SKOPEO: [Tool; 1] = [Tool { program: "skopeo", package: "skopeo" }];
/// So much of skopeo's log is looked at: it says a few lines of each layer.
const LOG: usize = 4 << 20;
/// Variables by which skopeo finds a login, and room for its temporary files.
const KEPT: [&str; 4] = ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "TMPDIR"];

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How to reach a registry.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The login, where it is not where podman and skopeo look for it.
    pub auth_file: Option<PathBuf>,
    /// A folder with the certificate of the registry's authority (`*.crt`), and perhaps a client's (`*.cert`, `*.key`).
    pub certificates: Option<PathBuf>,
    /// How often to try again after a failure that may pass; the pause doubles each time, from a second on.
    pub retries: u32,
    /// A registry that sends nothing for so long is given up.
    pub silence: Duration,
}

/// Which way an image goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Push,
    Pull,
}

impl Way {
    /// The flag's prefix: which end of a copy is the registry.
    const fn end(self) -> &'static str {
        match self {
            Self::Push => "dest-",
            Self::Pull => "src-",
        }
    }

    const fn verb(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
        }
    }
}

/// skopeo with the login, certificates and variables of `access`. `end` is the prefix of flags that say which end is the registry.
fn skopeo(access: &Access, verb: &str, end: &str) -> Cmd {
    // What is sent was made here, and what is brought is pinned by its digest; who takes an image has a policy.
    let mut skopeo =
        Cmd::new("skopeo").args(["--insecure-policy", "--debug", verb]).arg(format!("--retry-times={}", access.retries));
    if let Some(file) = &access.auth_file {
        // Without an end the flag has another name.
        let flag = if end.is_empty() { "authfile".to_owned() } else { format!("{end}authfile") };
        skopeo = skopeo.arg(format!("--{flag}={}", file.display()));
    }
    if let Some(folder) = &access.certificates {
        skopeo = skopeo.arg(format!("--{end}cert-dir={}", folder.display()));
    }
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            skopeo = skopeo.env(name, value);
        }
    }
    skopeo.keep_stderr(LOG)
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Of the manifest: the registry's name of the image, whatever its tag.
    pub digest: String,
    /// How many layers the image has.
    pub layers: usize,
    /// How many of them the registry did not have, and their bytes. None when skopeo does not tell.
    pub new: Option<(usize, u64)>,
}

/// Where an image goes: `HOST[:PORT]/PATH[:TAG]`, also with `docker://` before it. Without a tag it gets `tag`.
///
/// # Errors
/// [`Kind::Usage`]: no host, or a digest, which nobody can choose.
pub fn destination(text: &str, tag: &str) -> Result<String, Failure> {
    let name = text.strip_prefix("docker://").unwrap_or(text);
    let usage = |why: &str| {
        Failure::new(Kind::Usage, format!("{text}: {why}")).hint("name it like registry.example.org/hosts/gpu-node:1.2")
    };
    let (host, path) = name.split_once('/').ok_or_else(|| usage("needed a registry and a path, found no \"/\""))?;
    if host.is_empty() || path.is_empty() || !(host.contains('.') || host.contains(':') || host == "localhost") {
        return Err(usage("needed a registry's host before the first \"/\""));
    }
    if path.contains('@') {
        return Err(usage("needed a tag, found a digest: it follows from the image"));
    }
    Ok(if path.contains(':') { format!("docker://{name}") } else { format!("docker://{name}:{tag}") })
}

/// Sends the image `manifest` of the archive or folder at `from` to `to` (see [`destination`]).
///
/// # Errors
/// [`Kind::Tool`] without skopeo; [`Kind::Failed`] with what the registry, or the way to it, refused.
pub fn push(from: &Path, manifest: &Manifest, to: &str, access: &Access) -> Result<Sent> {
    tools::need(&SKOPEO, "push")?;
    let transport = if from.is_dir() { "oci" } else { "oci-archive" };
    let folder = tempfile::tempdir()?;
    let digest_file = folder.path().join("digest");
    let from = from.canonicalize().with_context(|| from.display().to_string())?;
    let skopeo = skopeo(access, "copy", Way::Push.end())
        .arg("--preserve-digests")
        .arg(format!("--digestfile={}", digest_file.display()))
        .arg(format!("{transport}:{}", from.display()))
        .arg(to);
    let output = tried(Way::Push, to, access, || skopeo.clone().run())?;
    let digest = fs::read_to_string(&digest_file).context("skopeo left no digest")?;
    let layers: Vec<_> = manifest.layers.iter().map(|layer| (layer.digest.as_str(), layer.size)).collect();
    Ok(Sent { digest: digest.trim().to_owned(), layers: layers.len(), new: new_layers(&layers, &output.stderr) })
}

/// Sends a signature to `to`'s repository, under the tag by which it is looked for, for the image with this digest.
///
/// # Errors
/// As [`push`].
pub fn push_signature(carrier: &Carrier, digest: &Digest, to: &str, access: &Access) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).with_context(|| name.to_owned());
    fs::create_dir_all(folder.path().join("blobs/sha256"))?;
    write(oci::LAYOUT_FILE, oci::LAYOUT)?;
    write(oci::INDEX_FILE, &carrier.index)?;
    for blob in &carrier.blobs {
        write(&oci::blob_path(&Digest::of(blob)), blob)?;
    }
    let at = format!("{}:{}", simple::repository(to), simple::tag(digest));
    push(folder.path(), &carrier.manifest, &format!("docker://{at}"), access)?;
    Ok(at)
}

/// A document of the image `name` (`docker://...`) as the registry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// Its manifest, or the list of them.
    Manifest,
    /// Its configuration.
    Config,
}

/// Brings a document, byte for byte.
///
/// # Errors
/// [`Kind::Tool`] without skopeo; [`Kind::Failed`] with what the registry, or the way to it, refused.
pub fn document(name: &str, document: Document, access: &Access) -> Result<Vec<u8>, Failure> {
    tools::need(&SKOPEO, "pull")?;
    let mut skopeo = skopeo(access, "inspect", "").arg("--raw");
    if document == Document::Config {
        skopeo = skopeo.arg("--config");
    }
    let skopeo = skopeo.arg(name);
    let output = tried(Way::Pull, name, access, || {
        let mut silence = Silence::new(name, access.silence);
        skopeo.clone().run_watched(&mut || silence.still(0))
    });
    Ok(output?.stdout)
}

/// Whether `error` says that the registry answered and has no such image.
pub fn is_missing(error: &anyhow::Error) -> bool {
    failure_in(error).is_some_and(|failure| failure.what.contains(explain::NO_IMAGE))
}

/// Where an image that is brought lies then: a file for each blob, named by its digest.
#[derive(Clone, Copy, Debug)]
pub enum Into<'a> {
    /// An OCI layout; its blobs lie in `blobs/sha256`, and those that are there already are not asked for.
    Layout {
        /// The layout.
        folder: &'a Path,
        /// Where its blobs lie.
        blobs: &'a Path,
    },
    /// A folder that does not exist yet, for manifests that are not OCI's, too: there it is `manifest.json`.
    Plain(&'a Path),
}

/// Brings the image `name` (`docker://...@sha256:...`), byte for byte. `progress` is told how many bytes lie there.
///
/// # Errors
/// As [`document`].
pub fn pull(name: &str, into: &Into<'_>, access: &Access, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
    tools::need(&SKOPEO, "pull")?;
    let skopeo = skopeo(access, "copy", Way::Pull.end()).arg("--preserve-digests");
    let (skopeo, folders) = match *into {
        Into::Plain(folder) => (skopeo.arg(name).arg(format!("dir:{}", folder.display())), vec![folder.to_owned()]),
        Into::Layout { folder, blobs } => {
            let skopeo = skopeo.arg(format!("--dest-shared-blob-dir={}", blobs.display()));
            (skopeo.arg(name).arg(format!("oci:{}:base", folder.display())), vec![folder.to_owned(), blobs.join("sha256")])
        }
    };
    tried(Way::Pull, name, access, || {
        let mut silence = Silence::new(name, access.silence);
        skopeo.clone().run_watched(&mut || {
            let bytes = folders.iter().map(|folder| bytes_in(folder)).sum();
            progress(bytes);
            silence.still(bytes)
        })
    })?;
    Ok(())
}

/// Runs skopeo, and again after what may pass: it tries again itself only when the network fails.
fn tried(way: Way, name: &str, access: &Access, mut run: impl FnMut() -> Result<Output, Failure>) -> Result<Output, Failure> {
    let mut pause = Duration::from_secs(1);
    for left in (0..=access.retries).rev() {
        let failure = match run() {
            Ok(output) => return Ok(output),
            Err(failure) => failure,
        };
        let (failure, passes) = explain::explain(way, name, failure);
        if !passes || left == 0 {
            return Err(failure);
        }
        tracing::info!("{}; trying again in {} s", failure.what, pause.as_secs());
        let until = Instant::now() + pause;
        while Instant::now() < until {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    unreachable!("the last try answers")
}

/// Notices when nothing comes any more.
struct Silence<'a> {
    name: &'a str,
    limit: Duration,
    bytes: u64,
    since: Instant,
}

impl<'a> Silence<'a> {
    fn new(name: &'a str, limit: Duration) -> Self {
        Self { name, limit, bytes: 0, since: Instant::now() }
    }

    /// Fails when there have been so many bytes for too long.
    fn still(&mut self, bytes: u64) -> Result<(), Failure> {
        if bytes != self.bytes {
            (self.bytes, self.since) = (bytes, Instant::now());
        }
        if self.since.elapsed() < self.limit {
            return Ok(());
        }
        let name = self.name.strip_prefix("docker://").unwrap_or(self.name);
        let what = format!("{name}: it has sent nothing for {} seconds", self.limit.as_secs());
        Err(Failure::new(Kind::Failed, what).hint("try again; what came stays here. --timeout gives a slow registry more time"))
    }
}

/// What lies in the files of `folder`. What vanishes meanwhile does not count.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|meta| meta.len()).sum()
}

/// How many of the layers were sent, and their bytes, as skopeo's log says it: it has no other way to tell. None when it does not say it
/// of each layer.
fn new_layers(layers: &[(&str, u64)], log: &str) -> Option<(usize, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for (digest, size) in layers {
        if log.contains(&format!("Upload of layer {digest} complete")) {
            count += 1;
            bytes += size;
        } else if !log.contains(&format!("Skipping blob {digest} (already present)")) {
            return None;
        }
    }
    Some((count, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let good = |text: &str| destination(text, "1.2").unwrap();
        assert_eq!(good("registry.example.org/a/b"), "docker://registry.example.org/a/b:1.2");
        assert_eq!(good("docker://localhost:5000/a:x"), "docker://localhost:5000/a:x");
        for (text, why) in [
            ("a", "no \"/\""),
            ("a/b", "needed a registry's host"),
            ("/b", "needed a registry's host"),
            ("r.example.org/a@sha256:00", "found a digest"),
        ] {
            let failure = destination(text, "1").unwrap_err();
            assert!(failure.what.contains(why) && failure.kind == Kind::Usage, "{failure}");
        }
    }

    #[test]
    fn what_is_said_of_blobs() {
        let log = "time=\"1\" level=debug msg=\"Skipping blob sha256:aa (already present):\"\ntime=\"1\" level=debug msg=\"Upload of \
                   layer sha256:bb complete\"\n";
        assert_eq!(new_layers(&[("sha256:aa", 5), ("sha256:bb", 7)], log), Some((1, 7)));
        assert_eq!(new_layers(&[("sha256:aa", 5), ("sha256:cc", 7)], log), None);
    }
}
