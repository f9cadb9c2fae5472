//! Sources: where inputs come from. The only code that fetches.
//!
//! Architecture invariant: `resolve` functions ask which version is current and are called by `lock` alone; `fetch` functions bring
//! exactly what a lock names, checked against its digest, into the store. Nothing else touches the network.

pub mod debian;
