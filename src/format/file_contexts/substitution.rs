//! Path substitutions: a line `FROM TO` says that what lies at or below FROM is labelled as if it lay at or below TO.

/// A line of such a file.
#[derive(Debug)]
pub struct Substitution {
    from: String,
    to: String,
}

/// Reads a file. A line without two words says nothing, as libselinux has it. The last line for a path wins.
pub fn parse(text: &str) -> Vec<Substitution> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let from = words.next().filter(|word| !word.starts_with('#'))?;
        Some(Substitution { from: from.to_owned(), to: words.next()?.to_owned() })
    };
    text.lines().rev().filter_map(line).collect()
}

/// `path` with its beginning substituted; none when no line is for it.
pub fn apply(substitutions: &[Substitution], path: &str) -> Option<String> {
    substitutions.iter().find_map(|Substitution { from, to }| {
        let rest = path.strip_prefix(from.as_str())?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        // Otherwise it began with two.
        let rest = if to == "/" { rest.trim_start_matches('/') } else { rest };
        Some(format!("{to}{rest}"))
    })
}
