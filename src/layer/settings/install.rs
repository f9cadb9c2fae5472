//! `[Install]` sections: which links enable a unit (systemd.unit(5)).

use std::collections::BTreeSet;

use anyhow::Result;

use super::{ETC, Made, UNIT_FOLDERS, target_of, text_of};
use crate::failure::{Failure, Kind};
use crate::tree::{Node, Tree, TreePath};

/// The parts of `[Install]` that make links.
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    upheld_by: Vec<String>,
    alias: Vec<String>,
    also: Vec<String>,
    default_instance: Option<String>,
}

/// Adds the links that enable `unit`, and those of the units that it enables with it.
pub(super) fn enable(unit: &str, below: &Tree, made: &mut Made) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut waiting = vec![unit.to_owned()];
    while let Some(name) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let path = find(&name, below)?;
        let text = text_of(below, &path)?.unwrap_or_default();
        let install = parse(&text);
        if install == Install::default() {
            let hint = "it is static: leave it out of [systemd] enable; something that needs it starts it";
            let what = format!("[systemd] enable: {path} has no [Install] section");
            return Err(Failure::new(Kind::Invalid, what).hint(hint).into());
        }
        waiting.extend(links(&name, &path, &install, below, made)?);
    }
    Ok(())
}

/// Makes the links of one unit; answers the units of `Also=`.
fn links(name: &str, path: &TreePath, install: &Install, below: &Tree, made: &mut Made) -> Result<Vec<String>> {
    // `getty@.service` is enabled as its default instance.
    let instance = match (name.split_once("@."), &install.default_instance) {
        (Some((prefix, kind)), Some(instance)) => format!("{prefix}@{instance}.{kind}"),
        _ => name.to_owned(),
    };
    let etc = TreePath::parse(ETC)?;
    let mut put = |at: TreePath| -> Result<()> {
        if target_of(below, &at) != Some(&path.to_string()) {
            if below.get(&at).is_some() {
                made.removals.push(at.clone());
            }
            made.tree.put(&at, Node::symlink(path.to_string()))?;
        }
        Ok(())
    };
    for (units, kind) in [(&install.wanted_by, "wants"), (&install.required_by, "requires"), (&install.upheld_by, "upholds")] {
        for unit in units {
            put(etc.join(&format!("{unit}.{kind}")).join(&instance))?;
        }
    }
    for alias in &install.alias {
        put(etc.join(alias))?;
    }
    Ok(install.also.clone())
}

/// Every link in `/etc/systemd/system` that enables `unit`.
pub(super) fn links_of(unit: &str, below: &Tree) -> Result<Vec<TreePath>> {
    let etc = TreePath::parse(ETC)?;
    let Some(directory) = below.directory(&etc) else { return Ok(Vec::new()) };
    let leads_here = |path: &TreePath| target_of(below, path).is_some_and(|target| target.rsplit('/').next() == Some(unit));
    let mut found = Vec::new();
    for (name, node) in &directory.children {
        let at = etc.join(name);
        match node {
            Node::Leaf(_) if leads_here(&at) => found.push(at),
            Node::Directory(inner) => {
                let named = |child: &&String| child.as_str() == unit || leads_here(&at.join(child));
                found.extend(inner.children.keys().filter(named).map(|child| at.join(child)));
            }
            Node::Leaf(_) => {}
        }
    }
    Ok(found)
}

/// Where the unit's file lies; an instance is that of its template.
pub(super) fn find(unit: &str, below: &Tree) -> Result<TreePath> {
    let template = unit.split_once('@').and_then(|(prefix, rest)| Some(format!("{prefix}@.{}", rest.rsplit_once('.')?.1)));
    let mut names = vec![unit.to_owned()];
    names.extend(template);
    for name in &names {
        for folder in UNIT_FOLDERS {
            let path = TreePath::parse(folder)?.join(name);
            if below.file(&path).is_some() {
                return Ok(path);
            }
            // An alias in the vendor's folder: `dbus.service` of dbus-broker.
            if let Some(target) = target_of(below, &path)
                && target != "/dev/null"
                && let Some(last) = target.rsplit('/').next()
                && last != name
            {
                return find(last, below);
            }
        }
    }
    Err(unknown(unit, below)?.into())
}

fn unknown(unit: &str, below: &Tree) -> Result<Failure> {
    let mut names = BTreeSet::new();
    for folder in UNIT_FOLDERS {
        if let Some(directory) = below.directory(&TreePath::parse(folder)?) {
            names.extend(directory.children.keys().filter(|name| name.contains('.')).cloned());
        }
    }
    let nearest = names.iter().map(|name| (strsim::jaro_winkler(unit, name), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let failure = Failure::new(Kind::Invalid, format!("[systemd]: no layer has the unit {unit}"));
    Ok(match nearest {
        Some((likeness, name)) if likeness > 0.85 => failure.hint(format!("did you mean {name}?")),
        _ => failure.hint("add the package or overlay that brings it"),
    })
}

/// Reads the `[Install]` section of a unit file.
fn parse(text: &str) -> Install {
    let mut install = Install::default();
    let mut inside = false;
    for line in text.replace("\\\n", " ").lines() {
        let line = line.trim();
        if line.starts_with('[') {
            inside = line == "[Install]";
        }
        let Some((key, value)) = line.split_once('=').filter(|_| inside && !line.starts_with(['#', ';'])) else { continue };
        let list = match key.trim() {
            "WantedBy" => &mut install.wanted_by,
            "RequiredBy" => &mut install.required_by,
            "UpheldBy" => &mut install.upheld_by,
            "Alias" => &mut install.alias,
            "Also" => &mut install.also,
            "DefaultInstance" => {
                install.default_instance = Some(value.trim().to_owned());
                continue;
            }
            _ => continue,
        };
        // An empty value takes back what was said before.
        if value.trim().is_empty() {
            list.clear();
        }
        list.extend(value.split_whitespace().map(str::to_owned));
    }
    install
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::settings::{Made, produce};
    use crate::plan::Settings;
    use crate::tree::{Content, Meta};

    fn below() -> Tree {
        let mut tree = Tree::new();
        for (path, text) in [
            (
                "/usr/lib/systemd/system/ssh.service",
                "[Unit]\nWantedBy=no\n[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\nAlso=x.socket\n",
            ),
            ("/usr/lib/systemd/system/x.socket", "[Install]\nWantedBy=sockets.target\n"),
            ("/usr/lib/systemd/system/getty@.service", "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n"),
            ("/usr/lib/systemd/system/static.service", "[Service]\nExecStart=true\n"),
            ("/usr/lib/systemd/system/timer.timer", "[Install]\nWantedBy=timers.target\n"),
        ] {
            tree.put_file(&TreePath::parse(path).unwrap(), Meta::root(0o644), Content::from_bytes(text.as_bytes())).unwrap();
        }
        let link = TreePath::parse("/etc/systemd/system/timers.target.wants/timer.timer").unwrap();
        tree.put(&link, Node::symlink("/usr/lib/systemd/system/timer.timer")).unwrap();
        tree
    }

    fn made(enable: &[&str], disable: &[&str], mask: &[&str]) -> Result<Made> {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let settings = Settings { enable: list(enable), disable: list(disable), mask: list(mask), ..Settings::default() };
        produce(&settings, &below())
    }

    fn links_in(tree: &Tree) -> Vec<String> {
        let link = |(path, _): (TreePath, &Node)| target_of(tree, &path).map(|target| format!("{path} -> {target}"));
        tree.walk().filter_map(link).collect()
    }

    #[test]
    fn a_unit_is_enabled_with_its_aliases_and_companions() {
        let made = made(&["ssh.service", "getty@.service", "getty@ttyS0.service"], &[], &[]).unwrap();
        assert_eq!(
            links_in(&made.tree),
            [
                "/etc/systemd/system/getty.target.wants/getty@tty1.service -> /usr/lib/systemd/system/getty@.service",
                "/etc/systemd/system/getty.target.wants/getty@ttyS0.service -> /usr/lib/systemd/system/getty@.service",
                "/etc/systemd/system/multi-user.target.wants/ssh.service -> /usr/lib/systemd/system/ssh.service",
                "/etc/systemd/system/sockets.target.wants/x.socket -> /usr/lib/systemd/system/x.socket",
                "/etc/systemd/system/sshd.service -> /usr/lib/systemd/system/ssh.service",
            ]
        );
    }

    #[test]
    fn disabling_and_masking_take_links_away() {
        let made = made(&[], &["timer.timer"], &["ssh.service"]).unwrap();
        let removals: Vec<_> = made.removals.iter().map(ToString::to_string).collect();
        assert_eq!(removals, ["/etc/systemd/system/timers.target.wants/timer.timer"]);
        assert_eq!(links_in(&made.tree), ["/etc/systemd/system/ssh.service -> /dev/null"]);
        let preset = TreePath::parse("/usr/lib/systemd/system-preset/10-basalt-recipe.preset").unwrap();
        let text = String::from_utf8(made.tree.file(&preset).unwrap().bytes().unwrap()).unwrap();
        assert!(text.ends_with("disable timer.timer\ndisable ssh.service\n"), "{text}");
    }

    #[test]
    fn a_unit_that_cannot_be_enabled_is_named() {
        let message = |unit: &str| made(&[unit], &[], &[]).unwrap_err().downcast::<Failure>().unwrap();
        let failure = message("shh.service");
        assert_eq!(failure.to_string(), "[systemd]: no layer has the unit shh.service");
        assert_eq!(failure.hint.as_deref(), Some("did you mean ssh.service?"));
        assert_eq!(
            message("static.service").to_string(),
            "[systemd] enable: /usr/lib/systemd/system/static.service has no [Install] section"
        );
    }

    #[test]
    fn an_empty_value_takes_back() {
        let install = parse("[Install]\nWantedBy=a.target b.target\nWantedBy=\n# WantedBy=no\nWantedBy=c.target \\\n d.target\n");
        assert_eq!(install.wanted_by, ["c.target", "d.target"]);
    }
}
