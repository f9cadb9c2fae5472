//! Checks `[tuned]`: names and variables, that tuned itself is there, and that folders with profiles have profiles.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Findings;
use super::super::tuned::{OVERLAY, PACKAGE, wished_profiles};
use super::super::{Base, Recipe, Tuned, Written, names, shape, written};
use super::super::{Place, Placed};
use super::Checker;
use crate::layer::{builtin, overlay, tuned};

impl Checker<'_> {
    pub(super) fn tuned(&mut self, written: &written::Tuned, base: &Base) -> Tuned {
        if never_there(base) {
            let place = written.active.as_ref().map(|active| active.place);
            let place = place.or_else(|| written.profiles.first().map(|path| path.place)).unwrap_or(Place(0));
            note_missing("tuned", place, self.findings);
        }
        let active = self.one("tuned.active", written.active.as_ref(), names::tuned::profiles);
        let mut variables = BTreeMap::new();
        for (profile, values) in &written.variables {
            variables.insert(profile.clone(), self.variables(profile, values));
        }
        Tuned {
            profiles: super::distinct(written.profiles.iter().map(|path| path.value.clone())),
            active: active.map(|active| active.split_whitespace().collect::<Vec<_>>().join(" ")),
            variables,
        }
    }

    fn variables(&mut self, profile: &str, values: &BTreeMap<String, Placed<String>>) -> BTreeMap<String, String> {
        let key = format!("tuned.variables.{profile}");
        let mut all = BTreeMap::new();
        for (name, value) in values {
            for why in [names::tuned::profile(profile), names::tuned::variable(name)].into_iter().filter_map(Result::err) {
                self.findings.add(value.place, format!("{key}: {why}"));
            }
            if let Some(text) = self.one(&format!("{key}.{name}"), Some(value), names::tuned::value) {
                all.insert(name.clone(), text);
            }
        }
        all
    }
}

/// Whether the image cannot have tuned: a base that others made may have it.
pub(super) fn never_there(base: &Base) -> bool {
    let is_it = |package: &String| package.split('/').next() == Some(PACKAGE);
    base.debian().is_some_and(|debian| !debian.packages.iter().any(is_it))
}

/// Notes at `place` that `key` needs tuned.
pub(super) fn note_missing(key: &str, place: Place, findings: &mut Findings) {
    let hint = format!("write packages = [\"{PACKAGE}\"] at the top of the recipe");
    findings.add_with_hint(place, format!("{key}: needed the package {PACKAGE:?}, found none"), hint);
}

/// How the names of profiles begin that come with Basalt.
const OURS: &str = "basalt-";

/// Notes folders that cannot be read or have no profiles, profiles that two have, and active or wished ones that nobody brings.
pub(super) fn examine(all: &Written, recipe: &Recipe, findings: &mut Findings) {
    let known = known(all, recipe, findings);
    // Debian's package has none of these; which others it has is known when it is there.
    let elsewhere = recipe.base.debian().is_none() || !all.overlays.is_empty();
    if elsewhere || all.files.iter().any(|file| file.path.contains("/tuned/")) {
        return;
    }
    let active = all.tuned.iter().filter_map(|tuned| tuned.active.as_ref()).map(|active| ("tuned.active", active));
    let wished = all.firstboot.iter().flat_map(|desired| wished_profiles(desired));
    for (key, names) in active.chain(wished.map(|profile| ("firstboot.tuned.profile", profile))) {
        for name in names.split_whitespace().filter(|name| name.starts_with(OURS) && !known.contains_key(*name)) {
            let names_of = || known.keys().map(String::as_str);
            let hint = match shape::nearest(name, names_of()) {
                Some(near) => format!("did you mean {near:?}?"),
                None if known.is_empty() => "a recipe with [tuned] has those that come with Basalt".to_owned(),
                None => format!("known are {}, and those of the package", names_of().collect::<Vec<_>>().join(", ")),
            };
            findings.add_with_hint(names.place, format!("{key}: there is no profile {name:?}"), hint);
        }
    }
}

/// The profiles that come with Basalt and those of the recipe's folders, each with who has it. Notes what is wrong with the folders.
fn known(all: &Written, recipe: &Recipe, findings: &mut Findings) -> BTreeMap<String, String> {
    let Some(written) = &all.tuned else { return BTreeMap::new() };
    let shipped = builtin::tree(OVERLAY).and_then(Result::ok).map(|tree| tree.walk().map(|(path, _)| path).collect());
    let shipped = shipped.map(|paths| tuned::profile_names(&paths)).unwrap_or_default();
    let mut known: BTreeMap<String, String> =
        shipped.into_iter().map(|name| (name, "those that come with Basalt".to_owned())).collect();
    let mut seen = BTreeSet::new();
    // An absolute path has been refused already. A fragment may name the same folder.
    for path in written.profiles.iter().filter(|path| !path.starts_with('/') && seen.insert(path.value.as_str())) {
        let paths = match overlay::names(&recipe.local(path)) {
            Ok(paths) => paths,
            Err(overlay::Unfit { list }) => {
                for why in list {
                    findings.add(path.place, format!("tuned.profiles {:?}: {why}", path.value));
                }
                continue;
            }
        };
        let names = tuned::profile_names(&paths);
        if names.is_empty() {
            let what = format!("tuned.profiles {:?}: needed a folder with tuned.conf for each profile, found none", path.value);
            findings.add_with_hint(path.place, what, "name the folder that holds the profile's folder");
        }
        for name in names {
            if let Err(why) = names::tuned::profile(&name) {
                findings.add(path.place, format!("tuned.profiles {:?}: {why}", path.value));
            }
            if let Some(other) = known.insert(name.clone(), path.value.clone()) {
                let what = format!("tuned.profiles {:?}: the profile {name:?} is also among {other}; needed once", path.value);
                findings.add_with_hint(
                    path.place,
                    what,
                    "give it another name; with include it takes over what the other one says",
                );
            }
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::failure::{Kind, Mention};
    use crate::recipe::{Recipe, locate, read};

    const HEAD: &str = "name = \"web\"\nversion = \"1\"\npackages = [\"tuned\"]\n";

    /// The recipe `r.toml` of this text beside some profiles and a fragment; its problems without the folder.
    fn checked(text: &str) -> Result<Recipe, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for profile in ["mine/gold", "other/gold", "other/basalt-node", "strange/a b", "empty/none/deep"] {
            put(&format!("{profile}/tuned.conf"), "[main]\nsummary=x\n");
        }
        put(
            "f/a.toml",
            "[kernel]\nargs = [\"isolcpus=2\"]\n[tuned]\nprofiles = [\"../mine\"]\n[tuned.variables.gold]\na = \"1\"\nb = \"2\"\n",
        );
        put("r.toml", text);
        let path = folder.path().join("r.toml");
        if let Some(position) = locate(&path, &Mention { key: "tuned.variables", value: "gold".into() }) {
            assert!(position.line > 3, "{position}");
        }
        read(&path).map_err(|problems| {
            assert_eq!(problems.kind, Kind::Invalid);
            let here = format!("{}/", folder.path().display());
            problems.to_string().lines().map(|line| line.replace(&here, "")).collect()
        })
    }

    #[test]
    fn a_recipe_and_its_fragment_are_one() {
        let text = "active = \"gold  balanced\"\nprofiles = [\"mine\"]\n[tuned.variables.gold]\nb = \"3\"\n";
        let recipe = checked(&format!("include = [\"f/a.toml\"]\n{HEAD}[kernel]\nargs = [\"quiet\"]\n[tuned]\n{text}")).unwrap();
        let places: Vec<_> = recipe.kernel_args.iter().map(|arg| format!("{} {}", arg.text, arg.source)).collect();
        assert_eq!(places, ["isolcpus=2 recipe: f/a.toml:2", "quiet recipe: r.toml:6"], "relative to the recipe's folder");
        let sources: Vec<_> = recipe.tuned_sources().iter().map(|source| source.lock_name()).collect();
        assert_eq!(sources, ["builtin:40-basalt-tuned", "mine"]);
        let tuned = recipe.tuned.unwrap();
        assert_eq!(tuned.active.as_deref(), Some("gold balanced"));
        let gold = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "3".to_owned())];
        assert_eq!(tuned.variables["gold"], gold.into());
        assert!(checked(HEAD).unwrap().tuned.is_none());
        assert!(checked(&format!("{HEAD}[tuned]\n")).unwrap().tuned_sources().len() == 1);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let without = HEAD.replace("tuned", "vim");
        let table: &[(&str, &str, &[&str])] = &[
            (HEAD, "activ = \"x\"", &["r.toml:5:1: unknown key \"activ\" in tuned; did you mean \"active\"?"]),
            (
                HEAD,
                "active = \"basalt-cpu-isolatde\"",
                &[
                    "r.toml:5:10: tuned.active: there is no profile \"basalt-cpu-isolatde\"; did you mean \"basalt-cpu-isolated\"?",
                ],
            ),
            (HEAD, "active = \"a a\"", &["r.toml:5:10: tuned.active: needed each profile once, found \"a\" twice"]),
            (
                &without,
                "active = \"x\"",
                &[
                    "r.toml:5:10: tuned: needed the package \"tuned\", found none; write packages = [\"tuned\"] at the top of the recipe",
                ],
            ),
            (
                HEAD,
                "profiles = [\"mine\", \"other\"]",
                &[
                    "r.toml:5:21: tuned.profiles \"other\": the profile \"basalt-node\" is also among those that come with Basalt; needed once; \
                     give it another name; with include it takes over what the other one says",
                    "r.toml:5:21: tuned.profiles \"other\": the profile \"gold\" is also among mine; needed once; \
                     give it another name; with include it takes over what the other one says",
                ],
            ),
            (
                HEAD,
                "profiles = [\"empty\"]",
                &["r.toml:5:13: tuned.profiles \"empty\": needed a folder with tuned.conf for each profile, found none; \
                   name the folder that holds the profile's folder"],
            ),
            (
                HEAD,
                "profiles = [\"strange\"]",
                &["r.toml:5:13: tuned.profiles \"strange\": needed a profile's name: letters, digits, \"_\", \".\" and \"-\", \
                   the first a letter, a digit or \"_\", found \"a b\""],
            ),
            (
                HEAD,
                "[tuned.variables.x]\na-b = \"1\"\nc = \"1 # 2\"",
                &[
                    "r.toml:6:7: tuned.variables.x: needed a variable's name: letters, digits and \"_\", not digits alone, found \"a-b\"",
                    "r.toml:7:5: tuned.variables.x.c: needed one line without \"#\", and without spaces at its ends, found \"1 # 2\"",
                ],
            ),
            (
                HEAD,
                "[kernel]\nargs = [\"isolcpus=1\", \"quiet\", \"isolcpus=2\"]",
                &["r.toml:6:32: kernel.args: the kernel argument isolcpus can have one value, and is asked for as \
                   \"isolcpus=1\" (recipe: r.toml:6) and \"isolcpus=2\" (recipe: r.toml:6); \
                   the kernel would take one of them: leave out all but one"],
            ),
        ];
        for (head, more, expected) in table {
            let found = checked(&format!("{head}[tuned]\n{more}\n")).unwrap_err();
            assert_eq!(found, *expected, "{more}");
        }
    }
}
