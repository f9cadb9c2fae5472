//! Reads `.bin` files: for tests, for verifying, and for the layout in which the next one is to be written.

use super::{BadKey, CHILDREN, HEADER, Layout, MAGIC, MAJOR, OFFSET, PREFIX, Trie, VALUES, Value, check_key};

/// Bytes that are no such file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTrie {
    /// It ends too early.
    #[error("byte {at}: needed {needed}, found the end of the file")]
    Cut {
        /// Where the part begins.
        at: usize,
        /// What should be there.
        needed: &'static str,
    },
    /// A number that cannot be there.
    #[error("byte {at}: needed {needed}, found {found:#x}")]
    Number {
        /// Where it is.
        at: usize,
        /// What should be there.
        needed: &'static str,
        /// What is there.
        found: u32,
    },
    /// A string that is none of kmod's.
    #[error("byte {at}: {source}")]
    Text {
        /// Where it is.
        at: usize,
        /// What is wrong with it.
        source: BadKey,
    },
    /// Nodes that share bytes, so that they have more than the file.
    #[error("byte {at}: needed a node of its own, found one that shares its bytes with others")]
    Shared {
        /// Where the node begins.
        at: usize,
    },
}

impl Trie {
    /// Reads a file, and in which layout it is. (One without keys is the same in both, and said to be in the newer one.)
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(bytes: &[u8]) -> Result<(Self, Layout), BadTrie> {
        let root = header(bytes)?;
        let mut trie = Self::default();
        // The nodes together have no more bytes than the file: so no loop is endless.
        let mut left = bytes.len() - HEADER;
        let mut key = String::new();
        let mut open: Vec<Open> = vec![(root, 0, None)];
        while let Some((link, length, byte)) = open.pop() {
            key.truncate(length);
            key.extend(byte.map(char::from));
            let at = (link & OFFSET) as usize;
            let mut cursor = Cursor { bytes, at };
            let values = node(&mut cursor, link, &mut key, &mut open)?;
            // A node without parts is reached by four bytes of its parent.
            left = left.checked_sub(cursor.at - at).ok_or(BadTrie::Shared { at })?;
            check_key(&key).map_err(|source| BadTrie::Text { at, source })?;
            if !values.is_empty() {
                trie.entries.insert(key.clone(), values);
            }
        }
        Ok((trie, layout(root)))
    }
}

impl Layout {
    /// The layout of a file, by its header alone.
    ///
    /// # Errors
    /// It is no such file.
    pub fn of(bytes: &[u8]) -> Result<Self, BadTrie> {
        header(bytes).map(layout)
    }
}

fn layout(root: u32) -> Layout {
    if (root & OFFSET) as usize == HEADER { Layout::ParentsFirst } else { Layout::ParentsLast }
}

/// Checks the header; what leads to the root.
fn header(bytes: &[u8]) -> Result<u32, BadTrie> {
    let mut cursor = Cursor { bytes, at: 0 };
    let magic = cursor.word("the magic number")?;
    if magic != MAGIC {
        return Err(BadTrie::Number { at: 0, needed: "the magic number 0xb007f457", found: magic });
    }
    let version = cursor.word("the version")?;
    if version >> 16 != MAJOR {
        return Err(BadTrie::Number { at: 4, needed: "version 2", found: version });
    }
    cursor.word("the root")
}

/// A node still to be read: what leads there, the length of its parent's key, the byte after that.
type Open = (u32, usize, Option<u8>);

/// Reads the node at the cursor, whose parts `link` tells: adds its prefix to `key`, its children to `open`; its values.
fn node(cursor: &mut Cursor<'_>, link: u32, key: &mut String, open: &mut Vec<Open>) -> Result<Vec<Value>, BadTrie> {
    if cursor.at < HEADER || cursor.at > cursor.bytes.len() {
        return Err(BadTrie::Number { at: cursor.at, needed: "a node's offset within the file", found: link });
    }
    if link & PREFIX != 0 {
        key.push_str(&cursor.string()?);
    }
    if link & CHILDREN != 0 {
        let at = cursor.at;
        let [first, last] = cursor.take("the range of the children")?;
        if first > last || !last.is_ascii() {
            let found = u32::from(first) << 8 | u32::from(last);
            return Err(BadTrie::Number { at, needed: "a range of ASCII", found });
        }
        for byte in first..=last {
            let child = cursor.word("a child")?;
            if child & OFFSET != 0 {
                open.push((child, key.len(), Some(byte)));
            }
        }
    }
    let mut values = Vec::new();
    if link & VALUES != 0 {
        for _ in 0..cursor.word("the number of values")? {
            values.push(Value { priority: cursor.word("a priority")?, text: cursor.string()? });
        }
    }
    Ok(values)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self, needed: &'static str) -> Result<[u8; N], BadTrie> {
        let taken = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk).ok_or(BadTrie::Cut { at: self.at, needed })?;
        self.at += N;
        Ok(*taken)
    }

    fn word(&mut self, needed: &'static str) -> Result<u32, BadTrie> {
        self.take(needed).map(u32::from_be_bytes)
    }

    fn string(&mut self) -> Result<String, BadTrie> {
        let at = self.at;
        let rest = self.bytes.get(at..).unwrap_or_default();
        let length = rest.iter().position(|byte| *byte == 0).ok_or(BadTrie::Cut { at, needed: "a NUL after a string" })?;
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        if text.is_ascii() { Ok(text) } else { Err(BadTrie::Text { at, source: BadKey::Text(text) }) }
    }
}
