//! What the proof found, one row for each module: for people as a table, for programs as JSON. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::kmod::Finding;
use crate::kmod::prove::KINDS;

use super::Proven;

/// So many reasons are told for one module.
const TOLD: usize = 5;
/// What stands at the top of a column of the table, and the checks whose verdicts it sums up.
const COLUMNS: [(&str, &[&str]); 7] = [
    ("machine", &["machine"]),
    ("vermagic", &["vermagic"]),
    ("symbols", &["symbol", "checksum", "no-checksum", "namespace", "gpl"]),
    ("depends", &["depends"]),
    ("names", &["built-in", "twice"]),
    ("firmware", &["firmware"]),
    ("signature", &["signature"]),
];

/// How a check of a module ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody asked: unsigned modules are loaded, or it is one of the kernel's own.
    NotAsked,
    /// Nothing stands in the way.
    Fits,
    /// Something does, and the recipe allows it.
    Allowed,
    /// Nobody can tell. Counts as a misfit.
    Unknown,
    /// The kernel would not load it, or it would not work.
    Misfit,
}

impl Verdict {
    const fn cell(self) -> &'static str {
        match self {
            Self::NotAsked => "-",
            Self::Fits => "fits",
            Self::Allowed => "allowed",
            Self::Unknown => "unknown",
            Self::Misfit => "MISFIT",
        }
    }

    /// Whether an image can be made with it.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::NotAsked | Self::Fits | Self::Allowed)
    }
}

/// Something that stands in a module's way, or may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Obstacle {
    /// What it is.
    pub finding: Finding,
    /// In words.
    pub text: String,
    /// What follows from it.
    pub verdict: Verdict,
}

/// One module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Row {
    /// The entry of the recipe that brings it. None: one of the kernel's own, which uses something that changes.
    pub entry: Option<String>,
    /// As the kernel names it.
    pub name: String,
    /// Where it lies, below the kernel's folder.
    pub path: String,
    /// Whose signature it has, when that is a key which the kernel trusts.
    pub signed_by: Option<String>,
    /// Every check by its word ([`KINDS`]).
    pub checks: BTreeMap<&'static str, Verdict>,
    /// All of them, in the kernel's order.
    pub obstacles: Vec<Obstacle>,
}

impl Row {
    /// A row with the verdicts that follow from `obstacles`; `skipped` are checks that nobody asked for.
    pub fn new(entry: Option<String>, name: String, path: String, obstacles: Vec<Obstacle>, skipped: &[&str]) -> Self {
        let verdict = |kind: &&'static str| {
            let worst =
                obstacles.iter().filter(|obstacle| obstacle.finding.kind() == *kind).map(|obstacle| obstacle.verdict).max();
            let silent = if skipped.contains(kind) { Verdict::NotAsked } else { Verdict::Fits };
            worst.unwrap_or(silent)
        };
        let checks = KINDS.iter().map(|kind| (*kind, verdict(kind))).collect();
        Self { entry, name, path, signed_by: None, checks, obstacles }
    }

    /// Whether the kernel loads it.
    pub fn is_good(&self) -> bool {
        self.checks.values().all(|verdict| verdict.is_good())
    }
}

/// All modules, those of the recipe first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Table {
    /// The kernel's release.
    pub kernel: String,
    /// One row for each.
    pub modules: Vec<Row>,
}

impl Table {
    /// Whether the kernel loads all of them.
    pub fn is_good(&self) -> bool {
        self.modules.iter().all(Row::is_good)
    }

    /// What a manifest keeps of the recipe's modules, by path.
    pub fn proven(&self) -> Vec<Proven> {
        let allowed = |row: &Row| row.obstacles.iter().map(|obstacle| obstacle.text.clone()).collect();
        let proven = |row: &Row| Proven {
            name: row.name.clone(),
            path: row.path.clone(),
            signed_by: row.signed_by.clone(),
            signature: None,
            allowed: allowed(row),
        };
        let mut proven: Vec<_> = self.modules.iter().filter(|row| row.entry.is_some()).map(proven).collect();
        proven.sort_by(|a, b| a.path.cmp(&b.path));
        proven
    }

    /// What stands in the way of each module that does not fit: a line each, some at most.
    pub fn misfits(&self) -> String {
        let mut text = String::new();
        for row in self.modules.iter().filter(|row| !row.is_good()) {
            let bad: Vec<_> = row.obstacles.iter().filter(|obstacle| !obstacle.verdict.is_good()).collect();
            for obstacle in bad.iter().take(TOLD) {
                let _ = write!(text, "\n  {}: {}", row.path, obstacle.text);
            }
            if bad.len() > TOLD {
                let _ = write!(text, "\n  {}: and {} more", row.path, bad.len() - TOLD);
            }
        }
        text
    }

    /// The failure of a build with such modules; the table goes along for programs.
    pub fn failure(&self) -> Failure {
        let bad = self.modules.iter().filter(|row| !row.is_good()).count();
        let what =
            format!("the kernel {} would not load {bad} of {} modules:{}", self.kernel, self.modules.len(), self.misfits());
        let failure = Failure::new(Kind::Verification, what)
            .hint("build them for this kernel; what must be as it is, name in `allow` of its [[kernel-module]]");
        match serde_json::to_value(self) {
            Ok(value) => failure.with("proof", value),
            Err(_) => failure,
        }
    }
}

/// For people: a line for each module, below a line of words.
impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wide = self.modules.iter().map(|row| row.path.chars().count()).max().unwrap_or(0).max("module".len());
        let line = |first: &str, cells: [&str; COLUMNS.len()]| {
            let cells: String = cells.iter().map(|cell| format!("  {cell:9}")).collect();
            format!("{first:wide$}{cells}").trim_end().to_owned()
        };
        writeln!(f, "{}", line("module", COLUMNS.map(|(word, _)| word)))?;
        for row in &self.modules {
            let worst = |(_, checks): (&str, &[&str])| checks.iter().filter_map(|check| row.checks.get(check)).max().copied();
            writeln!(f, "{}", line(&row.path, COLUMNS.map(|column| worst(column).unwrap_or(Verdict::Unknown).cell())))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, obstacles: Vec<(Finding, Verdict)>) -> Row {
        let obstacle = |(finding, verdict): (Finding, Verdict)| Obstacle { text: finding.to_string(), finding, verdict };
        let obstacles = obstacles.into_iter().map(obstacle).collect();
        Row::new(Some("a".to_owned()), "m".to_owned(), path.to_owned(), obstacles, &["signature"])
    }

    #[test]
    fn each_check_has_its_verdict_and_the_worst_counts() {
        let symbol = |name: &str| Finding::Symbol { symbol: name.to_owned() };
        let allowed = row("updates/a/m.ko", vec![(symbol("f"), Verdict::Allowed)]);
        let bad = row("updates/a/n.ko", vec![(symbol("f"), Verdict::Allowed), (symbol("g"), Verdict::Misfit)]);
        let unknown = row("updates/a/o.ko", vec![(Finding::Firmware { file: "f".to_owned() }, Verdict::Unknown)]);
        assert!(allowed.is_good() && !bad.is_good() && !unknown.is_good());
        assert_eq!(
            (bad.checks.len(), bad.checks["symbol"], bad.checks["machine"]),
            (KINDS.len(), Verdict::Misfit, Verdict::Fits)
        );
        let table = Table { kernel: "6.12.1-amd64".to_owned(), modules: vec![allowed, bad, unknown] };
        let text = table.to_string();
        let lines: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        let wanted: [Vec<String>; 4] = [
            "module machine vermagic symbols depends names firmware signature",
            "updates/a/m.ko fits fits allowed fits fits fits -",
            "updates/a/n.ko fits fits MISFIT fits fits fits -",
            "updates/a/o.ko fits fits fits fits fits unknown -",
        ]
        .map(|line| line.split(' ').map(str::to_owned).collect());
        assert_eq!(lines, wanted);
        let failure = table.failure();
        assert_eq!(
            failure.what,
            "the kernel 6.12.1-amd64 would not load 2 of 3 modules:\n  updates/a/n.ko: g: exported by nobody\n  updates/a/o.ko: may ask \
             for the firmware f, which the image does not have"
        );
        let (key, value) = failure.details.as_deref().unwrap();
        assert_eq!((*key, &value["modules"][1]["checks"]["symbol"]), ("proof", &serde_json::json!("misfit")));
        assert_eq!(value["modules"][1]["obstacles"][1]["finding"], serde_json::json!({ "kind": "symbol", "symbol": "g" }));
        assert_eq!(table.proven()[0].allowed, ["f: exported by nobody"]);
        let every: Vec<_> = COLUMNS.iter().flat_map(|(_, checks)| checks.iter()).collect();
        assert!(KINDS.iter().all(|kind| every.contains(&kind)) && every.len() == KINDS.len());
    }
}
