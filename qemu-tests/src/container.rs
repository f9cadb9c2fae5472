//! The container image of Basalt, made by its own recipe and run by rootless Podman: an ordinary user's, with nothing but what Podman
//! gives to any container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{Account, Registry, Scratch, repository};

/// What the image is called, here and in `docs/ci`.
pub const IMAGE: &str = concat!("registry.example.org/tools/basalt:", env!("CARGO_PKG_VERSION"));
/// The longest command builds a base or boots a machine, beside others; in seconds.
const LIMIT: &str = "900";

/// The image, in a store of Podman's that goes with this value.
#[derive(Debug)]
pub struct Container<'a> {
    scratch: &'a Scratch,
    folder: PathBuf,
}

impl<'a> Container<'a> {
    /// Builds the image of the built programs.
    pub fn build(scratch: &'a Scratch) -> Result<Self> {
        let made = Command::new(repository().join(".ci/container")).output().context(".ci/container")?;
        ensure!(made.status.success(), ".ci/container: {}", String::from_utf8_lossy(&made.stderr));
        let context = scratch.copy(Path::new(String::from_utf8(made.stdout)?.trim()))?;
        let container = Self { scratch, folder: scratch.folder("podman")? };
        fs::create_dir_all(container.trusted())?;
        container.configure()?;
        let runtime = container.folder.join("runtime").display().to_string();
        container.run("install", &["--directory", "--mode=700", &runtime])?;
        let context = context.display().to_string();
        container.run("podman", &["build", "--quiet", "--layers=false", "--timestamp=0", "--tag", IMAGE, &context])?;
        fs::remove_dir_all(context)?;
        Ok(container)
    }

    /// Containers know the authority of `registry` from now on, as they know those of public ones.
    pub fn trust(&self, registry: &Registry) -> Result<()> {
        let folder = self.trusted().join(&registry.host);
        fs::create_dir_all(&folder)?;
        fs::copy(registry.certificates.join("ca.crt"), folder.join("ca.crt"))?;
        Ok(())
    }

    /// `program`, which may start Podman, as the ordinary user.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Account::Ordinary.command(Path::new("timeout"), self.scratch)?;
        command.args(["--kill-after=10", LIMIT, program]).current_dir(self.scratch.path());
        command.env("XDG_RUNTIME_DIR", self.folder.join("runtime"));
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        command.env("CONTAINERS_STORAGE_CONF", self.folder.join("storage.conf"));
        Ok(command)
    }

    /// What `program ARGS...` prints as the ordinary user; fails when it does.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = self.command(program)?.args(args).output().with_context(|| program.to_owned())?;
        ensure!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    fn trusted(&self) -> PathBuf {
        self.folder.join("certs.d")
    }

    /// What a machine that runs CI has set up: where images lie, the network, registries' authorities. crun knows no machine with both
    /// versions of cgroups.
    fn configure(&self) -> Result<()> {
        let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let (runtime, cgroups) = if unified { ("crun", "disabled") } else { ("runc", "enabled") };
        let certificates = self.trusted().display().to_string();
        let containers = format!(
            "[containers]\nnetns = \"host\"\ncgroups = \"{cgroups}\"\nvolumes = [\"{certificates}:/etc/containers/certs.d:ro\"]\n\
             [engine]\nruntime = \"{runtime}\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n"
        );
        let at = |name: &str| self.folder.join(name).display().to_string();
        let storage = format!("[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n", at("images"), at("run"));
        fs::write(self.folder.join("containers.conf"), containers)?;
        Ok(fs::write(self.folder.join("storage.conf"), storage)?)
    }
}

impl Drop for Container<'_> {
    /// Files of subordinate users could not be removed otherwise, and Podman keeps a process.
    fn drop(&mut self) {
        for args in [&["system", "reset", "--force"][..], &["system", "migrate"]] {
            if let Err(error) = self.run("podman", args) {
                eprintln!("{error:#}");
            }
        }
    }
}
