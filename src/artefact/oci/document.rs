//! A JSON document of an image, with its digest.

use anyhow::Result;

use crate::digest::Digest;

/// What is written, and what names it.
#[derive(Debug)]
pub struct Document {
    /// JSON, its keys in one order.
    pub bytes: Vec<u8>,
    /// Of the bytes.
    pub sha256: Digest,
}

impl Document {
    /// Of a value.
    ///
    /// # Errors
    /// What cannot be JSON.
    pub fn of(value: &impl serde::Serialize) -> Result<Self> {
        let bytes = serde_json::to_vec(value)?;
        Ok(Self { sha256: Digest::of(&bytes), bytes })
    }
}
