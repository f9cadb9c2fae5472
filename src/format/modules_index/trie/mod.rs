//! The `.bin` files: from a key to values with priorities. kmod's `libkmod/libkmod-index.c` and `tools/depmod.c` describe the
//! format.
//!
//! A tree whose paths spell the keys; numbers are big-endian, strings end with a NUL:
//!
//! ```text
//! u32 magic, u32 version, u32 root
//! node: [string prefix]  [u8 first, u8 last, u32 child for each of first..=last]  [u32 count, {u32 priority, string value} each]
//! ```
//!
//! What leads to a node is its offset in the file, and in the four highest bits which of its three parts there are; 0 leads
//! nowhere. A node's prefix follows the byte that leads to it. kmod 34 and newer write a node before its children, older ones after
//! them; each reads both.

mod read;

pub use read::BadTrie;

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const MAJOR: u32 = 2;
const MINOR: u32 = 1;
/// Bytes of the header.
const HEADER: usize = 12;

const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;
/// The other bits: the offset.
const OFFSET: u32 = 0x0FFF_FFFF;

/// So many bytes may a key have: kmod handles them in buffers of PATH_MAX.
const LONGEST: usize = 4095;

/// Where a node lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// After all that is below it: until kmod 33 (Debian 12).
    ParentsLast,
    /// Before it: since kmod 34 (Debian 13).
    ParentsFirst,
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The lowest comes first: the module's place in `modules.dep`, counted from 0.
    pub priority: u32,
    /// ASCII without NUL.
    pub text: String,
}

/// A key that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Longer than kmod takes.
    #[error("needed at most {LONGEST} bytes, found {0}")]
    Long(usize),
    /// Neither ASCII nor free of NULs.
    #[error("needed ASCII without NUL, found {0:?}")]
    Text(String),
}

/// More than the format has offsets for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a file with an index has at most {OFFSET} bytes; more would be needed")]
pub struct TooBig;

/// Keys with their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trie {
    entries: BTreeMap<String, Vec<Value>>,
}

/// Whether kmod would take a text as key.
///
/// # Errors
/// It has too many bytes, or others than ASCII.
pub fn check_key(key: &str) -> Result<(), BadKey> {
    if !key.is_ascii() || key.contains('\0') {
        return Err(BadKey::Text(key.to_owned()));
    }
    if key.len() > LONGEST { Err(BadKey::Long(key.len())) } else { Ok(()) }
}

impl Trie {
    /// Adds a value. It comes before others of its priority, as it does with depmod(8).
    ///
    /// # Errors
    /// A key or a value that the format cannot hold.
    pub fn insert(&mut self, key: &str, text: &str, priority: u32) -> Result<(), BadKey> {
        check_key(key)?;
        if !text.is_ascii() || text.contains('\0') {
            return Err(BadKey::Text(text.to_owned()));
        }
        let values = self.entries.entry(key.to_owned()).or_default();
        let place = values.partition_point(|value| value.priority < priority);
        values.insert(place, Value { priority, text: text.to_owned() });
        Ok(())
    }

    /// All keys in byte order, with their values by priority.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &[Value])> {
        self.entries.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }

    /// What a key leads to.
    pub fn get(&self, key: &str) -> &[Value] {
        self.entries.get(key).map_or(&[], Vec::as_slice)
    }

    /// The file.
    ///
    /// # Errors
    /// It would have 256 MiB or more.
    pub fn write(&self, layout: Layout) -> Result<Vec<u8>, TooBig> {
        let entries: Vec<(&[u8], &[Value])> = self.entries.iter().map(|(key, values)| (key.as_bytes(), &values[..])).collect();
        let nodes = nodes(&entries);
        let order = order(&nodes, layout);
        let mut links = vec![0_u32; nodes.len()];
        let mut end = HEADER;
        for &node in &order {
            links[node] = u32::try_from(end).ok().filter(|end| *end <= OFFSET).ok_or(TooBig)? | nodes[node].parts();
            end += nodes[node].size();
        }
        let mut out = Vec::with_capacity(end);
        for word in [MAGIC, MAJOR << 16 | MINOR, links[0]] {
            out.extend(word.to_be_bytes());
        }
        for node in order {
            nodes[node].write(&links, &mut out);
        }
        Ok(out)
    }
}

/// A node; number 0 is the root.
struct Node<'a> {
    prefix: &'a [u8],
    values: &'a [Value],
    /// By the byte that leads there, in its order.
    children: Vec<(u8, usize)>,
}

/// The nodes for sorted entries, each before its children. No recursion: keys may be long.
fn nodes<'a>(entries: &[(&'a [u8], &'a [Value])]) -> Vec<Node<'a>> {
    let mut nodes = vec![Node { prefix: &[], values: &[], children: Vec::new() }];
    // A node, the entries at and below it, and how many bytes of their keys lead there, its prefix included.
    let mut open = vec![(0, entries, 0)];
    while let Some((number, mut entries, depth)) = open.pop() {
        if let [(key, values), rest @ ..] = entries
            && key.len() == depth
        {
            nodes[number].values = values;
            entries = rest;
        }
        for group in entries.chunk_by(|(a, _), (b, _)| a[depth] == b[depth]) {
            // They are sorted: what the first and the last share, all of them share.
            let (first, last) = (&group[0].0[depth + 1..], &group[group.len() - 1].0[depth + 1..]);
            let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
            let child = nodes.len();
            nodes[number].children.push((group[0].0[depth], child));
            nodes.push(Node { prefix: &first[..shared], values: &[], children: Vec::new() });
            open.push((child, group, depth + 1 + shared));
        }
    }
    nodes
}

/// The order of the nodes in a file.
fn order(nodes: &[Node<'_>], layout: Layout) -> Vec<usize> {
    let mut order = Vec::with_capacity(nodes.len());
    let mut open = vec![0];
    while let Some(node) = open.pop() {
        order.push(node);
        let children = nodes[node].children.iter().map(|(_, child)| *child);
        match layout {
            Layout::ParentsFirst => open.extend(children.rev()),
            Layout::ParentsLast => open.extend(children),
        }
    }
    if layout == Layout::ParentsLast {
        order.reverse();
    }
    order
}

impl Node<'_> {
    /// The first and the last byte that lead to children.
    fn range(&self) -> Option<(u8, u8)> {
        Some((self.children.first()?.0, self.children.last()?.0))
    }

    fn parts(&self) -> u32 {
        let part = |there: bool, flag| if there { flag } else { 0 };
        part(!self.prefix.is_empty(), PREFIX) | part(!self.values.is_empty(), VALUES) | part(!self.children.is_empty(), CHILDREN)
    }

    /// In bytes.
    fn size(&self) -> usize {
        let prefix = if self.prefix.is_empty() { 0 } else { self.prefix.len() + 1 };
        let children = self.range().map_or(0, |(first, last)| 2 + 4 * (usize::from(last - first) + 1));
        let values = self.values.iter().map(|value| 4 + value.text.len() + 1).sum::<usize>();
        prefix + children + if self.values.is_empty() { 0 } else { 4 + values }
    }

    fn write(&self, links: &[u32], out: &mut Vec<u8>) {
        if !self.prefix.is_empty() {
            out.extend(self.prefix);
            out.push(0);
        }
        if let Some((first, last)) = self.range() {
            out.extend([first, last]);
            let mut children = self.children.iter().peekable();
            for byte in first..=last {
                let link = children.next_if(|(own, _)| *own == byte).map_or(0, |(_, child)| links[*child]);
                out.extend(link.to_be_bytes());
            }
        }
        if !self.values.is_empty() {
            // Fewer than modules, and those are fewer than 65535.
            out.extend(u32::try_from(self.values.len()).unwrap_or(u32::MAX).to_be_bytes());
            for value in self.values {
                out.extend(value.priority.to_be_bytes());
                out.extend(value.text.as_bytes());
                out.push(0);
            }
        }
    }
}
