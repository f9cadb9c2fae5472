//! Trees from tar archives, and tar archives from trees.
//!
//! Read: what GNU tar and others write in the pax, GNU and ustar formats, with `SCHILY.xattr.*` records. An archive comes from
//! outside, so a member that no image can have, or that reaches out of the tree, is an error that names it. Written: pax, in one
//! way only, so that equal trees give equal bytes.
//!
//! A layer of a container image is an archive that changes what lies under it: see [`read_layer`].
//!
//! The `tar` crate decodes and encodes the 512-byte headers. Its reader of pax records is not used: it splits them at line feeds,
//! which are ordinary bytes in the value of an xattr.
//!
//! Format: POSIX.1-2017 `pax`, sections "ustar Interchange Format" and "pax Header Block"; GNU tar's manual, "Tar Internals".

pub mod member;
mod pax;
mod read;
mod whiteout;
mod write;

pub use read::{Devices, End, Problem, TarError, read, read_packed};
pub use whiteout::read_layer;
pub use write::write;

#[cfg(test)]
mod tests;
