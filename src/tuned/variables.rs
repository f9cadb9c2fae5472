//! Variables of profiles: `${name}` in a value, `\${name}` for the text itself.
//!
//! A variable's value is expanded when it is set, so that it sees those before it, and what it was itself before.

use std::collections::{BTreeMap, BTreeSet};

use super::functions::{self, Expanded, LONGEST, Note, Stop};
use super::python::is_name;

/// What is set so far.
#[derive(Debug, Default)]
pub struct Variables {
    values: BTreeMap<String, String>,
}

/// What a name cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName;

impl Variables {
    /// Sets `name` to what is already expanded.
    ///
    /// # Errors
    /// The name has other characters than letters, digits and `_`, and tuned ignores it; or digits alone, and no value can use it.
    pub fn set(&mut self, name: &str, value: String) -> Result<(), BadName> {
        if !is_name(name) || name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadName);
        }
        self.values.insert(name.to_owned(), value);
        Ok(())
    }

    /// Puts values in the place of names, then answers in the place of functions.
    ///
    /// # Errors
    /// What would make tuned break off, and a value that grows too long.
    pub fn expand(&self, text: &str, known: Option<&BTreeSet<String>>) -> Result<Expanded, Stop> {
        if text.len() > LONGEST {
            return Err(Stop::TooLong);
        }
        let (text, undefined) = self.replace(text)?;
        let mut expanded = functions::expand(&unescape(&text), known)?;
        expanded.notes.extend(undefined);
        Ok(expanded)
    }

    fn replace(&self, text: &str) -> Result<(String, Vec<Note>), Stop> {
        let (mut out, mut undefined) = (String::with_capacity(text.len()), Vec::new());
        let mut rest = text;
        while let Some((before, name, after)) = next_name(rest) {
            out.push_str(before);
            let escaped = before.ends_with('\\');
            match self.values.get(name).filter(|_| !escaped) {
                Some(value) => out.push_str(value),
                None => {
                    out.extend(["${", name, "}"]);
                    let note = Note::Undefined(name.to_owned());
                    if !escaped && !undefined.contains(&note) {
                        undefined.push(note);
                    }
                }
            }
            if out.len() > LONGEST {
                return Err(Stop::TooLong);
            }
            rest = after;
        }
        out.push_str(rest);
        Ok((out, undefined))
    }
}

/// What stands before the first `${name}` of `text`, the name, and what stands after it.
fn next_name(text: &str) -> Option<(&str, &str, &str)> {
    text.match_indices("${").find_map(|(at, _)| {
        let (name, after) = text[at + 2..].split_once('}')?;
        is_name(name).then_some((&text[..at], name, after))
    })
}

/// Takes one backslash away before each `${name}`.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, name, after)) = next_name(rest) {
        out.push_str(before.strip_suffix('\\').unwrap_or(before));
        out.extend(["${", name, "}"]);
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        let mut variables = Variables::default();
        for (name, value) in pairs {
            variables.set(name, (*value).to_owned()).unwrap();
        }
        variables
    }

    #[test]
    fn names_become_values_once() {
        let variables = variables(&[("a", "1"), ("b", "${a}"), ("c", "\\${a}")]);
        for (text, becomes) in [
            ("x${a}y", "x1y"),
            ("${b}", "${a}"),
            ("\\${a}", "${a}"),
            ("\\\\${a}", "\\${a}"),
            ("${c}", "${a}"),
            ("${${a}}", "${1}"),
            ("${d} ${a", "${d} ${a"),
            ("${f:log:${a}}", "1"),
        ] {
            assert_eq!(variables.expand(text, None).unwrap().text, becomes, "{text}");
        }
        assert_eq!(variables.expand("${d} \\${e}", None).unwrap().notes, [Note::Undefined("d".into())]);
    }

    #[test]
    fn values_do_not_grow_without_end() {
        let long = "x".repeat(LONGEST / 2);
        assert_eq!(variables(&[("a", &long)]).expand("${a}${a}${a}", None), Err(Stop::TooLong));
    }

    #[test]
    fn names_that_nothing_can_use() {
        for name in ["a.b", "", "12"] {
            assert_eq!(Variables::default().set(name, String::new()), Err(BadName));
        }
    }
}
