//! Variables of profiles, in the files that profiles include: `/etc/tuned/NAME-variables.conf`, as tuned's own profiles have it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::Produced;
use crate::failure::{Failure, Kind};
use crate::layer::settings::suggestion;
use crate::tree::{Tree, TreePath};
use crate::tuned::Folders;

/// The file of the profile `name`.
pub fn file(name: &str) -> String {
    format!("/etc/tuned/{name}-variables.conf")
}

/// Sets `variables`, by profile and name, in the files that this layer or those below have. Other lines stay.
///
/// # Errors
/// [`Kind::Invalid`]: a profile that the image does not have.
pub fn lay(
    variables: &BTreeMap<String, BTreeMap<String, String>>,
    folders: &Folders,
    below: &Tree,
    produced: &mut Produced,
) -> Result<()> {
    if variables.is_empty() {
        return Ok(());
    }
    let all = produced.over(below)?;
    let known = folders.profiles(&all);
    for (profile, values) in variables {
        if !known.contains(profile) {
            let what = format!("tuned.variables: needed a profile of the image, found {profile:?}");
            let hint = suggestion(profile, known.iter().map(String::as_str));
            return Err(Failure::new(Kind::Invalid, what)
                .hint(hint.unwrap_or_else(|| "name a folder with it in tuned.profiles".to_owned()))
                .about("tuned.variables", profile)
                .into());
        }
        let path = file(profile);
        let before = match all.file(&TreePath::parse(&path)?) {
            Some(content) => String::from_utf8_lossy(&content.bytes()?).into_owned(),
            None => String::new(),
        };
        let text = values.iter().fold(before, |text, (name, value)| set(&text, name, value));
        produced.replace(&path, &text, below)?;
    }
    Ok(())
}

/// `text` with `name` set: in the place of the line that sets it, or behind all others.
fn set(text: &str, name: &str, value: &str) -> String {
    let sets = |line: &str| line.split_once('=').is_some_and(|(own, _)| own.trim() == name);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let new = format!("{name}={value}");
    match lines.iter().rposition(|line| sets(line)) {
        Some(last) => {
            lines[last] = new;
            let mut index = 0;
            lines.retain(|line| {
                index += 1;
                index > last || !sets(line)
            });
        }
        None => lines.push(new),
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn a_variable_is_set_once_and_other_lines_stay() {
        for (text, becomes) in [
            ("", "a=1\n"),
            ("# a=0\nb=2", "# a=0\nb=2\na=1\n"),
            ("a = 0\nb=2\n", "a=1\nb=2\n"),
            ("a=0\n\nb=2\na=9\nab=3\n", "\nb=2\na=1\nab=3\n"),
        ] {
            assert_eq!(set(text, "a", "1"), becomes, "{text:?}");
            assert_eq!(set(becomes, "a", "1"), becomes);
        }
    }
}
