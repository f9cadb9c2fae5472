//! A root folder for apt alone: its lists, configuration and trust, apart from those of the machine.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::architecture::Architecture;
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::tools::{self, Tool};

/// Where apt keeps the program that fetches single files.
pub const HELPER: &str = "/usr/lib/apt/apt-helper";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One archive to read packages from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// `http://host/debian`, without a slash at the end.
    pub mirror: String,
    /// `trixie-updates`.
    pub name: String,
}

/// apt's own root. Vanishes when dropped.
pub struct Root {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Root {
    /// Makes one in `parent`, without archives.
    pub fn make(parent: &Path, architecture: Architecture) -> Result<Self> {
        tools::need(&[Tool { program: "apt-get", package: "apt" }], "choosing and fetching packages")?;
        let folder = tempfile::Builder::new().prefix("apt-").tempdir_in(parent)?;
        let text = folder.path().display().to_string();
        if text.contains(['"', '\\', '\n']) {
            return Err(Failure::new(
                Kind::Usage,
                format!("the cache folder {text} has a quote or backslash; apt cannot work there"),
            )
            .hint("set BASALT_CACHE to another folder")
            .into());
        }
        for name in
            ["etc/parts", "etc/preferences.d", "etc/sources.list.d", "etc/trusted.gpg.d", "lists/partial", "archives/partial"]
        {
            fs::create_dir_all(folder.path().join(name))?;
        }
        for name in ["etc/sources.list", "etc/preferences", "status", "extended_states"] {
            fs::write(folder.path().join(name), "")?;
        }
        let config = folder.path().join("apt.conf");
        fs::write(&config, configuration(&text, architecture, &proxies()?)).with_context(|| config.display().to_string())?;
        Ok(Self { folder, config })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Trusts the keys in `keyring`, or Debian's, and reads `components` of `archives` from now on.
    pub fn set_archives(&self, archives: &[Archive], components: &[String], keyring: Option<&Path>) -> Result<()> {
        let keyring = keyring.unwrap_or(Path::new(KEYRING));
        let keys = fs::read(keyring).map_err(|error| {
            Failure::new(Kind::Tool, format!("{}: the archive's keys cannot be read: {error}", keyring.display()))
                .hint("apt install debian-archive-keyring")
        })?;
        let name = if keys.starts_with(b"-----BEGIN") { "archive.asc" } else { "archive.gpg" };
        fs::write(self.folder().join("etc/trusted.gpg.d").join(name), keys)?;
        let mut text = String::new();
        for archive in archives {
            let Archive { mirror, name } = archive;
            let _ = write!(text, "Types: deb\nURIs: {mirror}\nSuites: {name}\nComponents: {}\n\n", components.join(" "));
        }
        fs::write(self.folder().join("etc/sources.list.d/archives.sources"), text)?;
        Ok(())
    }

    /// A command of apt that works in this root.
    pub fn cmd(&self, program: &str) -> Cmd {
        Cmd::new(program).env("APT_CONFIG", &self.config).env("DEBIAN_FRONTEND", "noninteractive")
    }
}

/// The machine's proxies and certificates for fetching: without them its own mirror may be out of reach.
fn proxies() -> Result<String> {
    let output = Cmd::new("apt-config").args(["dump", "--format", "%F \"%v\";%n"]).run()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let wanted = ["Acquire::http::", "Acquire::https::", "Acquire::ftp::"];
    Ok(text.lines().filter(|line| wanted.iter().any(|prefix| line.starts_with(prefix))).map(|line| format!("{line}\n")).collect())
}

fn configuration(folder: &str, architecture: Architecture, proxies: &str) -> String {
    format!(
        r#"Dir "{folder}";
Dir::Etc "{folder}/etc";
Dir::Etc::Parts "{folder}/etc/parts";
Dir::Etc::Main "{folder}/etc/none";
Dir::Etc::sourcelist "{folder}/etc/sources.list";
Dir::Etc::sourceparts "{folder}/etc/sources.list.d";
Dir::Etc::preferences "{folder}/etc/preferences";
Dir::Etc::preferencesparts "{folder}/etc/preferences.d";
Dir::Etc::trusted "{folder}/etc/none.gpg";
Dir::Etc::trustedparts "{folder}/etc/trusted.gpg.d";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::extended_states "{folder}/extended_states";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Cache::archives "{folder}/archives";
Dir::Log "{folder}";
#clear APT::Update;
#clear DPkg;
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
APT::Solver "internal";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Retries "3";
Debug::NoLocking "true";
pkgCacheGen::ForceEssential ",";
{proxies}"#
    )
}
