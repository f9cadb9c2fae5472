//! A plan as JSON: what `plan --json` prints and `build` takes. Read strictly, because it may come from anywhere.

use basalt_contract::KernelArgument;

use super::{Base, FileContent, KernelMatch, KernelModules, LayerContent, ModuleSource, Plan, Settings, Tuned, VERSION};
use crate::recipe::ImageSource;
use crate::recipe::names::{self, Verdict};

/// A text is no plan of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPlan {
    /// Not JSON, an unknown or missing key, or a wrong type.
    #[error("{line}:{column}: {why}")]
    Shape {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// Needed and found.
        why: String,
    },
    /// Made by another Basalt.
    #[error("needed a plan of version {VERSION}, found {found}")]
    Version {
        /// What it says.
        found: String,
    },
    /// A value that no recipe could have given.
    #[error("{at}: {why}")]
    Value {
        /// Which.
        at: String,
        /// Needed and found.
        why: String,
    },
}

impl Plan {
    /// Reads a plan. The names in it follow the same rules as in a recipe, so that none of them can leave its folder.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, BadPlan> {
        let shape = |error: serde_json::Error| {
            let why = error.to_string();
            // The position stands in fields of its own.
            let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(what, _)| what).to_owned();
            BadPlan::Shape { line: error.line(), column: error.column(), why }
        };
        // The version first: another version may have other keys.
        let value: serde_json::Value = serde_json::from_str(text).map_err(shape)?;
        match value.get("version") {
            Some(version) if version.as_u64() == Some(u64::from(VERSION)) => {}
            found => {
                let found = found.map_or_else(|| "none".to_owned(), ToString::to_string);
                return Err(BadPlan::Version { found });
            }
        }
        let plan: Self = serde_json::from_str(text).map_err(shape)?;
        plan.examine()?;
        Ok(plan)
    }

    /// As `plan --json` prints it: with line breaks, ending in one. Equal plans are equal texts.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a plan is always JSON");
        text.push('\n');
        text
    }

    fn examine(&self) -> Result<(), BadPlan> {
        let value = |at: &str| {
            let at = at.to_owned();
            move |why: String| BadPlan::Value { at, why }
        };
        names::image(&self.name).map_err(value("name"))?;
        names::version(&self.image_version).map_err(value("image-version"))?;
        for word in self.kernel_args.iter().flat_map(KernelArgument::words) {
            names::kernel_arg(word).map_err(value("kernel-args"))?;
        }
        if !matches!(self.disk.sector_size, 512 | 4096) {
            let why = format!("needed 512 or 4096, found {}", self.disk.sector_size);
            return Err(value("disk.sector-size")(why));
        }
        if let Some(image) = &self.update {
            names::image_reference(image).map_err(value("update"))?;
        }
        self.examine_base()?;
        self.layers.iter().try_for_each(|layer| self.examine_layer(&layer.name, &layer.content))
    }

    fn examine_base(&self) -> Result<(), BadPlan> {
        let value = |at: &str| {
            let at = at.to_owned();
            move |why: String| BadPlan::Value { at, why }
        };
        let (suite, packages, mirror, users, groups) = match &self.base {
            Base::Debian { suite, packages, mirror, users, groups } => (suite, packages, mirror, users, groups),
            Base::Oci(image) => return ImageSource::parse("", &image.from).map(drop).map_err(value("base.from")),
            Base::Tree { .. } => return Ok(()),
        };
        names::archive_word(suite).map_err(value("base.suite"))?;
        for package in packages {
            names::package(&package.name).map_err(value("base.packages"))?;
            if package.architecture != "all" && package.architecture != self.architecture.debian() {
                let why = format!("needed {} for {}, found it for {}", package.name, self.architecture, package.architecture);
                return Err(value("base.packages")(why));
            }
        }
        for name in users.keys().chain(groups.keys()) {
            names::user(name).map_err(value("base.users"))?;
        }
        if let Some(mirror) = mirror {
            names::mirror(mirror).map_err(value("base.mirror"))?;
        }
        Ok(())
    }

    fn examine_layer(&self, name: &str, content: &LayerContent) -> Result<(), BadPlan> {
        let value = |why: String| BadPlan::Value { at: format!("layer {name}"), why };
        match content {
            LayerContent::Overlay { .. } | LayerContent::Agent { .. } | LayerContent::UpdateClient { .. } => Ok(()),
            LayerContent::Files { files } => files.iter().try_for_each(|(path, file)| {
                if file.mode > 0o7777 {
                    return Err(value(format!("{path}: needed a mode up to 7777, found {:o}", file.mode)));
                }
                match &file.content {
                    FileContent::Symlink(target) if target.is_empty() || target.contains('\0') => {
                        Err(value(format!("{path}: needed a link's target, found {target:?}")))
                    }
                    _ => Ok(()),
                }
            }),
            LayerContent::KernelModules(modules) => modules_by_rules(modules).map_err(value),
            LayerContent::Tuned(tuned) => tuned_by_rules(tuned).map_err(value),
            LayerContent::Trust(trust) => each(&trust.repository, names::image_reference).map_err(value),
            LayerContent::Settings(settings) => settings_by_rules(settings).map_err(value),
        }
    }
}

fn modules_by_rules(modules: &KernelModules) -> Verdict {
    each(modules.headers.iter().map(|package| &package.name), names::package)?;
    for set in &modules.sets {
        names::image(&set.name)?;
        each(
            set.load.iter().chain(&set.load_early).chain(&set.blacklist).chain(&set.remove).chain(set.parameters.keys()),
            names::module,
        )?;
        each(set.parameters.values(), names::module_parameters)?;
        each(&set.allow, names::finding)?;
        for mapping in &set.mappings {
            match &mapping.kernel {
                KernelMatch::Any => {}
                KernelMatch::Literal(release) => names::release(release)?,
                KernelMatch::Regexp(pattern) => names::release_pattern(pattern)?,
            }
            match &mapping.source {
                ModuleSource::Tree(_) | ModuleSource::Deb(_) => {}
                ModuleSource::Image(image) => drop(ImageSource::parse("", &image.from)?),
                ModuleSource::Packages(packages) => each(packages.iter().map(|package| &package.name), names::package)?,
            }
        }
    }
    Ok(())
}

fn tuned_by_rules(tuned: &Tuned) -> Verdict {
    each(&tuned.active, names::tuned::profiles)?;
    each(tuned.variables.keys(), names::tuned::profile)?;
    each(tuned.variables.values().flat_map(|values| values.keys()), names::tuned::variable)?;
    each(tuned.variables.values().flat_map(|values| values.values()), names::tuned::value)
}

fn settings_by_rules(settings: &Settings) -> Verdict {
    each(settings.enable.iter().chain(&settings.disable).chain(&settings.mask), names::unit)?;
    each(settings.network.keys(), names::network_file)?;
    each(settings.users.keys(), names::user)?;
    for user in settings.users.values() {
        each(&user.groups, names::user)?;
        each(&user.shell, names::shell)?;
        each(&user.ssh_keys, names::ssh_key)?;
    }
    each(&settings.root_ssh_keys, names::ssh_key)?;
    each(&settings.host_name, names::host)?;
    settings.firstboot.examine()
}

fn each<'a>(values: impl IntoIterator<Item = &'a String>, rule: fn(&str) -> Verdict) -> Verdict {
    values.into_iter().try_for_each(|value| rule(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../../image-recipes/golden/gpu-node.plan.json");

    #[test]
    fn a_plan_is_read_and_written_back() {
        assert_eq!(Plan::parse(GOLDEN).unwrap().to_json(), GOLDEN);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            ("\"version\": 2", "\"version\": 1", "needed a plan of version 2, found 1"),
            ("\"version\": 2,", "", "needed a plan of version 2, found none"),
            ("\"name\": \"gpu-node\"", "\"name\": \"../x\"", "name: needed up to 63 lower-case letters"),
            ("\"name\": \"gpu-node\"", "\"nome\": \"gpu-node\"", "unknown field `nome`"),
            ("\"kind\": \"overlay\"", "\"kind\": \"overlay\", \"x\": 1", "unknown field `x`"),
            (
                "\"architecture\": \"amd64\"",
                "\"architecture\": \"arm64\"",
                "base.packages: needed bash for arm64, found it for amd64",
            ),
            ("\"kind\": \"debian\"", "\"kind\": \"fedora\"", "unknown variant `fedora`"),
            ("\"iommu=pt\"", "\"root=/dev/sda\"", "kernel-args: needed no \"root\""),
            ("\"sector-size\": 512", "\"sector-size\": 513", "disk.sector-size: needed 512 or 4096, found 513"),
            (
                "\"mode\": 420",
                "\"mode\": 65535",
                "layer files: /etc/systemd/system.conf.d/50-memlock.conf: needed a mode up to 7777, found 177777",
            ),
            ("\"ssh.service\"", "\"../ssh.service\"", "layer settings: needed a unit's name"),
            ("\"80-wired.network\"", "\"../x.network\"", "layer settings: needed a file name that ends in .network"),
        ];
        for (from, to, expected) in table {
            let text = GOLDEN.replacen(from, to, 1);
            assert_ne!(text, GOLDEN, "{from}");
            let bad = Plan::parse(&text).unwrap_err().to_string();
            assert!(bad.contains(expected), "{to}: {bad}");
        }
        assert_eq!(Plan::parse("{\n x").unwrap_err().to_string(), "2:2: key must be a string");
        for text in ["", "[]", "null", "{\"version\": 2}", "\u{0}"] {
            assert!(Plan::parse(text).is_err(), "{text:?}");
        }
    }
}
