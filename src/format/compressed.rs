//! Compressed streams: gzip, xz and zstd are recognised by their first bytes, whatever they are called. What comes out is limited, because a
//! few bytes can be blown up to fill any disk.
//!
//! Sources: RFC 1952, RFC 8878, the .xz file format.

use std::io::{self, BufRead, Read};

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

const GZIP: &[u8] = b"\x1f\x8b";
const XZ: &[u8] = b"\xfd7zXZ\0";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// So many bytes may come out of any stream.
const FREE: u64 = 64 << 20;
/// And so many more for each byte of it. Systems are compressed to a third, their emptiest files to a hundredth.
const RATIO: u64 = 100;
/// What xz may use: four times what its best preset asks for.
const XZ_MEMORY: u64 = 256 << 20;

/// How many bytes a stream of `len` bytes may be unpacked to.
pub fn limit(len: u64) -> u64 {
    FREE + len.saturating_mul(RATIO)
}

/// A compressed stream that is understood here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 1952.
    Gzip,
    /// The .xz file format.
    Xz,
    /// RFC 8878.
    Zstd,
}

/// What kind of stream bytes begin with.
pub fn kind(bytes: &[u8]) -> Option<Kind> {
    let known = [(GZIP, Kind::Gzip), (XZ, Kind::Xz), (ZSTD, Kind::Zstd)];
    known.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, kind)| kind)
}

/// Whether bytes begin as a compressed stream does.
pub fn is_packed(bytes: &[u8]) -> bool {
    kind(bytes).is_some()
}

/// The first stream of `bytes` (one member of gzip, one frame of zstd), unpacked, and how many bytes it has. None where they begin with
/// another thing.
///
/// # Errors
/// As [`unpack()`], told while it is read.
pub fn unpack_first(bytes: &[u8]) -> io::Result<Option<(Vec<u8>, usize)>> {
    let (mut rest, len) = (bytes, bytes.len() as u64);
    let mut out = Vec::new();
    let decoder: Box<dyn Read + '_> = match kind(bytes) {
        Some(Kind::Gzip) => Box::new(GzDecoder::new(&mut rest)),
        Some(Kind::Xz) => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, 0).map_err(io::Error::other)?;
            Box::new(XzDecoder::new_stream(&mut rest, stream))
        }
        Some(Kind::Zstd) => Box::new(Zstd { input: &mut rest, frame: FrameDecoder::new(), open: false, left: Some(1) }),
        None => return Ok(None),
    };
    Limited { inner: decoder, left: limit(len), len }.read_to_end(&mut out)?;
    Ok(Some((out, bytes.len() - rest.len())))
}

/// The bytes of `input`, unpacked when it is compressed. More than [`limit`] of its `len` bytes is an error.
///
/// # Errors
/// No compressed stream although it begins as one.
pub fn unpack<'a>(mut input: impl BufRead + 'a, len: u64) -> io::Result<Box<dyn Read + 'a>> {
    let decoder: Box<dyn Read + 'a> = match kind(input.fill_buf()?) {
        Some(Kind::Gzip) => Box::new(MultiGzDecoder::new(input)),
        Some(Kind::Xz) => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::other)?;
            Box::new(XzDecoder::new_stream(input, stream))
        }
        Some(Kind::Zstd) => Box::new(Zstd { input, frame: FrameDecoder::new(), open: false, left: None }),
        None => return Ok(Box::new(input)),
    };
    Ok(Box::new(Limited { inner: decoder, left: limit(len), len }))
}

/// All of `bytes`, unpacked as [`unpack()`] does it.
///
/// # Errors
/// As [`unpack()`], told while it is read.
pub fn unpack_all(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(4).min(FREE as usize));
    unpack(bytes, bytes.len() as u64)?.read_to_end(&mut out)?;
    Ok(out)
}

/// The frames of a zstd stream, one after another.
struct Zstd<R> {
    input: R,
    frame: FrameDecoder,
    /// Whether a frame has begun and is not at its end.
    open: bool,
    /// So many frames are read; none: all.
    left: Option<usize>,
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bad = |error: FrameDecoderError| io::Error::new(io::ErrorKind::InvalidData, format!("zstd: {error}"));
        loop {
            if !self.open {
                if self.left == Some(0) || self.input.fill_buf()?.is_empty() {
                    return Ok(0);
                }
                match self.frame.reset(&mut self.input) {
                    Ok(()) => self.open = true,
                    Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame { length, .. })) => {
                        let length = u64::from(length);
                        if io::copy(&mut (&mut self.input).take(length), &mut io::sink())? < length {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        continue;
                    }
                    Err(error) => return Err(bad(error)),
                }
            }
            let n = self.frame.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            if self.frame.is_finished() {
                self.open = false;
                self.left = self.left.map(|left| left.saturating_sub(1));
                if self.frame.get_checksum_from_data().is_some_and(|sum| Some(sum) != self.frame.get_calculated_checksum()) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "zstd: a frame's checksum differs"));
                }
                continue;
            }
            self.frame.decode_blocks(&mut self.input, BlockDecodingStrategy::UptoBytes(1 << 18)).map_err(bad)?;
        }
    }
}

/// Gives no more than the limit.
struct Limited<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
    len: u64,
}

impl Read for Limited<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(n as u64).ok_or_else(|| {
            let (most, len) = (limit(self.len), self.len);
            let what =
                format!("{len} compressed bytes: needed at most {most} bytes unpacked ({FREE} and {RATIO} for each), found more");
            io::Error::new(io::ErrorKind::FileTooLarge, what)
        })?;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    #[test]
    fn each_kind_gives_its_bytes_also_in_pieces() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for packed in [bytes.clone(), gzip(&bytes), xz(&bytes), zstd(&bytes)] {
            assert!(unpack_all(&packed).unwrap() == bytes);
        }
        for pack in [gzip, xz, zstd] {
            assert_eq!(unpack_all(&[pack(b"one "), pack(b"two")].concat()).unwrap(), b"one two");
        }
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zstd(b"x")].concat();
        assert_eq!(unpack_all(&[zstd(b"a"), skippable].concat()).unwrap(), b"ax");
    }

    #[test]
    fn what_is_cut_off_or_altered_is_an_error() {
        let bytes = vec![1; 100_000];
        for packed in [gzip(&bytes), xz(&bytes), zstd(&bytes)] {
            assert!(unpack_all(&packed[..packed.len() - 3]).is_err());
        }
        let mut altered = gzip(&bytes);
        let middle = altered.len() - 6;
        altered[middle] ^= 1;
        assert!(unpack_all(&altered).is_err());
    }

    #[test]
    fn the_first_stream_ends_where_the_next_thing_begins() {
        for pack in [gzip, xz, zstd] {
            let (one, other) = (pack(b"one"), pack(b"other"));
            for behind in [&b""[..], b"\0\0\x00070701", &other] {
                let all = [&one, behind].concat();
                assert_eq!(unpack_first(&all).unwrap(), Some((b"one".to_vec(), one.len())));
            }
            assert!(unpack_first(&one[..one.len() - 2]).is_err());
        }
        assert_eq!(unpack_first(b"070701").unwrap(), None);
    }

    #[test]
    fn a_bomb_is_stopped_and_told() {
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        io::copy(&mut io::repeat(0).take(100 << 20), &mut out).unwrap();
        let bomb = out.finish().unwrap();
        let error = io::copy(&mut unpack(&bomb[..], bomb.len() as u64).unwrap(), &mut io::sink()).unwrap_err();
        assert!(error.to_string().contains("needed at most"), "{error}");
    }
}
