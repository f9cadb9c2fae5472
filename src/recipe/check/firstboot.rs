//! Checks `[firstboot]`: by the agent's own rules, and for what can never work in this image.

use basalt_contract::desired::{self, Desired};
use basalt_contract::kernel_arguments::{self, Contradictions, Declaration};
use basalt_contract::{KernelArgument, placed::Placed};

use super::super::{Findings, Recipe, Sources, Written, wished_profiles};
use super::kernel_arguments::declarations;
use super::tuned;

/// Notes what is wrong with what the recipe wishes for its nodes.
pub(super) fn examine(written: &Written, recipe: &Recipe, sources: &Sources, findings: &mut Findings) {
    let Some(desired) = written.firstboot.as_ref().filter(|_| !recipe.settings.firstboot.is_empty()) else { return };
    let mut part = Findings::default();
    desired::check(desired, sources, &mut part);
    findings.add_part("firstboot", part);
    if recipe.agent.is_none() {
        let hint = "write enable = true in [agent], or leave [firstboot] out";
        findings.add_with_hint(desired.place, "firstboot: needed the first-boot agent in the image, found none", hint);
    }
    // Where there is [tuned] it says so itself.
    if let (None, true, [first, ..]) = (&written.tuned, tuned::never_there(&recipe.base), &wished_profiles(desired)[..]) {
        tuned::note_missing("firstboot.tuned.profile", first.place, findings);
    }
    agree(desired, "firstboot", &recipe.kernel_arguments(), &Judge { recipe, sources }, findings);
}

/// What places are told by.
struct Judge<'a> {
    recipe: &'a Recipe,
    sources: &'a Sources,
}

/// Notes arguments that contradict `outer`: what every machine has that `desired` is for. Two `[[when]]` side by side may be for two
/// machines, so these never meet. What contradicts itself is told by the agent's own rules.
fn agree(desired: &Desired, by: &str, outer: &[Declaration], judge: &Judge<'_>, findings: &mut Findings) {
    let arguments = &desired.kernel.arguments;
    let own = declarations(by, arguments, judge.sources, &judge.recipe.folder);
    let all: Vec<_> = outer.iter().chain(&own).cloned().collect();
    let known = |value: &&KernelArgument| outer.iter().any(|one| one.text == value.text);
    if let Err(Contradictions(list)) = kernel_arguments::resolve(all.clone()) {
        for contradiction in list {
            let (old, new): (Vec<_>, Vec<_>) = contradiction.values.iter().partition(known);
            let wants = |argument: &&Placed<String>| new.iter().any(|value| value.has(argument));
            if let (false, Some(last)) = (old.is_empty(), arguments.iter().rfind(wants)) {
                let what = format!("firstboot.kernel.arguments: {contradiction}");
                findings.add_with_hint(last.place, what, Contradictions::NEXT);
            }
        }
    }
    for when in &desired.when {
        agree(&when.set, &format!("firstboot when {:?}", when.name.value), &all, judge, findings);
    }
}

#[cfg(test)]
mod tests;
