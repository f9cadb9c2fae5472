//! Byte formats, one module each: what a format is, how to write it, how to read it back.
//!
//! Architecture invariant: nothing here imports `plan` or `recipe`. A writer is a function from values to [`extents::Extents`]
//! or to an `impl Write`; it runs no program and reads no clock.

pub mod bls;
pub mod bytes;
pub mod compressed;
pub mod cpio;
pub mod ext4;
pub mod extents;
pub mod fat;
pub mod file_contexts;
pub mod gpt;
pub mod initramfs;
pub mod kernel_image;
pub mod module;
pub mod modules_index;
pub mod oci;
pub mod packed;
pub mod qcow2;
pub mod symvers;
pub mod uefi_variables;
