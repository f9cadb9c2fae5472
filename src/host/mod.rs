//! The machine that builds: other programs, interrupts, free space. The only door to other programs.
//!
//! Architecture invariant: no other module of the builder (but `vm`, which uses [`cmd`]) starts a process. No program of the host
//! decides a byte of an artefact unless its version is part of the plan.

pub mod cmd;
pub mod folder;
pub mod interrupt;
pub mod memory;
pub mod parallel;
pub mod space;
pub mod ssh_agent;
pub mod subordinate;
pub mod tools;
pub mod writeback;
