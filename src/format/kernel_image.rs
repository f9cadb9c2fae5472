//! The file that a boot loader starts, and the kernel in it: an x86 bzImage, an EFI zboot image (arm64 and others), or an uncompressed
//! arm64 `Image`, perhaps with gzip around.
//!
//! ```text
//! bzImage: 0x202 "HdrS", 0x206 u16 version, 0x1f1 u8 setup sectors, 0x248 u32 payload offset, 0x24c u32 payload length (from 2.08 on);
//!          the payload lies behind the setup sectors and the boot sector; xz and zstd have the unpacked size in 4 bytes behind them
//! zboot:   "MZ", 4 "zimg", 8 u32 payload offset, 12 u32 payload length
//! Image:   0x38 "ARMd"
//! ```
//!
//! Sources: Documentation/arch/x86/boot.rst, drivers/firmware/efi/libstub/zboot-header.S, Documentation/arch/arm64/booting.rst.

use super::compressed;

/// Why bytes are no kernel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel image that can be read: {0}")]
pub struct BadImage(pub String);

const SECTOR: usize = 512;

/// The uncompressed kernel.
///
/// # Errors
/// No kernel of these kinds, a broken one, or one packed in another way than gzip, xz and zstd.
pub fn unpack(image: &[u8]) -> Result<Vec<u8>, BadImage> {
    if image.get(0x202..0x206) == Some(b"HdrS") {
        return bzimage(image);
    }
    if image.starts_with(b"MZ") && image.get(4..8) == Some(b"zimg") {
        let (at, len) = (number(image, 8)?, number(image, 12)?);
        return payload(image, at, len);
    }
    if image.get(0x38..0x3c) == Some(b"ARMd") {
        return Ok(image.to_vec());
    }
    if compressed::is_packed(image) {
        let inner = stream(image)?;
        return match inner.get(0x38..0x3c) == Some(b"ARMd") {
            true => Ok(inner),
            false => Err(BadImage("needed an arm64 Image in a compressed file, found something else".to_owned())),
        };
    }
    Err(BadImage("needed a bzImage, an EFI zboot image or an arm64 Image, found none of their marks".to_owned()))
}

fn bzimage(image: &[u8]) -> Result<Vec<u8>, BadImage> {
    let version = image.get(0x206..0x208).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).unwrap_or_default();
    if version < 0x208 {
        return Err(BadImage(format!("needed boot protocol 2.08 or newer, found {}.{:02}", version >> 8, version & 0xff)));
    }
    // Zero stands for four, of old.
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * SECTOR;
    payload(image, start + number(image, 0x248)?, number(image, 0x24c)?)
}

fn payload(image: &[u8], at: usize, len: usize) -> Result<Vec<u8>, BadImage> {
    let bytes = at.checked_add(len).and_then(|end| image.get(at..end));
    let bytes = bytes.ok_or_else(|| BadImage(format!("needed {len} packed bytes at {at}, found a file of {}", image.len())))?;
    if bytes.starts_with(b"\x7fELF") {
        return Ok(bytes.to_vec());
    }
    if !compressed::is_packed(bytes) {
        let begin = &bytes[..bytes.len().min(4)];
        return Err(BadImage(format!("needed gzip, xz or zstd, found a payload that begins with {begin:02x?}")));
    }
    // What has no size of its own has it behind.
    let has_size = bytes.starts_with(b"\x1f\x8b");
    stream(if has_size { bytes } else { &bytes[..bytes.len().saturating_sub(4)] })
}

fn stream(bytes: &[u8]) -> Result<Vec<u8>, BadImage> {
    compressed::unpack_all(bytes).map_err(|error| BadImage(error.to_string()))
}

fn number(image: &[u8], at: usize) -> Result<usize, BadImage> {
    let bytes = image.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    bytes
        .map(|bytes| u32::from_le_bytes(*bytes) as usize)
        .ok_or_else(|| BadImage(format!("needed a header, found {} bytes", image.len())))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn bzimage_of(payload: &[u8], version: u16) -> Vec<u8> {
        let mut image = vec![0; 2 * SECTOR + 8];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&version.to_le_bytes());
        image[0x248] = 8;
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        [image, payload.to_vec()].concat()
    }

    #[test]
    fn each_kind_gives_its_kernel() {
        let mut arm = vec![0; 64];
        arm[0x38..0x3c].copy_from_slice(b"ARMd");
        let xz = {
            let mut out = liblzma::write::XzEncoder::new(Vec::new(), 0);
            out.write_all(b"kernel").unwrap();
            [out.finish().unwrap(), vec![6, 0, 0, 0]].concat()
        };
        let zboot = |payload: &[u8]| {
            let mut image = b"MZ\0\0zimg\x10\0\0\0".to_vec();
            image.extend((payload.len() as u32).to_le_bytes());
            [image, payload.to_vec()].concat()
        };
        for (image, kernel) in [
            (bzimage_of(&packed(b"kernel"), 0x20f), &b"kernel"[..]),
            (bzimage_of(&xz, 0x20f), b"kernel"),
            (bzimage_of(b"\x7fELF...", 0x208), b"\x7fELF..."),
            (zboot(&packed(b"kernel")), b"kernel"),
            (arm.clone(), &arm),
            (packed(&arm), &arm),
        ] {
            assert_eq!(unpack(&image).unwrap(), kernel);
        }
    }

    #[test]
    fn what_is_none_is_told() {
        let cut = bzimage_of(&packed(b"kernel"), 0x20f);
        for (image, why) in [
            (Vec::new(), "found none of their marks"),
            (bzimage_of(b"", 0x207), "found 2.07"),
            (bzimage_of(b"\x02\x21\x4c\x18lz4", 0x20f), "begins with [02, 21, 4c, 18]"),
            (cut[..cut.len() - 1].to_vec(), "packed bytes at"),
            (packed(b"kernel"), "found something else"),
            (b"MZ\0\0zimg".to_vec(), "needed a header"),
        ] {
            let found = unpack(&image).unwrap_err();
            assert!(found.0.contains(why), "{found}");
        }
    }
}
