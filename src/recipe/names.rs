//! The rules for every name that a recipe may write. Pure: text in, a value or "needed ..., found ..." out.
//!
//! The same rules guard a saved plan, which may come from anywhere.

pub mod tuned;

pub use basalt_contract::kernel_arguments::one as kernel_arg;

use basalt_contract::names::SSH_KEY_TYPES;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::kmod::mapping::Matcher;
use crate::kmod::prove;
use crate::kmod::release::{Named, Release, Spelling};

/// What was needed. The caller adds where.
pub type Verdict<T = ()> = Result<T, String>;

fn rule(ok: bool, needed: &str, found: &str) -> Verdict {
    if ok { Ok(()) } else { Err(format!("needed {needed}, found {found:?}")) }
}

fn all(text: &str, also: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
}

fn lower(text: &str, also: &str) -> bool {
    all(text, also) && !text.chars().any(|c| c.is_ascii_uppercase())
}

fn starts(text: &str, allowed: impl Fn(char) -> bool) -> bool {
    text.chars().next().is_some_and(allowed)
}

/// The image's name: also the OSTree stateroot's, and part of file names.
pub fn image(text: &str) -> Verdict {
    let ok = lower(text, "-") && text.len() <= 63 && !text.starts_with('-') && !text.ends_with('-');
    rule(ok, "up to 63 lower-case letters, digits and inner \"-\"", text)
}

/// The image's version.
pub fn version(text: &str) -> Verdict {
    let ok = all(text, ".+~_-") && text.len() <= 64 && starts(text, |c| c.is_ascii_alphanumeric());
    rule(ok, "up to 64 letters, digits and \".+~_-\", the first a letter or digit", text)
}

/// A binary package's name (Debian Policy 5.6.7).
pub fn package(text: &str) -> Verdict {
    if text.contains(['=', ':', '/']) {
        return Err(format!("needed a package's name alone (the lock pins its version and archive), found {text:?}"));
    }
    let ok = text.len() >= 2 && !text.ends_with('-') && lower(text, "+-.") && starts(text, |c| c.is_ascii_alphanumeric());
    rule(ok, "a Debian package's name", text)
}

/// A binary package's name, perhaps with a suite of the archive that it comes from, as apt has it: `linux-image-amd64/trixie-backports`.
pub fn package_of_suite(text: &str) -> Verdict {
    let Some((name, suite)) = text.split_once('/') else { return package(text) };
    package(name)?;
    rule(lower(suite, "-") && starts(suite, |c| c.is_ascii_lowercase()), "a suite of the archive behind the \"/\"", text)
}

/// A binary package's name, perhaps with variables that stand for a kernel.
pub fn package_of_kernel(text: &str) -> Verdict {
    let example = Release::parse("1.2.3-example").map_err(|unfit| unfit.to_string())?;
    let module = Named { name: "name", namespace: Some("namespace") };
    package(&example.fill(text, module, Spelling::AsIs).map_err(|unfit| unfit.to_string())?)
}

/// A suite or a component of an archive.
pub fn archive_word(text: &str) -> Verdict {
    rule(lower(text, "-") && starts(text, |c| c.is_ascii_lowercase()), "lower-case letters, digits and \"-\"", text)
}

/// A mirror's address, or a local one as `file:///folder`.
pub fn mirror(text: &str) -> Verdict {
    if let Some(folder) = text.strip_prefix("file://") {
        return rule(folder.starts_with('/') && all(folder, "/._-+~"), "an absolute folder after file://", text);
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let ok = rest.is_some_and(|rest| {
        let printable = rest.chars().all(|c| c.is_ascii_graphic() && !"\"'<>[]@".contains(c));
        printable && starts(rest, |c| c.is_ascii_alphanumeric())
    });
    rule(ok, "an http://, https:// or file:/// address without user or password", text)
}

/// A tag of a container image.
pub fn tag(text: &str) -> Verdict {
    let ok = !text.is_empty() && all(text, "._-") && text.len() <= 128 && !text.starts_with(['.', '-']);
    rule(ok, "a tag: letters, digits, \".\", \"_\" and \"-\", 128 at most", text)
}

/// A host name (RFC 1123), short enough for Linux (64 bytes).
pub fn host(text: &str) -> Verdict {
    let label = |label: &str| all(label, "-") && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-');
    let ok = text.len() <= 64 && text.split('.').all(label);
    rule(ok, "a host name (RFC 1123: labels of letters, digits and inner \"-\", 64 bytes in all)", text)
}

/// A unit of systemd that can be enabled or masked.
pub fn unit(text: &str) -> Verdict {
    let kinds = ["service", "socket", "target", "timer", "path", "mount", "automount", "swap", "slice"];
    match text.rsplit_once('.') {
        Some((stem, kind)) if kinds.contains(&kind) => {
            rule(all(stem, ":-_.\\@") && text.len() <= 255, "a unit's name of letters, digits and \":-_.\\@\"", text)
        }
        _ => Err(format!("needed a unit with its type (like {text}.service), found {text:?}")),
    }
}

/// A user's or group's name, as `adduser` and systemd accept it.
pub fn user(text: &str) -> Verdict {
    let ok = lower(text, "_-") && text.len() <= 31 && starts(text, |c| c.is_ascii_lowercase() || c == '_');
    rule(ok, "up to 31 lower-case letters, digits, \"_\" and \"-\", the first a letter or \"_\"", text)
}

/// A login shell.
pub fn shell(text: &str) -> Verdict {
    let ok = text.starts_with('/') && all(text, "/._-+") && !text.contains("//") && !text.ends_with('/');
    rule(ok, "an absolute path", text)
}

/// A file of systemd-networkd.
pub fn network_file(text: &str) -> Verdict {
    let stem = [".network", ".netdev", ".link"].iter().find_map(|kind| text.strip_suffix(kind));
    let ok = stem.is_some_and(|stem| all(stem, "._-") && !stem.starts_with('.')) && text.len() <= 255;
    rule(ok, "a file name that ends in .network, .netdev or .link", text)
}

/// A public key as in `authorized_keys`, without options: type, base64, comment.
pub fn ssh_key(text: &str) -> Verdict {
    if text.contains(['\n', '\r', '\0']) {
        return Err("needed one public key on one line, found several lines".into());
    }
    let mut words = text.split_ascii_whitespace();
    let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if !SSH_KEY_TYPES.contains(&kind) {
        return Err(format!("needed a public key (type, then base64), found type {kind:?}; known: {}", SSH_KEY_TYPES.join(", ")));
    }
    // The blob begins with the type again: a length in four bytes, then the name (RFC 4253, 6.6).
    let inner = STANDARD.decode(body).ok().and_then(|blob| {
        let len = u32::from_be_bytes(blob.get(..4)?.try_into().ok()?) as usize;
        blob.get(4..len.checked_add(4)?).map(<[u8]>::to_vec)
    });
    match inner {
        Some(name) if name == kind.as_bytes() => Ok(()),
        Some(name) => Err(format!("needed a key of type {kind}, found {:?} within its base64", String::from_utf8_lossy(&name))),
        None => Err(format!("needed the base64 of a whole {kind} key; it is cut off or damaged")),
    }
}

/// A kernel module's name.
pub fn module(text: &str) -> Verdict {
    let ok = !text.is_empty() && text.len() < 56 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    rule(ok, "a kernel module's name: letters, digits, \"_\" and \"-\"", text)
}

/// Parameters of a kernel module: one line of a `modprobe.d` file.
pub fn module_parameters(text: &str) -> Verdict {
    let ok =
        !text.is_empty() && text.len() < 1024 && text.chars().all(|c| c.is_ascii_graphic() || c == ' ') && !text.contains('\\');
    rule(ok, "parameters in one line: name=value name=value", text)
}

/// The release of a kernel.
pub fn release(text: &str) -> Verdict {
    Release::parse(text).map(drop).map_err(|unfit| unfit.to_string())
}

/// A regular expression for releases of kernels.
pub fn release_pattern(text: &str) -> Verdict {
    Matcher::regexp(text).map(drop).map_err(|unfit| unfit.to_string())
}

/// A kind of finding of the proof of kernel modules.
pub fn finding(text: &str) -> Verdict {
    let known = prove::KINDS;
    known.contains(&text).then_some(()).ok_or_else(|| format!("needed one of {}, found {text:?}", known.join(", ")))
}

/// Permission bits in octal: `0644`, `4755`.
pub fn mode(text: &str) -> Verdict<u16> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    rule(octal, "three or four octal digits like \"0644\"", text)?;
    u16::from_str_radix(text, 8).map_err(|error| error.to_string())
}

/// A size in bytes, with K, M, G or T for powers of 1024; `auto` is none.
pub fn size(text: &str) -> Verdict<Option<u64>> {
    if text == "auto" {
        return Ok(None);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => Some(0),
        "K" => Some(10),
        "M" => Some(20),
        "G" => Some(30),
        "T" => Some(40),
        _ => None,
    };
    let bytes = shift.zip(digits.parse::<u64>().ok()).and_then(|(shift, number)| number.checked_mul(1 << shift));
    // Offsets in files are signed 64-bit numbers.
    match bytes.filter(|bytes| i64::try_from(*bytes).is_ok() && digits.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(format!("needed a size like \"512M\" or \"2G\", or \"auto\", found {text:?}")),
    }
}

/// The name of an extended attribute: with its namespace.
pub fn xattr(text: &str) -> Verdict {
    let inner = ["user.", "trusted.", "security."].iter().find_map(|space| text.strip_prefix(space));
    let ok = inner.is_some_and(|inner| !inner.is_empty() && inner.chars().all(|c| c.is_ascii_graphic())) && text.len() <= 255;
    rule(ok, "a name that begins with user., trusted. or security.", text)
}

/// The value of an extended attribute: text, or base64 after `0s` (as setfattr(1) has it).
pub fn xattr_value(text: &str) -> Verdict<Vec<u8>> {
    match text.strip_prefix("0s") {
        Some(encoded) => STANDARD.decode(encoded).map_err(|error| format!("needed base64 after 0s, found {encoded:?} ({error})")),
        None => Ok(text.as_bytes().to_vec()),
    }
}

/// A container image with its registry: `registry.example.org:5000/path/name:tag@sha256:...`.
pub fn image_reference(text: &str) -> Verdict {
    if text.contains("://") || text.starts_with("docker:") || text.starts_with("ostree-") {
        return Err(format!("needed a container image without a transport before it, found {text:?}"));
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    let digest_ok = digest
        .is_none_or(|digest| digest.strip_prefix("sha256:").is_some_and(|hex| hex.parse::<crate::digest::Digest>().is_ok()));
    let (registry, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (path, tag) = match path.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (path, None),
    };
    let (name, port) = match registry.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (registry, None),
    };
    let registry_ok = host(name).is_ok()
        && (name.contains('.') || name == "localhost" || port.is_some())
        && port.is_none_or(|port| port.parse::<u16>().is_ok());
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| lower(part, "._-") && part.starts_with(edge) && part.ends_with(edge);
    let tag_ok = tag.is_none_or(|text| self::tag(text).is_ok());
    rule(
        digest_ok && registry_ok && path.split('/').all(part) && tag_ok,
        "registry/path:tag, like registry.example.org/basalt/gpu-node:stable",
        text,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHaVmpLtkwV3pQ1mlvCCnTGPmiZhJBXI6e4qKJbVPxoF me@desk";

    type Rule = fn(&str) -> Verdict;

    #[test]
    fn names_that_are_right_and_wrong() {
        let long = "a".repeat(65);
        let table: &[(&str, Rule, &[&str], &[&str])] = &[
            ("image", image, &["gpu-node", "a1"], &["", "GPU", "-a", "a-", "a/b", "..", "a b", &long]),
            ("version", version, &["1", "2026.11.21", "1.0~rc1+x"], &["", "-1", "1/2", "1 2", &long]),
            ("package", package, &["g++", "libc6", "linux-image-amd64"], &["a", "Bash", "a=1", "a:i386", "-a", "a b"]),
            (
                "of suite",
                package_of_suite,
                &["g++", "linux-image-amd64/trixie-backports"],
                &["a/sid", "aa/", "aa/b/c", "aa/Sid", "aa=1"],
            ),
            ("archive", archive_word, &["trixie", "non-free-firmware"], &["", "Main", "a/b", "1a"]),
            (
                "mirror",
                mirror,
                &["https://m.example/debian", "file:///srv/m"],
                &["ftp://x", "file://m/x", "file:///a b", "https://", "http://u@h/", "https://a b"],
            ),
            ("host", host, &["node", "n-1.example.org", "N1"], &["", "a_b", "-a", "a-", "a..b", "a.", &long]),
            (
                "unit",
                unit,
                &["ssh.service", "getty@tty1.service", "a.mount"],
                &["ssh", "ssh.servcie", ".service", "a b.service", "a/b.service"],
            ),
            ("user", user, &["ops", "_x", "a-1"], &["", "1a", "Ops", "a.b", "root:x"]),
            ("shell", shell, &["/bin/bash"], &["bash", "/bin/", "/bin//sh", "/bin/sh\n"]),
            ("network", network_file, &["20-x.network", "b.netdev", "10-a.link"], &["a.conf", ".network", "a/b.network"]),
            (
                "arg",
                kernel_arg,
                &["quiet", "console=ttyS0,115200", "iommu=pt"],
                &["", "a b", "root=/dev/x", "ostree=/x", "=a", "a=\"b\"", "ostree"],
            ),
            ("xattr", xattr, &["user.a", "security.capability"], &["a", "system.posix_acl_access", "user."]),
            (
                "reference",
                image_reference,
                &[
                    "r.example.org/a/b:stable",
                    "localhost:5000/a",
                    "r.example.org/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                ],
                &[
                    "",
                    "ubuntu",
                    "a/b",
                    "https://r.example.org/a",
                    "r.example.org/A",
                    "r.example.org/a:",
                    "r.example.org/",
                    "r.example.org/a@sha256:00",
                    "r.example.org/a//b",
                ],
            ),
            (
                "key",
                ssh_key,
                &[KEY],
                &["", "ssh-ed25519", "ssh-foo AAAA", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIHaV", "no-pty ssh-rsa A", "a\nb"],
            ),
        ];
        for (what, rule, right, wrong) in table {
            for text in *right {
                assert_eq!(rule(text), Ok(()), "{what} {text:?}");
            }
            for text in *wrong {
                assert!(rule(text).is_err(), "{what} {text:?} was accepted");
            }
        }
    }

    #[test]
    fn values_are_read() {
        assert_eq!(mode("0644"), Ok(0o644));
        assert_eq!(mode("4755"), Ok(0o4755));
        for text in ["", "64", "0o644", "0888", "00644", "+644"] {
            assert!(mode(text).is_err(), "{text}");
        }
        for (text, bytes) in [("auto", None), ("512M", Some(512 << 20)), ("2G", Some(2 << 30)), ("4096", Some(4096))] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "1.5G", "-1M", "+1M", "512MB", "512m", "99999999T", "9223372036854775808"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(xattr_value("0sAQI="), Ok(vec![1, 2]));
        assert_eq!(xattr_value("plain"), Ok(b"plain".to_vec()));
        assert!(xattr_value("0s!").is_err());
    }
}
