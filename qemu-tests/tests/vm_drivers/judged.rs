//! What the builder's proof says of a module, and what the kernel says, module by module.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use basalt::kmod::prove;
use basalt::vm::Running;

use crate::COMMAND;
use crate::altered::Altered;
use crate::image::{Drivers, FORCED};

/// Modules of the stock kernel that need no device: schedulers, classifiers and actions of the network.
const STOCK: &str = "/net/sched/";
/// So many are compared at least.
const MANY: usize = 60;
/// Their initialisation may end so: the module was linked, and that is what the proof is about.
const PAST_LINKING: [&str; 1] = ["No such device"];

/// Fails where the two differ, and prints both.
pub fn as_the_builder_did(vm: &mut Running, drivers: &Drivers) -> Result<()> {
    stock(vm, drivers)?;
    for altered in &drivers.altered {
        one(vm, drivers, altered).with_context(|| altered.name)?;
    }
    Ok(())
}

/// Stock modules: proven, and loaded.
fn stock(vm: &mut Running, drivers: &Drivers) -> Result<()> {
    let case = &drivers.stock;
    let facts = case.paths.iter().map(|path| case.facts(path, &fs::read(path)?)).collect::<Result<Vec<_>>>()?;
    let kernel = case.kernel(&facts[0])?;
    let found = prove(&kernel, &facts);
    let picked = |path: &Path| path.display().to_string().contains(STOCK);
    let verdicts: BTreeMap<_, _> = case
        .paths
        .iter()
        .zip(facts.iter().zip(&found))
        .filter(|(path, _)| picked(path))
        .map(|(_, (facts, findings))| (facts.name.as_str(), findings))
        .collect();
    ensure!(verdicts.len() >= MANY, "{} modules", verdicts.len());
    let names: Vec<_> = verdicts.keys().copied().collect();
    let script = format!(
        "for name in {}; do said=$(modprobe --use-blacklist $name 2>&1) && said=loaded; echo \"$name $said\"; done",
        names.join(" ")
    );
    let said = vm.must(&script, COMMAND)?;
    let said: BTreeMap<_, _> = said.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut differs = 0;
    for (name, findings) in &verdicts {
        let kernel = said.get(name).copied().unwrap_or("nothing");
        let accepted = kernel == "loaded" || PAST_LINKING.iter().any(|words| kernel.contains(words));
        println!("{name:24} builder: {} kernel: {kernel}", if findings.is_empty() { "proven" } else { "refused" });
        differs += usize::from(accepted != findings.is_empty() || !accepted);
    }
    ensure!(differs == 0, "{differs} of {} stock modules", verdicts.len());
    println!("{} stock modules: proven by the builder, loaded by the kernel", verdicts.len());
    Ok(())
}

/// An altered module: refused by both for the same reason.
fn one(vm: &mut Running, drivers: &Drivers, altered: &Altered) -> Result<()> {
    let Altered { name, bytes, error, log, finding } = altered;
    // As the builder would have it from a recipe.
    let named = drivers.stock.package.modules.join(format!("{name}.ko"));
    let facts = drivers.stock.facts(&named, bytes)?;
    let stock = &drivers.stock.paths[0];
    let kernel = drivers.stock.kernel(&drivers.stock.facts(stock, &fs::read(stock)?)?)?;
    let found = prove(&kernel, std::slice::from_ref(&facts)).remove(0);
    let kinds: Vec<_> = found.iter().map(basalt::kmod::Finding::kind).collect();
    let words = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");

    let path = format!("{FORCED}/{name}.ko");
    // What has come in goes again: the others call themselves the same.
    let script = format!(
        "dmesg --clear; insmod {path}; status=$?; dmesg --notime; [ $status != 0 ] || rmmod $(modinfo -F name {path}); exit $status"
    );
    let done = vm.shell(&script, COMMAND)?;
    let (said, logged) = (done.error_text(), done.text());
    println!("{name:10} builder: {words:?} kernel: {said:?} {logged:?}");
    if finding.is_empty() {
        ensure!(found.is_empty(), "the builder refuses what is sound: {words}");
        ensure!(done.status == 0, "the kernel refuses what is sound: {said}\n{logged}");
        return Ok(());
    }
    ensure!(!kinds.is_empty() && kinds.iter().all(|kind| kind == finding), "needed {finding}, found {kinds:?}: {words}");
    ensure!(done.status != 0 && said.contains(error), "needed {error:?}, found {said:?}");
    ensure!(logged.contains(log), "needed {log:?}, found {logged:?}");
    // The kernel names the first symbol that it misses, the builder all of them.
    let names_symbol = ["checksum", "gpl", "symbol", "namespace"].contains(finding);
    let symbols: Vec<_> = words.split("; ").filter_map(|words| words.split(':').next()).collect();
    ensure!(
        !names_symbol || symbols.iter().any(|symbol| logged.contains(symbol)),
        "the kernel names none of {symbols:?}: {logged}"
    );
    Ok(())
}
