//! Which mirror serves which archive: the recipe's, else the one that this machine itself uses. No host name is built in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::root::{HELPER, Root};
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;

/// Places to look, best first, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirrors {
    /// For `trixie`, `trixie-updates` and so on.
    pub main: String,
    /// For `trixie-security`, which Debian serves from a place of its own.
    pub security: Vec<String>,
}

impl Mirrors {
    /// `given`, checked, or what the machine uses.
    pub fn find(given: Option<&str>) -> Result<Self> {
        match given {
            Some(given) => Self::given(given),
            None => {
                let format = "$(REPO_URI)\t$(RELEASE)\t$(LABEL)";
                let output = Cmd::new("apt-get").args(["indextargets", "--format", format, "Created-By: Packages"]).run()?;
                Self::of_machine(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
                    Failure::new(Kind::Tool, "this machine's apt sources name no Debian archive")
                        .hint("name one in the recipe: mirror = \"http://HOST/debian\" under [base]")
                        .into()
                })
            }
        }
    }

    fn given(given: &str) -> Result<Self> {
        let known = ["http://", "https://", "file:///"].iter().any(|scheme| given.starts_with(scheme));
        if !known || given.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(Failure::new(
                Kind::Invalid,
                format!("mirror {given:?}: needed http://HOST/PATH, https://HOST/PATH or file:///FOLDER"),
            )
            .into());
        }
        let main = given.trim_end_matches('/').to_owned();
        let security = vec![main.clone(), format!("{main}-security")];
        Ok(Self { main, security })
    }

    /// From `apt-get indextargets`: lines of address, release and label. The label is empty until lists were fetched once; then an
    /// archive is Debian's when its updates or security archive is there too.
    fn of_machine(targets: &str) -> Option<Self> {
        let targets: Vec<(&str, &str, &str)> = targets
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .filter_map(|(uri, rest)| {
                let (release, label) = rest.split_once('\t')?;
                Some((uri, release, label))
            })
            .collect();
        let companion = |release: &str| {
            let names = [format!("{release}-updates"), format!("{release}-security")];
            targets.iter().any(|(_, other, _)| names.iter().any(|name| name == other))
        };
        let main = targets.iter().find(|(_, release, label)| match *label {
            "Debian" => !release.contains('-'),
            "" => companion(release),
            _ => false,
        })?;
        let security = targets.iter().find(|(_, release, label)| {
            *label == "Debian-Security" || (label.is_empty() && *release == format!("{}-security", main.1))
        });
        let main = plain(main.0);
        let security = security.map_or_else(|| format!("{main}-security"), |(uri, ..)| plain(uri));
        Some(Self { main, security: vec![security] })
    }

    /// Where files of `archive` may lie.
    pub fn of_archive(&self, archive: &str) -> &[String] {
        if archive.ends_with("-security") { &self.security } else { std::slice::from_ref(&self.main) }
    }
}

/// An address that single files can be asked of: of a list of mirrors (`mirror+file:`, as in cloud images) its first one.
fn plain(uri: &str) -> String {
    let first = uri.strip_prefix("mirror+file:").and_then(|path| {
        let list = fs::read_to_string(path.trim_end_matches('/').trim_start_matches("//")).ok()?;
        list.lines().find(|line| line.contains("://")).and_then(|line| line.split_whitespace().next()).map(str::to_owned)
    });
    first.as_deref().unwrap_or(uri).trim_end_matches('/').to_owned()
}

/// The folder of a `file://` address.
pub fn local(uri: &str) -> Option<PathBuf> {
    uri.strip_prefix("file://").map(|path| Path::new(path).to_owned())
}

/// Whether a failed fetch of `uri` means that the mirror answered and has no such file. Other causes cannot tell.
pub fn is_gone(failure: &Failure, uri: &str) -> bool {
    let line = failure.what.lines().find(|line| line.contains("Failed to fetch") && line.contains(uri));
    line.is_some_and(|line| ["  404 ", "  410 ", "File not found"].iter().any(|reason| line.contains(reason)))
}

/// Whether `mirror` has the archive `name`. Fails when the mirror cannot be asked.
pub fn has_archive(root: &Root, mirror: &str, name: &str) -> Result<bool> {
    for file in ["InRelease", "Release"] {
        let uri = format!("{mirror}/dists/{name}/{file}");
        if let Some(path) = local(&uri) {
            if path.is_file() {
                return Ok(true);
            }
            continue;
        }
        match root.cmd(HELPER).args(["-qq", "download-file", &uri]).arg(root.folder().join("probe")).run() {
            Ok(_) => return Ok(true),
            Err(failure) if is_gone(&failure, &uri) => {}
            Err(failure) => return Err(unreachable(mirror, &failure).into()),
        }
    }
    Ok(false)
}

/// What to say when a mirror does not answer as one.
pub fn unreachable(mirror: &str, cause: &Failure) -> Failure {
    if cause.kind == Kind::Interrupted {
        return crate::host::interrupt::failure();
    }
    Failure::new(Kind::Input, format!("{mirror}: cannot fetch from this mirror: {}", cause.what))
        .hint("check the network (and http_proxy), or name another mirror in the recipe: mirror = \"...\" under [base]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(main: &str, security: &[&str]) -> Mirrors {
        Mirrors { main: main.into(), security: security.iter().map(|&s| s.into()).collect() }
    }

    #[test]
    fn the_machine_s_own_mirror() {
        for (targets, needed) in [
            (
                "http://a/backports/\tbookworm-backports\tDebian Backports\nhttp://a/debian/\tbookworm\tDebian\n\
                 http://s/debian-security/\tbookworm-security\tDebian-Security\nhttp://n/\tnodistro\tother\n",
                Some(mirrors("http://a/debian", &["http://s/debian-security"])),
            ),
            // Lists were never fetched: no labels.
            (
                "http://n/\tnodistro\t\nhttp://a/debian/\ttrixie\t\nhttp://a/debian/\ttrixie-updates\t\n",
                Some(mirrors("http://a/debian", &["http://a/debian-security"])),
            ),
            ("http://u/ubuntu/\tnoble\tUbuntu\n", None),
            ("", None),
        ] {
            assert_eq!(Mirrors::of_machine(targets), needed, "{targets}");
        }
    }

    #[test]
    fn a_list_of_mirrors_stands_for_its_first() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# list\nhttps://a/debian/\tpriority:1\nhttps://b/debian\n").unwrap();
        assert_eq!(plain(&format!("mirror+file:{}/", file.path().display())), "https://a/debian");
        assert_eq!(plain(&format!("mirror+file://{}", file.path().display())), "https://a/debian");
        assert_eq!(plain("http://c/debian/"), "http://c/debian");
    }

    #[test]
    fn a_given_mirror_is_checked() {
        let found = Mirrors::find(Some("file:///srv/debian/")).unwrap();
        assert_eq!(found, mirrors("file:///srv/debian", &["file:///srv/debian", "file:///srv/debian-security"]));
        for bad in ["debian.example.org", "file://host/x y", "http://a/\nSigned-By: no", "ftp://a/b"] {
            let failure = Mirrors::find(Some(bad)).unwrap_err();
            assert_eq!(crate::failure::kind_of(&failure), Kind::Invalid, "{bad}");
        }
    }

    #[test]
    fn gone_is_not_unreachable() {
        let failure =
            |text: &str| Failure::new(Kind::Failed, format!("apt-helper failed:\n  E: Failed to fetch http://a/x  {text}"));
        assert!(is_gone(&failure("404  Not Found [IP: 192.0.2.1 80]"), "http://a/x"));
        assert!(is_gone(&failure("File not found - /x (2: No such file or directory)"), "http://a/x"));
        assert!(!is_gone(&failure("Could not resolve 'a'"), "http://a/x"));
        assert!(!is_gone(&failure("404  Not Found"), "http://a/y"));
    }
}
