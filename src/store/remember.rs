//! Digests that take a while to compute and are decided by other digests: computed once.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result};

use super::Store;
use crate::digest::Digest;

/// The folder below the cache's root: `remembered/<kind>-<key>` holds a digest in hexadecimal.
const FOLDER: &str = "remembered";

impl Store {
    /// What `compute` answers for `kind`/`key`, or answered in an earlier build. `key` must name everything that decides the answer.
    ///
    /// # Errors
    /// Of `compute`; when the cache cannot be written.
    pub fn remember(&self, kind: &str, key: &Digest, compute: impl FnOnce() -> Result<Digest>) -> Result<Digest> {
        let folder = self.root().join(FOLDER);
        let path = folder.join(format!("{kind}-{key}"));
        // What cannot be read is computed again.
        if let Some(known) = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok()) {
            return Ok(known);
        }
        let computed = compute()?;
        fs::create_dir_all(&folder)?;
        let mut file = self.temporary_file()?;
        file.write_all(computed.to_hex().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&path).with_context(|| format!("{}: cannot be stored", path.display()))?;
        Ok(computed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computed_once_and_again_when_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let (key, answer) = (Digest::of(b"key"), Digest::of(b"answer"));
        assert!(store.remember("a", &key, || anyhow::bail!("stopped")).is_err());
        assert_eq!(store.remember("a", &key, || Ok(answer)).unwrap(), answer);
        assert_eq!(store.remember("a", &key, || panic!("computed twice")).unwrap(), answer);
        assert_eq!(store.remember("b", &key, || Ok(key)).unwrap(), key, "another kind");
        fs::write(folder.path().join(FOLDER).join(format!("a-{key}")), "cut").unwrap();
        assert_eq!(store.remember("a", &key, || Ok(answer)).unwrap(), answer);
    }
}
