//! `[firstboot]` of a recipe as a file of desired state: the lowest that the agent reads on the node.

use anyhow::Result;

use super::Produced;
use crate::failure;
use crate::layer::tuned;
use crate::plan::Firstboot;
use crate::recipe::wished_profiles;
use crate::tree::{Tree, TreePath};

/// Where the agent reads what the image wishes.
const PATH: &str = "/usr/lib/basalt/firstboot.d/50-recipe.toml";
/// Its first line.
const HEAD: &str =
    "# Made from [firstboot] of the image's recipe. A file of this name in /etc/basalt/firstboot.d replaces it.\n\n";
/// The recipe's key, wherever in `[firstboot]` it stands.
const PROFILE: &str = "firstboot.tuned.profile";

/// Writes the file, unless nothing is wished.
///
/// # Errors
/// [`crate::failure::Kind::Invalid`]: a profile that the tuned of the layers `below` would not load.
pub fn apply(wished: &Firstboot, below: &Tree, produced: &mut Produced) -> Result<()> {
    if wished.is_empty() {
        return Ok(());
    }
    for profile in wished_profiles(&wished.0) {
        tuned::loadable(PROFILE, profile, below).map_err(|error| failure::about(error, PROFILE, profile))?;
    }
    produced.replace(&TreePath::parse(PATH)?, format!("{HEAD}{}", wished.to_toml()), below)
}

#[cfg(test)]
mod tests {
    use basalt_contract::desired::{check, read};
    use basalt_contract::placed::{Findings, Sources};

    use super::PATH;
    use crate::commit::fixture::{overlay, path};
    use crate::failure::{Kind, failure_in, kind_of};
    use crate::layer::settings::{Produced, produce};
    use crate::plan::{Firstboot, Settings};
    use crate::recipe;
    use crate::tree::Tree;

    const UNIT: (&str, &str) = ("/usr/lib/systemd/system/tuned.service", "[Install]\nWantedBy=multi-user.target\n");

    fn settings(firstboot: &str) -> Settings {
        let recipe = recipe::parse("r.toml", &format!("name = \"a\"\nversion = \"1\"\npackages = [\"tuned\"]\n{firstboot}"));
        let firstboot = recipe.unwrap_or_else(|problems| panic!("{problems}")).settings.firstboot;
        Settings { firstboot, ..Settings::default() }
    }

    fn below(files: &[(&str, &str)]) -> Tree {
        overlay("below", files).tree
    }

    fn text(produced: &Produced) -> String {
        let node = produced.tree.file(&path(PATH)).expect("no file");
        String::from_utf8(node.bytes().unwrap()).unwrap()
    }

    #[test]
    fn the_agent_reads_what_the_recipe_says() {
        let settings = settings(
            "[firstboot]\nidentity.host-name = \"gpu-{serial}\"\nkernel.arguments = [\"nosmt\", \"hugepagesz=1G\", \"hugepages=4\"]\n\
             kubelet = { taints = [\"example.org/a=b:NoSchedule\"], reserved-cpus = \"0-3\", cpu-manager-policy = \"static\" }\n\
             labels = { \"example.org/site\" = \"hall-3\", b = \"2\", a = \"1\" }\n\
             [[firstboot.when]]\nname = \"a \\\"few\\\"\"\nmatch.dmi = { product_name = \"*\" }\nmatch.memory-mib.at-most = 4096\n\
             match.pci = [{ id = \"10de:*\", class = \"03\", count = { at-least = 2 } }, { id = \"15b3:*\" }]\n\
             set.labels.gpu = \"nvidia\"\n[[firstboot.when.set.when]]\nname = \"inner\"\nmatch.processors.at-least = 2\nset.labels.c = \"3\"\n",
        );
        let produced = produce(&settings, &below(&[])).unwrap();
        let text = text(&produced);
        assert!(text.starts_with("# Made from [firstboot] "), "{text}");
        let (mut sources, mut findings) = (Sources::default(), Findings::default());
        let found = read(PATH, &text, &mut sources, &mut findings);
        check(&found, &sources, &mut findings);
        assert_eq!(findings.into_problems(&sources), [], "{text}");
        assert_eq!(Firstboot(Box::new(found)), settings.firstboot, "{text}");
    }

    #[test]
    fn its_bytes_are_the_same_whichever_way_it_was_written() {
        let one = "[firstboot.labels]\nb = \"2\"\na = \"1\"\n[firstboot.kubelet]\ntopology-manager-policy = \"best-effort\"\n";
        let other =
            "[firstboot]\nkubelet.topology-manager-policy = 'best-effort'\nlabels = { a = \"1\", \"b\" = \"2\" }\nkernel = {}\n";
        let made = |recipe| text(&produce(&settings(recipe), &below(&[])).unwrap());
        assert_eq!(made(one), made(other));
        let body = "[kubelet]\ntopology-manager-policy = \"best-effort\"\n\n[labels]\na = \"1\"\nb = \"2\"\n";
        assert!(made(one).ends_with(&format!("\n\n{body}")), "{}", made(one));
    }

    #[test]
    fn who_wishes_nothing_has_no_file_and_who_wishes_something_replaces_it() {
        for nothing in ["", "[firstboot]\n", "[firstboot.labels]\n"] {
            let produced = produce(&settings(nothing), &below(&[])).unwrap();
            assert!(produced.tree.file(&path(PATH)).is_none(), "{nothing}");
        }
        let produced = produce(&settings("firstboot.labels.a = \"1\"\n"), &below(&[(PATH, "of the base")])).unwrap();
        assert_eq!(produced.removals, [path(PATH)]);
    }

    #[test]
    fn a_profile_that_tuned_would_not_load_is_refused() {
        let profile = "/usr/lib/tuned/profiles/mine/tuned.conf";
        let asserts = "[main]\n[variables]\na=none\nb=${f:assertion_non_equal:a is set:${a}:none}\n";
        let deeper = "[[firstboot.when]]\nname = \"x\"\nmatch.processors.at-least = 1\nset.tuned.profile = \"mien\"\n";
        for (wish, files, words, hint) in [
            ("firstboot.tuned.profile = \"mine\"\n", &[][..], "needed tuned in the layers below", "the package tuned"),
            (deeper, &[UNIT, (profile, "[main]\n")], "tuned would not load mien: there is no profile \"mien\"", "mean mine?"),
            (
                "firstboot.tuned.profile = \"mine\"\n",
                &[UNIT, (profile, "[main]\ninclude=none\n")],
                "line 2: there is no profile \"none\"",
                "name a folder",
            ),
        ] {
            let error = produce(&settings(wish), &below(files)).unwrap_err();
            assert_eq!(kind_of(&error), Kind::Invalid);
            let failure = failure_in(&error).unwrap();
            assert!(failure.what.contains(words), "{failure}");
            assert!(failure.hint.as_ref().unwrap().contains(hint), "{:?}", failure.hint);
            assert_eq!(failure.about.as_ref().unwrap().key, "firstboot.tuned.profile");
        }
        let wish = settings("firstboot.tuned.profile = \"mine\"\n");
        produce(&wish, &below(&[UNIT, (profile, "[main]\n")])).unwrap();
        produce(&wish, &below(&[UNIT, (profile, asserts)])).unwrap_or_else(|error| panic!("a node has variables: {error:#}"));
    }
}
