//! OSTree's metadata objects, read: what `object` writes. Bytes come from outside, so that nothing in them is taken for granted.

use anyhow::{Context, Result, ensure};
use ostree::glib::{Bytes, Variant, VariantTy};

use super::object::Names;
use crate::digest::Digest;
use crate::tree::Meta;

const TYPE_AND_MODE: u32 = 0o170_000;
const S_IFDIR: u32 = 0o040_000;

/// The checksums of a commit's root folder: of its names, and of its owner and mode.
///
/// # Errors
/// No commit object.
pub fn commit(bytes: &[u8]) -> Result<(Digest, Digest)> {
    let commit = variant(bytes, "(a{sv}aya(say)sstayay)")?;
    Ok((checksum(&commit, 6)?, checksum(&commit, 7)?))
}

/// The names in a folder.
///
/// # Errors
/// No dirtree object, or a name that leads out of the folder.
pub fn dirtree(bytes: &[u8]) -> Result<Names> {
    let tree = variant(bytes, "(a(say)a(sayay))")?;
    let mut names = Names::default();
    for file in tree.child_value(0).iter() {
        names.files.push((name(&file)?, checksum(&file, 1)?));
    }
    for folder in tree.child_value(1).iter() {
        names.folders.push((name(&folder)?, checksum(&folder, 1)?, checksum(&folder, 2)?));
    }
    Ok(names)
}

/// Owner, mode and extended attributes of a folder.
///
/// # Errors
/// No dirmeta object.
pub fn dirmeta(bytes: &[u8]) -> Result<Meta> {
    let meta = variant(bytes, "(uuua(ayay))")?;
    let number = |index| meta.child_value(index).get::<u32>().map(u32::from_be).context("a number");
    let mode = number(2)?;
    ensure!(mode & TYPE_AND_MODE == S_IFDIR, "needed the mode of a folder, found {mode:o}");
    let mut found = Meta { uid: number(0)?, gid: number(1)?, mode: (mode & 0o7777) as u16, ..Meta::default() };
    found.xattrs = pairs(&meta.child_value(3))?;
    Ok(found)
}

/// Extended attributes: the bytes of `a(ayay)`, nothing where there are none.
///
/// # Errors
/// Other bytes.
pub fn xattrs(bytes: &[u8]) -> Result<std::collections::BTreeMap<String, Vec<u8>>> {
    pairs(&variant(bytes, "a(ayay)")?)
}

fn pairs(list: &Variant) -> Result<std::collections::BTreeMap<String, Vec<u8>>> {
    let pair = |pair: Variant| {
        let (name, value) = (pair.child_value(0), pair.child_value(1));
        let name = name.fixed_array::<u8>()?;
        let name = name.strip_suffix(&[0]).context("needed the name of an attribute to end with NUL")?;
        Ok((String::from_utf8(name.to_vec()).context("the name of an attribute")?, value.fixed_array::<u8>()?.to_vec()))
    };
    list.iter().map(pair).collect()
}

fn variant(bytes: &[u8], of: &str) -> Result<Variant> {
    // glib wants numbers where they are aligned: its own copy is.
    let variant = Variant::from_bytes_with_type(&Bytes::from(bytes), VariantTy::new(of)?);
    ensure!(variant.is_normal_form(), "needed {of}, found other bytes");
    Ok(variant)
}

fn checksum(of: &Variant, index: usize) -> Result<Digest> {
    let value = of.child_value(index);
    let bytes: [u8; 32] = value.fixed_array::<u8>()?.try_into().context("needed a checksum of 32 bytes")?;
    Ok(Digest::from_bytes(bytes))
}

fn name(of: &Variant) -> Result<String> {
    let name: String = of.child_value(0).get().context("a name")?;
    ensure!(!matches!(name.as_str(), "" | "." | "..") && !name.contains('/'), "needed a name, found {name:?}");
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::super::object;
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut meta = Meta { uid: 3, gid: 4, ..Meta::root(0o2755) };
        meta.xattrs.insert("user.a".into(), vec![1, 2]);
        assert_eq!(dirmeta(object::dirmeta(&meta).data()).unwrap(), meta);
        assert_eq!(xattrs(&object::xattrs_bytes(&meta)).unwrap(), meta.xattrs);
        assert!(xattrs(b"").unwrap().is_empty());
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let names = Names { files: vec![("f".into(), a)], folders: vec![("d".into(), a, b)] };
        let back = dirtree(object::dirtree(&names).data()).unwrap();
        assert_eq!((back.files, back.folders), (names.files, names.folders));
    }

    #[test]
    fn other_bytes_are_an_error() {
        let names = Names { files: vec![("../x".into(), Digest::of(b"a"))], folders: Vec::new() };
        assert!(dirtree(object::dirtree(&names).data()).is_err());
        for bytes in [&b"x"[..], &[0xff; 40], &[0; 11]] {
            assert!(commit(bytes).is_err() && dirmeta(bytes).is_err());
        }
    }
}
