//! Plans of the reference recipe over its fixture lock.

use super::*;
use basalt_contract::kernel_arguments::{Declaration, Source};

use crate::lock::Lock;
use std::fs;
use std::path::Path;

fn debian(recipe: &mut Recipe) -> &mut Debian {
    let Origin::Debian(debian) = &mut recipe.base.origin else { panic!("packages") };
    debian
}

fn locked(lock: &mut Section) -> &mut LockedDebian {
    let LockedBase::Debian(debian) = &mut lock.base else { panic!("packages") };
    debian
}

fn reference() -> (Recipe, Section) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("image-recipes");
    let recipe = crate::recipe::load(&folder.join("gpu-node-stock.toml")).unwrap();
    let text = fs::read_to_string(folder.join("golden/gpu-node.fixture.lock")).unwrap();
    let mut lock = Lock::parse(&text).unwrap_or_else(|bad| panic!("gpu-node.fixture.lock:{bad}"));
    (recipe, lock.architecture.remove(&Architecture::Amd64).unwrap())
}

#[test]
fn the_reference_recipe_gives_the_golden_plan() {
    let (recipe, lock) = reference();
    let plan = resolve(&recipe, &lock, Architecture::Amd64).unwrap_or_else(|stale| panic!("{stale}"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("image-recipes/golden/gpu-node.plan.json");
    let golden = fs::read_to_string(&path).unwrap();
    let found = plan.to_json();
    if found != golden {
        let line = found.lines().zip(golden.lines()).position(|(a, b)| a != b).unwrap_or(golden.lines().count());
        panic!("{}:{}: not the plan of today; it is:\n{found}", path.display(), line + 1);
    }
    assert_eq!(Plan::parse(&golden).unwrap(), plan);
}

#[test]
fn layers_come_in_order() {
    let (recipe, lock) = reference();
    let plan = resolve(&recipe, &lock, Architecture::Amd64).unwrap();
    let names: Vec<_> = plan.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(
        names,
        ["overlay 10-basalt-node", "overlay 50-basalt-firstboot", "agent", "update-client", "files", "tuned", "settings"]
    );
}

#[test]
fn a_stale_lock_names_what_it_lacks() {
    type Spoil = fn(&mut Recipe, &mut Section);
    let table: [(Spoil, &str); 7] = [
        (|_, lock| locked(lock).suite = "sid".into(), "needed suite trixie, found sid"),
        (|_, lock| locked(lock).components.clear(), "needed components main, found "),
        (|recipe, _| debian(recipe).packages.push("vim".into()), "needed package vim, found none"),
        (|_, lock| locked(lock).requested.push("zz".into()), "needed no such package, found zz"),
        (|_, lock| lock.overlays.clear(), "needed overlay builtin:10-basalt-node, found none"),
        (|_, lock| lock.agent = None, "needed the first-boot agent, found none"),
        (|_, lock| lock.update_client = None, "needed the update client, found none"),
    ];
    for (spoil, expected) in table {
        let (mut recipe, mut lock) = reference();
        spoil(&mut recipe, &mut lock);
        let stale = resolve(&recipe, &lock, Architecture::Amd64).unwrap_err();
        assert_eq!(stale.to_string(), format!("recipe gpu-node: the lock is stale: {expected}"));
    }
    let (mut recipe, lock) = reference();
    let (path, mut file) = recipe.files.pop_first().unwrap();
    file.content = Content::Source("gone".into());
    recipe.files.insert(path, file);
    assert!(resolve(&recipe, &lock, Architecture::Amd64).unwrap_err().to_string().ends_with("needed file gone, found none"));
}

fn wish(text: &str) -> Declaration {
    Declaration { text: text.into(), source: Source::new("recipe").at("gpu-node.toml:1") }
}

#[test]
fn kernel_arguments_that_contradict_each_other_are_refused() {
    let (mut recipe, lock) = reference();
    recipe.kernel_args.extend([wish("isolcpus=1"), wish("isolcpus=2")]);
    let failure = Failure::from(resolve(&recipe, &lock, Architecture::Amd64).unwrap_err());
    assert_eq!(failure.kind, Kind::Invalid);
    let both = "is asked for as \"isolcpus=1\" (recipe: gpu-node.toml:1) and \"isolcpus=2\" (recipe: gpu-node.toml:1)";
    assert!(failure.what.contains(both), "{failure}");
}

#[test]
fn profiles_lie_over_files_and_tuned_is_enabled() {
    let (mut recipe, mut lock) = reference();
    recipe.tuned.as_mut().unwrap().profiles.push("mine".into());
    let stale = resolve(&recipe, &lock, Architecture::Amd64).unwrap_err().to_string();
    assert!(stale.ends_with("needed tuned's profiles mine, found none"), "{stale}");
    let digest = crate::digest::Digest::of(b"mine");
    lock.tuned.insert(0, crate::lock::LockedOverlay { name: "mine".into(), digest, files: BTreeMap::new() });
    let plan = resolve(&recipe, &lock, Architecture::Amd64).unwrap();
    let names: Vec<_> = plan.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names[names.len() - 3..], ["files", "tuned", "settings"]);
    let LayerContent::Tuned(tuned) = &plan.layers[names.len() - 2].content else { panic!("no profiles") };
    let sources: Vec<_> = tuned.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(sources, ["builtin:40-basalt-tuned", "mine"], "our own come last");
    let LayerContent::Settings(settings) = &plan.layers[names.len() - 1].content else { panic!("no settings") };
    assert!(settings.enable.iter().any(|unit| unit == defaults::TUNED_UNIT));
    assert_eq!(Plan::parse(&plan.to_json()).unwrap(), plan);
}

#[test]
fn what_a_recipe_leaves_open_is_decided_for_it() {
    type Say = fn(&mut Recipe);
    let (wired, wait) = (defaults::ENABLED[0], defaults::MASKED[0]);
    let table: [(Say, &[&str], &[&str], usize); 5] = [
        (|_| (), &[wired, defaults::AGENT_UNIT], &[wait], 2),
        (|recipe| recipe.kernel_args = vec![wish("console=ttyS1")], &[wired, defaults::AGENT_UNIT], &[wait], 1),
        (|recipe| recipe.settings.mask = vec![defaults::ENABLED[0].into()], &[defaults::AGENT_UNIT], &[wired, wait], 2),
        (|recipe| recipe.settings.enable = vec![defaults::MASKED[0].into()], &[wait, wired, defaults::AGENT_UNIT], &[], 2),
        (|recipe| (recipe.base.minimal, recipe.agent) = (true, None), &[], &[], 0),
    ];
    for (say, enabled, masked, args) in table {
        let (mut recipe, _) = reference();
        (recipe.settings.enable, recipe.settings.mask, recipe.kernel_args) = Default::default();
        recipe.tuned = None;
        say(&mut recipe);
        let LayerContent::Settings(found) = settings(&recipe).content else { panic!("no settings") };
        assert_eq!(
            (found.enable, found.mask),
            (enabled.iter().map(|&unit| unit.into()).collect(), masked.iter().map(|&unit| unit.into()).collect())
        );
        assert_eq!(recipe.kernel_arguments().len(), args);
    }
}

#[test]
fn what_does_not_decide_bytes_is_not_part_of_the_identity() {
    let (recipe, lock) = reference();
    let plan = resolve(&recipe, &lock, Architecture::Amd64).unwrap();
    let mut other = recipe.clone();
    other.checks.clear();
    other.outputs.pop();
    debian(&mut other).mirror = Some("https://m.example/debian".into());
    assert_eq!(resolve(&other, &lock, Architecture::Amd64).unwrap().id(), plan.id());
    other.kernel_args.push(wish("quiet"));
    assert_ne!(resolve(&other, &lock, Architecture::Amd64).unwrap().id(), plan.id());
}
