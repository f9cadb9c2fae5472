//! Licences as Debian's copyright files name them, in SPDX's words.
//!
//! Source: <https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/> for the short names; the SPDX licence list for what they
//! become. A name that SPDX does not have stays a reference to the file; a file without that form says nothing that can be relied on.

use std::collections::BTreeSet;

use anyhow::Result;

use super::copyright;
use crate::tree::Tree;

/// Debian's short names and SPDX's. Names that are the same in both are in [`SAME`].
const NAMES: [(&str, &str); 46] = [
    ("apache-2", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("cc0", "CC0-1.0"),
    ("expat", "MIT"),
    ("gfdl-1.2", "GFDL-1.2-only"),
    ("gfdl-1.2+", "GFDL-1.2-or-later"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gfdl-1.3+", "GFDL-1.3-or-later"),
    ("gfdl-niv-1.3", "GFDL-1.3-no-invariants-only"),
    ("gfdl-niv-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-1.0", "GPL-1.0-only"),
    ("gpl-1.0+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-2.0+", "GPL-2.0-or-later"),
    ("gpl-2.0-only", "GPL-2.0-only"),
    ("gpl-2.0-or-later", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("gpl-3.0+", "GPL-3.0-or-later"),
    ("gpl-3.0-or-later", "GPL-3.0-or-later"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.0", "LGPL-2.0-only"),
    ("lgpl-2.0+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgpl-2.1-only", "LGPL-2.1-only"),
    ("lgpl-2.1-or-later", "LGPL-2.1-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("lgpl-3.0+", "LGPL-3.0-or-later"),
    ("mit", "MIT"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2", "MPL-2.0"),
    ("zlib", "Zlib"),
    ("boost-1.0", "BSL-1.0"),
];
/// Short names that SPDX has with the same spelling.
const SAME: [&str; 16] = [
    "0BSD",
    "AFL-2.1",
    "Apache-2.0",
    "BSL-1.0",
    "Beerware",
    "CC-BY-3.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "ISC",
    "MPL-2.0",
    "Unicode-DFS-2016",
    "X11",
];

/// What a package's copyright file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    /// An SPDX licence expression.
    pub(super) expression: String,
    /// The short names in it that SPDX does not have.
    pub(super) references: Vec<String>,
}

/// The licences of a package. None when its file is missing or has another form.
pub(super) fn declared(tree: &Tree, package: &str) -> Result<Option<Declared>> {
    Ok(copyright(tree, package)?.as_deref().and_then(expression))
}

/// How a document refers to a licence that SPDX does not have.
pub(super) fn reference(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' };
    format!("LicenseRef-{}", name.chars().map(letter).collect::<String>())
}

/// What the file's licences say together: each is that of some file.
fn expression(text: &str) -> Option<Declared> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    if !lines.next()?.to_ascii_lowercase().starts_with("format:") {
        return None;
    }
    let field = |line: &'_ str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("license").then(|| value.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let synopses: BTreeSet<String> = lines.filter_map(field).filter(|value| !value.is_empty()).collect();
    let mut references = BTreeSet::new();
    let all: BTreeSet<String> = synopses.iter().map(|synopsis| one_of(synopsis, OPERATORS, &mut references)).collect();
    let expression = join(all.into_iter().collect(), "AND");
    (!expression.is_empty()).then(|| Declared { expression, references: references.into_iter().collect() })
}

/// What joins names, and the word of SPDX: the loosest first. A comma binds looser than all without one, `and` tighter than `or`.
const OPERATORS: &[(&str, &str)] = &[(", or ", "OR"), (", and ", "AND"), (" or ", "OR"), (" and ", "AND")];

/// A synopsis, or a part of one, in SPDX's words.
fn one_of(synopsis: &str, operators: &[(&str, &str)], references: &mut BTreeSet<String>) -> String {
    let Some(((between, word), tighter)) = operators.split_first() else {
        let name = synopsis.trim().trim_end_matches(',');
        return in_spdx(name).unwrap_or_else(|| {
            references.insert(name.to_owned());
            reference(name)
        });
    };
    let parts: BTreeSet<_> = synopsis.split(between).map(|part| one_of(part, tighter, references)).collect();
    join(parts.into_iter().collect(), word)
}

/// Several with `word` between them, in brackets where they have another word inside.
fn join(parts: Vec<String>, word: &str) -> String {
    let other = if word == "AND" { " OR " } else { " AND " };
    let many = parts.len() > 1;
    let part = |part: String| if many && part.contains(other) { format!("({part})") } else { part };
    parts.into_iter().map(part).collect::<Vec<_>>().join(&format!(" {word} "))
}

fn in_spdx(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let known = NAMES.iter().find(|(debian, _)| *debian == lower).map(|(_, spdx)| *spdx);
    known.or_else(|| SAME.iter().find(|same| same.eq_ignore_ascii_case(name)).copied()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copyright_files_say() {
        let table = [
            ("Format: x\n\nFiles: *\nLicense: GPL-2+ or MIT\n", Some(("GPL-2.0-or-later OR MIT", &[][..]))),
            ("Format: x\nLicense: GPL-2 or MIT\nLicense: ISC\n", Some(("(GPL-2.0-only OR MIT) AND ISC", &[]))),
            ("Format: x\nLicense: GPL-2+ or AFL-2.1, and Expat\n", Some(("(AFL-2.1 OR GPL-2.0-or-later) AND MIT", &[]))),
            ("Format: x\nLicense: GPL-2 or MIT and ISC\n", Some(("GPL-2.0-only OR (ISC AND MIT)", &[]))),
            ("Format: x\nLicense: Expat\nLicense: mit\n", Some(("MIT", &[]))),
            (
                "Format: x\nLicense: GPL-3+ with Autoconf exception, and public-domain\n Text: a and b\n",
                Some((
                    "LicenseRef-GPL-3--with-Autoconf-exception AND LicenseRef-public-domain",
                    &["GPL-3+ with Autoconf exception", "public-domain"],
                )),
            ),
            ("This package was debianized by somebody.\nLicense: GPL-2\n", None),
            ("Format: x\n", None),
            ("", None),
        ];
        for (text, wanted) in table {
            let wanted = wanted.map(|(expression, references)| Declared {
                expression: expression.to_owned(),
                references: references.iter().map(|&name| name.to_owned()).collect(),
            });
            assert_eq!(expression(text), wanted, "{text}");
        }
    }

    #[test]
    fn tables_have_each_name_once() {
        let names: BTreeSet<_> = NAMES
            .iter()
            .map(|(debian, _)| debian.to_ascii_lowercase())
            .chain(SAME.iter().map(|name| name.to_ascii_lowercase()))
            .collect();
        assert_eq!(names.len(), NAMES.len() + SAME.len());
    }
}
