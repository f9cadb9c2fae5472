//! Texts of profiles, expanded: what is strange in them becomes findings, and what breaks tuned off an error, each with its place.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::finding::{Finding, What};
use super::folders::read;
use super::functions::{LONGEST, Note, Stop};
use super::profile::{Unit, Value};
use super::python::{normpath, quote};
use super::variables::Variables;
use super::{LoadError, Origin, Root, ini};

/// A text, expanded.
pub struct Expansion {
    /// As far as it can be known here.
    pub text: String,
    /// The functions in it that are left to the node.
    pub left: Vec<String>,
    /// What is told of it.
    pub findings: Vec<Finding>,
}

/// Expands the text that stands at `origin`.
///
/// # Errors
/// What makes tuned break off.
pub fn expand(
    variables: &Variables,
    text: &str,
    origin: &Origin,
    functions: Option<&BTreeSet<String>>,
) -> Result<Expansion, LoadError> {
    let stop = |stop| match stop {
        Stop::Assertion(what, why) => LoadError::Assertion { origin: origin.clone(), what, why },
        Stop::NoFunction => LoadError::NoFunction { origin: origin.clone() },
        Stop::TooLong => LoadError::TooLong { origin: origin.clone(), max: LONGEST },
    };
    let expanded = variables.expand(text, functions).map_err(stop)?;
    let left = expanded.left.iter().map(|function| What::LeftToNode { function: function.clone() });
    let notes = expanded.notes.into_iter().map(|note| match note {
        Note::Unknown(function) => What::UnknownFunction { function },
        Note::Arguments(function) => What::BadArguments { function },
        Note::Unpaired => What::Unpaired,
        Note::Undefined(name) => What::Undefined { name },
    });
    let findings = left.chain(notes).map(|what| Finding { origin: origin.clone(), what }).collect();
    Ok(Expansion { text: expanded.text, left: expanded.left, findings })
}

/// A variable that is set.
pub struct Set {
    /// Its name.
    pub name: String,
    /// As far as its value can be known here.
    pub value: String,
    /// The functions in it that are left to the node.
    pub left: Vec<String>,
    /// Where.
    pub origin: Origin,
}

/// Sets what `[variables]` and the files that it includes say, in their order: what is set, once for each time, and findings.
///
/// # Errors
/// What makes tuned break off.
pub fn variables(
    unit: &Unit,
    root: &dyn Root,
    functions: Option<&BTreeSet<String>>,
) -> Result<(Variables, Vec<Set>, Vec<Finding>), LoadError> {
    let (mut variables, mut all, mut findings) = (Variables::default(), Vec::new(), Vec::new());
    let mut set = |name: &str, text: &str, origin: Origin, findings: &mut Vec<Finding>| -> Result<(), LoadError> {
        let expansion = expand(&variables, text, &origin, functions)?;
        if variables.set(name, expansion.text.clone()).is_err() {
            findings.push(Finding { origin, what: What::BadVariable { name: name.to_owned() } });
            return Ok(());
        }
        findings.extend(expansion.findings);
        all.push(Set { name: name.to_owned(), value: expansion.text, left: expansion.left, origin });
        Ok(())
    };
    for (name, value) in &unit.options {
        let Some(written) = value.last() else { continue };
        if name == "include" {
            let (entries, mut told) = included(&written.text, &written.origin, root)?;
            findings.append(&mut told);
            for (name, text, origin) in entries {
                set(&name, &text, origin, &mut findings)?;
            }
            continue;
        }
        match value {
            Value::Text(written) => set(name, &written.text, written.origin.clone(), &mut findings)?,
            // A variable `script` is a path like the option: tuned shows it as Python shows a list.
            Value::Scripts(_) => set(name, &format!("[{}]", quote(&written.text)), written.origin.clone(), &mut findings)?,
        }
    }
    Ok((variables, all, findings))
}

type Entries = Vec<(String, String, Origin)>;

/// The variables of a file; none, and a finding, where there is no such file.
fn included(path: &str, by: &Origin, root: &dyn Root) -> Result<(Entries, Vec<Finding>), LoadError> {
    let path = normpath(path);
    let Some(text) = read(root, &path)? else {
        return Ok((Vec::new(), vec![Finding { origin: by.clone(), what: What::NoVariables { path } }]));
    };
    let file: Arc<str> = path.as_str().into();
    let document = ini::parse(&text, ini::Format::Variables).map_err(|lines| LoadError::Syntax { file: path, lines })?;
    let at = |line| Origin { file: Arc::clone(&file), line };
    let duplicate = |one: ini::Duplicate| {
        let what = What::Duplicate { section: one.section, option: one.option, first: one.first };
        Finding { origin: at(one.last), what }
    };
    let findings = document.duplicates.into_iter().map(duplicate).collect();
    let options = document.sections.into_iter().flat_map(|section| section.options);
    let entries = options.filter_map(|option| Some((option.name, option.value?, at(option.line)))).collect();
    Ok((entries, findings))
}
