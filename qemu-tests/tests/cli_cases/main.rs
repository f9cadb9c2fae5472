//! What the builder does for people and scripts, seen from outside: messages, exit codes, what lies on the disk afterwards.
//!
//! Each case has folders of its own and, where it builds, its own copy of a warm cache: see [`qemu_tests::Warm`].

mod acceptance;
mod accounts;
mod bad_images;
mod bases;
mod bootupd;
mod ci_files;
mod config_drives;
mod diff;
mod documents;
mod early_modules;
mod enforced;
mod failing;
mod firstboot;
mod import;
mod inputs;
mod inspect;
mod kernel_modules;
mod kernel_proof;
mod kmod_build;
mod kubernetes;
mod layers;
mod metrics;
mod mirror;
mod module_signing;
mod module_sources;
mod modules_index;
mod oci;
mod preflight;
mod readback;
mod recipes;
mod registries;
mod same_bytes;
mod signals;
mod signatures;
mod space;
mod tuned;
mod tuned_profiles;
mod verify;
mod words;
