//! Keeps secrets out of what people write: an image is copied to many nodes, and anyone who has it can read it.
//!
//! Architecture invariant: a secret never enters a recipe, a plan, a commit, an artefact, a log or a report. So messages say where
//! one stands, never what it is.

use toml::de::{DeTable, DeValue};

use super::{Findings, Place};

/// How a secret reaches a node instead.
pub const HINT: &str = "a secret comes at boot as a systemd credential (passwd.hashed-password.NAME, ssh.authorized_keys.root)";

/// What a text gives away, if it does.
pub fn found_in(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN ") && (text.contains("PRIVATE KEY-----") || text.contains("PRIVATE KEY BLOCK-----")) {
        return Some("a private key");
    }
    let mut words = text.split(|c: char| c.is_whitespace() || matches!(c, ':' | '"' | '\'' | ','));
    words.any(|word| word.find('$').is_some_and(|at| is_hash(&word[at..]))).then_some("a password hash")
}

/// Whether `bytes`, the beginning of a file, give a private key away.
pub fn begins_with_private_key(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(128)]);
    text.trim_start().starts_with("-----BEGIN ") && text.lines().next().is_some_and(|line| line.contains("PRIVATE KEY"))
}

/// A hash of crypt(5): `$id$[parameters$]salt$hash`.
fn is_hash(word: &str) -> bool {
    let Some((id, rest)) = word.strip_prefix('$').and_then(|rest| rest.split_once('$')) else { return false };
    let known = ["1", "2a", "2b", "2x", "2y", "3", "5", "6", "7", "y", "gy", "sm3", "sm3y", "md5", "sha1", "argon2id"];
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '$' | '=' | '+' | '-' | '_');
    let hash = rest.rsplit('$').next().unwrap_or(rest);
    known.contains(&id) && hash.len() >= 16 && rest.chars().all(allowed)
}

/// Looks at every text of a file that begins at `start`.
pub fn look(table: &DeTable<'_>, start: usize, findings: &mut Findings) {
    for value in table.values() {
        look_at(value.get_ref(), start + value.span().start, start, findings);
    }
}

fn look_at(value: &DeValue<'_>, at: usize, start: usize, findings: &mut Findings) {
    match value {
        DeValue::String(text) => {
            if let Some(what) = found_in(text) {
                findings.add_with_hint(Place(at), format!("{what} in a recipe; needed no secret"), HINT);
            }
        }
        DeValue::Table(table) => look(table, start, findings),
        DeValue::Array(array) => {
            for item in array.iter() {
                look_at(item.get_ref(), start + item.span().start, start, findings);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_seen_and_other_text_is_not() {
        // Put together here, so that no scanner takes this file for a leak.
        let key = format!("-----BEGIN OPENSSH {} KEY-----\nb3BlbnNz\n", "PRIVATE");
        let hash = format!("root:${}$rounds=5000$saltsalt$0123456789abcdefABCDEF./0123456789:1:0:99999:7:::", 6);
        let yescrypt = format!("${}$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "y");
        let table = [
            (key.as_str(), Some("a private key")),
            (&hash, Some("a password hash")),
            (&yescrypt, Some("a password hash")),
            ("echo $1 $2$3", None),
            ("-----BEGIN CERTIFICATE-----", None),
            ("ssh-ed25519 AAAAC3 me", None),
            ("cost: $6$", None),
        ];
        for (text, expected) in table {
            assert_eq!(found_in(text), expected, "{text}");
        }
        assert!(begins_with_private_key(key.as_bytes()));
        assert!(!begins_with_private_key(b"\x7fELF"));
    }
}
