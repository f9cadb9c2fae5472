//! The signature behind a module, as scripts/sign-file appends it:
//!
//! ```text
//! ELF object | PKCS#7 SignedData in DER, detached | struct module_signature | "~Module signature appended~\n"
//! struct module_signature: u8 algo, hash, id_type, signer_len, key_id_len, pad[3]; be32 sig_len
//! ```
//!
//! The kernel wants `id_type` 2 (PKCS#7) and zeros in everything before `sig_len` (kernel/module_signature.c). It lies inside of a
//! compressed module, never behind it.

/// What ends a signed module.
pub const MARKER: &[u8] = b"~Module signature appended~\n";
const TRAILER: usize = 12;
const PKCS7: u8 = 2;

/// Why the kernel would not even look at a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrailer {
    /// There is a marker and too little before it.
    #[error("needed {TRAILER} bytes before the marker, found {0}")]
    Short(usize),
    /// Another kind of signature than PKCS#7.
    #[error("needed id_type {PKCS7} (PKCS#7), found {0}")]
    Kind(u8),
    /// A field that is zero for PKCS#7.
    #[error("needed zeros for algo, hash, signer_len, key_id_len and pad, found {0:02x?}")]
    NotZero(Vec<u8>),
    /// It claims to be longer than the file.
    #[error("needed a signature shorter than the {found} bytes before it, found sig_len {needed}")]
    Long {
        /// `sig_len`.
        needed: u32,
        /// So many bytes are there.
        found: usize,
    },
}

/// The object, and the DER of the last signature behind it where there is one.
///
/// # Errors
/// A marker without a sound trailer before it.
pub fn split(bytes: &[u8]) -> Result<(&[u8], Option<&[u8]>), BadTrailer> {
    let Some(rest) = bytes.strip_suffix(MARKER) else { return Ok((bytes, None)) };
    let Some((rest, trailer)) = rest.split_last_chunk::<TRAILER>() else { return Err(BadTrailer::Short(rest.len())) };
    let [algo, hash, kind, signer_len, key_id_len, pad @ .., a, b, c, d] = *trailer;
    let needed = u32::from_be_bytes([a, b, c, d]);
    let zeros = [&[algo, hash, signer_len, key_id_len], pad.as_slice()].concat();
    // In the kernel's order: mod_check_sig.
    let len = usize::try_from(needed).unwrap_or(usize::MAX);
    if len >= rest.len() {
        return Err(BadTrailer::Long { needed, found: rest.len() });
    }
    if kind != PKCS7 {
        return Err(BadTrailer::Kind(kind));
    }
    if zeros.iter().any(|byte| *byte != 0) {
        return Err(BadTrailer::NotZero(zeros));
    }
    let (object, signature) = rest.split_at(rest.len() - len);
    Ok((object, Some(signature)))
}

/// The object without any signature: they may lie on one another.
///
/// # Errors
/// As [`split()`].
pub fn strip(mut bytes: &[u8]) -> Result<&[u8], BadTrailer> {
    while let (object, Some(_)) = split(bytes)? {
        bytes = object;
    }
    Ok(bytes)
}

/// What comes behind the object.
///
/// # Panics
/// On a signature of 4 GiB or more.
pub fn trailer(signature: &[u8]) -> Vec<u8> {
    let len = u32::try_from(signature.len()).expect("a signature has some hundred bytes");
    [signature, &[0, 0, PKCS7, 0, 0, 0, 0, 0], &len.to_be_bytes(), MARKER].concat()
}
