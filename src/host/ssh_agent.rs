//! An agent that signs: ssh-agent, gpg-agent, or one that has the key in hardware. It keeps the key to itself.
//!
//! Source: the SSH agent protocol (draft-ietf-sshm-ssh-agent), RFC 5656 for keys and signatures. Only ECDSA P-256 with SHA-256 is asked
//! for: there, what is signed is the message itself, so that the signature serves elsewhere, too.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::failure::{Failure, Kind};

const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
const ALGORITHM: &[u8] = b"ecdsa-sha2-nistp256";
const CURVE: &[u8] = b"nistp256";
/// The longest answer.
const ANSWER: usize = 16 << 10;
/// Somebody may have to touch a token.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of a number of the curve.
const SCALAR: usize = 32;

/// The two numbers of a signature.
pub type Numbers = ([u8; SCALAR], [u8; SCALAR]);

/// Has the agent of `SSH_AUTH_SOCK` sign `message` with the key of this uncompressed `point`.
///
/// # Errors
/// [`Kind::Input`]: no agent, or it does not have the key; [`Kind::Failed`]: it answers something else.
pub fn sign_p256(point: &[u8], message: &[u8]) -> Result<Numbers, Failure> {
    let hint = "start one and add the key: eval $(ssh-agent) && ssh-add KEY";
    let socket = std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty());
    let socket = socket.ok_or_else(|| Failure::new(Kind::Input, "needed an agent, found no SSH_AUTH_SOCK").hint(hint))?;
    let cannot = |error: std::io::Error| {
        Failure::new(Kind::Input, format!("{}: the agent cannot be asked: {error}", socket.to_string_lossy())).hint(hint)
    };
    let mut stream = UnixStream::connect(&socket).map_err(cannot)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(cannot)?;
    let key = [string(ALGORITHM), string(CURVE), string(point)].concat();
    let request = [&[SIGN_REQUEST][..], &string(&key), &string(message), &0u32.to_be_bytes()].concat();
    stream.write_all(&string(&request)).map_err(cannot)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).map_err(cannot)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > ANSWER {
        return Err(Failure::new(Kind::Failed, format!("the agent's answer has {length} bytes; needed at most {ANSWER}")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).map_err(cannot)?;
    match answer.split_first() {
        Some((&SIGN_RESPONSE, body)) => {
            numbers(body).ok_or_else(|| Failure::new(Kind::Failed, "the agent's answer is no ECDSA P-256 signature"))
        }
        _ => Err(Failure::new(
            Kind::Input,
            "the agent does not sign with the recipe's key: it does not have it, or somebody said no",
        )
        .hint("look at `ssh-add -L`; add the key with `ssh-add KEY`")),
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

fn take<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (taken, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *bytes = rest;
    Some(taken)
}

/// `string(string(algorithm) string(mpint(r) mpint(s)))`.
fn numbers(mut body: &[u8]) -> Option<Numbers> {
    let mut signature = take(&mut body)?;
    if take(&mut signature)? != ALGORITHM {
        return None;
    }
    let mut pair = take(&mut signature)?;
    Some((scalar(take(&mut pair)?)?, scalar(take(&mut pair)?)?))
}

/// A positive number without its zeros in front becomes one with all of them.
fn scalar(number: &[u8]) -> Option<[u8; SCALAR]> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros..];
    let mut scalar = [0; SCALAR];
    scalar.get_mut(SCALAR.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some(scalar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_and_what_is_none_is_refused() {
        let pair = [string(&[0, 0x80, 1]), string(&[5])].concat();
        let body = string(&[string(ALGORITHM), string(&pair)].concat());
        let (r, s) = numbers(&body).unwrap();
        assert_eq!((&r[30..], &s[31..], r[..30].iter().any(|byte| *byte != 0)), (&[0x80, 1][..], &[5][..], false));
        for bad in [&b""[..], &[0, 0, 0, 9], &string(b"x"), &string(&[string(b"ssh-rsa"), string(&pair)].concat())] {
            assert!(numbers(bad).is_none());
        }
        assert!(scalar(&[1; 33]).is_none());
    }
}
