//! Patterns with stars, as people write them for hardware, and kernel modules for their devices.

/// Whether `text` is as `pattern` says: `*` any characters, `?` one, letters in either case.
pub fn glob(pattern: &str, text: &str) -> bool {
    let fold = |text: &str| text.chars().flat_map(char::to_lowercase).collect::<Vec<_>>();
    let (pattern, text) = (fold(pattern), fold(text));
    // Where the last star stands, and up to where it reaches so far: only that one is ever tried again.
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, reached)) => {
                    (p, t) = (at + 1, reached + 1);
                    star = Some((at, reached + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}
