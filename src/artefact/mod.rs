//! Artefacts: what is shipped, made from a disk or a commit (later also from a sysroot's kernel and initramfs), written to one folder.
//!
//! To add a format: a variant of [`Format`], a file here or in `format/` that makes its bytes, a row in [`Renderer::of`].
//!
//! Architecture invariant: a renderer reads a sysroot or what was made from one, never a recipe. Sizes are known, and space is asked
//! for, before anything is written; nothing half-written stays.

pub mod disk;
pub mod manifest;
pub mod oci;
pub mod output;
pub mod provenance;
pub mod sbom;
pub mod write;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{io, thread};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

pub use disk::Disk;
pub use manifest::{Manifest, up_to_date};
pub use output::Output;
use write::Hashing;

use crate::digest::Digest;
use crate::format::extents::Extents;
use crate::format::qcow2;
use crate::host::{interrupt, space, writeback};
use crate::plan::Format;
use crate::progress::{Sink, Stage, Unit};

/// An artefact that lies in its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What it is.
    pub format: Format,
    /// Where it lies.
    pub path: PathBuf,
    /// Of the whole file; of an OCI image, of its manifest: what a registry knows it by.
    pub sha256: Digest,
    /// Length in bytes, holes included; of an OCI image, of all its files.
    pub size: u64,
    /// Bytes that are not holes, in whole blocks of 4096. Decided by the artefact, not by the filesystem that it lies on.
    pub allocated: u64,
}

/// What artefacts are made from.
pub struct Source<'a> {
    /// The disk.
    pub disk: &'a Disk,
    /// The OCI image, where one is wanted.
    pub oci: Option<oci::Folder>,
}

/// How a format is made.
struct Renderer {
    extension: &'static str,
    make: fn(&Source<'_>) -> Option<What>,
}

impl Renderer {
    const fn of(format: Format) -> Self {
        match format {
            Format::Raw => Self { extension: "raw", make: |source| Some(What::File(source.disk.extents.clone())) },
            Format::Qcow2 => Self { extension: "qcow2", make: |source| Some(What::File(qcow2::layout(&source.disk.extents))) },
            Format::Oci => Self { extension: "oci", make: |source| source.oci.clone().map(What::Folder) },
        }
    }
}

/// The name of the file (or, of an OCI image, the folder) of `format` for the image `name`.
pub fn file_name(name: &str, format: Format) -> String {
    format!("{name}.{}", Renderer::of(format).extension)
}

/// What is written.
enum What {
    File(Extents),
    Folder(oci::Folder),
}

impl What {
    fn len(&self) -> u64 {
        match self {
            Self::File(extents) => extents.len(),
            Self::Folder(folder) => folder.size(),
        }
    }

    fn allocated(&self) -> u64 {
        match self {
            Self::File(extents) => write::allocated(extents),
            Self::Folder(folder) => folder.allocated(),
        }
    }

    /// Bytes that must be free at `path`.
    fn needed(&self, path: &Path) -> u64 {
        match self {
            Self::File(extents) => write::allocated(extents),
            Self::Folder(folder) => folder.missing(path),
        }
    }
}

/// An artefact to write.
struct Job {
    format: Format,
    name: String,
    what: What,
}

/// An artefact that is whole and flushed.
enum Whole {
    /// It has no name yet; its digest may take a moment more.
    File(NamedTempFile, Hashing),
    /// Its index is still the old one.
    Folder(oci::folder::Added),
}

/// Artefacts that are whole and flushed and do not stand under their names yet. They vanish unless they are kept.
pub struct Written<'a> {
    files: Vec<(Job, Whole)>,
    stage: Stage<'a>,
}

/// Writes `source` as each of `formats` for `output`, all at the same time.
pub fn render<'a>(
    source: &Source<'_>,
    formats: &[Format],
    name: &str,
    output: &Output,
    progress: &'a dyn Sink,
) -> Result<Written<'a>> {
    let job = |&format: &Format| {
        let what = (Renderer::of(format).make)(source).with_context(|| format!("nothing to make {format:?} from"))?;
        Ok(Job { format, name: file_name(name, format), what })
    };
    let jobs: Vec<_> = formats.iter().map(job).collect::<Result<_>>()?;
    let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
    let detail = names.join(", ");
    space::need(output.path(), jobs.iter().map(|job| job.what.needed(&output.path().join(&job.name))).sum(), &detail)?;
    let total = jobs.iter().map(|job| job.what.len()).sum();
    let stage = Mutex::new(Stage::start(progress, "artefacts", detail, Some(total), Unit::Bytes));
    let advance = |bytes| {
        if let Ok(mut stage) = stage.lock() {
            stage.advance(bytes);
        }
        interrupt::check_io()
    };
    let files = jobs.iter().filter(|job| matches!(job.what, What::File(_))).count();
    let buffers = (write::BUFFERS / files.max(1)).max(1);
    let written: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| names.iter().for_each(|name| writeback::forget(&output.path().join(name))));
        let threads: Vec<_> = jobs.iter().map(|job| scope.spawn(move || write_job(job, output, buffers, advance))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<_>>()
    })?;
    let files = jobs.into_iter().zip(written).collect();
    let stage = stage.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Written { files, stage })
}

impl<'a> Written<'a> {
    /// Gives the artefacts their names in the folder for which they were written, all of them; the old manifest goes before the first.
    /// The caller writes the new one.
    pub fn keep(self, output: &Output) -> Result<Kept<'a>> {
        manifest::retract(output)?;
        let mut kept = Vec::with_capacity(self.files.len());
        for (job, whole) in self.files {
            kept.push(match whole {
                Whole::File(file, hashing) => (output.keep(file, &job.name)?, job, Sum::Later(hashing)),
                Whole::Folder(mut added) => {
                    added.keep(output)?;
                    (added.path.clone(), job, Sum::Known(added.folder.digest))
                }
            });
        }
        output.flush()?;
        Ok(Kept { files: kept, stage: self.stage })
    }
}

/// The digest of an artefact.
enum Sum {
    Known(Digest),
    Later(Hashing),
}

/// Artefacts that have their names; their digests may take a moment more.
pub struct Kept<'a> {
    files: Vec<(PathBuf, Job, Sum)>,
    stage: Stage<'a>,
}

impl Kept<'_> {
    /// Waits for the digests.
    pub fn finish(self) -> Result<Vec<Rendered>> {
        let rendered = self.files.into_iter().map(|(path, Job { format, what, .. }, sum)| {
            let sha256 = match sum {
                Sum::Known(digest) => digest,
                Sum::Later(hashing) => hashing.finish()?,
            };
            Ok(Rendered { format, path, sha256, size: what.len(), allocated: what.allocated() })
        });
        let rendered = rendered.collect::<Result<_>>()?;
        self.stage.finish(false);
        Ok(rendered)
    }
}

fn write_job(job: &Job, output: &Output, buffers: usize, advance: impl FnMut(u64) -> io::Result<()>) -> Result<Whole> {
    match &job.what {
        What::File(extents) => {
            let file = output.begin()?;
            let hashing = write::write(extents, file.as_file(), buffers, advance)
                .map_err(|error| output::unwritable(&output.path().join(&job.name), &error))?;
            Ok(Whole::File(file, hashing))
        }
        What::Folder(folder) => folder.clone().write(output, &job.name, advance).map(Whole::Folder),
    }
}

#[cfg(test)]
mod tests;
