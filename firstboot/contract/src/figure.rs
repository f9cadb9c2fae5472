//! What was measured on a node, and whether it is what it should be.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Of what, one word: `disk-write`.
    pub name: String,
    /// What was found.
    pub value: f64,
    /// Of value and thresholds; empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unit: String,
    /// What was needed; absent: no less is too little.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    /// What was needed; absent: no more is too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// Whether what was found is what was needed; absent: nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// When it was measured, in seconds since 1970, by the node's clock.
    pub measured: u64,
}

impl Figure {
    /// A figure, judged by its thresholds.
    pub fn judged(self) -> Self {
        let Self { value, at_least, at_most, .. } = self;
        let inside = at_least.is_none_or(|least| value >= least) && at_most.is_none_or(|most| value <= most);
        Self { passed: (at_least.is_some() || at_most.is_some()).then_some(inside), ..self }
    }

    /// What was found and what was needed: `12.3 MB/s, needed at least 500`.
    pub fn words(&self) -> String {
        let Self { value, unit, at_least, at_most, .. } = self;
        let needed = match (at_least, at_most) {
            (None, None) => String::new(),
            (Some(least), None) => format!(", needed at least {}", number(*least)),
            (None, Some(most)) => format!(", needed at most {}", number(*most)),
            (Some(least), Some(most)) => format!(", needed {} to {}", number(*least), number(*most)),
        };
        let space = if unit.is_empty() { "" } else { " " };
        format!("{}{space}{unit}{needed}", number(*value))
    }
}

/// `disk-write: 12.3 MB/s, needed at least 500`
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.words())
    }
}

/// A number as people read it: three digits behind the point, where there is anything before it.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1.0..1e15 => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        1e-6..1.0 => value.to_string(),
        _ => format!("{value:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, number};

    fn figure(value: f64, at_least: Option<f64>, at_most: Option<f64>) -> Figure {
        let (name, unit) = ("disk-write".to_owned(), "MB/s".to_owned());
        Figure { name, value, unit, at_least, at_most, passed: None, measured: 1 }.judged()
    }

    #[test]
    fn thresholds_are_included_and_without_one_nothing_is_judged() {
        for (value, at_least, at_most, passed, words) in [
            (12.3, None, None, None, "disk-write: 12.3 MB/s"),
            (12.3, Some(500.0), None, Some(false), "disk-write: 12.3 MB/s, needed at least 500"),
            (499.96, Some(500.0), None, Some(false), "disk-write: 499.96 MB/s, needed at least 500"),
            (500.0, Some(500.0), None, Some(true), "disk-write: 500 MB/s, needed at least 500"),
            (500.5, None, Some(500.0), Some(false), "disk-write: 500.5 MB/s, needed at most 500"),
            (3.0, Some(2.0), Some(3.0), Some(true), "disk-write: 3 MB/s, needed 2 to 3"),
            (1.0, Some(2.0), Some(3.0), Some(false), "disk-write: 1 MB/s, needed 2 to 3"),
        ] {
            let figure = figure(value, at_least, at_most);
            assert_eq!((figure.passed, figure.to_string().as_str()), (passed, words));
        }
        assert_eq!(Figure { unit: String::new(), ..figure(7.0, None, None) }.words(), "7");
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1e-9, "1e-9"),
            (94_132_000_000.123_4, "94132000000.123"),
            (-2.0, "-2"),
            (1e300, "1e300"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
