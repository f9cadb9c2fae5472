//! Files with sections, as tuned reads them: Python's `configparser` with `=` alone between option and value, comments that begin
//! with `#` (or, on a line of their own, `;`), and no complaint about anything that is written twice.
//!
//! A value goes on over lines that are indented deeper than its option. `[DEFAULT]` gives options to every other section.

use super::python::{is_space, strip};

/// Which of tuned's files it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `tuned.conf`: everything stands in a section and has a value.
    Profile,
    /// A file of variables: a section need not be there, nor a value.
    Variables,
}

/// A file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Those of one name are one, at the place of the first.
    pub sections: Vec<Section>,
    /// What is written more than once.
    pub duplicates: Vec<Duplicate>,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Between the brackets; spaces belong to it. Empty: what stands before the first one.
    pub name: String,
    /// Of its first header, counted from 1.
    pub line: usize,
    /// One of each name, at the place of its first; the last value wins.
    pub options: Vec<Entry>,
}

/// An option and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As written: upper and lower case differ.
    pub name: String,
    /// Without spaces around it, its lines joined by `\n`. None where there is no `=`.
    pub value: Option<String>,
    /// Where its value begins, counted from 1.
    pub line: usize,
}

/// An option that a section has twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Its section.
    pub section: String,
    /// Its name.
    pub option: String,
    /// The one without effect.
    pub first: usize,
    /// The one that wins over it.
    pub last: usize,
}

/// A line that is neither section nor option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What could have stood there.
    pub needed: &'static str,
    /// The line.
    pub found: String,
}

const DEFAULT: &str = "DEFAULT";

/// Reads a whole file, whose lines end with `\n`.
///
/// # Errors
/// Every line that cannot be understood; only the first one where nothing after it can be.
pub fn parse(text: &str, format: Format) -> Result<Document, Vec<BadLine>> {
    let mut reader = Reader::new(format);
    for (index, line) in text.strip_suffix('\n').unwrap_or(text).split('\n').enumerate() {
        if reader.take(line, index + 1).is_err() {
            break;
        }
    }
    if reader.bad.is_empty() { Ok(reader.finish()) } else { Err(reader.bad) }
}

/// Nothing after this line can be understood.
struct Stop;

struct Reader {
    format: Format,
    document: Document,
    /// The section that lines belong to.
    section: Option<usize>,
    /// The option of it that may go on.
    option: Option<usize>,
    /// How deep the last line that began something was indented.
    indent: usize,
    bad: Vec<BadLine>,
}

impl Reader {
    fn new(format: Format) -> Self {
        let document = Document { sections: Vec::new(), duplicates: Vec::new() };
        let mut reader = Self { format, document, section: None, option: None, indent: 0, bad: Vec::new() };
        if format == Format::Variables {
            reader.enter("", 1);
        }
        reader
    }

    fn take(&mut self, line: &str, number: usize) -> Result<(), Stop> {
        let bare = strip(line);
        let comment = bare.starts_with(['#', ';']);
        let text = if comment { "" } else { strip(uncommented(line)) };
        if text.is_empty() {
            if bare.is_empty()
                && let Some(Entry { value: Some(value), .. }) = self.open()
            {
                value.push('\n');
            }
            return Ok(());
        }
        let indent = line.chars().take_while(|c| is_space(*c)).count();
        if self.option.is_some() && indent > self.indent {
            let Some(Entry { value: Some(value), .. }) = self.open() else {
                self.bad.push(bad(number, "an option with a value above a line that goes on", line));
                return Err(Stop);
            };
            value.push('\n');
            value.push_str(text);
            return Ok(());
        }
        self.indent = indent;
        if let Some(name) = header(text) {
            self.enter(name, number);
            return Ok(());
        }
        if self.section.is_none() {
            self.bad.push(bad(number, "a section ([main], say) above the first option", line));
            return Err(Stop);
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (strip(name), Some(strip(value))),
            None => (text, None),
        };
        if name.is_empty() || (value.is_none() && self.format == Format::Profile) {
            self.bad.push(bad(number, "[section], or option = value", line));
        } else {
            self.set(name, value, number);
        }
        Ok(())
    }

    fn open(&mut self) -> Option<&mut Entry> {
        self.document.sections.get_mut(self.section?)?.options.get_mut(self.option?)
    }

    fn enter(&mut self, name: &str, line: usize) {
        let sections = &mut self.document.sections;
        let place = sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
            sections.push(Section { name: name.to_owned(), line, options: Vec::new() });
            sections.len() - 1
        });
        (self.section, self.option) = (Some(place), None);
    }

    fn set(&mut self, name: &str, value: Option<&str>, line: usize) {
        let Some(section) = self.section.and_then(|place| self.document.sections.get_mut(place)) else { return };
        let entry = Entry { name: name.to_owned(), value: value.map(str::to_owned), line };
        let known = section.options.iter().position(|option| option.name == name);
        let place = known.unwrap_or(section.options.len());
        if known.is_some() {
            let first = std::mem::replace(&mut section.options[place], entry).line;
            let (section, option) = (section.name.clone(), name.to_owned());
            self.document.duplicates.push(Duplicate { section, option, first, last: line });
        } else {
            section.options.push(entry);
        }
        self.option = Some(place);
    }

    fn finish(self) -> Document {
        let mut document = self.document;
        for value in document.sections.iter_mut().flat_map(|section| &mut section.options).filter_map(|o| o.value.as_mut()) {
            value.truncate(value.trim_end_matches(is_space).len());
        }
        if let Some(place) = document.sections.iter().position(|section| section.name == DEFAULT) {
            let defaults = document.sections.remove(place).options;
            for section in &mut document.sections {
                let missing = |entry: &&Entry| section.options.iter().all(|option| option.name != entry.name);
                let missing: Vec<_> = defaults.iter().filter(missing).cloned().collect();
                section.options.extend(missing);
            }
        }
        document
    }
}

fn bad(line: usize, needed: &'static str, found: &str) -> BadLine {
    BadLine { line, needed, found: found.to_owned() }
}

/// What stands before the comment at the end of a line: a `#` at its beginning, or after a space.
fn uncommented(line: &str) -> &str {
    let is_comment = |at: &usize| line[..*at].chars().next_back().is_none_or(is_space);
    line.match_indices('#').map(|(at, _)| at).find(is_comment).map_or(line, |at| &line[..at])
}

/// What is between the first bracket, which begins the line, and the last one, whatever stands behind it.
fn header(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('[')?.rsplit_once(']')?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Shown = (String, Vec<(String, String, usize)>);

    fn read(text: &str) -> Vec<Shown> {
        let document = parse(text, Format::Profile).unwrap();
        let options = |section: Section| {
            let each = |entry: Entry| (entry.name, entry.value.unwrap_or_else(|| "-".into()), entry.line);
            (section.name, section.options.into_iter().map(each).collect())
        };
        document.sections.into_iter().map(options).collect()
    }

    #[test]
    fn options_and_what_they_go_on_over() {
        for (text, options) in [
            ("[s]\na=1", vec![("a", "1", 2)]),
            ("[s] rest\n a = b = c \n", vec![("a", "b = c", 2)]),
            ("[s]\na: b = c\n", vec![("a: b", "c", 2)]),
            ("[s]\na=1 # no\nb=1#yes\nc=x ;yes\n# d=1\n; e=1\n", vec![("a", "1", 2), ("b", "1#yes", 3), ("c", "x ;yes", 4)]),
            ("[s]\na=1\n  2\n # gone\n\n  3\n\nb=\n", vec![("a", "1\n2\n\n3", 2), ("b", "", 8)]),
            ("[s]\n a=1\n b=2\n  [t]\n", vec![("a", "1", 2), ("b", "2\n[t]", 3)]),
            ("[s]\na=1\nb=2\na=3\n", vec![("a", "3", 4), ("b", "2", 3)]),
            ("[s]\na=1\n[DEFAULT]\na=2\nb=3\n", vec![("a", "1", 2), ("b", "3", 5)]),
        ] {
            let wanted: Vec<_> = options.into_iter().map(|(name, value, line)| (name.into(), value.into(), line)).collect();
            assert_eq!(read(text), [("s".to_owned(), wanted)], "{text}");
        }
    }

    #[test]
    fn sections_of_one_name_are_one() {
        let document = parse("[a]\nx=1\n[b]\n[a]\nx=2\ny=3\n", Format::Profile).unwrap();
        let names: Vec<_> = document.sections.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(document.duplicates, [Duplicate { section: "a".into(), option: "x".into(), first: 2, last: 5 }]);
    }

    #[test]
    fn variables_need_neither_section_nor_value() {
        let document = parse("a=1\nb\n[x]\nc=2\n", Format::Variables).unwrap();
        let names: Vec<_> = document.sections.iter().map(|section| section.name.as_str()).collect();
        assert_eq!(names, ["", "x"]);
        assert_eq!(document.sections[0].options[1].value, None);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, lines) in [("a=1\n[s]\n", vec![1]), ("[s]\n[]\n=1\nb\nc=1\n", vec![2, 3, 4]), ("\u{feff}[s]\n", vec![1])] {
            let bad = parse(text, Format::Profile).unwrap_err();
            assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), lines, "{text}");
        }
        let bad = parse("a\n  b\n", Format::Variables).unwrap_err();
        assert_eq!((bad[0].line, bad[0].found.as_str()), (2, "  b"));
    }
}
