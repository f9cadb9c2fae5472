//! Debian's control format: stanzas of `Field: value` lines, as in Packages, Release and a package database.
//!
//! Format: deb822(5). Field names do not care about case; a line that begins with white space goes on with the field before it.

/// One paragraph of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stanza<'a>(&'a str);

/// The stanzas of `text`, in order.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(|c: char| !c.is_ascii_whitespace())?;
        rest = &rest[start..];
        let (stanza, tail) = rest.split_once("\n\n").unwrap_or((rest, ""));
        rest = tail;
        Some(Stanza(stanza))
    })
}

impl<'a> Stanza<'a> {
    /// The first line of the field `name`, without white space at its ends.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.lines().filter(|line| !line.starts_with([' ', '\t', '#'])).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The text of the stanza, without the empty line that ends it.
    pub fn text(&self) -> &'a str {
        self.0
    }
}

/// The names in a relationship field such as `Provides`: versions, architectures and alternatives are left out.
pub fn names(field: &str) -> impl Iterator<Item = &str> {
    field.split([',', '|']).filter_map(|one| one.trim().split([' ', '(', ':', '[']).next()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\nPackage: a\nVersion: 1:2-3\nDescription: x\n Package: no\n\tVersion: no\nsize:  7 \n\n\nPackage: b\n";

    #[test]
    fn fields_of_stanzas() {
        let found: Vec<_> = stanzas(TEXT).collect();
        let [a, b] = found[..] else { panic!("two stanzas: {found:?}") };
        for (stanza, field, needed) in [
            (a, "Package", Some("a")),
            (a, "version", Some("1:2-3")),
            (a, "Size", Some("7")),
            (a, "Filename", None),
            (b, "Package", Some("b")),
            (b, "Version", None),
        ] {
            assert_eq!(stanza.get(field), needed, "{field}");
        }
    }

    #[test]
    fn nothing_has_no_stanzas() {
        assert_eq!(stanzas("").count() + stanzas("\n\n \n").count(), 0);
    }

    #[test]
    fn names_of_a_relationship() {
        let field = "mail-transport-agent, libfoo (= 1), bar:any | baz [amd64]";
        assert_eq!(names(field).collect::<Vec<_>>(), ["mail-transport-agent", "libfoo", "bar", "baz"]);
    }

    #[test]
    fn it_agrees_with_dpkg() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("DEBIAN")).unwrap();
        let control =
            "Package: probe\nVersion: 1~2\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: a\n b\n .\n c\n";
        std::fs::write(folder.path().join("DEBIAN/control"), control).unwrap();
        let deb = folder.path().join("probe.deb");
        let cmd = crate::host::cmd::Cmd::new;
        cmd("dpkg-deb").args(["--root-owner-group", "-b"]).arg(folder.path()).arg(&deb).run().unwrap();
        let output = cmd("dpkg-deb").arg("-f").arg(&deb).run().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let stanza = stanzas(&text).next().unwrap();
        for field in ["Package", "Version", "Architecture", "Maintainer"] {
            let output = cmd("dpkg-deb").arg("-f").arg(&deb).arg(field).run().unwrap();
            assert_eq!(stanza.get(field), Some(String::from_utf8(output.stdout).unwrap().trim()), "{field}");
        }
    }
}
