//! One line with a rule: `REGEX [-KIND] LABEL`.

use regex::bytes::{Regex, RegexBuilder};

use super::{FileKind, pattern};

/// Instead of a label: what matches has none.
const NONE: &str = "<<none>>";
/// So long may a regular expression be, as libselinux has it.
const LONGEST: usize = 4096;

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// What paths it is for.
    pub matcher: Matcher,
    /// What kind of file; none: every one.
    kind: Option<FileKind>,
    /// The label, without a NUL; none: `<<none>>`.
    pub label: Option<String>,
}

/// What paths a rule is for.
#[derive(Debug)]
pub enum Matcher {
    /// Just this one: the regular expression has no meta characters.
    Exact(String),
    /// Those that match.
    Pattern {
        /// What each of them begins with.
        prefix: String,
        /// Anchored.
        regex: Regex,
    },
}

impl Rule {
    /// Reads a line; none when it is a comment or empty.
    ///
    /// # Errors
    /// Why it is no rule.
    pub fn parse(line: &str) -> Result<Option<Self>, String> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (path, kind, label) = match words[..] {
            [] => return Ok(None),
            [first, ..] if first.starts_with('#') => return Ok(None),
            [path, label] => (path, None, label),
            [path, kind, label] => (path, Some(self::kind(kind)?), label),
            _ => return Err(format!("needed a path, perhaps a kind, and a label, found {line:?}")),
        };
        if label.starts_with('-') {
            return Err(format!("needed a label, found {label:?}"));
        }
        let label = (label != NONE).then(|| label.to_owned());
        Ok(Some(Self { matcher: matcher(path)?, kind, label }))
    }

    /// Whether it is for files of this kind.
    pub fn is_for(&self, kind: FileKind) -> bool {
        self.kind.is_none_or(|own| own == kind)
    }

    /// Whether it is for this path.
    pub fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact(own) => own == path,
            Matcher::Pattern { regex, .. } => regex.is_match(path.as_bytes()),
        }
    }
}

fn kind(word: &str) -> Result<FileKind, String> {
    Ok(match word {
        "--" => FileKind::Regular,
        "-d" => FileKind::Directory,
        "-l" => FileKind::Symlink,
        "-c" => FileKind::Character,
        "-b" => FileKind::Block,
        "-p" => FileKind::Pipe,
        "-s" => FileKind::Socket,
        _ => return Err(format!("needed a kind of file (--, -d, -l, -c, -b, -p or -s), found {word:?}")),
    })
}

fn matcher(written: &str) -> Result<Matcher, String> {
    if written.len() >= LONGEST {
        return Err(format!("the regular expression has {} bytes, and {LONGEST} are too many", written.len()));
    }
    let bad = |why: String| format!("the regular expression {written:?} cannot be used: {why}");
    if let Some(path) = pattern::literal(written) {
        return Ok(Matcher::Exact(path));
    }
    // Not in a group: so does libselinux, and an alternative at the top is anchored at one end only.
    let anchored = format!("^{}$", pattern::translate(written).map_err(|why| bad(why.to_owned()))?);
    let regex = RegexBuilder::new(&anchored).unicode(false).dot_matches_new_line(true).build();
    let regex = regex.map_err(|error| bad(error.to_string()))?;
    Ok(Matcher::Pattern { prefix: pattern::prefix(written), regex })
}
