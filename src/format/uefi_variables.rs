//! UEFI variables as OVMF keeps them in its flash: read, and certificates of a machine's owner (MOK) added, which shim hands to the kernel.
//!
//! Sources: UEFI Platform Initialization specification, volume 3 (firmware volume); edk2, `MdeModulePkg/Include/Guid/VariableFormat.h`; UEFI
//! specification, `EFI_SIGNATURE_LIST`; shim, `MokVars.txt`.

use std::ops::Range;

use uuid::{Uuid, uuid};

/// The firmware volume with variables.
const VOLUME: Uuid = uuid!("fff12b8d-7696-4c8b-a985-2747075b4f50");
/// The store in it, of authenticated variables, as all firmware with Secure Boot has.
const STORE: Uuid = uuid!("aaf32c78-947b-439a-a180-2e144ec37792");
const STORE_HEADER: usize = 28;
/// The store's format and health: formatted, healthy.
const STORE_STATE: [u8; 2] = [0x5a, 0xfe];

/// A variable begins with this.
const START: u16 = 0x55aa;
const VARIABLE_HEADER: usize = 60;
/// States are bits that are taken away, because flash can only be cleared: a variable that counts, and one that was deleted.
const ADDED: u8 = 0x3f;
const DELETED: u8 = 0xfd;
/// Kept without power, seen by boot services only: nothing that runs later changes it.
const ATTRIBUTES: u32 = 3;

/// What shim looks for.
const MOK_LIST: (&str, Uuid) = ("MokList", uuid!("605dab50-e046-4300-abb6-3dd810dd8b23"));
/// A list of X.509 certificates.
const X509: Uuid = uuid!("a5c059a1-94e4-4aa7-87b5-ab155c2bf072");
const LIST_HEADER: usize = 28;
/// Who enrolled a certificate; nobody asks.
const OWNER: Uuid = uuid!("9e8a3dd4-4e8f-4c1e-8e5c-3f0b6c0e9d57");

/// Why bytes are no variables that a certificate could be added to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}: needed {needed}")]
pub struct BadVariables {
    at: usize,
    needed: &'static str,
}

/// One variable.
struct Variable<'a> {
    /// Its name, UTF-16 with the zero at its end.
    name: &'a [u8],
    vendor: Uuid,
    state: u8,
    /// Its value.
    data: &'a [u8],
    at: usize,
}

impl Variable<'_> {
    fn is(&self, (name, vendor): (&str, Uuid)) -> bool {
        self.state == ADDED && self.vendor == vendor && self.name == utf16(name)
    }
}

/// Makes a machine's owner trust `certificates` (DER) beside those that it trusts: what mokutil and a person at the console do.
///
/// # Errors
/// No variables as OVMF has them, or no room. `bytes` are as they were.
pub fn enrol(bytes: &mut [u8], certificates: &[Vec<u8>]) -> Result<(), BadVariables> {
    if certificates.is_empty() {
        return Ok(());
    }
    let (variables, room) = read(bytes)?;
    let old = variables.iter().find(|variable| variable.is(MOK_LIST));
    let mut list = old.map(|old| old.data.to_vec()).unwrap_or_default();
    let old = old.map(|old| old.at);
    for certificate in certificates {
        list.extend(signature_list(certificate));
    }
    let new = variable(MOK_LIST, &list);
    let place = bytes.get_mut(room.clone()).and_then(|room| room.get_mut(..new.len()));
    place.ok_or(BadVariables { at: room.start, needed: "more room for a variable" })?.copy_from_slice(&new);
    if let Some(at) = old {
        bytes[at + 2] &= DELETED;
    }
    Ok(())
}

/// The owner's list (MOK), when there is one.
///
/// # Errors
/// No variables as OVMF has them.
pub fn owners(bytes: &[u8]) -> Result<Option<&[u8]>, BadVariables> {
    let (variables, _) = read(bytes)?;
    Ok(variables.iter().find(|variable| variable.is(MOK_LIST)).map(|variable| variable.data))
}

/// All variables, deleted ones too, and where there is room.
fn read(bytes: &[u8]) -> Result<(Vec<Variable<'_>>, Range<usize>), BadVariables> {
    let need = |at: usize, needed: &'static str, there: bool| if there { Ok(()) } else { Err(BadVariables { at, needed }) };
    need(16, "a firmware volume of variables", array(bytes, 16).map(Uuid::from_bytes_le) == Some(VOLUME))?;
    need(40, "_FVH", bytes.get(40..44) == Some(b"_FVH"))?;
    let store = array(bytes, 48).map_or(0, u16::from_le_bytes).into();
    need(store, "a store of authenticated variables", array(bytes, store).map(Uuid::from_bytes_le) == Some(STORE))?;
    need(store + 20, "a formatted and healthy store", array(bytes, store + 20) == Some(STORE_STATE))?;
    let len = array(bytes, store + 16).map_or(0, u32::from_le_bytes) as usize;
    let end = store.saturating_add(len);
    need(store + 16, "a store within its file", len >= STORE_HEADER && end <= bytes.len())?;
    let inside = &bytes[..end];
    let mut variables = Vec::new();
    let mut at = (store + STORE_HEADER).next_multiple_of(4);
    while array(inside, at).map(u16::from_le_bytes) == Some(START) {
        let found = variable_at(inside, at).ok_or(BadVariables { at, needed: "a whole variable" })?;
        at = (at + VARIABLE_HEADER + found.name.len() + found.data.len()).next_multiple_of(4);
        variables.push(found);
    }
    let rest = inside.get(at..).unwrap_or_default();
    need(at, "a variable or erased flash", rest.iter().all(|byte| *byte == 0xff))?;
    Ok((variables, at..end))
}

fn variable_at(bytes: &[u8], at: usize) -> Option<Variable<'_>> {
    let len = |from: usize| Some(u32::from_le_bytes(array(bytes, at + from)?) as usize);
    let (name, data) = (len(36)?, len(40)?);
    let behind = bytes.get(at + VARIABLE_HEADER..)?;
    let (name, behind) = behind.split_at_checked(name)?;
    Some(Variable {
        name,
        vendor: Uuid::from_bytes_le(array(bytes, at + 44)?),
        state: *bytes.get(at + 2)?,
        data: behind.get(..data)?,
        at,
    })
}

fn variable((name, vendor): (&str, Uuid), data: &[u8]) -> Vec<u8> {
    let name = utf16(name);
    let mut bytes = START.to_le_bytes().to_vec();
    bytes.extend([ADDED, 0]);
    bytes.extend(ATTRIBUTES.to_le_bytes());
    // A counter, a time and a key's number, of variables that change only when signed.
    bytes.resize(36, 0);
    bytes.extend((name.len() as u32).to_le_bytes());
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(vendor.to_bytes_le());
    bytes.extend(name);
    bytes.extend(data);
    bytes
}

fn signature_list(certificate: &[u8]) -> Vec<u8> {
    let entry = (16 + certificate.len()) as u32;
    let mut bytes = X509.to_bytes_le().to_vec();
    bytes.extend((LIST_HEADER as u32 + entry).to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(entry.to_le_bytes());
    bytes.extend(OWNER.to_bytes_le());
    bytes.extend(certificate);
    bytes
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A store with room for `room` bytes, in a volume.
    fn volume(room: usize) -> Vec<u8> {
        let mut bytes = vec![0; 72];
        bytes[16..32].copy_from_slice(&VOLUME.to_bytes_le());
        bytes[40..44].copy_from_slice(b"_FVH");
        bytes[48] = 72;
        bytes.extend(STORE.to_bytes_le());
        bytes.extend(((STORE_HEADER + room) as u32).to_le_bytes());
        bytes.extend([0x5a, 0xfe, 0, 0, 0, 0, 0, 0]);
        bytes.resize(72 + STORE_HEADER + room, 0xff);
        bytes.extend([7; 64]);
        bytes
    }

    #[test]
    fn a_certificate_is_added_behind_those_that_are_there() {
        let mut bytes = volume(400);
        enrol(&mut bytes, &[b"one".to_vec()]).unwrap();
        enrol(&mut bytes, &[b"two".to_vec(), b"three".to_vec()]).unwrap();
        let lists = [signature_list(b"one"), signature_list(b"two"), signature_list(b"three")].concat();
        assert_eq!(owners(&bytes).unwrap(), Some(&lists[..]));
        let (variables, room) = read(&bytes).unwrap();
        assert_eq!(variables.iter().map(|variable| variable.state).collect::<Vec<_>>(), [ADDED & DELETED, ADDED]);
        assert_eq!(room.end, 72 + STORE_HEADER + 400);
        assert!(bytes.ends_with(&[7; 64]), "what is behind the store stays");
    }

    #[test]
    fn what_cannot_be_added_to_stays_as_it_is() {
        type Change = fn(&mut Vec<u8>);
        let cases: [(Change, &str); 8] = [
            (|bytes| bytes.truncate(20), "at byte 16: needed a firmware volume of variables"),
            (|bytes| bytes[41] = b'X', "at byte 40: needed _FVH"),
            (|bytes| bytes[48] = 73, "at byte 73: needed a store of authenticated variables"),
            (|bytes| bytes[93] = 0, "at byte 92: needed a formatted and healthy store"),
            (|bytes| bytes[91] = 1, "at byte 88: needed a store within its file"),
            (|bytes| bytes[100..102].copy_from_slice(&START.to_le_bytes()), "at byte 100: needed a whole variable"),
            (|bytes| bytes[300] = 0, "at byte 100: needed a variable or erased flash"),
            (|bytes| *bytes = volume(90), "at byte 100: needed more room for a variable"),
        ];
        for (change, expected) in cases {
            let mut bytes = volume(400);
            change(&mut bytes);
            let before = bytes.clone();
            assert_eq!(enrol(&mut bytes, &[b"one".to_vec()]).unwrap_err().to_string(), expected);
            assert_eq!(bytes, before);
        }
    }
}
