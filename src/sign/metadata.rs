//! Detached metadata of a commit, `COMMIT.commitmeta` in a repository: a GVariant `a{sv}` in which libostree looks for
//! `ostree.gpgsigs`, an `aay` of detached OpenPGP signatures over the bytes of the commit object (`ostree-repo.c`).
//!
//! The one on a disk has always [`LENGTH`] bytes: a key that nobody reads fills what signatures leave. So a disk is laid out before it is
//! signed, and signing changes the bytes of one block and nothing else.

use ostree::glib::variant::{DictEntry, ToVariant};
use ostree::glib::{self, Variant, VariantDict, VariantTy};

/// Bytes of the file on a disk: a block.
pub const LENGTH: usize = 4096;
/// Its key in a repository: the commit's checksum, and this.
pub const EXTENSION: &str = "commitmeta";
const TYPE: &str = "a{sv}";
const SIGNATURES: &str = "ostree.gpgsigs";
const ROOM: &str = "basalt.room";

/// The detached metadata with these signatures, in [`LENGTH`] bytes. None when they need more.
pub fn with(signatures: &[Vec<u8>]) -> Option<Vec<u8>> {
    // The framing grows with what it frames: what is left over is found in a step or two.
    let mut room = LENGTH.checked_sub(encoded(signatures, 0).len())?;
    for _ in 0..8 {
        let bytes = encoded(signatures, room);
        match bytes.len() {
            LENGTH => return Some(bytes),
            len if len > LENGTH => room = room.checked_sub(len - LENGTH)?,
            len => room += LENGTH - len,
        }
    }
    None
}

fn encoded(signatures: &[Vec<u8>], room: usize) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Variant::array_from_fixed_array(bytes);
    let mut entries = Vec::new();
    if !signatures.is_empty() {
        let list = Variant::array_from_iter_with_type(VariantTy::BYTE_STRING, signatures.iter().map(|one| bytes(one)));
        entries.push(DictEntry::new(SIGNATURES, list).to_variant());
    }
    // Last: then nothing that is aligned stands behind it, and its length can be any.
    entries.push(DictEntry::new(ROOM, bytes(&vec![0; room])).to_variant());
    let kind = VariantTy::new("{sv}").expect("a type of ours is well-formed");
    Variant::array_from_iter_with_type(kind, entries).data().to_vec()
}

/// The signatures in detached metadata; none when there are none, or it is not detached metadata.
pub fn signatures(bytes: &[u8]) -> Vec<Vec<u8>> {
    let kind = VariantTy::new(TYPE).expect("a type of ours is well-formed");
    let found = Variant::from_bytes_with_type(&glib::Bytes::from(bytes), kind);
    VariantDict::new(Some(&found)).lookup::<Vec<Vec<u8>>>(SIGNATURES).ok().flatten().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_always_the_same_length_and_gives_back_its_signatures() {
        for lengths in [&[][..], &[1], &[71], &[119, 566], &[254], &[255], &[256], &[3000], &[0; 40]] {
            let wanted: Vec<Vec<u8>> = lengths.iter().map(|len| vec![7; *len]).collect();
            let bytes = with(&wanted).unwrap_or_else(|| panic!("{lengths:?}"));
            assert_eq!(bytes.len(), LENGTH, "{lengths:?}");
            assert_eq!(signatures(&bytes), wanted);
        }
        assert!(with(&[vec![0; LENGTH]]).is_none());
        assert!(signatures(b"").is_empty() && signatures(&[0xff; 100]).is_empty());
    }
}
