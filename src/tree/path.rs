//! A path inside a tree: absolute when shown, without `.`, `..`, empty parts or NUL. It cannot leave the tree.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path inside a [`super::Tree`]. The root is the empty path, shown as `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TreePath(String);

/// Why a text is not a path inside a tree.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// `..` leads out of the tree (or is at least not canonical).
    #[error("path {0:?} has a part \"..\": a path must not leave the tree")]
    Parent(String),
    /// Empty part or `.`.
    #[error("path {0:?} has an empty part or \".\"")]
    NotCanonical(String),
    /// NUL, or a part longer than 255 bytes, or longer than 4095 in all.
    #[error("path {0:?} is longer than a filesystem allows, or has a NUL")]
    Unwritable(String),
}

impl TreePath {
    /// The root.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Reads `/usr/lib`, `usr/lib` or `./usr/lib`: one leading `/` or `./` and one trailing `/` are accepted.
    pub fn parse(text: &str) -> Result<Self, BadPath> {
        let inner = text.strip_prefix("./").or_else(|| text.strip_prefix('/')).unwrap_or(text);
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() || inner == "." {
            return Ok(Self::root());
        }
        if inner.len() > 4095 {
            return Err(BadPath::Unwritable(text.chars().take(80).collect()));
        }
        for part in inner.split('/') {
            match part {
                ".." => return Err(BadPath::Parent(text.to_owned())),
                "" | "." => return Err(BadPath::NotCanonical(text.to_owned())),
                _ if part.len() > 255 || part.contains('\0') => return Err(BadPath::Unwritable(text.to_owned())),
                _ => {}
            }
        }
        Ok(Self(inner.to_owned()))
    }

    /// The parts, outermost first. None for the root.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// `self` with one more part. `name` must be a single valid part.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.to_owned()) } else { Self(format!("{}/{name}", self.0)) }
    }

    /// The path of the folder that holds this one, and its last part. None for the root.
    pub fn split_last(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            Some((parent, name)) => Some((Self(parent.to_owned()), name)),
            None if self.0.is_empty() => None,
            None => Some((Self::root(), &self.0)),
        }
    }

    /// The folders on the way to it from the root, which is not one of them, and itself at last.
    pub fn way(&self) -> impl Iterator<Item = Self> {
        let mut at = Self::root();
        self.parts().map(move |part| {
            at = at.join(part);
            at.clone()
        })
    }

    /// Whether this is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        other.0.is_empty() || self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Without the leading `/`: `usr/lib`; the root is empty.
    pub fn relative(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", self.0)
    }
}

impl FromStr for TreePath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl Serialize for TreePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TreePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path() {
        for text in ["/usr/lib", "usr/lib", "./usr/lib", "/usr/lib/"] {
            assert_eq!(TreePath::parse(text).unwrap().to_string(), "/usr/lib", "{text}");
        }
        for text in ["/", "", ".", "./"] {
            assert_eq!(TreePath::parse(text).unwrap(), TreePath::root(), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        assert!(matches!(TreePath::parse("../etc"), Err(BadPath::Parent(_))));
        assert!(matches!(TreePath::parse("/usr/../../etc"), Err(BadPath::Parent(_))));
        assert!(matches!(TreePath::parse("//etc"), Err(BadPath::NotCanonical(_))));
        assert!(matches!(TreePath::parse("a/./b"), Err(BadPath::NotCanonical(_))));
        assert!(matches!(TreePath::parse("a\0b"), Err(BadPath::Unwritable(_))));
        assert!(matches!(TreePath::parse(&"x".repeat(256)), Err(BadPath::Unwritable(_))));
    }

    #[test]
    fn within() {
        let path = |text| TreePath::parse(text).unwrap();
        assert!(path("/usr/lib").is_within(&path("/usr")));
        assert!(path("/usr").is_within(&path("/")));
        assert!(!path("/usrlocal").is_within(&path("/usr")));
        assert_eq!(path("/a/b").split_last(), Some((path("/a"), "b")));
        assert_eq!(path("/a").split_last(), Some((path("/"), "a")));
        assert_eq!(path("/").split_last(), None);
    }
}
