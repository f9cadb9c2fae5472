//! The store's OSTree repository: `ostree/repo` below the cache's root, `ostree/known` beside it.
//!
//! Its mode is `bare-user`: files lie there as they are, owners and modes in an extended attribute. That is the fastest to write as
//! an ordinary user. Where the cache's filesystem has no such attributes it is `archive` with little compression.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ostree::gio::prelude::{FileExt, OutputStreamExtManual};
use ostree::{RepoMode, gio};

use super::object::{MetadataObject, ObjectKind, mode, xattrs};
use crate::digest::Digest;
use crate::store::{Store, sync_folder};
use crate::tree::{Leaf, LeafKind};

const NONE: Option<&gio::Cancellable> = None;
/// Up to so many objects are flushed one by one; more, and flushing the whole filesystem is quicker.
const FLUSHED_SINGLY: usize = 200;

/// The open repository. Whoever has one holds its lock.
#[derive(Debug)]
pub struct Repository {
    repo: ostree::Repo,
    path: PathBuf,
    file_extension: &'static str,
}

impl Repository {
    /// Opens the repository of `store`, making it when it is not there.
    pub fn open(store: &Store) -> Result<Self> {
        let folder = store.root().join("ostree");
        let path = folder.join("repo");
        fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        if !path.join("config").exists() {
            create(store, &folder).with_context(|| format!("{}: the repository cannot be made", path.display()))?;
        }
        let repo = ostree::Repo::open_at_dir(File::open(&folder)?.as_fd(), "repo")
            .with_context(|| format!("{}: not a repository; remove it to have it made again", path.display()))?;
        // One flush at the end is enough: see `flush`.
        repo.set_disable_fsync(true);
        let file_extension = if repo.mode() == RepoMode::Archive { "filez" } else { "file" };
        Ok(Self { repo, path, file_extension })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins to write. What is written is there once the guard is committed.
    pub fn begin(&self) -> Result<ostree::TransactionGuard<'_>> {
        Ok(self.repo.auto_transaction(NONE)?)
    }

    /// The commits that have a ref.
    pub fn commits(&self) -> Result<Vec<ostree::glib::Variant>> {
        let refs = self.repo.list_refs(None, NONE)?;
        refs.values().map(|checksum| Ok(self.repo.load_variant(ostree::ObjectType::Commit, checksum)?)).collect()
    }

    /// Takes away every object that no commit with a ref has. Answers how many, and their bytes.
    pub fn prune(&self) -> Result<(u64, u64)> {
        let (_, objects, bytes) = self.repo.prune(ostree::RepoPruneFlags::REFS_ONLY, 0, NONE)?;
        Ok((objects.try_into()?, bytes))
    }

    /// Whether the object of a file or link is there.
    pub fn has_file(&self, checksum: &Digest) -> bool {
        self.object(checksum, self.file_extension).exists()
    }

    /// Whether a commit is there.
    pub fn has_commit(&self, checksum: &Digest) -> bool {
        self.object(checksum, ObjectKind::Commit.extension()).exists()
    }

    /// Whether a metadata object is there.
    pub fn has(&self, object: &MetadataObject) -> bool {
        self.object(&object.checksum(), object.kind.extension()).exists()
    }

    /// Where the object of a file lies.
    pub fn file(&self, checksum: &Digest) -> PathBuf {
        self.object(checksum, self.file_extension)
    }

    /// Where a metadata object lies.
    pub fn metadata(&self, object: &MetadataObject) -> PathBuf {
        self.object(&object.checksum(), object.kind.extension())
    }

    fn object(&self, checksum: &Digest, extension: &str) -> PathBuf {
        let hex = checksum.to_hex();
        let (folder, name) = hex.split_at(2);
        self.path.join("objects").join(folder).join(format!("{name}.{extension}"))
    }

    /// Writes the object of a file or link; libostree computes its checksum.
    pub fn write_leaf(&self, leaf: &Leaf) -> Result<Digest> {
        let meta = &leaf.meta;
        let attributes = (!meta.xattrs.is_empty()).then(|| xattrs(meta));
        let checksum = match &leaf.kind {
            LeafKind::Symlink(target) => self.repo.write_symlink(None, meta.uid, meta.gid, attributes.as_ref(), target, NONE)?,
            LeafKind::File(content) => {
                let writer = self.repo.write_regfile(None, meta.uid, meta.gid, mode(leaf), content.len(), attributes.as_ref())?;
                copy(content.reader(), content.len(), &writer)?;
                writer.finish(NONE)?
            }
        };
        Ok(checksum.parse()?)
    }

    /// Writes a metadata object; libostree checks that its checksum is ours.
    pub fn write_metadata(&self, object: &MetadataObject, variant: &ostree::glib::Variant) -> Result<()> {
        self.repo.write_metadata(object.kind.libostree(), Some(&object.checksum().to_hex()), variant, NONE)?;
        Ok(())
    }

    /// Lets `branch` name a commit, when the transaction is committed.
    pub fn set_branch(&self, branch: &str, checksum: &Digest) {
        self.repo.transaction_set_ref(None, branch, Some(&checksum.to_hex()));
    }

    /// Whether `branch` names the commit already.
    pub fn branch_is(&self, branch: &str, checksum: &Digest) -> Result<bool> {
        let found = self.repo.resolve_rev(branch, true)?;
        Ok(found.is_some_and(|found| found == checksum.to_hex().as_str()))
    }

    /// Makes sure that `objects` and the branch are on the disk.
    pub fn flush(&self, objects: &[PathBuf], branch: &str) -> Result<()> {
        if objects.len() > FLUSHED_SINGLY {
            nix::unistd::syncfs(File::open(&self.path)?)?;
            return Ok(());
        }
        let branch = self.path.join("refs/heads").join(branch);
        for path in objects.iter().chain([&branch]) {
            File::open(path)
                .and_then(|file| file.sync_all())
                .with_context(|| format!("{}: cannot be flushed", path.display()))?;
            if let Some(folder) = path.parent() {
                sync_folder(folder)?;
            }
        }
        Ok(())
    }
}

/// Copies exactly `len` bytes.
fn copy(mut from: impl Read, len: u64, to: &ostree::ContentWriter) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(1 << 18)];
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        let (_, error) = to.write_all(&buffer[..n], NONE)?;
        if let Some(error) = error {
            return Err(error.into());
        }
    }
}

fn create(store: &Store, folder: &Path) -> Result<()> {
    let mode = if has_user_attributes(store)? { RepoMode::BareUser } else { RepoMode::Archive };
    let repo = ostree::Repo::create_at_dir(File::open(folder)?.as_fd(), "repo", mode, None)?;
    let config = repo.copy_config();
    // A full disk is told when it is full, not when 3 % are left.
    config.set_string("core", "min-free-space-percent", "0");
    config.set_string("archive", "zlib-level", "1");
    repo.write_config(&config)?;
    Ok(())
}

/// Whether files of the cache can have attributes like `user.ostreemeta`.
fn has_user_attributes(store: &Store) -> io::Result<bool> {
    let probe = store.temporary_file().map_err(io::Error::other)?;
    let file = gio::File::for_path(probe.path());
    Ok(file.set_attribute_string("xattr::basalt.probe", "1", gio::FileQueryInfoFlags::NONE, NONE).is_ok())
}
