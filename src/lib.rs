//! Basalt: a recipe becomes a bootable OSTree image.
pub mod architecture;
pub mod digest;
pub mod failure;
pub mod format;
pub mod host;
pub mod layer;
pub mod lock;
pub mod plan;
pub mod progress;
pub mod recipe;
pub mod store;
pub mod tree;
