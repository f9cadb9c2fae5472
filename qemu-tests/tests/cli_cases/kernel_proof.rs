//! The proof that a kernel loads modules, on Debian's own: every stock module is proven, signature included, and one that is altered in
//! one respect is refused for that.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use basalt::format::module;
use basalt::kmod::{Facts, Finding, Keyring, Signed, prove};
use qemu_tests::{Mutation, StockModules, mutations};

#[test]
fn cli_every_stock_module_is_proven() -> Result<()> {
    let case = StockModules::new()?;
    let facts = case.paths.iter().map(|path| case.facts(path, &fs::read(path)?)).collect::<Result<Vec<_>>>()?;
    let kernel = case.kernel(&facts[0])?;
    let found = prove(&kernel, &facts);
    let wrong: Vec<_> = facts.iter().zip(&found).filter(|(_, findings)| !findings.is_empty()).take(5).collect();
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let owners: BTreeSet<_> = facts.iter().map(|facts| format!("{:?}", facts.signed)).collect();
    ensure!(owners.len() == 1 && owners.iter().all(|owner| owner.starts_with("By(")), "signed by {owners:?}");
    println!("{} modules are proven, signed by {owners:?}", facts.len());
    Ok(())
}

#[test]
fn cli_a_stock_module_that_is_altered_is_refused_for_it() -> Result<()> {
    let case = StockModules::new()?;
    let kernel = case.kernel(&case.facts(&case.paths[0], &fs::read(&case.paths[0])?)?)?;
    for mutation in mutations(&case)? {
        let Mutation { name, bytes, path, told } = mutation;
        let facts = case.facts(&path, &bytes)?;
        let found = &prove(&kernel, std::slice::from_ref(&facts))[0];
        println!("{name}: {}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
        let signature = |finding: &&Finding| matches!(finding, Finding::Signature { .. });
        ensure!(found.iter().filter(signature).count() == 1, "{name}: the signature is of other bytes, found {found:?}");
        let others: Vec<_> = found.iter().filter(|finding| !signature(finding)).collect();
        ensure!(name == "signature" || !others.is_empty(), "{name}: nothing was told");
        ensure!(others.iter().all(|finding| told(finding)), "{name}: found {others:?}");
    }
    Ok(())
}

#[test]
fn cli_a_signature_is_told_by_whose_it_is() -> Result<()> {
    let case = StockModules::new()?;
    let packed = fs::read(&case.paths[0])?;
    let bytes = module::unpack(&packed)?;
    let object = module::signature::strip(&bytes)?;
    ensure!(case.facts(&case.paths[0], object)?.signed == Signed::Nobody, "a stripped module");
    let strange = Facts::read("updates/strange.ko", &bytes, Some(&Keyring::default()))?.signed;
    ensure!(matches!(&strange, Signed::Stranger(name) if name.contains("kernel key")), "{strange:?}");
    let cut = [object, &module::signature::trailer(b"no DER")].concat();
    ensure!(matches!(case.facts(&case.paths[0], &cut)?.signed, Signed::Broken(_)), "no DER");
    Ok(())
}
