//! A kernel's release, and names that depend on it, by the rules of the Kernel Module Management operator (KMM), so that one registry
//! serves both.
//!
//! ```text
//! registry.example.org/drivers/nvidia:${KERNEL_FULL_VERSION}    6.12.117+deb13-amd64 --> .../nvidia:6.12.117_deb13-amd64
//! ```

use std::collections::BTreeMap;
use std::fmt;

/// `6.12.117+deb13-amd64`: what `uname -r` prints on the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release(String);

/// A text that is no release, or a template that cannot be filled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

impl Release {
    /// Three numbers or words at least, parted as the kernel's Makefile parts them.
    ///
    /// # Errors
    /// No release.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let release = Self(text.to_owned());
        let sound = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        match sound && release.parts().is_some() {
            true => Ok(release),
            false => Err(Unfit(format!("needed a kernel's release such as 6.12.1-amd64, found {text:?}"))),
        }
    }

    /// As it is.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a tag may have it: other characters than letters, digits, `-`, `.` and `_` become `_`.
    pub fn normalised(&self) -> String {
        let keep = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        self.0.chars().map(|c| if keep(c) { c } else { '_' }).collect()
    }

    /// The first three parts.
    fn parts(&self) -> Option<[String; 3]> {
        let normalised = self.normalised();
        let mut parts = normalised.split(['.', ',', '-']).map(str::to_owned);
        let parts = [parts.next()?, parts.next()?, parts.next()?];
        parts.iter().all(|part| !part.is_empty()).then_some(parts)
    }

    /// The variables of templates for a module of this name.
    pub fn variables(&self, module: &str) -> BTreeMap<&'static str, String> {
        let [x, y, z] = self.parts().unwrap_or_default();
        let full = self.normalised();
        [
            ("KERNEL_FULL_VERSION", full.clone()),
            ("KERNEL_VERSION", full),
            ("KERNEL_XYZ", format!("{x}.{y}.{z}")),
            ("KERNEL_X", x),
            ("KERNEL_Y", y),
            ("KERNEL_Z", z),
            ("MOD_NAME", module.to_owned()),
        ]
        .into()
    }

    /// A template's text for this kernel: `${NAME}` and `$NAME` become the variable's value.
    ///
    /// # Errors
    /// A variable that there is none of, or more than a name in braces.
    pub fn fill(&self, template: &str, module: &str) -> Result<String, Unfit> {
        let variables = self.variables(module);
        let mut out = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            let name_end = |text: &str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
            let (name, behind) = match after.strip_prefix('{') {
                Some(braced) => {
                    braced.split_once('}').ok_or_else(|| Unfit(format!("{template:?}: needed }} behind ${{, found none")))?
                }
                None => after.split_at(name_end(after)),
            };
            let value = variables.get(name).ok_or_else(|| {
                let known: Vec<_> = variables.keys().copied().collect();
                Unfit(format!("{template:?}: needed one of {}, found {name:?}", known.join(", ")))
            })?;
            out.push_str(value);
            rest = behind;
        }
        Ok(out + rest)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_as_kmm_fills_them() {
        let release = Release::parse("6.12.117+deb13-amd64").unwrap();
        for (template, expected) in [
            ("r.example.org/a:${KERNEL_FULL_VERSION}", "r.example.org/a:6.12.117_deb13-amd64"),
            ("a:$KERNEL_VERSION", "a:6.12.117_deb13-amd64"),
            ("a:${KERNEL_XYZ}-${KERNEL_X}.${KERNEL_Y}.${KERNEL_Z}", "a:6.12.117_deb13-6.12.117_deb13"),
            ("${MOD_NAME}/$MOD_NAME-x", "nvidia/nvidia-x"),
            ("plain", "plain"),
        ] {
            assert_eq!(release.fill(template, "nvidia").unwrap(), expected);
        }
        for (template, why) in [
            ("${KERNEL", "needed }"),
            ("${KERNEL_XY}", "found \"KERNEL_XY\""),
            ("a$", "found \"\""),
            ("${KERNEL_X:-6}", "found \"KERNEL_X:-6\""),
        ] {
            assert!(release.fill(template, "nvidia").unwrap_err().0.contains(why), "{template}");
        }
    }

    #[test]
    fn a_release_has_three_parts() {
        assert_eq!(Release::parse("5.14.0-427.13.1.el9_4.x86_64").unwrap().variables("a")["KERNEL_XYZ"], "5.14.0");
        for text in ["", "6.12", "6..1", "6.12.1/x", "6.12.1 x"] {
            assert!(Release::parse(text).is_err(), "{text}");
        }
    }
}
