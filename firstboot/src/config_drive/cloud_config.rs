//! User data. Of a `#cloud-config` the host name and `ssh_authorized_keys` are honoured; all else in it, and every other kind of
//! user data, would run programs or change an image that is not changed, and is told by its name.
//!
//! Format: cloud-init's "User data formats"; a kind is known by how it begins.

use super::document::Reading;
use super::yaml::table;
use super::{ConfigDrive, bytes, identity};
use crate::backend::Files;

/// Other kinds, by how they begin.
const KINDS: [(&[u8], &str); 9] = [
    (b"#!", "a script"),
    (b"#include", "an include file"),
    (b"#cloud-boothook", "a boothook"),
    (b"#cloud-config-archive", "an archive of cloud-configs"),
    (b"#cloud-config-jsonp", "a patch of a cloud-config"),
    (b"#part-handler", "a part handler"),
    (b"## template:", "a template"),
    (b"\x1f\x8b", "compressed data"),
    (b"Content-Type:", "a MIME message"),
];

/// Reads the user data at `path`, where they are. What they say counts more than what the drive's other files say.
pub fn read(files: &dyn Files, path: &str, drive: &mut ConfigDrive) {
    let Some(bytes) = bytes(files, path, drive) else { return };
    let mut reading = Reading::new(path, "mend the file on the drive; until then its host name and keys are not used");
    if let Some(kind) = other_kind(&bytes) {
        reading.left.push(kind.to_owned());
        return drive.end(reading);
    }
    if let Some(mut table) = table(&bytes, &mut reading) {
        let names =
            [identity::host_name(&mut table, "hostname", &mut reading), identity::host_name(&mut table, "fqdn", &mut reading)];
        if let Some(name) = names.into_iter().flatten().next() {
            drive.host_name = Some(name);
        }
        if let Some(keys) = table.take("ssh_authorized_keys") {
            drive.add_keys(identity::keys(keys, &mut reading));
        }
        table.leave(&mut reading);
    }
    drive.end(reading);
}

/// What user data are, if they are no `#cloud-config`.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
    if first == b"#cloud-config" || bytes.trim_ascii().is_empty() {
        return None;
    }
    let known = KINDS.iter().find(|(begin, _)| bytes.starts_with(begin));
    Some(known.map_or("user data that are no #cloud-config", |(_, kind)| kind))
}

#[cfg(test)]
mod tests {
    use super::other_kind;

    #[test]
    fn kinds_are_known_by_how_they_begin() {
        for (text, kind) in [
            ("#cloud-config\nhostname: a\n", None),
            ("#cloud-config \r\nhostname: a\n", None),
            ("\n", None),
            ("#!/bin/sh\n", Some("a script")),
            ("#cloud-config-archive\n", Some("an archive of cloud-configs")),
            ("Content-Type: multipart/mixed\n", Some("a MIME message")),
            ("## template: jinja\n#cloud-config\n", Some("a template")),
            ("{\"ignition\": {}}", Some("user data that are no #cloud-config")),
        ] {
            assert_eq!(other_kind(text.as_bytes()), kind, "{text}");
        }
        assert_eq!(other_kind(b"\x1f\x8b\x08\0"), Some("compressed data"));
    }
}
