//! Debian's archives, through apt: which packages a base needs, and their files.
//!
//! apt works in a root folder of its own ([`root`]): the machine's installed packages, preferences and configuration have no say,
//! only its proxies do. An ordinary user suffices.

pub mod control;
mod fetch;
mod mirror;
mod named;
mod resolve;
mod root;

pub use fetch::fetch;
pub use named::named;
pub use resolve::{Request, Resolved, resolve};

/// Where a system has its package database: where our images have it, and where Debian does.
pub const STATUS: [&str; 2] = ["/usr/lib/sysimage/dpkg/status", "/var/lib/dpkg/status"];

#[cfg(test)]
mod tests;
