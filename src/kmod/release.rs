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

/// Whose modules: what templates call `MOD_NAME` and `MOD_NAMESPACE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The module's name in KMM.
    pub name: &'a str,
    /// Its namespace, where it has one.
    pub namespace: Option<&'a str>,
}

/// How a template's text spells the kernel's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// As a tag may have it: KMM's.
    Tag,
    /// As it is: names of packages have `+`, too.
    AsIs,
}

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
        match sound && release.parts(Spelling::AsIs).is_some() {
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

    fn spelt(&self, spelling: Spelling) -> String {
        match spelling {
            Spelling::Tag => self.normalised(),
            Spelling::AsIs => self.0.clone(),
        }
    }

    /// The first three parts.
    fn parts(&self, spelling: Spelling) -> Option<[String; 3]> {
        let text = self.spelt(spelling);
        let mut parts = text.split(['.', ',', '-']).map(str::to_owned);
        let parts = [parts.next()?, parts.next()?, parts.next()?];
        parts.iter().all(|part| !part.is_empty()).then_some(parts)
    }

    /// The variables of templates. Without a namespace there is no `MOD_NAMESPACE`.
    pub fn variables(&self, module: Named<'_>, spelling: Spelling) -> BTreeMap<&'static str, String> {
        let [x, y, z] = self.parts(spelling).unwrap_or_default();
        let full = self.spelt(spelling);
        let mut variables: BTreeMap<_, _> = [
            ("KERNEL_FULL_VERSION", full.clone()),
            ("KERNEL_VERSION", full),
            ("KERNEL_XYZ", format!("{x}.{y}.{z}")),
            ("KERNEL_X", x),
            ("KERNEL_Y", y),
            ("KERNEL_Z", z),
            ("MOD_NAME", module.name.to_owned()),
        ]
        .into();
        variables.extend(module.namespace.map(|namespace| ("MOD_NAMESPACE", namespace.to_owned())));
        variables
    }

    /// A template's text for this kernel: `${NAME}` and `$NAME` become the variable's value.
    ///
    /// # Errors
    /// A variable that there is none of, or more than a name in braces.
    pub fn fill(&self, template: &str, module: Named<'_>, spelling: Spelling) -> Result<String, Unfit> {
        let variables = self.variables(module, spelling);
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
                if name == "MOD_NAMESPACE" {
                    return Unfit(format!("{template:?}: needed a namespace for ${{MOD_NAMESPACE}}, found none"));
                }
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

    const NVIDIA: Named<'static> = Named { name: "nvidia", namespace: None };

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
            assert_eq!(release.fill(template, NVIDIA, Spelling::Tag).unwrap(), expected);
        }
        for (template, why) in [
            ("${KERNEL", "needed }"),
            ("${KERNEL_XY}", "found \"KERNEL_XY\""),
            ("a$", "found \"\""),
            ("${KERNEL_X:-6}", "found \"KERNEL_X:-6\""),
            ("${MOD_NAMESPACE}", "needed a namespace"),
        ] {
            assert!(release.fill(template, NVIDIA, Spelling::Tag).unwrap_err().0.contains(why), "{template}");
        }
        let filled = release.fill("driver-${KERNEL_FULL_VERSION}-${KERNEL_Z}", NVIDIA, Spelling::AsIs).unwrap();
        assert_eq!(filled, "driver-6.12.117+deb13-amd64-117+deb13");
        let named = Named { namespace: Some("gpu"), ..NVIDIA };
        assert_eq!(release.fill("$MOD_NAMESPACE/$MOD_NAME", named, Spelling::Tag).unwrap(), "gpu/nvidia");
    }

    #[test]
    fn a_release_has_three_parts() {
        let release = Release::parse("5.14.0-427.13.1.el9_4.x86_64").unwrap();
        assert_eq!(release.variables(NVIDIA, Spelling::Tag)["KERNEL_XYZ"], "5.14.0");
        for text in ["", "6.12", "6..1", "6.12.1/x", "6.12.1 x"] {
            assert!(Release::parse(text).is_err(), "{text}");
        }
    }
}
