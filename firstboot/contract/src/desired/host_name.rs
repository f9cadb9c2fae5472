//! A host name that a machine's own properties are part of.

use crate::hardware::Hardware;

/// A host name with variables, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

/// What a variable stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Dmi(&'static str),
    Mac,
}

/// The variables by name.
const VARIABLES: [(&str, Variable); 5] = [
    ("serial", Variable::Dmi("product_serial")),
    ("uuid", Variable::Dmi("product_uuid")),
    ("asset-tag", Variable::Dmi("chassis_asset_tag")),
    ("product-name", Variable::Dmi("product_name")),
    ("mac", Variable::Mac),
];

/// What makers of boards leave where a number should be. In lower case.
const PLACEHOLDERS: [&str; 11] = [
    "",
    "none",
    "not specified",
    "not applicable",
    "to be filled by o.e.m.",
    "default string",
    "system serial number",
    "chassis serial number",
    "0123456789",
    "123456789",
    "00000000-0000-0000-0000-000000000000",
];

/// Linux takes names of so many bytes, DNS labels of one less.
const LONGEST: usize = 64;
const LONGEST_LABEL: usize = 63;

impl HostName {
    /// Reads a template.
    ///
    /// # Errors
    /// Says what was needed and found.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind.split_once('}').ok_or_else(|| format!("needed \"}}\" behind {{{behind}, found none"))?;
            let (_, variable) = VARIABLES.iter().find(|(known, _)| *known == name).ok_or_else(|| {
                let known: Vec<_> = VARIABLES.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                format!("needed one of {}, found \"{{{name}}}\"", known.join(", "))
            })?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Variable(*variable));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        let host_name = Self(parts);
        // With a value of one letter for each variable it must be a name.
        valid(&host_name.filled(|_| Ok("x".to_owned()))?)?;
        Ok(host_name)
    }

    /// The name of this machine.
    ///
    /// # Errors
    /// Says what the machine does not tell, or why what it tells makes no name.
    pub fn of(&self, machine: &Hardware) -> Result<String, String> {
        let name = self.filled(|variable| {
            let (from, found) = match variable {
                Variable::Dmi(name) => (format!("/sys/class/dmi/id/{name}"), machine.dmi.get(name)),
                Variable::Mac => {
                    let first = machine.interfaces.iter().flat_map(|list| list.values()).map(|interface| &interface.mac).next();
                    ("the first network interface".to_owned(), first)
                }
            };
            let found = found.ok_or_else(|| format!("{from} cannot be read"))?;
            let text = found.trim().to_lowercase();
            if PLACEHOLDERS.contains(&text.as_str()) {
                return Err(format!("{from}: needed what is this machine's alone, found {found:?}"));
            }
            let kept: String = match variable {
                Variable::Mac => text.chars().filter(char::is_ascii_alphanumeric).collect(),
                Variable::Dmi(_) => {
                    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
                    words.collect::<Vec<_>>().join("-")
                }
            };
            if kept.is_empty() { Err(format!("{from}: needed letters or digits, found {found:?}")) } else { Ok(kept) }
        })?;
        valid(&name)?;
        Ok(name)
    }

    fn filled(&self, value: impl Fn(Variable) -> Result<String, String>) -> Result<String, String> {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => Ok(text.clone()),
                Part::Variable(variable) => value(*variable),
            })
            .collect()
    }
}

/// RFC 1123, and short enough for Linux.
fn valid(name: &str) -> Result<(), String> {
    let label = |label: &str| {
        let letters = !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        letters && label.len() <= LONGEST_LABEL && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() <= LONGEST && name.split('.').all(label) {
        return Ok(());
    }
    Err(format!(
        "needed a host name (labels of lower-case letters, digits and inner \"-\", {LONGEST} bytes in all), found {name:?}"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::HostName;
    use crate::hardware::{Hardware, Interface};

    fn machine() -> Hardware {
        let dmi = [
            ("product_serial", "CZ 1234_AB\n"),
            ("product_uuid", "Not Specified"),
            ("product_name", "ProLiant (DL380)"),
            ("chassis_asset_tag", "???"),
        ];
        let interface = Interface { mac: "52:54:00:12:34:56".into(), device: "0000:00:03.0".into() };
        Hardware {
            dmi: dmi.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            interfaces: Some(BTreeMap::from([("eth0".to_owned(), interface)])),
            ..Hardware::default()
        }
    }

    #[test]
    fn a_name_has_what_the_machine_says() {
        for (template, name) in [
            ("node-1.example.org", "node-1.example.org"),
            ("gpu-{serial}", "gpu-cz-1234-ab"),
            ("{product-name}-{mac}", "proliant-dl380-525400123456"),
        ] {
            assert_eq!(HostName::parse(template).unwrap().of(&machine()).unwrap(), name, "{template}");
        }
    }

    #[test]
    fn what_makes_no_name_is_told() {
        for (template, why) in [
            ("gpu-{uuid}", "product_uuid: needed what is this machine's alone, found \"Not Specified\""),
            ("{asset-tag}", "chassis_asset_tag: needed letters or digits, found \"???\""),
        ] {
            let why_not = HostName::parse(template).unwrap().of(&machine()).unwrap_err();
            assert!(why_not.ends_with(why), "{template}: {why_not}");
        }
        let nothing = HostName::parse("{mac}").unwrap().of(&Hardware::default()).unwrap_err();
        assert_eq!(nothing, "the first network interface cannot be read");
        for (template, why) in [
            ("gpu-{seriel}", "needed one of {serial}, {uuid}, {asset-tag}, {product-name}, {mac}, found \"{seriel}\""),
            ("gpu-{serial", "needed \"}\" behind {serial, found none"),
            ("GPU", "needed a host name"),
            ("a..b", "needed a host name"),
            ("", "needed a host name"),
            ("-{serial}", "needed a host name"),
        ] {
            let why_not = HostName::parse(template).unwrap_err();
            assert!(why_not.starts_with(why), "{template}: {why_not}");
        }
    }
}
