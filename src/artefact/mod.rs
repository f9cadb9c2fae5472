//! Artefacts: what is shipped, made from a disk (later also from a sysroot's kernel and initramfs) and written to one folder.
//!
//! To add a format: a variant of [`Format`], a file here or in `format/` that makes its bytes, a row in [`Renderer::of`].
//!
//! Architecture invariant: a renderer reads a sysroot or what was made from one, never a recipe. Sizes are known, and space is asked
//! for, before anything is written; nothing half-written stays.

pub mod disk;
pub mod manifest;
pub mod output;
pub mod provenance;
pub mod sbom;
pub mod write;

use std::path::PathBuf;
use std::sync::Mutex;
use std::{io, thread};

use anyhow::Result;
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
    /// Of the whole file.
    pub sha256: Digest,
    /// Length in bytes, holes included.
    pub size: u64,
    /// Bytes that are not holes, in whole blocks of 4096. Decided by the artefact, not by the filesystem that it lies on.
    pub allocated: u64,
}

/// How a format is made.
struct Renderer {
    extension: &'static str,
    file: fn(&Disk) -> Extents,
}

impl Renderer {
    const fn of(format: Format) -> Self {
        match format {
            Format::Raw => Self { extension: "raw", file: |disk| disk.extents.clone() },
            Format::Qcow2 => Self { extension: "qcow2", file: |disk| qcow2::layout(&disk.extents) },
        }
    }
}

/// The name of the file of `format` for the image `name`.
pub fn file_name(name: &str, format: Format) -> String {
    format!("{name}.{}", Renderer::of(format).extension)
}

/// A file to write.
struct Job {
    format: Format,
    name: String,
    extents: Extents,
}

/// Artefacts that are whole and flushed and have no name yet; their digests may take a moment more. They vanish unless they are kept.
pub struct Written<'a> {
    files: Vec<(Job, NamedTempFile, Hashing)>,
    stage: Stage<'a>,
}

/// Writes `disk` as each of `formats` for `output`, all at the same time.
pub fn render<'a>(disk: &Disk, formats: &[Format], name: &str, output: &Output, progress: &'a dyn Sink) -> Result<Written<'a>> {
    let jobs: Vec<_> = formats
        .iter()
        .map(|&format| Job { format, name: file_name(name, format), extents: (Renderer::of(format).file)(disk) })
        .collect();
    let names: Vec<_> = jobs.iter().map(|job| job.name.as_str()).collect();
    let detail = names.join(", ");
    space::need(output.path(), jobs.iter().map(|job| write::allocated(&job.extents)).sum(), &detail)?;
    let total = jobs.iter().map(|job| job.extents.len()).sum();
    let stage = Mutex::new(Stage::start(progress, "artefacts", detail, Some(total), Unit::Bytes));
    let advance = |bytes| {
        if let Ok(mut stage) = stage.lock() {
            stage.advance(bytes);
        }
        interrupt::check_io()
    };
    let written: Vec<_> = thread::scope(|scope| {
        scope.spawn(|| names.iter().for_each(|name| writeback::forget(&output.path().join(name))));
        let threads: Vec<_> = jobs.iter().map(|job| scope.spawn(|| write_job(job, output, advance))).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Result<_>>()
    })?;
    let files = jobs.into_iter().zip(written).map(|(job, (file, hashing))| (job, file, hashing)).collect();
    let stage = stage.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Written { files, stage })
}

impl<'a> Written<'a> {
    /// Gives the artefacts their names in the folder for which they were written, all of them; the old manifest goes before the first.
    /// The caller writes the new one.
    pub fn keep(self, output: &Output) -> Result<Kept<'a>> {
        manifest::retract(output)?;
        let mut kept = Vec::with_capacity(self.files.len());
        for (job, file, hashing) in self.files {
            kept.push((output.keep(file, &job.name)?, job, hashing));
        }
        output.flush()?;
        Ok(Kept { files: kept, stage: self.stage })
    }
}

/// Artefacts that have their names; their digests may take a moment more.
pub struct Kept<'a> {
    files: Vec<(PathBuf, Job, Hashing)>,
    stage: Stage<'a>,
}

impl Kept<'_> {
    /// Waits for the digests.
    pub fn finish(self) -> Result<Vec<Rendered>> {
        let rendered = self.files.into_iter().map(|(path, job, hashing)| {
            let (sha256, size) = (hashing.finish()?, job.extents.len());
            Ok(Rendered { format: job.format, path, sha256, size, allocated: write::allocated(&job.extents) })
        });
        let rendered = rendered.collect::<Result<_>>()?;
        self.stage.finish(false);
        Ok(rendered)
    }
}

fn write_job(job: &Job, output: &Output, advance: impl FnMut(u64) -> io::Result<()>) -> Result<(NamedTempFile, Hashing)> {
    let file = output.begin()?;
    let hashing = write::write(&job.extents, file.as_file(), advance)
        .map_err(|error| output::unwritable(&output.path().join(&job.name), &error))?;
    Ok((file, hashing))
}

#[cfg(test)]
mod tests;
