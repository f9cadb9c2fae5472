//! What Python makes of text, paths and numbers, where tuned relies on it and Rust has another opinion.

/// `str.isspace` of one character: Rust's white space and four separators of ASCII.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `\w` of `re`.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether there is something, and every character of it is one of a word.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_word)
}

/// `str.strip()`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// A file as `open` gives it: UTF-8, every end of a line a `\n`. None when it is not UTF-8.
pub fn text(bytes: Vec<u8>) -> Option<String> {
    Some(String::from_utf8(bytes).ok()?.replace("\r\n", "\n").replace('\r', "\n"))
}

/// `int(text)`; none when it is no number, or one beyond 64 bits.
pub fn int(text: &str) -> Option<i64> {
    let text = strip(text);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    // One underscore between two digits is allowed.
    let parts: Vec<&str> = digits.split('_').collect();
    let plain = parts.iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    plain.then(|| format!("{sign}{}", parts.concat()).parse().ok()).flatten()
}

/// `os.path.normpath` of an absolute or relative path.
pub fn normpath(path: &str) -> String {
    let lead = match path.bytes().take_while(|byte| *byte == b'/').count() {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if !lead.is_empty() => {}
            part => parts.push(part),
        }
    }
    let path = format!("{lead}{}", parts.join("/"));
    if path.is_empty() { ".".to_owned() } else { path }
}

/// `os.path.join` of two.
pub fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let slash = if folder.is_empty() || folder.ends_with('/') { "" } else { "/" };
    format!("{folder}{slash}{path}")
}

/// What is between quotes when all of one line is: tuned's `commands.unquote`.
pub fn unquote(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.filter(|inner| !inner.contains('\n')).unwrap_or(text)
}

/// `repr(text)`, for what can be printed.
pub fn quote(text: &str) -> String {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == mark => out.extend(['\\', c]),
            c => out.push(c),
        }
    }
    out.push(mark);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, number) in [
            ("12", Some(12)),
            (" +1_0\n", Some(10)),
            ("-3", Some(-3)),
            ("007", Some(7)),
            ("", None),
            ("-", None),
            ("1__0", None),
            ("_1", None),
            ("+-1", None),
            ("0x1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(int(text), number, "{text:?}");
        }
    }

    #[test]
    fn paths() {
        for (path, normal) in [
            ("/etc//tuned/./x/../y/", "/etc/tuned/y"),
            ("/..", "/"),
            ("//x", "//x"),
            ("///x", "/x"),
            ("a/..", "."),
            ("../x", "../x"),
        ] {
            assert_eq!(normpath(path), normal, "{path}");
        }
        assert_eq!(join("/usr/x", "y"), "/usr/x/y");
        assert_eq!(join("/usr/x", "/y"), "/y");
    }

    #[test]
    fn quotes_and_spaces() {
        for (text, inner) in
            [("\"a b\"", "a b"), ("\"a", "\"a"), ("\"", "\""), ("\"a\" \"b\"", "a\" \"b"), ("\"a\nb\"", "\"a\nb\"")]
        {
            assert_eq!(unquote(text), inner);
        }
        for (text, quoted) in [("a\\b", "'a\\\\b'"), ("it's", "\"it's\""), ("'\"\n", "'\\'\"\\n'")] {
            assert_eq!(quote(text), quoted);
        }
        assert_eq!(strip("\x1c a\u{a0}"), "a");
        assert_eq!(words(" a  b\n").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(text(b"a\r\nb\rc".to_vec()).as_deref(), Some("a\nb\nc"));
    }
}
