//! Regular expressions of rules: what can be said of one without compiling it, and what PCRE2 and `regex` would read differently.

const META: &str = ".^$?*+|[({])}";

/// The one path that matches, when there are no meta characters.
pub fn literal(pattern: &str) -> Option<String> {
    let mut path = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => path.push(chars.next().filter(char::is_ascii_punctuation)?),
            c if META.contains(c) => return None,
            c => path.push(c),
        }
    }
    Some(path)
}

/// What every path that matches begins with: less than there is, where that is not easily seen.
pub fn prefix(pattern: &str) -> String {
    if has_alternatives(pattern) {
        return String::new();
    }
    let mut prefix = String::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c) if c.is_ascii_punctuation() => prefix.push(c),
                _ => break,
            },
            '?' | '*' | '{' => {
                // What stands before it may be missing.
                prefix.pop();
                break;
            }
            c if META.contains(c) => break,
            c => prefix.push(c),
        }
    }
    prefix
}

/// Whether there is a `|` outside of every group.
fn has_alternatives(pattern: &str) -> bool {
    let mut depth = 0_usize;
    parts(pattern).any(|part| {
        match part {
            Part::Plain('(') => depth += 1,
            Part::Plain(')') => depth = depth.saturating_sub(1),
            _ => {}
        }
        part == Part::Plain('|') && depth == 0
    })
}

/// `pattern` so that `regex` reads what PCRE2 reads.
///
/// # Errors
/// What in it only PCRE2 knows.
pub fn translate(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len());
    let mut before = None;
    for part in parts(pattern) {
        match part {
            // The edges of words.
            Part::Escaped(c @ ('<' | '>')) => out.push(c),
            Part::Escaped(c) => out.extend(['\\', c]),
            Part::InClass(c) => match (before, c) {
                (Some(Part::InClass('-')), '-') => return Err("two hyphens in a row in a class"),
                // A class within a class, and set operations.
                (_, '[' | '&' | '~') => out.extend(['\\', c]),
                _ => out.push(c),
            },
            Part::Whole(text) => out.push_str(text),
            Part::Plain('+') if matches!(before, Some(Part::Plain('?' | '*' | '+' | '}'))) => {
                return Err("a possessive quantifier");
            }
            Part::Plain(c) => out.push(c),
        }
        before = Some(part);
    }
    Ok(out)
}

/// A character of a regular expression, or a little more, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Plain(char),
    /// After a backslash, which is left out, wherever it stands.
    Escaped(char),
    /// Between the brackets of a class.
    InClass(char),
    /// `[` or `[^`, which open a class, or `[:digit:]` within one.
    Whole(&'a str),
}

fn parts(pattern: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = pattern;
    // In a class: whether something of it was seen. A `]` that comes first does not close it.
    let mut class: Option<bool> = None;
    std::iter::from_fn(move || {
        let whole = match class {
            Some(_) if rest.starts_with("[:") => rest.find(":]").map(|end| end + 2),
            None if rest.starts_with("[^") => Some(2),
            None if rest.starts_with('[') => Some(1),
            _ => None,
        };
        if let Some(end) = whole {
            let (text, after) = rest.split_at(end);
            (rest, class) = (after, Some(class.is_some()));
            return Some(Part::Whole(text));
        }
        let c = next(&mut rest)?;
        Some(match (c, class) {
            ('\\', _) => {
                class = class.map(|_| true);
                next(&mut rest).map_or(Part::Plain('\\'), Part::Escaped)
            }
            (']', Some(true)) => {
                class = None;
                Part::Plain(']')
            }
            (c, Some(_)) => {
                class = Some(true);
                Part::InClass(c)
            }
            (c, None) => Part::Plain(c),
        })
    })
}

fn next(rest: &mut &str) -> Option<char> {
    let c = rest.chars().next()?;
    *rest = &rest[c.len_utf8()..];
    Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_match_begins_with() {
        for (pattern, found) in [
            ("/usr(/.*)?", "/usr"),
            ("/usr/lib.*", "/usr/lib"),
            ("/dev/x?", "/dev/"),
            ("/a\\.b*", "/a."),
            ("/a\\.+", "/a."),
            ("/a|/b", ""),
            ("/x(a|b)", "/x"),
            ("/x[|]y", "/x"),
            ("/x\\|y.", "/x|y"),
            ("/x\\d", "/x"),
            ("/x{2}", "/"),
            (".*", ""),
        ] {
            assert_eq!(prefix(pattern), found, "{pattern}");
        }
    }

    #[test]
    fn one_path_or_many() {
        assert_eq!(literal("/etc/a\\.conf").as_deref(), Some("/etc/a.conf"));
        assert_eq!(literal("/lost\\+found").as_deref(), Some("/lost+found"));
        for pattern in ["/etc/a.conf", "/a]", "/a\\d", "/a\\", "/(a)"] {
            assert_eq!(literal(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn what_the_two_read_differently() {
        for (pattern, found) in [
            ("/[^/[]x", Ok("/[^/\\[]x")),
            ("/[[:digit:]a&&b]", Ok("/[[:digit:]a\\&\\&b]")),
            ("/[]a]", Ok("/[]a]")),
            ("/[^]&]|[", Ok("/[^]\\&]|[")),
            ("/\\<a\\>", Ok("/<a>")),
            ("/a\\-b\\.c", Ok("/a\\-b\\.c")),
            ("/a*+b", Err("a possessive quantifier")),
            ("/\\++", Ok("/\\++")),
            ("/[a--]", Err("two hyphens in a row in a class")),
        ] {
            assert_eq!(translate(pattern).as_deref(), found.as_ref().map(|text| *text), "{pattern}");
        }
    }
}
