//! The rules for what a recipe says of tuned.

use super::{Verdict, all, rule};

/// Names of profiles with spaces between them, as tuned takes them.
pub fn profiles(text: &str) -> Verdict {
    let names: Vec<_> = text.split_whitespace().collect();
    if names.is_empty() || text.chars().any(char::is_control) {
        return Err(format!("needed a profile's name, or several with spaces between them, found {text:?}"));
    }
    names.iter().try_for_each(|name| profile(name))?;
    match names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        Some((_, twice)) => Err(format!("needed each profile once, found {twice:?} twice")),
        None => Ok(()),
    }
}

/// The name of a profile, and of its folder.
pub fn profile(text: &str) -> Verdict {
    let ok = all(text, "_.-") && !text.starts_with(['.', '-']) && text.len() <= 128;
    rule(ok, "a profile's name: letters, digits, \"_\", \".\" and \"-\", the first a letter, a digit or \"_\"", text)
}

/// The name of a variable.
pub fn variable(text: &str) -> Verdict {
    let ok = all(text, "_") && !text.bytes().all(|byte| byte.is_ascii_digit());
    rule(ok, "a variable's name: letters, digits and \"_\", not digits alone", text)
}

/// The value of a variable: one line of its file, with nothing that begins a comment there.
pub fn value(text: &str) -> Verdict {
    let ok = text.trim() == text && text.len() <= 4096 && !text.contains('#') && !text.chars().any(char::is_control);
    rule(ok, "one line without \"#\", and without spaces at its ends", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tuned_takes() {
        for (rule, right, wrong) in [
            (
                profiles as fn(&str) -> Verdict,
                &["basalt-node", "a b", "a.b  c_1"][..],
                &["", " ", "a/b", "a a", "a\nb", "a,b", "-a", ".."][..],
            ),
            (variable, &["isolated_cores", "a1"], &["", "a-b", "12", "a.b", "a b"]),
            (value, &["", "0-3,8", "a = b;c"], &["a\nb", " a", "a #b", "\u{7}"]),
        ] {
            for text in right {
                assert_eq!(rule(text), Ok(()), "{text:?}");
            }
            for text in wrong {
                assert!(rule(text).is_err(), "{text:?} was accepted");
            }
        }
    }
}
