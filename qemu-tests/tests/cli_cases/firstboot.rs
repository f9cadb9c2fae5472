//! `[firstboot]`: what can never work is told where it stands, and nothing is built; what can is in the image, as the agent reads it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::draft::{archive, system};
use qemu_tests::{Basalt, Ran, Scratch, agent, manifest, run};
use serde_json::Value;

const INVALID: i32 = Kind::Invalid.exit_code() as i32;
const FILE: &str = "/usr/lib/basalt/firstboot.d/50-recipe.toml";

/// Over a base of a few files; what follows begins on line 11.
const HEAD: &str = "include = [\"part.toml\"]\nname = \"case\"\nversion = \"1\"\n\n[base]\nkind = \"tree\"\npath = \"system.tar\"\n\
                    minimal = true\n[agent]\nenable = true\n";
/// The fragment.
const PART: &str = "[kernel]\nargs = [\"iommu=pt\"]\n[firstboot.labels]\nsite = \"hall-3\"\ntier = \"standard\"\n";

const WISH: &str = r#"[firstboot]
identity.host-name = "gpu-{serial}"
labels.tier = "training"
[[firstboot.when]]
name = "one half"
match.pci = [{ id = "10de:*", class = "03" }]
set.kernel.arguments = ["isolcpus=1"]
[[firstboot.when]]
name = "the other half"
match.processors.at-most = 8
set.kernel.arguments = ["isolcpus=2"]
"#;

/// What that is, with the fragment.
const WRITTEN: &str = r#"# Made from [firstboot] of the image's recipe. A file of this name in /etc/basalt/firstboot.d replaces it.

[identity]
host-name = "gpu-{serial}"

[labels]
site = "hall-3"
tier = "training"

[[when]]
name = "one half"

[[when.match.pci]]
id = "10de:*"
class = "03"

[when.set.kernel]
arguments = ["isolcpus=1"]

[[when]]
name = "the other half"

[when.match.processors]
at-most = 8

[when.set.kernel]
arguments = ["isolcpus=2"]
"#;

/// What can never work, and what is said of it.
const BAD: [(&str, &str); 5] = [
    ("[firstboot]\nlabel.tier = \"x\"", "r.toml:12:1: unknown key \"label\" in firstboot; did you mean \"labels\"?"),
    (
        "[firstboot]\nidentity.host-name = \"gpu_{serial}\"",
        "r.toml:12:22: firstboot.identity.host-name: needed a host name (labels of lower-case letters, digits and inner \"-\", 64 bytes in \
         all), found \"gpu_x\"",
    ),
    (
        "[[firstboot.when]]\nname = \"x\"\nmatch.processors.at-least = 2\nset.kernel.arguments = [\"iommu=nopt\"]",
        "r.toml:14:25: firstboot.kernel.arguments: the kernel argument iommu (pt) can have one value, and is asked for as \"iommu=pt\" \
         (recipe: part.toml:2) and \"iommu=nopt\" (firstboot when \"x\": r.toml:14); the kernel would take one of them: leave out all but one",
    ),
    (
        "[[firstboot.when]]\nname = \"x\"\nmatch.dmi.product-name = \"*\"\nset.labels.a = \"1\"",
        "r.toml:13:26: firstboot.match.dmi: the kernel has no \"product-name\"; did you mean \"product_name\"?",
    ),
    (
        "[firstboot.labels]\n\"kubernetes.io/x\" = \"1\"",
        "r.toml:12:21: firstboot.labels.\"kubernetes.io/x\": node feature discovery gives no label of kubernetes.io",
    ),
];

struct Case(Scratch);

impl Case {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        scratch.write("system.tar", archive(&system()))?;
        scratch.write("part.toml", PART)?;
        Ok(Self(scratch))
    }

    fn basalt(&self, args: &[&str]) -> Result<Ran> {
        Basalt::new(args).cache(&self.0.path().join("cache")).run(&self.0)
    }

    /// The recipe with `more`, checked and built.
    fn build(&self, more: &str, out: &str) -> Result<[Ran; 2]> {
        self.0.write("r.toml", format!("{HEAD}{more}"))?;
        Ok([self.basalt(&["check", "r.toml"])?, self.basalt(&["build", "r.toml", "--out", out])?])
    }

    /// The file of desired state in an image.
    fn written(&self, out: &str) -> Result<Ran> {
        self.basalt(&["inspect", &format!("{out}/case.raw:{FILE}")])
    }
}

#[test]
fn cli_wishes_that_can_never_work_are_told_where_they_stand() -> Result<()> {
    let case = Case::new()?;
    for (wish, message) in BAD {
        for ran in case.build(wish, "out")? {
            ran.exits(INVALID).says(message);
        }
    }
    let disabled = format!("{}[firstboot]\nlabels.a = \"1\"\n", HEAD.replace("enable = true", "enable = false"));
    case.0.write("r.toml", disabled)?;
    let ran = case.basalt(&["check", "r.toml"])?.exits(INVALID);
    ran.says("r.toml:11:1: firstboot: needed the first-boot agent in the image, found none; write enable = true in [agent]");
    // What a base of others has is known when it is there.
    let [checked, built] = case.build("[firstboot]\ntuned.profile = \"mine\"\n", "out")?;
    checked.exits(0);
    let place = "r.toml:12:17: layer settings: firstboot.tuned.profile: needed tuned in the layers below";
    built.exits(INVALID).says(place).says("next: add the package tuned");
    ensure!(!case.0.path().join("out/case.raw").exists(), "something was built");
    Ok(())
}

#[test]
fn cli_wishes_of_a_recipe_are_in_its_image_as_the_agent_reads_them() -> Result<()> {
    let case = Case::new()?;
    for ran in case.build(WISH, "out")? {
        ran.exits(0);
    }
    let found = case.written("out")?.exits(0).stdout;
    ensure!(found == WRITTEN, "{found}");
    let said = manifest(&case.0.path().join("out"))?;
    let commit = said["commit"].as_str().context("no commit")?;
    let repository = format!("--repo={}", case.0.path().join("cache/ostree/repo").display());
    let listed = run(Command::new("ostree").args([&repository, "ls", commit, FILE]))?;
    ensure!(listed.starts_with("-00644 0 0 "), "{listed}");

    // It is part of the plan, for people and for programs.
    let plan = case.basalt(&["plan", "r.toml"])?.exits(0).stdout;
    ensure!(plan.contains("desired state of its nodes\n") && plan.contains("host-name = \"gpu-{serial}\"\n"), "{plan}");
    let json = case.basalt(&["plan", "--json", "r.toml"])?.exits(0).stdout;
    let layers: Value = serde_json::from_str(&json)?;
    let settings = layers["layers"].as_array().and_then(|layers| layers.last()).context("no layers")?;
    ensure!(settings["content"]["firstboot"]["labels"]["tier"] == "training", "{settings}");
    case.0.write("plan.json", &json)?;
    case.basalt(&["build", "plan.json", "--out", "again"])?.exits(0);
    ensure!(manifest(&case.0.path().join("again"))?["commit"] == commit, "the plan gives another image than the recipe");

    // Written in another way it is the same image; another wish is another one.
    let other = WISH.replace("[firstboot]\nidentity.host-name", "# a line more\n[firstboot.identity]\nhost-name");
    let other = other.replace("labels.tier", "[firstboot.labels]\ntier");
    let [_, ran] = case.build(&other, "out")?;
    ensure!(ran.exits(0).stdout.contains("up to date"), "the plan is another one");
    case.build(&WISH.replace("training", "inference"), "out")?[1].clone().exits(0);
    ensure!(manifest(&case.0.path().join("out"))?["plan"] != said["plan"], "the plan is the same");
    ensure!(case.written("out")?.stdout == WRITTEN.replace("training", "inference"), "the file is the same");

    // Nobody wishes anything: there is no file.
    case.0.write("part.toml", "[firstboot]\n")?;
    case.build("", "none")?[1].clone().exits(0);
    ensure!(case.written("none")?.code != 0, "there is a file that says nothing");
    Ok(())
}

/// By binutils. Red Hat Enterprise Linux 9 has glibc 2.34, the oldest of the bases that nodes have today.
#[test]
fn cli_the_agent_starts_on_the_oldest_base() -> Result<()> {
    let needs = run(Command::new("objdump").arg("--private-headers").arg(agent()?))?;
    let versions: Vec<u32> =
        needs.split_whitespace().filter_map(|word| word.strip_prefix("GLIBC_2.")?.split('.').next()?.parse().ok()).collect();
    ensure!(versions.contains(&34), "objdump names no version of glibc: {needs}");
    ensure!(versions.iter().all(|minor| *minor <= 34), "the agent needs a later glibc than 2.34: {versions:?}");
    let libraries: Vec<_> = needs.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim).collect();
    let known = ["libgcc_s.so.1", "libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"];
    ensure!(libraries.iter().all(|library| known.contains(library)), "the agent needs other libraries: {libraries:?}");
    Ok(())
}
