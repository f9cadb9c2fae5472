//! Trees drawn by a small generator: the same ones in every run, and all of them clean and read back.

use std::sync::Arc;

use super::{MIB, checked, layout, options, readback, reader, size_for};
use crate::tree::{Content, Directory, Leaf, LeafKind, Meta, Node, Tree};

/// Knuth's linear congruential generator: good enough to draw trees.
struct Draw(u64);

impl Draw {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn bytes(&mut self, limit: u64) -> Vec<u8> {
        (0..self.below(limit)).map(|_| self.below(256) as u8).collect()
    }

    fn name(&mut self, limit: u64) -> String {
        let alphabet = b"abcdefghijklmnopqrstuvwxyz0123456789-_.";
        (0..=self.below(limit)).map(|_| char::from(alphabet[self.below(alphabet.len() as u64) as usize])).collect()
    }

    fn meta(&mut self) -> Meta {
        let mut meta = Meta::root(self.below(0o10000) as u16);
        meta.uid = self.below(1 << 31) as u32;
        meta.gid = self.below(2_000) as u32;
        meta.mtime = self.below(1 << 31) as i64 * 3 - (1 << 30);
        for _ in 0..self.below(5).saturating_sub(1) {
            let prefix = ["user.", "trusted.", "security."][self.below(3) as usize];
            let name = format!("{prefix}{}", self.name(20));
            let value = self.bytes(1_000);
            meta.xattrs.insert(name, value);
        }
        meta
    }

    fn node(&mut self, depth: u64, leaves: &mut Vec<Arc<Leaf>>) -> Node {
        let leaf = match self.below(10) {
            0..3 if depth < 3 => return Node::Directory(self.directory(depth + 1, leaves)),
            3 if !leaves.is_empty() => return Node::Leaf(Arc::clone(&leaves[self.below(leaves.len() as u64) as usize])),
            4 => Leaf { meta: self.meta(), kind: LeafKind::Symlink(self.name(120)) },
            _ => Leaf { meta: self.meta(), kind: LeafKind::File(Content::from_bytes(self.bytes(30_000))) },
        };
        leaves.push(Arc::new(leaf));
        Node::Leaf(Arc::clone(&leaves[leaves.len() - 1]))
    }

    fn directory(&mut self, depth: u64, leaves: &mut Vec<Arc<Leaf>>) -> Directory {
        let mut directory = Directory::new(self.meta());
        for _ in 0..self.below(14) {
            let name = format!("n{}", self.name(200));
            let node = self.node(depth, leaves);
            directory.children.insert(name, node);
        }
        directory
    }
}

#[test]
fn drawn_trees_are_clean_and_read_back() {
    for seed in 0..6 {
        let mut draw = Draw(seed);
        let mut leaves = Vec::new();
        let mut tree = Tree { root: draw.directory(0, &mut leaves) };
        for _ in 0..12 {
            let node = draw.node(0, &mut leaves);
            tree.root.children.insert(draw.name(30) + "x", node);
        }
        let free = draw.below(200 * MIB);
        let size = size_for(&tree, &options(0), free).unwrap();
        let image = checked(&tree, &options(size));
        readback::compare(&tree, image.path());
        reader::compare(&tree, image.path());
        let again = layout(&tree.clone(), &options(size)).unwrap().digest().unwrap();
        assert_eq!(layout(&tree, &options(size)).unwrap().digest().unwrap(), again, "seed {seed}");
    }
}
