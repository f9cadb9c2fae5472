//! Tells the kernel what to do with its memory of files: to begin writing now, so that a flush at the end has little left to do; to
//! forget a file. Hints: nothing depends on them.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

/// Begins to write the changed bytes of `file` in `at..at + len` to its disk, and does not wait. Only a hint: when the kernel or the
/// filesystem cannot, nothing is lost, since it is the flush that makes the file durable.
pub fn begin(file: &File, at: u64, len: u64) {
    let (Ok(at), Ok(len)) = (i64::try_from(at), i64::try_from(len)) else { return };
    // SAFETY: the call takes numbers only, and the descriptor is open as long as `file` is borrowed.
    unsafe { nix::libc::sync_file_range(file.as_raw_fd(), at, len, nix::libc::SYNC_FILE_RANGE_WRITE) };
}

/// Lets the kernel drop what it holds of a file in memory, and does not care whether it does: for a file that is about to be replaced,
/// so that the replacing need not wait for it.
pub fn forget(path: &Path) {
    if let Ok(file) = File::open(path) {
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn any_file_and_range_will_do() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"x", 0).unwrap();
        for (at, len) in [(0, 1), (0, 0), (1 << 40, 1), (u64::MAX, u64::MAX)] {
            begin(&file, at, len);
        }
        begin(&File::open("/proc/self/status").unwrap(), 0, 1);
    }
}
