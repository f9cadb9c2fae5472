//! Hands out free blocks from front to back, so that the disk is written from front to back.

use std::ops::Range;

/// Blocks of one extent at most.
const RUN_MAX: u64 = 32_768;

/// Blocks one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first.
    pub(super) start: u64,
    /// How many; an extent can describe them.
    pub(super) len: u64,
}

/// The blocks that are still free.
#[derive(Debug)]
pub(super) struct Space<'a> {
    free: &'a [Range<u64>],
    /// The next free block of the first range.
    next: u64,
}

impl<'a> Space<'a> {
    /// `free` is sorted and without empty ranges.
    pub(super) fn new(free: &'a [Range<u64>]) -> Self {
        Self { free, next: free.first().map_or(0, |range| range.start) }
    }

    /// The next `blocks` blocks, in as few runs as possible. None when there are too few.
    pub(super) fn take(&mut self, mut blocks: u64) -> Option<Vec<Run>> {
        let mut runs = Vec::with_capacity(usize::from(blocks > 0));
        while blocks > 0 {
            let range = self.free.first()?;
            let len = blocks.min(range.end - self.next).min(RUN_MAX);
            runs.push(Run { start: self.next, len });
            blocks -= len;
            self.next += len;
            if self.next == range.end {
                self.free = &self.free[1..];
                self.next = self.free.first().map_or(self.next, |range| range.start);
            }
        }
        Some(runs)
    }

    /// The next block.
    pub(super) fn take_one(&mut self) -> Option<u64> {
        Some(self.take(1)?[0].start)
    }

    /// What is left, by place.
    pub(super) fn ranges_left(&self) -> impl Iterator<Item = Range<u64>> {
        let next = self.next;
        self.free.iter().enumerate().map(move |(index, range)| if index == 0 { next..range.end } else { range.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_cut_at_gaps_and_at_the_length_of_an_extent() {
        let free = [2..4, 10..11, 100_000..200_000];
        let mut space = Space::new(&free);
        let run = |start, len| Run { start, len };
        assert_eq!(space.take(0).unwrap(), []);
        assert_eq!(space.take(4).unwrap(), [run(2, 2), run(10, 1), run(100_000, 1)]);
        assert_eq!(space.take(40_000).unwrap(), [run(100_001, 32_768), run(132_769, 7_232)]);
        assert_eq!(space.ranges_left().collect::<Vec<_>>(), [140_001..200_000]);
        assert!(space.take(60_000).is_none());
    }
}
