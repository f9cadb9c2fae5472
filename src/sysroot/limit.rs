//! How large an initramfs may be: what GRUB loads on any machine with UEFI.
//!
//! GRUB loads it below 1 GiB, unless a newer build finds a place above 4 GiB that the firmware can read into (rhboot/grub2 pull request 96:
//! "from its prior limit of 1 GB"; pull request 30 for machines that need the low place). With Secure Boot its verifiers hold the whole file in
//! memory, too, while it is loaded (pull requests 102 and 114), and initramfs of 500 to 800 MB were seen to fail ("out of memory"). Twice
//! the file and a quarter for kernel, firmware and GRUB itself: three eighths of 1 GiB.

use crate::failure::{Failure, Kind};
use crate::tree::Content;

/// So many bytes has an initramfs at most.
pub const INITRAMFS: u64 = (1 << 30) / 8 * 3;

/// Whether GRUB loads it.
///
/// # Errors
/// [`Kind::Invalid`]: it is too large.
pub fn check(initramfs: &Content) -> Result<(), Failure> {
    let len = initramfs.len();
    if len <= INITRAMFS {
        return Ok(());
    }
    let (most, found) = (INITRAMFS >> 20, len.div_ceil(1 << 20));
    let what = format!("initramfs.img: needed at most {most} MiB, which GRUB loads on any machine, found {found} MiB");
    Err(Failure::new(Kind::Invalid, what)
        .hint("leave modules with large firmware out of `load-early`, or out of the base's initramfs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::tree::Pack;

    #[test]
    fn what_grub_cannot_load_is_told_with_both_sizes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let of = |len| Content::packed(Pack::open(file.path()).unwrap(), 0, len, Digest::of(b""));
        check(&of(INITRAMFS)).unwrap();
        let failure = check(&of(INITRAMFS + 1)).unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid);
        assert!(failure.what.contains("needed at most 384 MiB") && failure.what.ends_with("found 385 MiB"), "{failure}");
    }
}
