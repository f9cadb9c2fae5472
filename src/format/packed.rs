//! How kernel modules are packed: as a whole, by one of the ways that the kernel unpacks itself, with the bytes that it can read.
//!
//! ```text
//! gz    gzip -n -6                            xz    xz --check=crc32 --lzma2=dict=1MiB, one block
//! zst   one frame, its checksum behind it     none  as it is
//! ```
//!
//! The kernel knows no other checksum of xz than CRC32, and takes memory for the dictionary whole. The libraries are part of this program: the
//! same bytes are packed to the same bytes on every host.
//!
//! Sources: scripts/Makefile.modinst, kernel/module/decompress.c, Documentation/staging/xz.rst.

use std::io::{self, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use liblzma::write::XzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compressed;

/// Of xz, as the kernel's own build has it.
const DICTIONARY: u32 = 1 << 20;
/// Of xz and gzip: what their programs take when nobody says.
const LEVEL: u32 = 6;
/// Where in an xz stream the kind of checksum stands, and those that the kernel reads: none, CRC32.
const XZ_CHECK: usize = 7;
const READABLE: [u8; 2] = [0, 1];

/// How a module is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Packing {
    /// Not at all.
    None,
    /// gzip.
    Gz,
    /// xz.
    Xz,
    /// zstd.
    Zst,
}

impl Packing {
    /// How the file of this name is packed, by its ending.
    pub fn of_name(name: &str) -> Self {
        match name.rsplit_once('.').map(|(_, ending)| ending) {
            Some("gz") => Self::Gz,
            Some("xz") => Self::Xz,
            Some("zst") => Self::Zst,
            _ => Self::None,
        }
    }

    /// How these bytes are packed.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        match compressed::kind(bytes) {
            None => Self::None,
            Some(compressed::Kind::Gzip) => Self::Gz,
            Some(compressed::Kind::Xz) => Self::Xz,
            Some(compressed::Kind::Zstd) => Self::Zst,
        }
    }

    /// What follows `.ko`.
    pub const fn ending(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gz => ".gz",
            Self::Xz => ".xz",
            Self::Zst => ".zst",
        }
    }

    /// The word for it, as in a recipe.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gz => "gz",
            Self::Xz => "xz",
            Self::Zst => "zst",
        }
    }

    /// Whether `bytes` are packed so, and so that the kernel unpacks them.
    pub fn fits(self, bytes: &[u8]) -> bool {
        let readable = self != Self::Xz || bytes.get(XZ_CHECK).is_some_and(|check| READABLE.contains(check));
        Self::of_bytes(bytes) == self && readable
    }

    /// `bytes`, packed.
    ///
    /// # Errors
    /// The library has no memory.
    pub fn pack(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(bytes.to_vec()),
            Self::Gz => {
                let mut out: GzEncoder<Vec<u8>> = GzBuilder::new().write(Vec::new(), Compression::new(LEVEL));
                out.write_all(bytes)?;
                out.finish()
            }
            Self::Xz => {
                let mut options = LzmaOptions::new_preset(LEVEL).map_err(io::Error::other)?;
                options.dict_size(DICTIONARY);
                let mut filters = Filters::new();
                filters.lzma2(&options);
                let stream = Stream::new_stream_encoder(&filters, Check::Crc32).map_err(io::Error::other)?;
                let mut out = XzEncoder::new_stream(Vec::new(), stream);
                out.write_all(bytes)?;
                out.finish()
            }
            Self::Zst => Ok(compress_to_vec(bytes, CompressionLevel::Fastest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_gives_its_bytes_back_and_the_same_each_time() {
        let bytes: Vec<u8> = (0..90_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (packing, name) in
            [(Packing::None, "a.ko"), (Packing::Gz, "a.ko.gz"), (Packing::Xz, "a.ko.xz"), (Packing::Zst, "a.ko.zst")]
        {
            let packed = packing.pack(&bytes).unwrap();
            assert_eq!(compressed::unpack_all(&packed).unwrap(), bytes, "{packing:?}");
            assert_eq!(packing.pack(&bytes).unwrap(), packed, "{packing:?}");
            assert_eq!((Packing::of_name(name), Packing::of_bytes(&packed)), (packing, packing));
            assert!(packing.fits(&packed) && name.ends_with(packing.ending()));
        }
        assert_eq!(Packing::of_name("modules.dep"), Packing::None);
    }

    #[test]
    fn xz_is_as_the_kernel_reads_it() {
        let packed = Packing::Xz.pack(&[7; 3 << 20]).unwrap();
        // Stream header: magic, flags; block header: its size, one filter, LZMA2 (0x21) with one byte of properties.
        assert_eq!(&packed[..8], b"\xfd7zXZ\0\0\x01");
        // A dictionary of 2 ** (12 + 16 / 2) bytes.
        assert_eq!(&packed[13..17], [0, 0x21, 1, 16]);
        // The index, 12 bytes of footer before the end: indicator 0, one record.
        let size = 4 * (u32::from_le_bytes(packed[packed.len() - 8..packed.len() - 4].try_into().unwrap()) as usize + 1);
        let index = &packed[packed.len() - 12 - size..];
        assert_eq!(&index[..2], [0, 1], "one block");
        let mut other = XzEncoder::new(Vec::new(), 0);
        other.write_all(b"with CRC64").unwrap();
        let other = other.finish().unwrap();
        assert_eq!(Packing::of_bytes(&other), Packing::Xz);
        assert!(!Packing::Xz.fits(&other) && !Packing::Gz.fits(&other));
    }
}
