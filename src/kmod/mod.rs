//! Kernel modules that others built, and the proof that the kernel of an image loads them.
//!
//! ```text
//! bytes of a module --Facts::read--> Facts        kernel image, certificates --Keyring--> who may sign
//! symvers, release, vermagic --> Kernel           (Kernel, [Facts]) --prove--> [Finding] for each module
//! (certificate, raw signature of the object) --signing--> PKCS#7, which goes behind the module
//! ```
//!
//! The rules are those of the kernel's loader (kernel/module/main.c, version.c, signing.c, crypto/asymmetric_keys), applied to bytes. What
//! cannot be told counts as a misfit: an image whose modules may or may not load is none.
//!
//! Architecture invariant: no program of the target runs, and nothing here touches the host's own modules.

pub mod facts;
pub mod keyring;
pub mod mapping;
pub mod prove;
pub mod release;
pub mod signing;
pub mod symbols;
pub mod verify;

#[cfg(test)]
mod tests;

pub use facts::Facts;
pub use keyring::{Keyring, Signed};
pub use prove::{Finding, Kernel, prove};
pub use symbols::Symbols;
