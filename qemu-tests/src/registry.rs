//! A real registry on loopback: Debian's docker-registry, with TLS and a login.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::tool::run;
use crate::{Scratch, free_port, repository};

/// The only login, and its hash for the registry (bcrypt). The registry lives as long as a case.
const LOGIN: &str = "case:only-for-this-case";
const HTPASSWD: &str = "case:$2y$04$eo.xRLmHZiXFW1GGl1n1GeNBrthi.8ufKrWC/Fzx2T38MxGW8QZ1m\n";
/// The host's loopback, in a machine of QEMU.
const GUESTS_HOST: &str = "10.0.2.2";
/// How long it may take to listen.
const START: Duration = Duration::from_secs(30);

/// A running registry; it ends with this value.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    folder: PathBuf,
    /// `localhost:PORT`.
    pub host: String,
    /// A folder with the certificate of its authority: `ca.crt`.
    pub certificates: PathBuf,
    /// A login that it takes (auth.json).
    pub auth_file: PathBuf,
    /// The same registry, as a machine of QEMU sees it: `10.0.2.2:PORT`.
    pub from_guest: String,
}

impl Registry {
    /// With nothing in it.
    pub fn start(scratch: &Scratch) -> Result<Self> {
        let program = program()?;
        let folder = scratch.folder("registry")?;
        let certificates = scratch.folder("registry-ca")?;
        let at = |name: &str| folder.join(name).display().to_string();
        certificate(&folder, &certificates.join("ca.crt"))?;
        fs::write(folder.join("htpasswd"), HTPASSWD)?;
        let port = free_port()?;
        let host = format!("localhost:{port}");
        let config = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: 127.0.0.1:{port}\n  \
             secret: of-this-case\n  tls: {{certificate: {}, key: {}}}\nauth: {{htpasswd: {{realm: case, path: {}}}}}\n",
            at("data"),
            certificates.join("ca.crt").display(),
            at("key.pem"),
            at("htpasswd"),
        );
        fs::write(folder.join("config.yml"), config)?;
        let log = fs::File::create(folder.join("log"))?;
        let child = Command::new(&program)
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let auth_file = auth_file(scratch, &host, LOGIN)?;
        let from_guest = format!("{GUESTS_HOST}:{port}");
        let mut registry = Self { child, folder, host, certificates, auth_file, from_guest };
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = registry.child.try_wait()?;
            let log = fs::read_to_string(registry.folder.join("log"))?;
            ensure!(ended.is_none() && begin.elapsed() < START, "docker-registry does not listen: {log}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(registry)
    }

    /// The key of its certificate.
    pub fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// The folder in which it keeps the image `name`'s blobs, and everything else.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What skopeo says of an image of this registry: `name` is its path there, with a tag.
    pub fn inspect(&self, name: &str) -> Result<String> {
        run(self.skopeo("inspect", "").arg(format!("docker://{}/{name}", self.host)))
    }

    /// Sends the image at `from`, as skopeo names it, to `name`; of a list everything.
    pub fn put(&self, from: &str, name: &str) -> Result<()> {
        let to = format!("docker://{}/{name}", self.host);
        run(self.skopeo("copy", "dest-").args(["--all", "--preserve-digests", from, &to])).map(drop)
    }

    /// Fetches the image `name` to `to`, as skopeo names it.
    pub fn get(&self, name: &str, to: &str) -> Result<()> {
        run(self.skopeo("copy", "src-").arg(format!("docker://{}/{name}", self.host)).arg(to)).map(drop)
    }

    fn skopeo(&self, verb: &str, side: &str) -> Command {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", verb]).arg(format!("--{side}cert-dir={}", self.certificates.display()));
        command.arg(format!("--authfile={}", self.auth_file.display()));
        command
    }
}

impl Registry {
    /// What gives a node the login and the authority's certificate: lines of tmpfiles.d for the credential `tmpfiles.extra`.
    pub fn tmpfiles(&self, scratch: &Scratch) -> Result<String> {
        let host = &self.from_guest;
        let folder = format!("/etc/containers/certs.d/{host}");
        let file = |path: &str, mode: &str, from: &Path| -> Result<String> {
            let content = base64(&fs::read(from).with_context(|| from.display().to_string())?)?;
            Ok(format!("f~ {path} {mode} root root - {content}\n"))
        };
        let login = file("/etc/ostree/auth.json", "0600", &auth_file(scratch, host, LOGIN)?)?;
        let authority = file(&format!("{folder}/ca.crt"), "0644", &self.certificates.join("ca.crt"))?;
        Ok(format!("d /etc/ostree 0755 root root\n{login}d {folder} 0755 root root\n{authority}"))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes an auth.json with one login, `user:password`.
pub fn auth_file(scratch: &Scratch, host: &str, login: &str) -> Result<PathBuf> {
    let json = serde_json::json!({ "auths": { host: { "auth": base64(login.as_bytes())? } } });
    scratch.write(&format!("auth-{}-{}.json", host.len(), login.len()), json.to_string())
}

fn base64(bytes: &[u8]) -> Result<String> {
    let encoded =
        Command::new("base64").arg("--wrap=0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().and_then(|mut child| {
            std::io::Write::write_all(&mut child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?, bytes)?;
            child.wait_with_output()
        })?;
    Ok(String::from_utf8(encoded.stdout)?)
}

/// A key and a certificate for the host's loopback that signs itself.
fn certificate(folder: &Path, to: &Path) -> Result<()> {
    let made = run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext"])
        .arg(format!("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{GUESTS_HOST}"))
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(to));
    made.map(drop)
}

/// docker-registry's program. Its Debian package would start a service, so that it is unpacked and not installed.
fn program() -> Result<PathBuf> {
    let folder = repository().join("target/docker-registry");
    let program = folder.join("usr/bin/docker-registry");
    if program.is_file() {
        return Ok(program);
    }
    let scratch = Scratch::new()?;
    let fetch = ["-o", "APT::Sandbox::User=", "download", "docker-registry"];
    run(Command::new("apt-get").args(fetch).current_dir(scratch.path()))?;
    let entries = fs::read_dir(scratch.path())?.collect::<Result<Vec<_>, _>>()?;
    let package =
        entries.iter().map(fs::DirEntry::path).find(|path| path.extension().is_some_and(|extension| extension == "deb"));
    run(Command::new("dpkg-deb").arg("--extract").arg(package.context("apt-get download left no package")?).arg(&folder))?;
    Ok(program)
}
