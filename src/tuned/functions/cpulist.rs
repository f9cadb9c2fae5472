//! Lists of processors (`0,2-4,^3`) and masks of them (`0x1d`), as tuned reads and writes them.

use std::collections::BTreeSet;

use super::super::python::int;

/// More processors than Linux knows: a list with one of these is not evaluated.
const PROCESSORS_MAX: i64 = 1 << 16;

/// A list that names processors beyond every machine.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany;

type List = Result<BTreeSet<i64>, TooMany>;

/// The processors of a list; none where something in it is no number.
///
/// Quotes around it are no part of it. A mask may have commas in it; then an empty item ends it. What `^` or `!` precedes is taken
/// away at last.
pub fn unpack(list: &str) -> List {
    let (mut items, mut without) = (Vec::new(), BTreeSet::new());
    let mut mask: Option<String> = None;
    for item in list.trim_matches(['\'', '"']).split(',') {
        match &mut mask {
            Some(open) if !item.is_empty() => open.push_str(item),
            Some(_) => items.extend(mask.take()),
            None if is_mask(item) => mask = Some(item.to_owned()),
            None => match item.strip_prefix(['^', '!']) {
                Some(range) => match self::range(range)? {
                    Some(range) => without.extend(range),
                    None => return Ok(BTreeSet::new()),
                },
                None if !item.is_empty() => items.push(item.to_owned()),
                None => {}
            },
        }
    }
    items.extend(mask);
    let mut found = BTreeSet::new();
    for item in items {
        if is_mask(&item) {
            found.extend(from_mask(&item)?);
        } else {
            match range(&item)? {
                Some(range) => found.extend(range),
                None => return Ok(BTreeSet::new()),
            }
        }
    }
    Ok(&found - &without)
}

fn is_mask(item: &str) -> bool {
    item.as_bytes().first_chunk().is_some_and(|start: &[u8; 2]| start.eq_ignore_ascii_case(b"0x"))
}

/// A number, or two with `-` between them; none when they are no numbers.
fn range(item: &str) -> Result<Option<std::ops::RangeInclusive<i64>>, TooMany> {
    let mut ends = item.split('-');
    let first = ends.next().and_then(int);
    let last = ends.next().map_or(first, int);
    let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
    if first > PROCESSORS_MAX || last > PROCESSORS_MAX { Err(TooMany) } else { Ok(Some(first..=last)) }
}

/// The processors of a mask in hexadecimal digits, with or without `0x` and commas; none when it is no number.
pub fn from_mask(mask: &str) -> List {
    let mask = super::super::python::strip(mask).replace(',', "");
    let digits = if is_mask(&mask) { mask[2..].strip_prefix('_').unwrap_or(&mask[2..]) } else { &mask };
    if digits.split('_').any(str::is_empty) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'_') {
        return Ok(BTreeSet::new());
    }
    let digits: Vec<_> = digits.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let mut found = BTreeSet::new();
    for (place, digit) in digits.iter().rev().enumerate().filter(|(_, digit)| **digit > 0) {
        let base = i64::try_from(place * 4).map_err(|_| TooMany)?;
        if base > PROCESSORS_MAX {
            return Err(TooMany);
        }
        found.extend((0..4).filter(|bit| digit >> bit & 1 == 1).map(|bit| base + bit));
    }
    Ok(found)
}

/// `0,2,3`; each with `prefix`.
pub fn write(list: &BTreeSet<i64>, prefix: &str) -> String {
    list.iter().map(|number| format!("{prefix}{number}")).collect::<Vec<_>>().join(",")
}

/// `0,2-3`
pub fn pack(list: &BTreeSet<i64>) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for number in list.iter().copied() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let text = |(first, last): &(i64, i64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

/// A mask of as many groups of eight digits as are needed, at least one, with commas between them.
pub fn mask(list: &BTreeSet<i64>) -> String {
    let places = list.last().map_or(0, |last| usize::try_from(last / 32).unwrap_or_default()) + 1;
    let mut groups = vec![0_u32; places];
    for number in list.iter().filter_map(|number| usize::try_from(*number).ok()) {
        groups[places - 1 - number / 32] |= 1 << (number % 32);
    }
    groups.iter().map(|group| format!("{group:08x}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_processors() {
        for (list, found) in [
            ("", ""),
            ("3,1", "1,3"),
            ("\"0-3,^2\"", "0,1,3"),
            ("0-5,!1-3", "0,4,5"),
            ("0xf,,6", "0,1,2,3,6"),
            ("0x1,00000000,,6", "6,32"),
            ("0X3", "0,1"),
            ("1,x", ""),
            ("1,^x", ""),
            ("-1", ""),
            ("3-1", ""),
            ("1-2-9", "1,2"),
            ("0xg,,4", "4"),
        ] {
            assert_eq!(unpack(list).map(|list| write(&list, "")), Ok(found.to_owned()), "{list}");
        }
        assert_eq!(unpack("0-99999999999"), Err(TooMany));
    }

    #[test]
    fn processors_are_written() {
        for (list, packed, mask) in
            [("", "", "00000000"), ("0,2,3,4,7", "0,2-4,7", "0000009d"), ("0,35", "0,35", "00000008,00000001")]
        {
            let list = unpack(list).unwrap();
            assert_eq!((pack(&list).as_str(), self::mask(&list).as_str()), (packed, mask));
        }
        assert_eq!(from_mask("1,00000001").map(|list| pack(&list)), Ok("0,32".to_owned()));
    }
}
