//! `[firstboot]` in recipes and fragments: what comes of it, and every way to be wrong.

use std::fs;

use crate::failure::{Kind, Mention};
use crate::recipe::{Recipe, locate, read};

const HEAD: &str = "name = \"web\"\nversion = \"1\"\npackages = [\"tuned\"]\n";

/// The recipe `r.toml` of these files; its problems without the folder.
fn checked(files: &[(&str, &str)]) -> Result<Recipe, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().join("r.toml");
    let about = Mention { key: "firstboot.tuned.profile", value: "balanced".into() };
    if files[0].1.contains("\"balanced\"") {
        assert!(locate(&path, &about).is_some_and(|position| position.line > 3));
    }
    read(&path).map_err(|problems| {
        assert_eq!(problems.kind, Kind::Invalid);
        let here = format!("{}/", folder.path().display());
        problems.to_string().lines().map(|line| line.replace(&here, "")).collect()
    })
}

/// A `[[firstboot.when]]` for some machines.
fn when(name: &str, set: &str) -> String {
    format!("[[firstboot.when]]\nname = {name:?}\nmatch.processors.at-least = 2\nset.{set}\n")
}

#[test]
fn a_recipe_and_its_fragments_are_one() {
    let fragment = format!(
        "[firstboot]\nidentity.host-name = \"a\"\nkernel.arguments = [\"nosmt\"]\nkubelet.taints = [\"a=b:NoExecute\"]\n\
         labels = {{ a = \"1\", b = \"1\" }}\n{}",
        when("first", "tuned.profile = \"balanced\"")
    );
    let own = format!(
        "include = [\"a.toml\"]\n{HEAD}[firstboot]\nidentity.host-name = \"b\"\nkernel.arguments = [\"quiet\"]\n\
         kubelet.cpu-manager-policy = \"static\"\nlabels = {{ b = \"2\" }}\n{}",
        when("second", "labels.c = \"3\"")
    );
    let recipe = checked(&[("r.toml", &own), ("a.toml", &fragment)]).unwrap();
    let text = recipe.settings.firstboot.to_toml();
    let expected = r#"[identity]
host-name = "b"

[kernel]
arguments = ["nosmt", "quiet"]

[kubelet]
taints = ["a=b:NoExecute"]
cpu-manager-policy = "static"

[labels]
a = "1"
b = "2"

[[when]]
name = "first"

[when.match.processors]
at-least = 2

[when.set.tuned]
profile = "balanced"

[[when]]
name = "second"

[when.match.processors]
at-least = 2

[when.set.labels]
c = "3"
"#;
    assert_eq!(text, expected);
    let empty = checked(&[("r.toml", &format!("{HEAD}[agent]\nenable = false\n[firstboot.labels]\n"))]).unwrap();
    assert!(empty.settings.firstboot.is_empty(), "who wishes nothing needs no agent");
}

#[test]
fn fragments_that_disagree_are_both_named() {
    let fragments = [("a.toml", "firstboot.labels.a = \"1\"\n"), ("b.toml", "firstboot.labels.a = \"2\"\n")];
    let with = |more: &str| {
        let text = format!("include = [\"a.toml\", \"b.toml\"]\n{HEAD}{more}");
        checked(&[("r.toml", &text), fragments[0], fragments[1]])
    };
    assert_eq!(
        with("").unwrap_err(),
        ["b.toml:1:22: firstboot.labels.a: \"2\" here, but \"1\" in a.toml:1:22; \
          two fragments disagree (a.toml and b.toml): say firstboot.labels.a in the recipe that includes them"]
    );
    assert_eq!(with("firstboot.labels.a = \"3\"\n").unwrap().settings.firstboot.0.labels["a"].value, "3");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let contradiction = |at: &str, name: &str, one: &str, other: &str| {
        format!(
            "{at}: firstboot.kernel.arguments: the kernel argument {name} can have one value, and is asked for as {one} and {other}; \
             the kernel would take one of them: leave out all but one"
        )
    };
    let table: &[(String, &[String])] = &[
        (
            "[firstboot.identity]\nhostname = \"a\"\n".into(),
            &["r.toml:5:1: unknown key \"hostname\" in firstboot.identity; did you mean \"host-name\"?".into()],
        ),
        (
            "[firstboot]\nlabel = { a = \"1\" }\n".into(),
            &["r.toml:5:1: unknown key \"label\" in firstboot; did you mean \"labels\"?".into()],
        ),
        (
            "[[firstboot.when]]\nname = \"a\"\nmatch.processor.at-least = 1\nset.labels.a = \"1\"\n".into(),
            &[
                "r.toml:5:8: firstboot.match: needed dmi, pci, processors or memory-mib, found nothing; \
                 what is for every machine stands outside of [[when]]"
                    .into(),
                "r.toml:6:7: unknown key \"processor\" in firstboot.when[1].match; did you mean \"processors\"?".into(),
            ],
        ),
        (
            "[firstboot]\nidentity.host-name = \"GPU_{serial}\"\n".into(),
            &["r.toml:5:22: firstboot.identity.host-name: needed a host name (labels of lower-case letters, digits and inner \"-\", \
               64 bytes in all), found \"GPU_x\""
                .into()],
        ),
        (
            "[agent]\nenable = false\n[firstboot]\nlabels.a = \"1\"\n".into(),
            &["r.toml:6:1: firstboot: needed the first-boot agent in the image, found none; \
               write enable = true in [agent], or leave [firstboot] out"
                .into()],
        ),
        (
            "[tuned]\n[firstboot]\ntuned.profile = \"balanced basalt-gpu-trainign\"\n".into(),
            &["r.toml:6:17: firstboot.tuned.profile: there is no profile \"basalt-gpu-trainign\"; \
               did you mean \"basalt-gpu-training\"?"
                .into()],
        ),
        (
            when("x", "tuned.profile = \"basalt-node\""),
            &["r.toml:7:21: firstboot.tuned.profile: there is no profile \"basalt-node\"; \
               a recipe with [tuned] has those that come with Basalt"
                .into()],
        ),
        (
            "[kernel]\nargs = [\"iommu=pt\"]\n[firstboot]\nkernel.arguments = [\"quiet\", \"iommu=nopt\"]\n".into(),
            &[contradiction(
                "r.toml:7:30",
                "iommu (pt)",
                "\"iommu=pt\" (recipe: r.toml:5)",
                "\"iommu=nopt\" (firstboot: r.toml:7)",
            )],
        ),
        // A kernel module's blacklist adds; an option of a machine is one value for it, wherever it is wished.
        (
            format!(
                "[firstboot]\nkernel.arguments = [\"isolcpus=1\"]\n{}{}",
                when("a", "kernel.arguments = [\"isolcpus=2\"]"),
                when("b", "kernel.arguments = [\"isolcpus=1\", \"quiet\"]")
            ),
            &[contradiction(
                "r.toml:9:25",
                "isolcpus",
                "\"isolcpus=1\" (firstboot: r.toml:5)",
                "\"isolcpus=2\" (firstboot when \"a\": r.toml:9)",
            )],
        ),
        (
            "[firstboot]\nkernel.arguments = [\"nosmt\", \"nosmt=force\"]\n".into(),
            &[contradiction(
                "r.toml:5:21",
                "nosmt",
                "\"nosmt\" (desired state: r.toml:5:21)",
                "\"nosmt=force\" (desired state: r.toml:5:30)",
            )],
        ),
    ];
    for (more, expected) in table {
        let found = checked(&[("r.toml", &format!("{HEAD}{more}"))]).unwrap_err();
        assert_eq!(found, *expected, "{more}");
    }
    let without = HEAD.replace("tuned", "vim");
    let found = checked(&[("r.toml", &format!("{without}[firstboot]\ntuned.profile = \"balanced\"\n"))]).unwrap_err();
    let expected = "r.toml:5:17: firstboot.tuned.profile: needed the package \"tuned\", found none; \
                    write packages = [\"tuned\"] at the top of the recipe";
    assert_eq!(found, [expected]);
}

#[test]
fn machines_that_differ_may_contradict_each_other() {
    let text = format!(
        "{HEAD}[firstboot]\nkernel.arguments = [\"console=ttyS1\", \"quiet\"]\n{}{}",
        when("a", "kernel.arguments = [\"isolcpus=1\"]"),
        when("b", "kernel.arguments = [\"isolcpus=2\", \"quiet\"]")
    );
    checked(&[("r.toml", &text)]).unwrap();
}
