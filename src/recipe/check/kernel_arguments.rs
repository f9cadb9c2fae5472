//! Checks `[kernel] args`: each by its rule, and that no two contradict each other.

use std::path::Path;

use basalt_contract::kernel_arguments::{self, Contradictions, Declaration, Source};

use super::super::{Findings, Placed, Sources};
use super::super::{Recipe, Written, names};

/// What `by` lists, each with its line: relative to the recipe's folder, so that it says the same on every machine.
pub(super) fn declarations(by: &str, args: &[Placed<String>], sources: &Sources, folder: &Path) -> Vec<Declaration> {
    let folder = format!("{}/", folder.display().to_string().trim_end_matches('/'));
    let source = |arg: &Placed<String>| {
        let position = sources.position(arg.place);
        let file = position.file.strip_prefix(&folder).unwrap_or(&position.file);
        Source::new(by).at(format!("{file}:{}", position.line))
    };
    Declaration::list(args.iter().map(|arg| (arg.value.clone(), source(arg))))
}

/// Notes what is wrong with each, and what contradicts what.
pub(super) fn examine(written: &Written, recipe: &Recipe, findings: &mut Findings) {
    let args = &written.kernel.args;
    for arg in args {
        if let Err(why) = names::kernel_arg(arg) {
            findings.add(arg.place, format!("kernel.args: {why}"));
        }
    }
    let Err(Contradictions(all)) = kernel_arguments::resolve(recipe.kernel_arguments()) else { return };
    for contradiction in all {
        let wants = |arg: &&Placed<String>| contradiction.values.iter().any(|value| value.has(arg));
        if let Some(last) = args.iter().rfind(wants) {
            findings.add_with_hint(last.place, format!("kernel.args: {contradiction}"), Contradictions::NEXT);
        }
    }
}
