//! The file in which tuned notes kernel arguments, as tuned itself will write it on the node.

use anyhow::Result;

use crate::tree::{Tree, TreePath};
use crate::tuned::KernelArguments;

/// Where.
pub const FILE: &str = "/etc/tuned/bootcmdline";

/// The file's text for `arguments`, over what the layers below have there. None where tuned will not touch it, or only the node knows what
/// it will write.
pub fn patched(below: &Tree, arguments: &KernelArguments) -> Result<Option<String>> {
    let writes = arguments.skip_grub_config || !arguments.line.is_empty();
    if arguments.left_to_node || !writes {
        return Ok(None);
    }
    let before = match below.file(&TreePath::parse(FILE)?) {
        Some(content) => String::from_utf8_lossy(&content.bytes()?).into_owned(),
        None => String::new(),
    };
    let text = set(&before, "TUNED_BOOT_CMDLINE", &arguments.line);
    Ok(Some(set(&text, "TUNED_BOOT_INITRD_ADD", "")))
}

/// Sets `name` on every line that has it, else on a new one: tuned's `commands.add_modify_option_in_file`.
fn set(text: &str, name: &str, value: &str) -> String {
    let found = |line: &str| {
        let at = line.match_indices(name).map(|(at, _)| at).find(|at| {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let begins = line[..*at].chars().next_back().is_none_or(|c| !is_word(c));
            begins && line[at + name.len()..].trim_start().starts_with('=')
        })?;
        let end = at + line[at..].find('=')?;
        Some(format!("{}\"{value}\"", &line[..=end]))
    };
    if !text.lines().any(|line| found(line).is_some()) {
        let line_feed = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return format!("{text}{line_feed}{name}=\"{value}\"\n");
    }
    let lines: Vec<_> = text.split('\n').map(|line| found(line).unwrap_or_else(|| line.to_owned())).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn as_tuned_writes_it() {
        // Seen: what Python's re makes of these in tuned 2.25.
        for (text, becomes) in [
            ("# a\nX=\nY=\n", "# a\nX=\"1 2\"\nY=\n"),
            ("", "X=\"1 2\"\n"),
            ("# a", "# a\nX=\"1 2\"\n"),
            ("X = \"9\" # b", "X =\"1 2\""),
            ("export X=9\nAX=3\n", "export X=\"1 2\"\nAX=3\n"),
        ] {
            assert_eq!(set(text, "X", "1 2"), becomes, "{text:?}");
        }
    }
}
