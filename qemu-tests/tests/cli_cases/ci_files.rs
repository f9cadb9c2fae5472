//! The files of `docs/ci` without running them: what CI systems would refuse, and what they must never do. They run in `vm_ci`.

use std::fs;

use anyhow::{Result, ensure};
use qemu_tests::{IMAGE, System, repository};
use serde_json::Value;

#[test]
fn cli_ci_files_are_valid_and_pinned() -> Result<()> {
    for system in System::ALL {
        system.check_schema()?;
        let text = fs::read_to_string(system.file())?;
        for line in text.lines().filter(|line| line.contains("/basalt:")) {
            ensure!(line.contains(IMAGE), "{}: {line}: needed {IMAGE}", system.file().display());
        }
        for action in text.lines().filter_map(|line| line.split_once("uses: ")) {
            let pin = action.1.split_once('@').map_or("", |(_, version)| version.split(' ').next().unwrap_or_default());
            ensure!(pin.len() == 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}: not pinned", action.1);
        }
        ensure!(!text.contains("privileged: true") && !text.contains("--privileged"), "{}", system.file().display());
    }
    Ok(())
}

/// A secret is in a variable or a file. A script that named it would show it to whoever lists processes.
#[test]
fn cli_ci_files_have_no_secret_on_a_command_line() -> Result<()> {
    fn scripts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
        match value {
            Value::String(text) if ["run", "script", "args", "command"].contains(&key) => found.push(text),
            Value::Array(items) => items.iter().for_each(|item| scripts(item, key, found)),
            Value::Object(fields) => fields.iter().for_each(|(key, item)| scripts(item, key, found)),
            _ => {}
        }
    }
    for system in System::ALL {
        let (documents, mut found) = (system.documents()?, Vec::new());
        documents.iter().for_each(|document| scripts(document, "", &mut found));
        ensure!(found.iter().any(|script| script.contains(" push ")), "{}: no script pushes", system.file().display());
        for script in found {
            ensure!(!script.contains("secrets.") && !script.contains("$REGISTRY_AUTH"), "{script}");
        }
    }
    ensure!(repository().join("docs/ci/Containerfile").is_file());
    Ok(())
}
