//! A file that takes in archives as they are unpacked: contents of the tree that is read from them lie there.

use std::fs::File;
use std::io::{self, BufRead, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::digest::{Digest, Hasher};
use crate::format::compressed;
use crate::host::interrupt::Stoppable;
use crate::tree::tar::{End, read_layer};
use crate::tree::{Content, Pack, Tree};

/// The file, open at its end.
pub struct Spool {
    out: BufWriter<File>,
    pack: Arc<Pack>,
    offset: u64,
}

impl Spool {
    /// A new file at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        let out = File::create_new(path).with_context(|| path.display().to_string())?;
        Ok(Self { out: BufWriter::with_capacity(1 << 20, out), pack: Pack::open(path)?, offset: 0 })
    }

    /// A file without a name: it vanishes with the last content in it.
    pub fn nameless(folder: &Path) -> Result<Self> {
        let (out, path) = tempfile::NamedTempFile::new_in(folder)?.into_parts();
        let pack = Pack::open(&path)?;
        path.close()?;
        Ok(Self { out: BufWriter::with_capacity(1 << 20, out), pack, offset: 0 })
    }

    /// What holds it.
    pub fn pack(&self) -> &Arc<Pack> {
        &self.pack
    }

    /// Lays the archive of `len` bytes that `input` gives, compressed or not, over `tree`. Answers the digest of the unpacked archive.
    ///
    /// # Errors
    /// A damaged or too large stream, or what no image can have.
    pub fn unpack(&mut self, tree: &mut Tree, input: impl BufRead, len: u64, end: End) -> Result<Digest> {
        let input = compressed::unpack(input, len)?;
        let pack = Arc::clone(&self.pack);
        let start = self.offset;
        let mut tee = Tee { input: Stoppable(input), out: &mut self.out, hasher: Hasher::new(), len: 0 };
        let laid = read_layer(tree, &mut tee, &pack, start, end);
        let (digest, len) = (tee.hasher.finish(), tee.len);
        self.offset += len;
        laid?;
        self.out.flush()?;
        Ok(digest)
    }

    /// Takes in what `reader` gives.
    pub fn take(&mut self, reader: impl Read) -> Result<Content> {
        let start = self.offset;
        let mut tee = Tee { input: Stoppable(reader), out: &mut self.out, hasher: Hasher::new(), len: 0 };
        io::copy(&mut tee, &mut io::sink())?;
        let (digest, len) = (tee.hasher.finish(), tee.len);
        self.offset += len;
        Ok(Content::packed(Arc::clone(&self.pack), start, len, digest))
    }

    /// Writes what is still in memory. Contents can be read from then on.
    pub fn finish(mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Everything that is read goes to the file, too.
struct Tee<'a, R> {
    input: R,
    out: &'a mut BufWriter<File>,
    hasher: Hasher,
    len: u64,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.hasher.update(&buffer[..n]);
        self.out.write_all(&buffer[..n])?;
        self.len += n as u64;
        Ok(n)
    }
}
