//! In which order depmod(8) lists what it found: first what `modules.order` names, then the rest as its hash tables have it.

use std::collections::HashMap;

use super::ModulePath;

/// Buckets of depmod's table of modules.
const MODULES: u32 = 512;
/// Buckets of depmod's table of symbols.
const SYMBOLS: u32 = 2048;

/// Sorts modules as depmod does. `order`: the lines of `modules.order`, uncompressed paths; the first one for a path counts.
pub fn sort<T>(modules: &mut [T], order: &[String], path: impl Fn(&T) -> &ModulePath) {
    let mut places = HashMap::new();
    for (place, line) in order.iter().enumerate() {
        places.entry(line.as_str()).or_insert(place);
    }
    modules.sort_by_cached_key(|module| {
        let path = path(module);
        let name = path.name();
        let place = places.get(format!("{}.ko", path.bare()).as_str()).copied().unwrap_or(usize::MAX);
        (place, bucket(&name, MODULES), name)
    });
}

/// Sorts symbols as depmod does.
pub fn sort_symbols(symbols: &mut [(&str, usize)]) {
    symbols.sort_by_cached_key(|(symbol, _)| (bucket(symbol, SYMBOLS), (*symbol).to_owned()));
}

/// In which bucket of `count` (a power of two) a key lies.
fn bucket(key: &str, count: u32) -> u32 {
    hash(key.as_bytes()) & (count - 1)
}

/// Paul Hsieh's SuperFastHash, with the end that kmod gives it, as a little-endian machine computes it.
fn hash(key: &[u8]) -> u32 {
    let pair = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]));
    let mut hash = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (blocks, rest) = key.as_chunks::<4>();
    for [a, b, c, d] in blocks {
        hash = hash.wrapping_add(pair(*a, *b));
        hash = (hash << 16) ^ (pair(*c, *d) << 11) ^ hash;
        hash = hash.wrapping_add(hash >> 11);
    }
    match *rest {
        [a, b, c] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 16;
            hash ^= u32::from(c) << 18;
            hash = hash.wrapping_add(hash >> 11);
        }
        [a, b] => {
            hash = hash.wrapping_add(pair(a, b));
            hash ^= hash << 11;
            hash = hash.wrapping_add(hash >> 17);
        }
        [a] => {
            hash = hash.wrapping_add(u32::from(a));
            hash ^= hash << 10;
            hash = hash.wrapping_add(hash >> 1);
        }
        _ => {}
    }
    hash ^= hash << 3;
    hash = hash.wrapping_add(hash >> 5);
    hash ^= hash << 4;
    hash = hash.wrapping_add(hash >> 17);
    hash ^= hash << 25;
    hash.wrapping_add(hash >> 6)
}
