//! Which source of a module is for which kernel: KMM's kernel mappings. The first that matches counts.

use regex::bytes::{Regex, RegexBuilder};

use super::release::{Release, Unfit};

/// For which kernels a mapping is.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// This one.
    Literal(String),
    /// Those whose release the expression matches, anywhere in it: KMM does not anchor.
    Regexp(Regex),
}

impl Matcher {
    /// From an expression in the syntax that Go and Rust share.
    ///
    /// # Errors
    /// No regular expression.
    pub fn regexp(pattern: &str) -> Result<Self, Unfit> {
        let built = RegexBuilder::new(pattern).unicode(false).build();
        built.map(Self::Regexp).map_err(|error| Unfit(format!("needed a regular expression, found {pattern:?}: {error}")))
    }

    /// Whether it is for this kernel.
    pub fn matches(&self, kernel: &Release) -> bool {
        match self {
            Self::Literal(text) => text == kernel.as_str(),
            Self::Regexp(pattern) => pattern.is_match(kernel.as_str().as_bytes()),
        }
    }

    /// A warning where an expression matches this kernel by a part of its release only: who wrote `6.1` hardly meant `6.12`.
    pub fn loose(&self, kernel: &Release) -> Option<String> {
        let Self::Regexp(pattern) = self else { return None };
        let text = kernel.as_str();
        let whole = pattern.find_iter(text.as_bytes()).any(|found| found.len() == text.len());
        let anchored = RegexBuilder::new(&format!("^(?:{})$", pattern.as_str())).unicode(false).build();
        let whole = whole || anchored.is_ok_and(|anchored| anchored.is_match(text.as_bytes()));
        let found = pattern.find(text.as_bytes()).filter(|_| !whole)?;
        let part = String::from_utf8_lossy(found.as_bytes());
        let open = |mark: char| pattern.as_str().contains(mark);
        // Who wrote an anchor knows about them.
        (!open('^') && !open('$')).then(|| {
            format!(
                "the expression {:?} matches {part:?}, a part of {text}: write ^{}$ to mean the whole",
                pattern.as_str(),
                pattern.as_str()
            )
        })
    }
}

/// The first of `mappings` that is for `kernel`.
pub fn first<'a, T>(mappings: impl IntoIterator<Item = (&'a Matcher, T)>, kernel: &Release) -> Option<T> {
    mappings.into_iter().find(|(matcher, _)| matcher.matches(kernel)).map(|(_, what)| what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(text: &str) -> Release {
        Release::parse(text).unwrap()
    }

    #[test]
    fn the_first_that_matches_counts() {
        let mappings = [
            (Matcher::Literal("6.12.1-amd64".to_owned()), 1),
            (Matcher::regexp(r"^6\.12\..+$").unwrap(), 2),
            (Matcher::regexp("6.1").unwrap(), 3),
        ];
        let chosen = |kernel: &str| first(mappings.iter().map(|(matcher, what)| (matcher, *what)), &release(kernel));
        assert_eq!(
            ["6.12.1-amd64", "6.12.2-amd64", "6.1.0-9-amd64", "5.6.1-amd64", "5.10.0-8"].map(chosen),
            [Some(1), Some(2), Some(3), Some(3), None]
        );
    }

    #[test]
    fn a_loose_expression_is_told() {
        for (pattern, told) in [("6.1", true), ("^6.1", false), (r"^6\.12\..*$", false), ("6.12.*", false), (r"\d+", true)] {
            let found = Matcher::regexp(pattern).unwrap().loose(&release("6.12.1-amd64"));
            assert_eq!(found.is_some(), told, "{pattern}: {found:?}");
        }
        assert!(Matcher::regexp("(").unwrap_err().0.contains("needed a regular expression"));
    }
}
