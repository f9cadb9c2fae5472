//! tuned's built-in functions, `${f:NAME:ARGUMENT:...}`: those whose answer is the same on every machine are evaluated.
//!
//! What asks the node (its processors, its programs) is left as it is written, and so is every function around it: the text that
//! stays gives on the node what the whole would have given.
//!
//! To add one: a row of [`table::TABLE`].

mod cpulist;
mod expression;
mod table;

use std::collections::BTreeSet;

pub use table::{Answer, answer};

use super::python::is_name;

/// What a text becomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// With the answers in it.
    pub text: String,
    /// The functions that are left to the node, each once, in order.
    pub left: Vec<String>,
    /// What is strange in it.
    pub notes: Vec<Note>,
}

/// What tuned would write into its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// No such function: the text stays.
    Unknown(String),
    /// A function with too few or too many arguments, or ones that it cannot use: the text stays.
    Arguments(String),
    /// A `}` without `${`: nothing behind it is evaluated. Or a `${` without `}`.
    Unpaired,
    /// A `${name}` that no variable has.
    Undefined(String),
}

/// Why tuned would break off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// An assertion that does not hold: what it says, and why.
    Assertion(String, String),
    /// `${f}`
    NoFunction,
    /// Longer than [`LONGEST`].
    TooLong,
}

/// So many characters may a value have. tuned has no limit, the kernel has one of 4096.
pub const LONGEST: usize = 1 << 14;

/// Evaluates the functions in `text`. `known`: which functions there are; none: those that are told of in [`table::TABLE`].
///
/// # Errors
/// What would make tuned break off.
pub fn expand(text: &str, known: Option<&BTreeSet<String>>) -> Result<Expanded, Stop> {
    if text.len() > LONGEST {
        return Err(Stop::TooLong);
    }
    let mut walk = Walk { text: text.chars().collect(), at: 0, open: Vec::new(), known, expanded: Expanded::default() };
    walk.run()?;
    let text: String = walk.text.iter().collect();
    Ok(Expanded { text: unescape(&text), ..walk.expanded })
}

/// A `${` that no `}` has closed yet.
struct Open {
    from: usize,
    escaped: bool,
    /// Something in it is left to the node.
    left: bool,
}

struct Walk<'a> {
    text: Vec<char>,
    at: usize,
    open: Vec<Open>,
    known: Option<&'a BTreeSet<String>>,
    expanded: Expanded,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        let mut escaped = false;
        while self.at < self.text.len() {
            if self.text[self.at] == '}' {
                let Some(open) = self.open.pop() else {
                    self.note(Note::Unpaired);
                    return Ok(());
                };
                if !open.escaped {
                    self.close(&open)?;
                }
            } else if self.text[self.at..].starts_with(&['$', '{']) {
                self.open.push(Open { from: self.at, escaped, left: false });
            }
            escaped = self.text.get(self.at) == Some(&'\\');
            self.at += 1;
        }
        if !self.open.is_empty() {
            self.note(Note::Unpaired);
        }
        Ok(())
    }

    /// What stands between `open` and here, in the place of which an answer comes.
    fn close(&mut self, open: &Open) -> Result<(), Stop> {
        let inside = &self.text[open.from + 2..self.at];
        match inside {
            ['f'] => return Err(Stop::NoFunction),
            ['f', ':', ..] => {}
            _ => return Ok(()),
        }
        let mut words = arguments(&inside[2..]).into_iter();
        let name = words.next().unwrap_or_default();
        let words: Vec<String> = words.collect();
        if !is_name(&name) {
            self.note(Note::Unknown(name));
            return Ok(());
        }
        if open.left {
            self.leave(None);
            return Ok(());
        }
        match answer(&name, &words, self.known) {
            Answer::Text(text) => self.put(open.from, &text)?,
            Answer::Holds => {}
            Answer::Node => self.leave(Some(name)),
            Answer::Unknown => self.note(Note::Unknown(name)),
            Answer::Arguments => self.note(Note::Arguments(name)),
            Answer::Fails(what, why) => return Err(Stop::Assertion(what, why)),
        }
        Ok(())
    }

    fn put(&mut self, from: usize, answer: &str) -> Result<(), Stop> {
        let before = self.text.len();
        self.text.splice(from..=self.at, answer.chars());
        if self.text.len() > LONGEST.max(before) {
            return Err(Stop::TooLong);
        }
        // The last character of the answer. Without one at the beginning of the text, tuned goes on behind the first one.
        self.at = (from + answer.chars().count()).saturating_sub(1);
        Ok(())
    }

    fn leave(&mut self, name: Option<String>) {
        if let Some(name) = name.filter(|name| !self.expanded.left.contains(name)) {
            self.expanded.left.push(name);
        }
        for open in &mut self.open {
            open.left = true;
        }
    }

    fn note(&mut self, note: Note) {
        if !self.expanded.notes.contains(&note) {
            self.expanded.notes.push(note);
        }
    }
}

/// What colons part, but for those behind a backslash, which is taken away.
fn arguments(inside: &[char]) -> Vec<String> {
    let mut found = vec![String::new()];
    for (at, c) in inside.iter().enumerate() {
        let escaped = at > 0 && inside[at - 1] == '\\';
        match (c, found.last_mut()) {
            (':', Some(last)) if escaped => {
                last.pop();
                last.push(':');
            }
            (':', _) => found.push(String::new()),
            (c, Some(last)) => last.push(*c),
            (_, None) => {}
        }
    }
    found
}

/// Takes the backslash of `\${f:...}` away: of a line only the first one before the last brace.
fn unescape(text: &str) -> String {
    const ESCAPED: &str = "\\${f:";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(ESCAPED) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let line = from.split('\n').next().unwrap_or(from);
        let end = line.rfind('}').filter(|end| *end >= ESCAPED.len()).map_or(ESCAPED.len(), |end| end + 1);
        out.push_str(&from[usize::from(line[..end].ends_with('}'))..end]);
        rest = &from[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_take_the_place_of_functions() {
        for (text, becomes) in [
            ("a${f:strip: b : c }d", "ab  cd"),
            ("${f:kb2s:${f:s2kb:7}}", "8"),
            ("${f:cpulist2hex:${f:cpulist_unpack:1-3}}", "0000000e"),
            ("${f:log:a\\:b:c}", "a:bc"),
            ("\\${f:kb2s:1}", "${f:kb2s:1}"),
            ("\\${f:kb2s:1} \\${f:kb2s:2}", "${f:kb2s:1} \\${f:kb2s:2}"),
            ("\\${f:x", "\\${f:x"),
            ("${x} ${f:strip:y}", "${x} y"),
            ("${f:strip: }${f:strip:b}", "${f:strip:b}"),
            ("x${f:strip: }${f:strip:b}", "xb"),
            ("} ${f:strip:b}", "} ${f:strip:b}"),
        ] {
            assert_eq!(expand(text, None).unwrap().text, becomes, "{text}");
        }
    }

    #[test]
    fn what_asks_the_node_stays_with_all_around_it() {
        let text = "a ${f:strip:${f:exec:mktemp:-d}} ${f:strip: x }";
        let expanded = expand(text, None).unwrap();
        assert_eq!(expanded.text, "a ${f:strip:${f:exec:mktemp:-d}} x");
        assert_eq!(expanded.left, ["exec"]);
    }

    #[test]
    fn what_is_strange_is_told() {
        let none = BTreeSet::new();
        for (text, known, note) in [
            ("${f:nonsense:1}", None, Note::Unknown("nonsense".into())),
            ("${f:kb2s:1}", Some(&none), Note::Unknown("kb2s".into())),
            ("${f:a b:1}", None, Note::Unknown("a b".into())),
            ("${f:kb2s}", None, Note::Arguments("kb2s".into())),
            ("${f:kb2s:x}", None, Note::Arguments("kb2s".into())),
            ("}", None, Note::Unpaired),
            ("${x", None, Note::Unpaired),
        ] {
            let expanded = expand(text, known).unwrap();
            assert_eq!((expanded.text.as_str(), &expanded.notes[..]), (text, &[note][..]));
        }
        assert_eq!(expand("${f}", None), Err(Stop::NoFunction));
        assert!(matches!(expand("${f:assertion:a:b:c}", None), Err(Stop::Assertion(what, _)) if what == "a"));
        assert_eq!(expand("${f:assertion:a:b:b}", None).unwrap().text, "${f:assertion:a:b:b}");
    }
}
