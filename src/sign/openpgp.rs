//! As much of OpenPGP (RFC 4880, RFC 9580) as is needed to tell keys and signatures apart: ASCII armor, packet headers, when a key was
//! made, whose a signature says it is. Pure; nothing is verified here: `gpg` does that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Packet types.
const SIGNATURE: u8 = 2;
const SECRET_KEY: u8 = 5;
const PUBLIC_KEY: u8 = 6;
const SECRET_SUBKEY: u8 = 7;
const PUBLIC_SUBKEY: u8 = 14;
/// Subpackets of a signature.
const CREATED: u8 = 2;
const ISSUER: u8 = 16;
const ISSUER_FINGERPRINT: u8 = 33;
/// More than this is neither a key nor a signature.
const LARGEST: usize = 4 << 20;

/// Why bytes are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOpenPgp {
    /// A secret key where a public one is needed.
    #[error("a private key; needed the public one")]
    Secret,
    /// GnuPG's own database of keys.
    #[error("a keybox of GnuPG; needed exported keys")]
    Keybox,
    /// Something else.
    #[error("no OpenPGP {0}")]
    Other(&'static str),
}

/// The bytes without ASCII armor, if they have it. The checksum of the armor is not looked at: it says nothing that a signature does not.
pub fn dearmored(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() > LARGEST {
        return None;
    }
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with("-----BEGIN PGP ")) else {
        return Some(bytes.to_vec());
    };
    let mut all = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if !line.starts_with("-----BEGIN PGP ") {
            continue;
        }
        // Headers end with an empty line.
        let body: String = lines
            .by_ref()
            .skip_while(|line| !line.is_empty())
            .take_while(|line| !line.starts_with("-----END PGP "))
            .filter(|line| !line.starts_with('='))
            .collect();
        all.extend(STANDARD.decode(body).ok()?);
    }
    Some(all)
}

/// A packet: its type and body.
type Packet<'a> = (u8, &'a [u8]);

/// The packets of `bytes`. None when they are not packets, or a body comes in parts.
fn packets(mut bytes: &[u8]) -> Option<Vec<Packet<'_>>> {
    let mut found = Vec::new();
    while let [head, rest @ ..] = bytes {
        let (tag, len, rest) = if head & 0xc0 == 0xc0 {
            let (len, rest) = new_length(rest)?;
            (head & 0x3f, len, rest)
        } else if head & 0xc0 == 0x80 {
            let width = [1, 2, 4].get(usize::from(head & 3))?;
            let (len, rest) = rest.split_at_checked(*width)?;
            (head >> 2 & 0xf, len.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        } else {
            return None;
        };
        let (body, rest) = rest.split_at_checked(len)?;
        found.push((tag, body));
        bytes = rest;
    }
    Some(found)
}

/// A length as new packets and subpackets have it.
fn new_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [first @ 0..=191, ref rest @ ..] => Some((usize::from(first), rest)),
        [first @ 192..=223, second, ref rest @ ..] => Some((((usize::from(first) - 192) << 8) + usize::from(second) + 192, rest)),
        [255, a, b, c, d, ref rest @ ..] => Some((u32::from_be_bytes([a, b, c, d]) as usize, rest)),
        _ => None,
    }
}

/// Public keys, without armor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKeys {
    /// As `gpg --export` writes them.
    pub bytes: Vec<u8>,
    /// When the newest of them, or of what they say of each other, was made, in seconds since 1970: what they sign is not older.
    pub newest: i64,
}

/// Reads exported public keys, with or without armor.
///
/// # Errors
/// They are something else, or private.
pub fn public_keys(bytes: &[u8]) -> Result<PublicKeys, BadOpenPgp> {
    if bytes.get(8..12) == Some(b"KBXf") {
        return Err(BadOpenPgp::Keybox);
    }
    let bad = BadOpenPgp::Other("public keys");
    let bytes = dearmored(bytes).ok_or(bad.clone())?;
    let packets = packets(&bytes).ok_or(bad.clone())?;
    if packets.iter().any(|(tag, _)| matches!(*tag, SECRET_KEY | SECRET_SUBKEY)) {
        return Err(BadOpenPgp::Secret);
    }
    if packets.first().is_none_or(|(tag, _)| *tag != PUBLIC_KEY) {
        return Err(bad);
    }
    let seconds = |bytes: &[u8]| bytes.first_chunk().map(|bytes| i64::from(u32::from_be_bytes(*bytes)));
    let made = packets.iter().filter_map(|(tag, body)| match (*tag, *body) {
        (PUBLIC_KEY | PUBLIC_SUBKEY, [3..=6, rest @ ..]) => seconds(rest),
        (SIGNATURE, body) => areas(body).and_then(|[hashed, _]| subpacket(hashed, CREATED)).and_then(seconds),
        _ => None,
    });
    let newest = made.max().unwrap_or_default();
    Ok(PublicKeys { newest, bytes })
}

/// Reads one or more detached signatures, with or without armor.
///
/// # Errors
/// They are something else.
pub fn signatures(bytes: &[u8]) -> Result<Vec<u8>, BadOpenPgp> {
    let bad = BadOpenPgp::Other("signature");
    let bytes = dearmored(bytes).ok_or(bad.clone())?;
    let packets = packets(&bytes).ok_or(bad.clone())?;
    if packets.is_empty() || packets.iter().any(|(tag, _)| *tag != SIGNATURE) {
        return Err(bad);
    }
    Ok(bytes)
}

/// Whose signatures these say they are: fingerprints, or the shorter key identifiers of old programs. Nothing is verified.
pub fn issuers(bytes: &[u8]) -> Vec<String> {
    let packets = packets(bytes).unwrap_or_default();
    packets.into_iter().filter(|(tag, _)| *tag == SIGNATURE).filter_map(|(_, body)| issuer(body)).collect()
}

/// The subpackets of a signature of version 4: those that are signed, and the others.
fn areas(body: &[u8]) -> Option<[&[u8]; 2]> {
    let [4, _kind, _key, _hash, rest @ ..] = body else { return None };
    let area = |bytes: &'_ [u8]| bytes.split_first_chunk().map(|(len, _)| usize::from(u16::from_be_bytes(*len)));
    let (hashed, rest) = rest.get(2..)?.split_at_checked(area(rest)?)?;
    let other = rest.get(2..)?.get(..area(rest)?)?;
    Some([hashed, other])
}

/// Whose a signature says it is.
fn issuer(body: &[u8]) -> Option<String> {
    let areas = areas(body)?;
    let found = |kind: u8| areas.into_iter().find_map(|area| subpacket(area, kind));
    let fingerprint = found(ISSUER_FINGERPRINT).and_then(|body| body.get(1..));
    fingerprint.or_else(|| found(ISSUER)).map(hex::encode_upper)
}

fn subpacket(mut area: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((len, rest)) = new_length(area).filter(|(len, _)| *len > 0) {
        let (body, rest) = rest.split_at_checked(len)?;
        if body[0] & 0x7f == wanted {
            return Some(&body[1..]);
        }
        area = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A public key packet of version 4, made at `time`: what follows the algorithm does not matter here.
    fn key(tag: u8, time: u32) -> Vec<u8> {
        [&[0xc0 | tag, 6, 4][..], &time.to_be_bytes(), &[22]].concat()
    }

    fn armored(bytes: &[u8]) -> String {
        let body = STANDARD.encode(bytes);
        format!("-----BEGIN PGP PUBLIC KEY BLOCK-----\nComment: x\n\n{body}\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n")
    }

    #[test]
    fn keys_are_told_apart() {
        let bytes = [key(PUBLIC_KEY, 5), key(PUBLIC_SUBKEY, 9), key(PUBLIC_KEY, 7)].concat();
        let expected = Ok(PublicKeys { bytes: bytes.clone(), newest: 9 });
        assert_eq!(public_keys(&bytes), expected);
        assert_eq!(public_keys(armored(&bytes).as_bytes()), expected);
        let two = armored(&bytes[..8]) + &armored(&bytes[8..]);
        assert_eq!(public_keys(two.as_bytes()), expected, "several blocks in a file");
        assert_eq!(public_keys(&[key(PUBLIC_KEY, 1), key(SECRET_SUBKEY, 1)].concat()), Err(BadOpenPgp::Secret));
        assert_eq!(public_keys(b"\0\0\0\x20\x01\x01\0\x02KBXf...."), Err(BadOpenPgp::Keybox));
        for bad in [&b""[..], b"x", &bytes[..7], &key(SIGNATURE, 1)] {
            assert_eq!(public_keys(bad), Err(BadOpenPgp::Other("public keys")), "{bad:?}");
        }
    }

    #[test]
    fn signatures_say_whose_they_are() {
        let hashed = [&[22, ISSUER_FINGERPRINT, 4][..], &[0xab; 20]].concat();
        let other = [&[9, ISSUER][..], &[0xcd; 8]].concat();
        let signature = |hashed: &[u8], other: &[u8]| {
            let area = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
            let body = [&[4, 0, 22, 8][..], &area(hashed), &area(other)].concat();
            [&[0x88, body.len() as u8][..], &body].concat()
        };
        let (one, two) = (signature(&hashed, &other), signature(&[], &other));
        let both = [one.clone(), two].concat();
        assert_eq!(issuers(&both), ["AB".repeat(20), "CD".repeat(8)]);
        assert_eq!(signatures(&both), Ok(both.clone()));
        for bad in [&b""[..], &key(PUBLIC_KEY, 1), &both[..both.len() - 1]] {
            assert_eq!(signatures(bad), Err(BadOpenPgp::Other("signature")));
        }
        // Whatever stands in it, there is an answer.
        for at in 0..one.len() {
            let mut bytes = one.clone();
            bytes[at] = 0xff;
            issuers(&bytes);
        }
    }
}
