//! Basalt: a recipe becomes a bootable OSTree image.
pub mod digest;
pub mod failure;
pub mod format;
pub mod host;
pub mod progress;
pub mod store;
pub mod tree;
pub mod vm;
