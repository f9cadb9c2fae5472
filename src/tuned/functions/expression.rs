//! Regular expressions of Python, as far as the `regex` crate reads them the same.

use regex::bytes::RegexBuilder;

use crate::format::file_contexts::pattern;

/// What of groups both read the same.
const GROUPS: [&str; 5] = ["(?:", "(?P<", "(?i)", "(?s)", "(?m)"];

/// `re.search(pattern, text)`: whether something matches. None where the two might not agree.
pub fn search(written: &str, text: &str) -> Option<bool> {
    let plain = written.is_ascii() && text.is_ascii() && !text.bytes().any(|byte| (0x1c..=0x1f).contains(&byte));
    let groups = written.match_indices("(?").all(|(at, _)| GROUPS.iter().any(|group| written[at..].starts_with(group)));
    // `$` matches before a line feed at the end; brackets with colons are no class of Python's.
    if !plain || !groups || text.ends_with('\n') || written.contains("[[") || !escapes_are_common(written) {
        return None;
    }
    let pattern = pattern::translate(written).ok()?;
    let regex = RegexBuilder::new(&pattern).unicode(false).size_limit(1 << 20).build().ok()?;
    Some(regex.is_match(text.as_bytes()))
}

/// No references to groups, and no letter that means something in one of the two only.
fn escapes_are_common(written: &str) -> bool {
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.next().is_none_or(|c| c.is_ascii_alphanumeric() && !"AbBdDsSwWnrtfv".contains(c)) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::search;

    #[test]
    fn what_both_read_the_same() {
        for (pattern, text, found) in [
            (r"\s*[0-9]", "x 4", Some(true)),
            (r"\b[y,Y,1,t,T]\b", "Y", Some(true)),
            (r"\b[y,Y,1,t,T]\b", "yes", Some(false)),
            ("^$", "", Some(true)),
            ("a(?:b|c)$", "xac", Some(true)),
            ("a(?=b)", "ab", None),
            (r"(a)\1", "aa", None),
            ("a$", "a\n", None),
            (r"\Z", "", None),
            ("a*+", "a", None),
            ("é", "é", None),
            ("(", "", None),
        ] {
            assert_eq!(search(pattern, text), found, "{pattern:?}");
        }
    }
}
