//! Checks `[base]`, `packages` and `[[overlay]]`.

use std::collections::BTreeMap;

use super::super::written::BaseKind;
use super::super::{Base, Debian, ImageSource, Origin, Overlay, OverlaySource, defaults, names, shape, written};
use super::super::{Place, Placed};
use super::Checker;
use crate::layer::builtin;

/// Numbers that are nobody's, or mean "none" to the kernel.
const RESERVED: [u32; 4] = [0, 65534, 65535, u32::MAX];

impl Checker<'_> {
    pub(super) fn base(&mut self, written: &written::Base, added: &[Placed<String>]) -> Base {
        let kind = written.kind.as_ref().map_or(BaseKind::Debian, |kind| kind.value);
        self.of_another_kind(written, added, kind);
        let place = written.kind.as_ref().map_or(Place(0), |kind| kind.place);
        let origin = match kind {
            BaseKind::Debian => Origin::Debian(self.debian(written, added)),
            BaseKind::Oci => Origin::Image(self.image(written.from.as_ref(), place)),
            BaseKind::Tree => {
                if written.path.is_none() && !self.dropped.contains("base.path") {
                    let hint = "name a folder or tar archive with the files of a system";
                    self.findings.add_with_hint(place, "base.path: needed for kind \"tree\", found none", hint);
                }
                Origin::Tree(written.path.as_ref().map(|path| path.value.clone()).unwrap_or_default())
            }
        };
        Base { minimal: written.minimal.as_ref().is_some_and(|minimal| minimal.value), origin }
    }

    /// Notes keys that say nothing of a base of this kind.
    fn of_another_kind(&mut self, written: &written::Base, added: &[Placed<String>], kind: BaseKind) {
        let place = |value: &Option<Placed<String>>| value.as_ref().map(|value| value.place);
        let first = |table: &BTreeMap<String, Placed<u32>>| table.values().next().map(|number| number.place);
        let debian = [
            ("base.suite", place(&written.suite)),
            ("base.components", written.components.as_ref().map(|list| list.place)),
            ("base.mirror", place(&written.mirror)),
            ("base.keyring", place(&written.keyring)),
            ("base.packages", written.packages.first().map(|name| name.place)),
            ("packages", added.first().map(|name| name.place)),
            ("base.users", first(&written.users)),
            ("base.groups", first(&written.groups)),
        ];
        let debian = debian.map(|(key, place)| (key, place, BaseKind::Debian, "debian"));
        let others = [
            ("base.from", place(&written.from), BaseKind::Oci, "oci"),
            ("base.path", place(&written.path), BaseKind::Tree, "tree"),
        ];
        for (key, place, of, word) in debian.into_iter().chain(others).filter(|(_, _, of, _)| *of != kind) {
            let Some(place) = place else { continue };
            let hint = match of {
                BaseKind::Debian => "packages cannot be added to a finished base: put them into it, or use an overlay".to_owned(),
                BaseKind::Oci | BaseKind::Tree => format!("write kind = \"{word}\" in [base]"),
            };
            self.findings.add_with_hint(place, format!("{key}: goes with a base of kind \"{word}\""), hint);
        }
    }

    /// Where the image is. Its form was looked at when it was read.
    fn image(&mut self, from: Option<&Placed<String>>, place: Place) -> ImageSource {
        if from.is_none() && !self.dropped.contains("base.from") {
            let hint = "name an image: from = \"registry.example.org/hosts/base:1\"";
            self.findings.add_with_hint(place, "base.from: needed for kind \"oci\", found none", hint);
        }
        let source = from.and_then(|from| ImageSource::parse("", &from.value).ok());
        source.unwrap_or_else(|| ImageSource::Registry(String::new()))
    }

    fn debian(&mut self, written: &written::Base, added: &[Placed<String>]) -> Debian {
        let mut packages = self.list("base.packages", &written.packages, names::package_of_suite);
        packages.extend(self.list("packages", added, names::package_of_suite));
        packages.sort_unstable();
        packages.dedup();
        let minimal = written.minimal.as_ref().is_some_and(|minimal| minimal.value);
        if let Some(place) = written.minimal.as_ref().map(|minimal| minimal.place)
            && minimal
            && packages.is_empty()
        {
            let hint = "name in base.packages what the image is made of";
            self.findings.add_with_hint(place, "base.minimal: needed packages, found none", hint);
        }
        let components = match &written.components {
            Some(list) if list.is_empty() => {
                self.findings.add(list.place, "base.components: needed at least one, found none");
                Vec::new()
            }
            Some(list) => super::distinct(self.list("base.components", list, names::archive_word)),
            None => defaults::COMPONENTS.map(str::to_owned).to_vec(),
        };
        Debian {
            suite: match &written.suite {
                Some(_) => self.one("base.suite", written.suite.as_ref(), names::archive_word).unwrap_or_default(),
                None => defaults::SUITE.to_owned(),
            },
            components,
            mirror: self.one("base.mirror", written.mirror.as_ref(), names::mirror),
            keyring: written.keyring.as_ref().map(|path| path.value.clone()),
            packages,
            users: self.numbers("base.users", &written.users, &defaults::USERS),
            groups: self.numbers("base.groups", &written.groups, &defaults::GROUPS),
        }
    }

    /// The recipe's numbers over the default ones, none twice.
    fn numbers(&mut self, table: &str, written: &BTreeMap<String, Placed<u32>>, ours: &[(&str, u32)]) -> BTreeMap<String, u32> {
        let mut numbers: BTreeMap<String, u32> = ours.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
        numbers.extend(written.iter().map(|(name, number)| (name.clone(), number.value)));
        for (name, number) in written {
            if let Err(why) = names::user(name) {
                self.findings.add(number.place, format!("{table}: {why}"));
            }
            if RESERVED.contains(&number.value) {
                self.findings.add(number.place, format!("{table}.{name}: needed a free number, found {}", number.value));
            }
            if let Some((other, _)) = numbers.iter().find(|(other, taken)| *other != name && **taken == number.value) {
                let what = format!("{table}.{name}: needed a number of its own, found {}, which is {other}'s", number.value);
                self.findings.add(number.place, what);
            }
        }
        numbers
    }

    pub(super) fn overlays(&mut self, written: &[written::Overlay], minimal: bool, agent: bool) -> Vec<Overlay> {
        let mut overlays: Vec<Overlay> = Vec::new();
        for overlay in written {
            let (source, place) = match (&overlay.path, &overlay.builtin) {
                (Some(path), None) => (OverlaySource::Local(path.value.clone()), path.place),
                (None, Some(name)) => {
                    if !builtin::names().any(|known| known == name.value) {
                        self.findings.add_with_hint(name.place, unknown_builtin(name), hint_for_builtin(name));
                    }
                    (OverlaySource::Builtin(name.value.clone()), name.place)
                }
                (Some(path), Some(_)) => {
                    self.findings.add(path.place, "overlay: needed either \"path\" or \"builtin\", found both");
                    continue;
                }
                (None, None) => {
                    let what = "overlay: needed \"path\" (a folder or tar archive) or \"builtin\" (a name), found neither";
                    let place = overlay.replaces.first().map(|path| path.place);
                    let place = place.or_else(|| overlay.modes.values().next().map(|mode| mode.place));
                    self.findings.add(place.unwrap_or(super::Place(0)), what);
                    continue;
                }
            };
            if overlays.iter().any(|other| other.source == source) {
                self.findings.add(place, format!("overlay: {:?} is named twice; needed once", source.name()));
                continue;
            }
            let replaces = overlay.replaces.iter().filter_map(|path| self.target("overlay.replaces", path)).collect();
            let modes = overlay.modes.iter().filter_map(|(path, mode)| {
                let key = Placed { value: path.clone(), place: mode.place };
                self.target("overlay.modes", &key).zip(self.by_rule("overlay.modes", mode, names::mode))
            });
            let modes = modes.collect();
            overlays.push(Overlay { source, replaces, modes });
        }
        let wanted = [(defaults::NODE_OVERLAY, !minimal), (defaults::AGENT_OVERLAY, agent)];
        let missing: Vec<_> = wanted
            .into_iter()
            .filter(|&(_, wanted)| wanted)
            .map(|(name, _)| OverlaySource::Builtin(name.to_owned()))
            .filter(|source| !overlays.iter().any(|overlay| overlay.source == *source))
            .map(|source| Overlay { source, replaces: Vec::new(), modes: BTreeMap::new() })
            .collect();
        overlays.splice(0..0, missing);
        overlays
    }
}

fn unknown_builtin(name: &str) -> String {
    format!("overlay.builtin: needed one that comes with this Basalt, found {name:?}")
}

fn hint_for_builtin(name: &str) -> String {
    match shape::nearest(name, builtin::names()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are: {}", builtin::names().collect::<Vec<_>>().join(", ")),
    }
}
