//! Sources: where inputs come from. The only code that fetches.
//!
//! Architecture invariant: `resolve` functions ask which version is current and are called by `lock` alone; `fetch` functions bring
//! exactly what a lock names, checked against its digest, into the store. Nothing else touches the network.

pub mod debian;
pub mod oci;

use crate::registry::Access;

/// Which network may be used, and how.
#[derive(Clone, Copy, Debug)]
pub struct Network<'a> {
    /// None at all: what is not in the store is missing.
    pub offline: bool,
    /// How to reach registries.
    pub access: &'a Access,
}
