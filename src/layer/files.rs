//! Files that the recipe names one by one.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::agent::blob;
use crate::plan::{FileContent, FileSpec};
use crate::store::Store;
use crate::tree::{Content, Leaf, LeafKind, Meta, Node, Tree, TreePath};

/// The tree with these files.
pub fn produce(files: &BTreeMap<TreePath, FileSpec>, store: &Store) -> Result<Tree> {
    let mut tree = Tree::new();
    for (path, spec) in files {
        let kind = match &spec.content {
            FileContent::Text(text) => LeafKind::File(Content::from_bytes(text.as_bytes())),
            FileContent::Blob { sha256, size } => LeafKind::File(blob(store, *sha256, *size, &format!("file {path}"))?),
            FileContent::Symlink(target) => LeafKind::Symlink(target.clone()),
        };
        let mut meta = meta(spec).with_context(|| path.to_string())?;
        if matches!(kind, LeafKind::Symlink(_)) {
            // The only mode that Linux and libostree know for one; another makes `ostree fsck` on the node fail.
            meta.mode = 0o777;
        }
        let node = Node::Leaf(Leaf { meta, kind }.into());
        tree.put(path, node)?;
    }
    Ok(tree)
}

fn meta(spec: &FileSpec) -> Result<Meta> {
    let decode = |(name, value): (&String, &String)| {
        let bytes = STANDARD.decode(value).with_context(|| format!("xattr {name}: the value is not base64"))?;
        Ok((name.clone(), bytes))
    };
    let xattrs = spec.xattrs.iter().map(decode).collect::<Result<_>>()?;
    Ok(Meta { uid: spec.uid, gid: spec.gid, mode: spec.mode, mtime: 0, xattrs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_owner_mode_and_xattrs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (sha256, size) = store.add_blob(&b"blob"[..]).unwrap();
        let spec = |content| FileSpec {
            mode: 0o4750,
            uid: 1,
            gid: 2,
            xattrs: BTreeMap::from([("user.a".into(), "AAE=".into())]),
            content,
        };
        let path = |text| TreePath::parse(text).unwrap();
        let files = BTreeMap::from([
            (path("/etc/text"), spec(FileContent::Text("t".into()))),
            (path("/etc/blob"), spec(FileContent::Blob { sha256, size })),
            (path("/etc/link"), spec(FileContent::Symlink("text".into()))),
        ]);
        let tree = produce(&files, &store).unwrap();
        assert_eq!(tree.file(&path("/etc/blob")).unwrap().bytes().unwrap(), b"blob");
        let meta = tree.get(&path("/etc/text")).unwrap().meta();
        assert_eq!((meta.mode, meta.uid, meta.gid, meta.xattrs["user.a"].as_slice()), (0o4750, 1, 2, &[0, 1][..]));
        let link = tree.get(&path("/etc/link")).unwrap().meta();
        assert_eq!((link.mode, link.uid), (0o777, 1));
        let gone = BTreeMap::from([(path("/etc/x"), spec(FileContent::Blob { sha256: Digest::of(b"no"), size: 2 }))]);
        let error = produce(&gone, &store).unwrap_err().to_string();
        assert!(error.starts_with("file /etc/x ("), "{error}");
    }

    use crate::digest::Digest;
}
