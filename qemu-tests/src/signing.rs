//! Keys that live as long as a case: an OpenPGP key in a home of gpg and an ECDSA P-256 key, public and private, made by gpg and openssl.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{Basalt, Scratch};

/// How long an agent may take to listen.
const START: Duration = Duration::from_secs(30);

/// Somebody who signs.
#[derive(Debug)]
pub struct Signer {
    /// gpg's folder, with the private key.
    pub home: PathBuf,
    /// Of the OpenPGP key.
    pub fingerprint: String,
    /// The OpenPGP key as `gpg --export-secret-keys --armor` writes it.
    pub commit_key: PathBuf,
    /// The public half, with armor.
    pub commit_public: PathBuf,
    /// The ECDSA key in PEM.
    pub image_key: PathBuf,
    /// The public half in PEM.
    pub image_public: PathBuf,
}

impl Signer {
    /// Makes keys in the folder `name` of `scratch`.
    pub fn new(scratch: &Scratch, name: &str) -> Result<Self> {
        let folder = scratch.folder(name)?;
        // The names of sockets are short.
        let home = folder.join("g");
        fs::create_dir(&home)?;
        fs::set_permissions(&home, Permissions::from_mode(0o700))?;
        let user = format!("{name} <{name}@example.org>");
        gpg(&home, &["--passphrase", "", "--quick-generate-key", &user, "ed25519", "sign", "never"])?;
        let listed = String::from_utf8(gpg(&home, &["--with-colons", "--list-keys"])?)?;
        let fingerprint = listed.lines().find(|line| line.starts_with("fpr:")).and_then(|line| line.split(':').nth(9));
        let fingerprint = fingerprint.context("gpg has made no key")?.to_owned();
        let at = |name: &str| folder.join(name);
        fs::write(at("commit.key"), gpg(&home, &["--armor", "--export-secret-keys", &fingerprint])?)?;
        fs::write(at("commit.asc"), gpg(&home, &["--armor", "--export", &fingerprint])?)?;
        let (private, public) = (at("image.key").display().to_string(), at("image.pub").display().to_string());
        run("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &private])?;
        run("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public])?;
        fs::set_permissions(at("image.key"), Permissions::from_mode(0o600))?;
        Ok(Self {
            home,
            fingerprint,
            commit_key: at("commit.key"),
            commit_public: at("commit.asc"),
            image_key: at("image.key"),
            image_public: at("image.pub"),
        })
    }

    /// `run` (a build, or `basalt sign DIR`) signing with the private keys' files.
    pub fn by_file(&self, run: Basalt) -> Basalt {
        run.arg("--commit-key").arg(&self.commit_key).arg("--image-key").arg(&self.image_key)
    }

    /// The private parts themselves, as bytes that may be nowhere else.
    pub fn secrets(&self) -> Result<Vec<Vec<u8>>> {
        let body = |path: &Path| -> Result<Vec<String>> {
            let text = fs::read_to_string(path)?;
            Ok(text.lines().filter(|line| line.len() == 64 && !line.starts_with('-')).map(str::to_owned).collect())
        };
        let mut secrets: Vec<Vec<u8>> = Vec::new();
        for path in [&self.commit_key, &self.image_key] {
            let lines = body(path)?;
            ensure!(lines.len() > 1, "{}: needed two whole lines", path.display());
            secrets.push(lines[1].clone().into_bytes());
        }
        // PKCS#8 of a key of P-256 without parameters: the number stands behind 36 bytes.
        let der = run("openssl", &["pkey", "-in", &self.image_key.display().to_string(), "-outform", "DER"])?;
        secrets.push(der.get(36..68).context("no number in the key")?.to_vec());
        // The first packet of the secret key ends with its number and a checksum of 2 bytes.
        let packets = gpg(&self.home, &["--export-secret-keys", &self.fingerprint])?;
        let [_, length, rest @ ..] = packets.as_slice() else { anyhow::bail!("no packet") };
        let packet = rest.get(..usize::from(*length)).context("a packet that ends too soon")?;
        secrets.push(packet[packet.len() - 34..packet.len() - 2].to_vec());
        Ok(secrets)
    }

    /// An ssh-agent that has the ECDSA key, until the answer is dropped.
    pub fn agent(&self) -> Result<Agent> {
        let socket = self.home.with_file_name("agent");
        let child =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().context("ssh-agent")?;
        let agent = Agent { child, socket };
        let begin = Instant::now();
        while !agent.socket.exists() {
            ensure!(begin.elapsed() < START, "ssh-agent does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        let added = Command::new("ssh-add").arg(&self.image_key).env("SSH_AUTH_SOCK", &agent.socket).output()?;
        ensure!(added.status.success(), "ssh-add: {}", String::from_utf8_lossy(&added.stderr));
        Ok(agent)
    }
}

/// The reference recipe `plain` for nodes that are updated from `image` and demand that `commit` signs commits and `images` signs
/// images; their public keys are put into `folder`, where the recipe lies.
pub fn demanding(plain: &str, folder: &Path, image: &str, commit: &Signer, images: &Signer) -> Result<String> {
    let keys = folder.join("keys");
    fs::create_dir_all(&keys)?;
    fs::copy(&commit.commit_public, keys.join("commit.asc"))?;
    fs::copy(&images.image_public, keys.join("image.pub"))?;
    // The reference recipe has such a table, and there is room for one.
    let others = plain.replace("\n[update]\nclient = true\n", "\n");
    ensure!(!others.contains("\n[update]\n"), "the reference recipe says more of updates than a case expects");
    let sign = "[sign]\ncommit = \"keys/commit.asc\"\nimage = \"keys/image.pub\"\n";
    Ok(format!("{others}\n{sign}\n[update]\nimage = {image:?}\n"))
}

impl Drop for Signer {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", &self.home).output();
    }
}

/// A running ssh-agent; it ends with this value.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    /// For `SSH_AUTH_SOCK`.
    pub socket: PathBuf,
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gpg(home: &Path, args: &[&str]) -> Result<Vec<u8>> {
    let home = home.display().to_string();
    run("gpg", &[&["--homedir", home.as_str(), "--batch", "--quiet", "--pinentry-mode", "loopback"], args].concat())
}

fn run(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let done = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    ensure!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}
