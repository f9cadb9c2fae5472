//! Artefacts: what is shipped, made from a disk (later also from a sysroot's kernel and initramfs) and written to one folder.
//!
//! To add a format: a variant of [`Format`], a file here or in `format/` that makes its bytes, a row in [`Renderer::of`].
//!
//! Architecture invariant: a renderer reads a sysroot or what was made from one, never a recipe. Sizes are known, and space is asked
//! for, before anything is written; nothing half-written stays.

pub mod disk;
pub mod manifest;
pub mod output;
pub mod write;

use std::path::PathBuf;
use std::sync::Mutex;
use std::{io, thread};

use anyhow::Result;
use tempfile::NamedTempFile;

pub use disk::Disk;
pub use manifest::{Manifest, up_to_date};
pub use output::Output;

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

/// Writes `disk` as each of `formats` into `output`, all at the same time. They appear together, when all are whole; the old
/// manifest goes before the first of them. The caller writes the new one.
pub fn render(disk: &Disk, formats: &[Format], name: &str, output: &Output, progress: &dyn Sink) -> Result<Vec<Rendered>> {
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
    manifest::retract(output)?;
    let mut rendered = Vec::with_capacity(jobs.len());
    for (job, (file, sha256)) in jobs.into_iter().zip(written) {
        let path = output.keep(file, &job.name)?;
        let (size, allocated) = (job.extents.len(), write::allocated(&job.extents));
        rendered.push(Rendered { format: job.format, path, sha256, size, allocated });
    }
    output.flush()?;
    if let Ok(stage) = stage.into_inner() {
        stage.finish(false);
    }
    Ok(rendered)
}

fn write_job(job: &Job, output: &Output, advance: impl FnMut(u64) -> io::Result<()>) -> Result<(NamedTempFile, Digest)> {
    let file = output.begin()?;
    let sha256 = write::write(&job.extents, file.as_file(), advance)
        .and_then(|sha256| file.as_file().sync_all().map(|()| sha256))
        .map_err(|error| output::unwritable(&output.path().join(&job.name), &error))?;
    Ok((file, sha256))
}

#[cfg(test)]
mod tests;
