//! Sends OCI images to a registry. skopeo does it: it reads the login that podman, docker and skopeo share (auth.json), speaks TLS with
//! the machine's certificates, sends only blobs that the registry lacks, and tries again after a while.
//!
//! What skopeo says of a failure becomes one of a few errors, each with the next step.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::format::oci::{self, Manifest};
use crate::host::cmd::Cmd;
use crate::host::tools::{self, Tool};
use crate::sign::simple::{self, Carrier};

const SKOPEO: [Tool; 1] = [Tool { program: "skopeo", package: "skopeo" }];
/// So much of skopeo's log is looked at: it says a few lines of each layer.
const LOG: usize = 4 << 20;
/// Variables by which skopeo finds a login, and room for its temporary files.
const KEPT: [&str; 4] = ["REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "TMPDIR"];

/// How to reach a registry.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The login, where it is not where podman and skopeo look for it.
    pub auth_file: Option<PathBuf>,
    /// A folder with the certificate of the registry's authority (`*.crt`), and perhaps a client's (`*.cert`, `*.key`).
    pub certificates: Option<PathBuf>,
    /// How often to try again after a failure that may pass; the pause doubles each time, from a second on.
    pub retries: u32,
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
    let mut skopeo = Cmd::new("skopeo")
        // What is sent was made here; who takes it has a policy.
        .args(["--insecure-policy", "--debug", "copy", "--preserve-digests"])
        .arg(format!("--retry-times={}", access.retries))
        .arg(format!("--digestfile={}", digest_file.display()));
    if let Some(file) = &access.auth_file {
        skopeo = skopeo.arg(format!("--dest-authfile={}", file.display()));
    }
    if let Some(folder) = &access.certificates {
        skopeo = skopeo.arg(format!("--dest-cert-dir={}", folder.display()));
    }
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            skopeo = skopeo.env(name, value);
        }
    }
    let skopeo = skopeo.arg(format!("{transport}:{}", from.display())).arg(to).keep_stderr(LOG);
    let output = skopeo.run().map_err(|failure| explain(to, failure))?;
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

/// What skopeo's words mean, and what to do.
fn explain(to: &str, failure: Failure) -> Failure {
    if failure.kind != Kind::Failed {
        return failure;
    }
    // The log is for nobody's eyes.
    let lines = failure.what.lines().filter(|line| !line.contains("level=debug"));
    let words = lines.map(str::trim).collect::<Vec<_>>().join("\n  ");
    let said = words.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    let (what, next) = if has(&["x509", "certificate"]) {
        (
            "its certificate is of an authority that this machine does not know",
            "put the authority's certificate into a folder as ca.crt and name the folder with --cert-dir",
        )
    } else if has(&["unauthorized", "authentication required", "denied", "401", "403"]) {
        ("it wants a login that may push there", "run `skopeo login REGISTRY`, or name a login with --authfile")
    } else if has(&["toomanyrequests", "too many requests", "429"]) {
        ("it takes no more requests for now", "try again later, or with more --retry; what was sent stays there")
    } else if has(&["connection refused", "no such host", "no route to host", "timeout", "timed out", "network is unreachable"]) {
        ("it cannot be reached", "check its name and port, and that it runs; what was sent stays there")
    } else if has(&["server gave http response"]) {
        ("it speaks no TLS", "push to a registry that does")
    } else if has(&["500", "502", "503", "internal server error", "received unexpected http status: 5"]) {
        ("it failed by itself", "look at its log, then push again: what was sent stays there")
    } else {
        ("it cannot be pushed", "push again: what was sent stays there")
    };
    let name = to.strip_prefix("docker://").unwrap_or(to);
    Failure::new(Kind::Failed, format!("{name}: {what}\n  {words}")).hint(next)
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
    fn what_is_said_of_blobs_and_failures() {
        let log = "time=\"1\" level=debug msg=\"Skipping blob sha256:aa (already present):\"\ntime=\"1\" level=debug msg=\"Upload of \
                   layer sha256:bb complete\"\n";
        assert_eq!(new_layers(&[("sha256:aa", 5), ("sha256:bb", 7)], log), Some((1, 7)));
        assert_eq!(new_layers(&[("sha256:aa", 5), ("sha256:cc", 7)], log), None);
        for (said, what, next) in [
            ("x509: certificate signed by unknown authority", "authority", "--cert-dir"),
            ("unauthorized: authentication required", "login", "--authfile"),
            ("dial tcp 127.0.0.1:1: connect: connection refused", "cannot be reached", "port"),
            ("toomanyrequests: slow down", "no more requests", "--retry"),
            ("received unexpected HTTP status: 500 Internal Server Error", "by itself", "log"),
            ("something else", "cannot be pushed", "again"),
        ] {
            let failure = explain("docker://r/x:1", Failure::new(Kind::Failed, format!("time=1 level=debug msg=x\n{said}")));
            assert!(failure.what.starts_with("r/x:1: ") && failure.what.contains(what), "{failure}");
            assert!(failure.hint.as_deref().unwrap_or_default().contains(next), "{failure:?}");
            assert!(!failure.what.contains("level=debug"), "{failure}");
        }
    }
}
