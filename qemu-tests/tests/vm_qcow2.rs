//! The qcow2 boots too, and passes the recipe's own checks, run by the program that a user has.

use anyhow::{Result, ensure};
use qemu_tests::{Basalt, Scratch, reference_image, repository};

#[test]
fn vm_the_qcow2_passes_the_checks_of_its_recipe() -> Result<()> {
    let image = reference_image()?;
    let scratch = Scratch::new()?;
    let ran = Basalt::new(["test", "--json", "--recipe"])
        .arg(repository().join("image-recipes/gpu-node.toml"))
        .arg(image.artefact("qcow2")?)
        .cache(&image.cache)
        .run(&scratch)?;
    ensure!(ran.code == 0, "exit code {}\n{}\n{}", ran.code, ran.stdout, ran.stderr);
    Ok(())
}
