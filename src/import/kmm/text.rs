//! Entries as TOML for people: what they would write by hand, with what is not obvious said beside it.

use std::fmt::Write as _;

use super::Entry;

/// Expressions that every kernel's release matches.
const ANY: [&str; 6] = [".*", ".+", "^.*$", "^.+$", "^.*", "^.+"];

/// The part of a recipe that the entries are.
pub fn of(entries: &[Entry]) -> String {
    let mut text = String::new();
    for (place, entry) in entries.iter().enumerate() {
        if place > 0 {
            text.push('\n');
        }
        one(entry, &mut text);
    }
    let certificates: Vec<_> = entries.iter().filter_map(|entry| entry.container.certificate.as_ref()).collect();
    if !certificates.is_empty() {
        let mut names: Vec<_> = certificates.iter().map(|name| quoted(&format!("{name}.der"))).collect();
        names.dedup();
        let _ = write!(text, "\n# Whose signature the modules have:\n# [kernel]\n# module-keys = [{}]\n", names.join(", "));
    }
    text
}

fn one(entry: &Entry, text: &mut String) {
    let Entry { name, namespace, container } = entry;
    let _ = writeln!(text, "# The Module {name} of KMM.\n[[kernel-module]]\nname = {}", quoted(name));
    let mut line = |key: &str, value: &str, comment: &str| {
        let comment = if comment.is_empty() { String::new() } else { format!(" # {comment}") };
        let _ = writeln!(text, "{key} = {value}{comment}");
    };
    if let Some(namespace) = namespace {
        line("namespace", &quoted(namespace), "${MOD_NAMESPACE}");
    }
    let only = match &container.mappings[..] {
        [only] if only.key == "regexp" && ANY.contains(&only.value.as_str()) => Some(only),
        _ => None,
    };
    if let Some(only) = only {
        line("from", &quoted(&only.from.to_string()), "for each kernel; the lock pins the one of the image's kernel");
    }
    if container.mappings.is_empty() {
        line(
            "# from",
            &quoted("registry.example.org/path:${KERNEL_FULL_VERSION}"),
            "needed: no image of the Module could be taken",
        );
    }
    if let Some(dir) = &container.dir {
        line("dir-name", &quoted(dir), "has lib/modules/RELEASE");
    }
    if let Some(firmware) = &container.firmware {
        line("firmware", &quoted(firmware), "to /usr/lib/firmware/updates");
    }
    if !container.load.is_empty() {
        line("load", &list(&container.load), "at boot, in this order");
    }
    if !container.parameters.is_empty() {
        let pairs: Vec<_> =
            container.parameters.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        line("parameters", &format!("{{ {} }}", pairs.join(", ")), "");
    }
    if !container.remove.is_empty() {
        line("in-tree-modules-to-remove", &list(&container.remove), "the kernel must have them, and the image has not");
    }
    for mapping in container.mappings.iter().filter(|_| only.is_none()) {
        let (key, value, from) = (mapping.key, quoted(&mapping.value), quoted(&mapping.from.to_string()));
        let _ = write!(text, "\n[[kernel-module.kernel-mappings]]\n{key} = {value}\nfrom = {from}\n");
    }
}

/// A text as TOML has it.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(names: &[String]) -> String {
    let names: Vec<_> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", names.join(", "))
}
