//! `basalt kmod build`: the kernel's own mtty, which Debian's kernel does not have, becomes an image with a module that the kernel of the
//! reference recipe loads. umoci, modinfo and objdump look at it. `vm_drivers` builds more, and loads them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Ran, Warm, mtty, run};
use serde_json::Value;

const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const USAGE: i32 = Kind::Usage.exit_code() as i32;

struct Case {
    warm: Warm,
}

impl Case {
    /// The reference recipe, with the archive's kernel: its headers are nowhere when the archive has moved on.
    fn new() -> Result<Self> {
        let warm = Warm::new()?;
        warm.basalt(["lock"]).arg(&warm.recipe).args(["--update", "linux-signed-amd64"]).run(&warm.scratch)?.exits(0);
        Ok(Self { warm })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.warm.recipe.with_file_name(name)
    }

    fn mtty(&self, name: &str, change: fn(String) -> String) -> Result<PathBuf> {
        let folder = self.path(name);
        mtty(&folder, change)?;
        Ok(folder)
    }

    fn build(&self, source: &Path, args: &[&str]) -> Result<Ran> {
        let mut command = self.warm.basalt(["kmod", "build"]);
        command = command.arg("--kernel").arg(&self.warm.recipe).arg("--source").arg(source);
        command.arg("--out").arg(self.path("out")).args(args.iter().copied()).run(&self.warm.scratch)
    }

    /// The files of an image, by a program that is not ours.
    fn unpacked(&self, image: &str) -> Result<PathBuf> {
        let to = self.path(&format!("{image}.files"));
        let tag = run(Command::new("umoci").arg("list").arg("--layout").arg(self.path("out").join(image)))?;
        let image = format!("{}:{}", self.path("out").join(image).display(), tag.trim());
        run(Command::new("umoci").args(["unpack", "--rootless", "--image", &image]).arg(&to))?;
        Ok(to.join("rootfs"))
    }
}

fn result(ran: &Ran) -> Result<Value> {
    let line = ran.stdout.lines().rev().find(|line| line.contains("modules-built")).context("no result")?;
    Ok(serde_json::from_str(line)?)
}

/// One after the other: the compiler's root filesystem is made once.
#[test]
fn cli_kmod_build_makes_modules_that_fit_tells_mistakes_and_takes_patches() -> Result<()> {
    let case = Case::new()?;
    what_is_built_fits_the_recipe(&case)?;
    the_first_mistake_is_told_and_a_patch_mends_it(&case)
}

fn what_is_built_fits_the_recipe(case: &Case) -> Result<()> {
    let source = case.mtty("mtty", |text| text)?;
    // Nothing is pinned yet.
    case.build(&source, &["--offline"])?.exits(INPUT).says("gpu-node-stock.kmod.lock: needs the archive's list of packages");
    let first = result(&case.build(&source, &["--json"])?.exits(0))?;
    ensure!(first["cached"] == false && first["modules"][0]["name"] == "mtty", "{first}");
    let again = result(&case.build(&source, &["--json", "--offline", "--locked"])?.exits(0))?;
    ensure!(again["cached"] == true && again["digest"] == first["digest"], "{again}");

    let release = first["kernel"].as_str().context("no release")?;
    let files = case.unpacked("mtty.oci")?;
    let module = files.join(format!("opt/lib/modules/{release}/mtty.ko"));
    let vermagic = run(Command::new("/sbin/modinfo").args(["-F", "vermagic"]).arg(&module))?;
    ensure!(vermagic.starts_with(&format!("{release} ")), "{vermagic}");
    let sections = run(Command::new("objdump").arg("-h").arg(&module))?;
    ensure!(!sections.contains(".debug_info"), "debug data are there");
    let index = fs::read_to_string(module.with_file_name("modules.dep"))?;
    ensure!(index.starts_with("mtty.ko:"), "{index}");

    // What was built is what a recipe takes: nobody signed it, so Secure Boot is off.
    let beside = files.strip_prefix(case.warm.recipe.parent().context("a folder of recipes")?)?.display().to_string();
    let recipe = fs::read_to_string(&case.warm.recipe)?;
    let entries = format!("{recipe}\n[kernel]\nsecure-boot = false\n\n[[kernel-module]]\nname = \"mtty\"\npath = {beside:?}\n");
    fs::write(&case.warm.recipe, entries)?;
    case.warm.build("out-image")?.args(["--format", "raw"]).run(&case.warm.scratch)?.exits(0);
    let manifest = case.warm.manifest("out-image")?;
    let modules = manifest["kernel-modules"].as_array().context("no modules")?;
    let names: Vec<_> = modules.iter().filter_map(|module| module["name"].as_str()).collect();
    ensure!(names == ["mtty"], "{names:?}");
    Ok(())
}

fn the_first_mistake_is_told_and_a_patch_mends_it(case: &Case) -> Result<()> {
    let broken = case.mtty("broken", |text| text.replacen("static ", "static wrong ", 1))?;
    let line =
        fs::read_to_string(broken.join("mtty.c"))?.lines().position(|line| line.contains("static wrong")).context("no line")? + 1;
    let ran = case.build(&broken, &[])?.exits(VERIFICATION);
    let ran = ran.says(&format!("mtty.c:{line}:")).says("error: ").says("mend it with --patch FILE");
    ensure!(ran.stderr.lines().count() < 8, "all that make said: {}", ran.stderr);
    ensure!(fs::read_to_string(case.path("out/broken.log"))?.contains("static wrong"), "the log is not there");

    let good = case.mtty("good", |text| text)?;
    let patch = Command::new("diff").arg("-u").args([broken.join("mtty.c"), good.join("mtty.c")]).output().context("diff")?;
    let name = case.path("mend.patch");
    let text = String::from_utf8(patch.stdout)?;
    let text: Vec<_> = text.lines().skip(2).collect();
    fs::write(&name, format!("--- a/mtty.c\n+++ b/mtty.c\n{}\n", text.join("\n")))?;
    let name = name.display().to_string();
    let told = case.build(&broken, &["--patch", &name])?.exits(0).stdout;
    ensure!(told.starts_with("broken 0 for "), "{told}");
    ensure!(!case.path("out/broken.log").exists(), "the log of the failure is still there");
    // It is for the broken one.
    case.build(&good, &["--patch", &name])?.exits(VERIFICATION);

    case.build(&good, &["--make", "M"])?.exits(USAGE).says("needed VARIABLE=VALUE, found \"M\"");
    case.build(&case.path("fragments"), &[])?.exits(INPUT).says("needed dkms.conf, Kbuild or Makefile, found none of them");
    case.build(&case.path("nowhere.deb"), &[])?.exits(INPUT).says("nowhere.deb: cannot be read");
    Ok(())
}
