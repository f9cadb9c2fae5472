//! Paths of local files as recipes name them: relative, with `/`, and never absolute, so that a recipe works on any machine.

/// The folder of `name` and `path` below it, without `.` and inner `..`: what a file named `name` means by `path`.
///
/// Fails when `path` is empty, absolute, or not a path.
pub(super) fn join(name: &str, path: &str) -> Result<String, String> {
    if path.is_empty() || path.contains('\0') {
        return Err(format!("needed a path, found {path:?}"));
    }
    if path.starts_with('/') {
        return Err(format!("needed a path relative to this file, found the absolute {path:?}"));
    }
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    if parts.is_empty() { Ok(".".to_owned()) } else { Ok(parts.join("/")) }
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn a_path_is_relative_to_its_file() {
        for (name, path, joined) in [
            ("a.toml", "b", "b"),
            ("f/a.toml", "b/./c", "f/b/c"),
            ("f/a.toml", "../b", "b"),
            ("f/a.toml", "../../b", "../b"),
            ("../a.toml", "../b", "../../b"),
            ("f/a.toml", "..", "."),
        ] {
            assert_eq!(join(name, path).as_deref(), Ok(joined), "{name} {path}");
        }
        for path in ["", "/etc", "a\0b"] {
            assert!(join("a.toml", path).is_err(), "{path}");
        }
    }
}
