//! Enables, disables and masks units: the links that `systemctl` would make and take away, and a preset that says the same.
//!
//! The preset matters at first boot, when systemd applies all presets: without it, it would undo or add to our links.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use super::install::Install;
use super::{Produced, suggestion};
use crate::failure::{self, Failure, Kind};
use crate::plan::Settings;
use crate::tree::{LeafKind, Node, Tree, TreePath};

/// Where the administrator's units and all links lie.
const ETC: &str = "/etc/systemd/system";
/// Where packages have theirs.
const USR: &str = "/usr/lib/systemd/system";
const PRESETS: &str = "/usr/lib/systemd/system-preset";
/// Of several presets the first that names a unit counts, in the order of the files' names: before all of the distribution's.
const PRESET: &str = "/usr/lib/systemd/system-preset/10-basalt.preset";
/// Aliases that are followed before it must be a loop.
const ALIASES: usize = 8;

/// Adds what `settings` says of units.
pub fn apply(settings: &Settings, below: &Tree, produced: &mut Produced) -> Result<()> {
    let mut changes = Changes { settings, below, produced, preset: String::new() };
    for written in &settings.disable {
        changes.disable(&full_name(written)).map_err(|error| failure::about(error, "systemd.disable", written))?;
    }
    for written in &settings.mask {
        changes.mask(&full_name(written)).map_err(|error| failure::about(error, "systemd.mask", written))?;
    }
    for written in &settings.enable {
        let name = full_name(written);
        for (other, word) in [(&settings.disable, "disabled"), (&settings.mask, "masked")] {
            if other.iter().any(|other| full_name(other) == name) {
                return Err(Failure::new(Kind::Invalid, format!("[systemd] {name} is both enabled and {word}"))
                    .hint("leave it out of one of the lists")
                    .into());
            }
        }
        changes.enable(&name).map_err(|error| failure::about(error, "systemd.enable", written))?;
    }
    let preset = changes.preset;
    if !preset.is_empty() {
        produced.prepend(&TreePath::parse(PRESET)?, preset, below)?;
    }
    Ok(())
}

/// A unit file of the layers below.
struct Unit {
    /// Its name, which may differ from the one that was asked for (an alias).
    name: String,
    /// Where it lies.
    path: TreePath,
    install: Install,
}

struct Changes<'a> {
    settings: &'a Settings,
    below: &'a Tree,
    produced: &'a mut Produced,
    preset: String,
}

impl Changes<'_> {
    fn enable(&mut self, name: &str) -> Result<()> {
        let mut seen = BTreeSet::new();
        let mut queue = vec![name.to_owned()];
        while let Some(next) = queue.pop() {
            if !seen.insert(next.clone()) {
                continue;
            }
            let unit = find(self.below, &next)?;
            if unit.install.is_empty() && next == name {
                return Err(Failure::new(
                    Kind::Invalid,
                    format!(
                        "[systemd] {name}: {} has no [Install] section, so that nothing \
                     says when it starts",
                        unit.path
                    ),
                )
                .hint(format!("leave it out of enable, or add a drop-in {USR}/{}.d/10-install.conf with [Install]", unit.name))
                .into());
            }
            // What is disabled cannot be among them (see `disable`); systemd leaves out what is masked, too.
            queue.extend(unit.install.also.iter().filter(|also| !is_among(&self.settings.mask, also)).cloned());
            self.link(&unit)?;
        }
        Ok(())
    }

    fn link(&mut self, unit: &Unit) -> Result<()> {
        let install = &unit.install;
        let name = match (template_of(&unit.name), &install.default_instance) {
            (Some((prefix, "", suffix)), Some(instance)) => format!("{prefix}@{instance}.{suffix}"),
            (Some((prefix, "", suffix)), None) if !install.is_empty() => {
                return Err(Failure::new(
                    Kind::Invalid,
                    format!("[systemd] {}: a template; needed an instance of it", unit.name),
                )
                .hint(format!("write {prefix}@NAME.{suffix}"))
                .into());
            }
            _ => unit.name.clone(),
        };
        let wanting = [(&install.wanted_by, "wants"), (&install.required_by, "requires"), (&install.upheld_by, "upholds")];
        for (targets, word) in wanting {
            for target in targets {
                let target = expand(target, &name)?;
                self.put_link(&format!("{ETC}/{target}.{word}/{name}"), unit)?;
            }
        }
        for alias in &install.alias {
            let alias = expand(alias, &name)?;
            self.put_link(&format!("{ETC}/{alias}"), unit)?;
        }
        if !install.is_empty() {
            match template_of(&name) {
                Some((prefix, instance, suffix)) => writeln!(self.preset, "enable {prefix}@.{suffix} {instance}")?,
                None => writeln!(self.preset, "enable {name}")?,
            }
        }
        Ok(())
    }

    fn put_link(&mut self, at: &str, unit: &Unit) -> Result<()> {
        let path = TreePath::parse(at)?;
        if !self.produced.removals.contains(&path)
            && let Some(node) = self.below.get(&path)
        {
            let there = target(node).map(base_name);
            return if there == Some(base_name(unit.path.relative())) {
                Ok(())
            } else {
                Err(Failure::new(
                    Kind::Invalid,
                    format!("[systemd] {}: {path} is there already, for {}", unit.name, there.unwrap_or("another unit")),
                )
                .hint("disable that unit, too")
                .into())
            };
        }
        self.produced.tree.put(&path, Node::symlink(unit.path.to_string()))?;
        Ok(())
    }

    fn disable(&mut self, name: &str) -> Result<()> {
        let unit = find(self.below, name)?;
        if let Some(other) = self.bringer(&unit.name)? {
            return Err(Failure::new(
                Kind::Invalid,
                format!(
                    "[systemd] {name} cannot be disabled: {other} is enabled and brings it along (Also=), at first boot again"
                ),
            )
            .hint(format!("mask it: mask = [\"{name}\"]; or disable {other}, too"))
            .into());
        }
        let names: Vec<String> =
            [name.to_owned(), unit.name.clone()].into_iter().chain(unit.install.also.iter().cloned()).collect();
        let is_ours = |other: &str| names.iter().any(|name| is_or_instance(other, name));
        for (folder, is_vendors) in [(ETC, false), (USR, true)] {
            let folder = TreePath::parse(folder)?;
            for (path, node) in links_below(self.below, &folder) {
                let inside = path.split_last().is_some_and(|(parent, _)| parent != folder);
                if is_vendors {
                    if inside && is_or_instance(base_name(path.relative()), &unit.name) {
                        return Err(Failure::new(
                            Kind::Invalid,
                            format!("[systemd] {name} cannot be disabled: {path} starts it"),
                        )
                        .hint(format!("mask it: mask = [\"{name}\"]"))
                        .into());
                    }
                } else if is_ours(base_name(path.relative())) || target(node).is_some_and(|target| is_ours(base_name(target))) {
                    self.produced.removals.push(path);
                }
            }
        }
        writeln!(self.preset, "disable {}", unit.name)?;
        Ok(())
    }

    /// An enabled unit that has `name` among those to be enabled with it: systemd enables both when it applies presets.
    fn bringer(&self, name: &str) -> Result<Option<String>> {
        let Settings { enable, disable, mask, .. } = self.settings;
        for folder in [ETC, USR] {
            let folder = TreePath::parse(folder)?;
            for unit in self.below.directory(&folder).into_iter().flat_map(|directory| directory.children.keys()) {
                let Some(content) = self.below.file(&folder.join(unit)) else { continue };
                let mut install = Install::default();
                install.read(&String::from_utf8_lossy(&content.bytes()?));
                let brings = unit != name && install.also.iter().any(|also| also == name);
                if !brings || is_among(disable, unit) || is_among(mask, unit) {
                    continue;
                }
                let etc = TreePath::parse(ETC)?;
                let is_linked = || links_below(self.below, &etc).iter().any(|(path, _)| base_name(path.relative()) == unit);
                if is_among(enable, unit) || is_linked() || preset_enables(self.below, unit)? {
                    return Ok(Some(unit.clone()));
                }
            }
        }
        Ok(None)
    }

    fn mask(&mut self, name: &str) -> Result<()> {
        let path = TreePath::parse(&format!("{ETC}/{name}"))?;
        if self.below.get(&path).and_then(target) != Some("/dev/null") {
            if self.below.get(&path).is_some() {
                self.produced.removals.push(path.clone());
            } else {
                find(self.below, name)?;
            }
            self.produced.tree.put(&path, Node::symlink("/dev/null"))?;
        }
        writeln!(self.preset, "disable {name}")?;
        Ok(())
    }
}

/// Whether the recipe's list `units` names the unit `name`.
fn is_among(units: &[String], name: &str) -> bool {
    units.iter().any(|unit| full_name(unit) == name)
}

/// Whether a preset of the layers below has a line that enables `name`.
fn preset_enables(below: &Tree, name: &str) -> Result<bool> {
    let Some(directory) = below.directory(&TreePath::parse(PRESETS)?) else { return Ok(false) };
    for file in directory.children.keys().filter(|file| file.ends_with(".preset")) {
        let Some(content) = below.file(&TreePath::parse(PRESETS)?.join(file)) else { continue };
        let text = String::from_utf8_lossy(&content.bytes()?).into_owned();
        if text.lines().any(|line| line.split_whitespace().take(2).eq(["enable", name])) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `ssh` means `ssh.service`, as it does for systemctl.
fn full_name(name: &str) -> String {
    const SUFFIXES: [&str; 11] =
        [".service", ".socket", ".target", ".timer", ".path", ".mount", ".automount", ".swap", ".slice", ".scope", ".device"];
    if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) { name.to_owned() } else { format!("{name}.service") }
}

/// Prefix, instance (empty for the template itself) and suffix of `prefix@instance.suffix`.
fn template_of(name: &str) -> Option<(&str, &str, &str)> {
    let (prefix, rest) = name.split_once('@')?;
    let (instance, suffix) = rest.rsplit_once('.')?;
    Some((prefix, instance, suffix))
}

/// Whether `other` is the unit `name`, or `name` a template and `other` an instance of it.
fn is_or_instance(other: &str, name: &str) -> bool {
    let of_template = |(prefix, instance, suffix): (&str, &str, &str)| {
        instance.is_empty() && template_of(other).is_some_and(|(p, _, s)| (p, s) == (prefix, suffix))
    };
    other == name || template_of(name).is_some_and(of_template)
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Where a link leads.
fn target(node: &Node) -> Option<&str> {
    match node {
        Node::Leaf(leaf) => match &leaf.kind {
            LeafKind::Symlink(target) => Some(target),
            LeafKind::File(_) => None,
        },
        Node::Directory(_) => None,
    }
}

/// Symbolic links in `folder` and in the folders in it.
fn links_below<'a>(tree: &'a Tree, folder: &TreePath) -> Vec<(TreePath, &'a Node)> {
    let mut links = Vec::new();
    let Some(directory) = tree.directory(folder) else { return links };
    for (name, node) in &directory.children {
        let path = folder.join(name);
        match node {
            Node::Directory(inner) => links.extend(inner.children.iter().map(|(name, node)| (path.join(name), node))),
            Node::Leaf(_) => links.push((path, node)),
        }
    }
    links.retain(|(_, node)| target(node).is_some());
    links
}

/// The unit `name` of the layers below, aliases followed, drop-ins read.
fn find(below: &Tree, name: &str) -> Result<Unit> {
    let mut name = name.to_owned();
    for _ in 0..ALIASES {
        let file_name = match template_of(&name) {
            Some((prefix, _, suffix)) if node_of(below, &name)?.is_none() => format!("{prefix}@.{suffix}"),
            _ => name.clone(),
        };
        let Some((path, node)) = node_of(below, &file_name)? else { return Err(unknown(below, &name)?.into()) };
        match target(node) {
            Some("/dev/null") => {
                return Err(Failure::new(Kind::Invalid, format!("[systemd] {name}: {path} masks it"))
                    .hint("leave out the layer or file that masks it")
                    .into());
            }
            Some(target) => match (template_of(&name), template_of(base_name(target))) {
                (Some((_, instance, _)), Some((prefix, "", suffix))) => name = format!("{prefix}@{instance}.{suffix}"),
                _ => name = base_name(target).to_owned(),
            },
            None => {
                let mut install = Install::default();
                if let Some(content) = below.file(&path) {
                    install.read(&String::from_utf8_lossy(&content.bytes()?));
                }
                for folder in [USR, ETC] {
                    read_drop_ins(below, &TreePath::parse(&format!("{folder}/{file_name}.d"))?, &mut install)?;
                }
                return Ok(Unit { name, path, install });
            }
        }
    }
    Err(Failure::new(Kind::Invalid, format!("[systemd] {name}: its links lead in a circle")).into())
}

fn node_of<'a>(below: &'a Tree, file_name: &str) -> Result<Option<(TreePath, &'a Node)>> {
    for folder in [ETC, USR] {
        let path = TreePath::parse(&format!("{folder}/{file_name}"))?;
        if let Some(node @ Node::Leaf(_)) = below.get(&path) {
            return Ok(Some((path, node)));
        }
    }
    Ok(None)
}

fn read_drop_ins(below: &Tree, folder: &TreePath, install: &mut Install) -> Result<()> {
    let Some(directory) = below.directory(folder) else { return Ok(()) };
    for name in directory.children.keys().filter(|name| name.ends_with(".conf")) {
        if let Some(content) = below.file(&folder.join(name)) {
            install.read(&String::from_utf8_lossy(&content.bytes()?));
        }
    }
    Ok(())
}

fn unknown(below: &Tree, name: &str) -> Result<Failure> {
    let mut names = Vec::new();
    for folder in [ETC, USR] {
        if let Some(directory) = below.directory(&TreePath::parse(folder)?) {
            names.extend(
                directory.children.iter().filter(|(_, node)| matches!(node, Node::Leaf(_))).map(|(name, _)| name.as_str()),
            );
        }
    }
    let failure = Failure::new(Kind::Invalid, format!("[systemd] no layer has the unit {name} (looked in {ETC} and {USR})"));
    Ok(failure.hint(suggestion(name, names.into_iter()).unwrap_or_else(|| "add the package that brings it".into())))
}

/// Replaces the specifiers that make sense in `[Install]`.
fn expand(text: &str, name: &str) -> Result<String, Failure> {
    let (stem, _) = name.rsplit_once('.').unwrap_or((name, ""));
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('%') => out.push('%'),
            Some('i') => out.push_str(instance),
            Some('n') => out.push_str(name),
            Some('N') => out.push_str(stem),
            Some('p') => out.push_str(prefix),
            Some('j') => out.push_str(prefix.rsplit('-').next().unwrap_or(prefix)),
            other => {
                let specifier = other.map(String::from).unwrap_or_default();
                return Err(Failure::new(
                    Kind::Invalid,
                    format!("[systemd] {name}: [Install] has {text:?}; needed one of the specifiers %i %n %N %p %j %%, found %{specifier}"),
                )
                .hint("add the link as a file of the recipe instead"));
            }
        }
    }
    Ok(out)
}
