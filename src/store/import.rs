//! Takes blobs and entries over from another cache: a vendored folder. Everything is checked on the way in.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};

use super::Store;
use crate::digest::{Digest, Digesting};
use crate::failure::{Failure, Kind};

impl Store {
    /// Copies the blob from `other` unless it is here. Fails when `other` lacks it, or its bytes are not those of the digest.
    pub fn import_blob(&self, other: &Self, digest: &Digest) -> Result<()> {
        if self.has_blob(digest) {
            return Ok(());
        }
        let path = other.blob_path(digest);
        let file = File::open(&path).map_err(|error| missing(&path, &error))?;
        let temporary = self.temporary_file()?;
        let found = {
            let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
            let mut digesting = Digesting::new(temporary.as_file());
            std::io::copy(&mut reader, &mut digesting).with_context(|| path.display().to_string())?;
            digesting.finish().0
        };
        if found != *digest {
            let what = format!("{}: its digest differs: needed {digest}, found {found}", path.display());
            return Err(Failure::new(Kind::Input, what).hint("remove this file and fetch it again").into());
        }
        self.keep_blob(temporary, digest)
    }

    /// Copies the entry `kind`/`key` from `other` unless it is here. The caller checks what it reads from it.
    pub fn import_entry(&self, other: &Self, kind: &str, key: &Digest) -> Result<()> {
        let from = other.root().join(kind).join(key.to_hex());
        self.entry_or_make(kind, key, |folder| {
            let entries = fs::read_dir(&from).map_err(|error| missing(&from, &error))?;
            for entry in entries {
                let entry = entry?;
                fs::copy(entry.path(), folder.join(entry.file_name()))
                    .with_context(|| format!("{}: cannot be copied", entry.path().display()))?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn missing(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Input, format!("{}: cannot be read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_altered_blob_is_refused() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (Store::open(a.path()).unwrap(), Store::open(b.path()).unwrap());
        let (digest, _) = from.add_blob(&b"good"[..]).unwrap();
        to.import_blob(&from, &digest).unwrap();
        assert!(to.has_blob(&digest));
        let (other, _) = from.add_blob(&b"other"[..]).unwrap();
        fs::write(from.blob_path(&other), "evil!").unwrap();
        let error = to.import_blob(&from, &other).unwrap_err();
        assert!(error.to_string().contains("its digest differs"), "{error}");
        assert!(!to.has_blob(&other));
    }
}
