//! The hash of names in an indexed folder: half MD4, as `fs/ext4/hash.c` of Linux has it, with bytes as unsigned.

/// The number of this hash in a folder's index and in the superblock.
pub(super) const HALF_MD4: u8 = 1;

/// Sorts names of a folder; the second half settles ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameHash {
    /// What the index holds. Even: the lowest bit marks that a hash goes on from the block before.
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// Used as the hash that marks the end of a folder, so no name may have it.
const END: u32 = 0xffff_fffe;

/// The hash of `name` with the superblock's seed.
pub(super) fn name_hash(name: &[u8], seed: &[u8; 16]) -> NameHash {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    if *seed != [0; 16] {
        for (word, bytes) in state.iter_mut().zip(seed.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
    }
    let mut rest = name;
    while !rest.is_empty() {
        transform(&mut state, &words(rest));
        rest = &rest[rest.len().min(32)..];
    }
    let major = state[1] & !1;
    NameHash { major: if major == END { END - 2 } else { major }, minor: state[2] }
}

/// The first 32 bytes as words, filled with the length of what is left.
fn words(rest: &[u8]) -> [u32; 8] {
    let len = rest.len() as u32;
    let fill = (len | len << 8) | (len | len << 8) << 16;
    let mut words = [fill; 8];
    for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
        *word = bytes.iter().fold(fill, |value, byte| (value << 8).wrapping_add(u32::from(*byte)));
    }
    words
}

/// The eight words of each round in their order, its constant and its four rotations.
const ROUNDS: [([usize; 8], u32, [u32; 4]); 3] = [
    ([0, 1, 2, 3, 4, 5, 6, 7], 0, [3, 7, 11, 19]),
    ([1, 3, 5, 7, 0, 2, 4, 6], 0x5a82_7999, [3, 5, 9, 13]),
    ([3, 7, 2, 6, 1, 5, 0, 4], 0x6ed9_eba1, [3, 9, 11, 15]),
];

fn transform(state: &mut [u32; 4], words: &[u32; 8]) {
    let [mut a, mut b, mut c, mut d] = *state;
    for (round, (order, constant, rotations)) in ROUNDS.iter().enumerate() {
        for (step, index) in order.iter().enumerate() {
            let mixed = match round {
                0 => d ^ (b & (c ^ d)),
                1 => (b & c).wrapping_add((b ^ c) & d),
                _ => b ^ c ^ d,
            };
            let next = a.wrapping_add(mixed).wrapping_add(words[*index]).wrapping_add(*constant).rotate_left(rotations[step % 4]);
            (a, b, c, d) = (d, next, b, c);
        }
    }
    for (word, sum) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(sum);
    }
}
