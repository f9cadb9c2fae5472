//! Which image a node runs: what the builder tells the agent.

use serde::{Deserialize, Serialize};

use crate::{ContractError, wire};

/// Which image a node runs; [`names::IMAGE_FILE`](crate::names::IMAGE_FILE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// The format of this file: [`ImageInfo::FORMAT`].
    pub format: u32,
    /// Name of the recipe.
    pub name: String,
    /// Version of the recipe.
    pub version: String,
    /// The hash of the resolved plan: 64 hexadecimal digits.
    pub plan_id: String,
    /// As the recipe writes it: `amd64`, `arm64`.
    pub architecture: String,
    /// The image's own time (the newest date among the lock's inputs), in seconds since 1970.
    pub image_time: u64,
}

impl ImageInfo {
    /// The format that is written.
    pub const FORMAT: u32 = 1;

    /// Reads one.
    ///
    /// # Errors
    /// When the format is unknown, or the JSON is not that of an `ImageInfo`.
    pub fn from_json(json: &[u8]) -> Result<Self, ContractError> {
        wire::read("image.json", Self::FORMAT, json)
    }

    /// The bytes of the file.
    pub fn to_json(&self) -> String {
        wire::write(self)
    }
}

#[cfg(test)]
mod tests {
    use super::ImageInfo;
    use crate::ContractError;

    const V1: &str = include_str!("../fixtures/image-1.json");

    #[test]
    fn format_1_stays_readable() {
        let image = ImageInfo::from_json(V1.as_bytes()).unwrap();
        assert_eq!((image.name.as_str(), image.version.as_str()), ("gpu-node", "1.2.0"));
        assert_eq!((image.architecture.as_str(), image.image_time), ("amd64", 1_780_000_000));
        assert_eq!(image.plan_id.len(), 64);
        assert_eq!(image.to_json(), V1, "the same value gives the same bytes");
    }

    #[test]
    fn a_field_of_the_future_is_passed_over() {
        let newer = V1.replacen('{', "{\n  \"channel\": {\"name\": \"stable\"},", 1);
        assert_eq!(ImageInfo::from_json(newer.as_bytes()).unwrap(), ImageInfo::from_json(V1.as_bytes()).unwrap());
    }

    #[test]
    fn an_unknown_format_is_refused_before_its_fields_are_looked_at() {
        let error = ImageInfo::from_json(br#"{"name": 7, "format": 2}"#).unwrap_err();
        assert!(matches!(error, ContractError::UnknownFormat { found: 2, known: 1, .. }));
        assert_eq!(
            error.to_string(),
            "image.json of format 2, but this program reads format 1: use a program as new as the file"
        );
    }

    #[test]
    fn what_is_malformed_is_named() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "EOF"),
            (b"{}", "missing field `format`"),
            (br#"{"format": 1}"#, "missing field `name`"),
            (br#"{"format": "1"}"#, "invalid type: string"),
            (b"\xff", "line 1 column 1"),
        ];
        for (json, part) in cases {
            let error = ImageInfo::from_json(json).unwrap_err().to_string();
            assert!(error.contains(part) && error.starts_with("image.json cannot be understood"), "{error}");
        }
    }
}
