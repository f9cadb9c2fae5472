//! Host names and SSH keys that can be right.

use basalt_contract::desired::HostName;
use basalt_contract::names::SSH_KEY_TYPES;
use basalt_contract::placed::secrets;

use super::Said;
use super::document::{Keyed, Reading, Table, quoted};
use super::yaml::Node;

/// The host name that stands at `key`; in lower case, because names of hosts are.
pub fn host_name(table: &mut Table, key: &str, reading: &mut Reading<'_>) -> Option<Said<String>> {
    let Keyed { key, at, value } = table.text(key, reading)?;
    let name = value.trim().trim_end_matches('.').to_ascii_lowercase();
    // Braces are variables in desired state; a drive is one machine's.
    match HostName::parse(&name) {
        Ok(_) if !name.contains('{') => {
            if name != value {
                reading.remark(at, &key, &format!("{} is taken as {name}", quoted(&value)));
            }
            Some(Keyed { key, at, value: name }.said(reading))
        }
        _ => {
            let needed = "a host name (labels of letters, digits and inner \"-\", 64 bytes in all)";
            reading.wrong(at, &key, needed, &quoted(&value));
            None
        }
    }
}

/// The keys that a value has: a text with one in each line, a list of such texts, or a table with such values by name. Of the metadata
/// service's form `openssh-key` is the one that is a key.
pub fn keys(node: Keyed<Node>, reading: &mut Reading<'_>) -> Vec<Said<String>> {
    let mut keys = Vec::new();
    for item in node.items() {
        match item.as_table() {
            Ok(mut table) => match table.take("openssh-key") {
                Some(key) => {
                    keys.extend(self::keys(key, reading));
                    table.leave(reading);
                }
                None => {
                    for (_, value) in table.entries().into_iter().filter(|(_, value)| !value.is_null()) {
                        keys.extend(self::keys(value, reading));
                    }
                }
            },
            Err(item) => keys.extend(item.text(reading).map(|text| lines(&text, reading)).unwrap_or_default()),
        }
    }
    keys
}

fn lines(text: &Keyed<String>, reading: &mut Reading<'_>) -> Vec<Said<String>> {
    let mut keys = Vec::new();
    if let Some(what) = secrets::found_in(&text.value) {
        reading.wrong(text.at, &text.key, "a public SSH key", what);
        return keys;
    }
    for line in text.value.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if is_key(line) {
            keys.push(Said { value: line.to_owned(), position: reading.position(text.at) });
        } else {
            // Not what was found: it may be meant for nobody's eyes.
            reading.wrong(text.at, &text.key, "a public SSH key, like \"ssh-ed25519 AAAA... name\"", "none");
        }
    }
    keys
}

/// `[options] type base64 [comment]`, as sshd(8) has it. The bytes begin with the length of the type's name: so the text does with "AAAA".
fn is_key(line: &str) -> bool {
    let mut words = line.split(' ').filter(|word| !word.is_empty()).skip_while(|word| !SSH_KEY_TYPES.contains(word));
    let base64 = |c: u8| c.is_ascii_alphanumeric() || b"+/=".contains(&c);
    let is_blob = |blob: &str| blob.starts_with("AAAA") && blob.len() >= 44 && blob.bytes().all(base64);
    words.next().is_some() && words.next().is_some_and(is_blob) && !line.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::super::document::Reading;
    use super::super::yaml::table;
    use super::{host_name, keys};

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8sXfZ6mD2bQ7nW0pTq5rKc3vYh1uLg9eXa4oMs7dBk me@here";

    #[test]
    fn keys_are_found_in_each_form() {
        for text in [
            format!("k: {KEY}"),
            format!("k: ['{KEY}']"),
            format!("k: {{one: '{KEY}\\n'}}").replace('\'', "\""),
            format!("k: {{0: {{openssh-key: '{KEY}'}}}}"),
            format!("k:\n  me: ['{KEY}']\n"),
            format!("k: |\n  # mine\n  {KEY}\n\n"),
        ] {
            let mut reading = Reading::new("f", "x");
            let node = table(text.as_bytes(), &mut reading).unwrap().take("k").unwrap();
            let found = keys(node, &mut reading);
            assert_eq!((found.len(), found[0].value.as_str(), reading.faults), (1, KEY, vec![]), "{text}");
        }
    }

    #[test]
    fn what_is_no_key_is_not_shown() {
        let private = format!("-----BEGIN OPENSSH {} KEY-----", "PRIVATE");
        for (text, found) in [
            (format!("k: '{private}'"), "a private key"),
            ("k: hunter2".to_owned(), "none"),
            ("k: ssh-dss AAAAB3NzaC1kc3MAAACBAP8sXfZ6mD2bQ7nW0pTq5rKc3vYh1uLg9eXa4o".to_owned(), "none"),
            ("k: ssh-rsa hunter2".to_owned(), "none"),
            ("k: [true]".to_owned(), "true or false"),
        ] {
            let mut reading = Reading::new("f", "x");
            let node = table(text.as_bytes(), &mut reading).unwrap().take("k").unwrap();
            assert_eq!(keys(node, &mut reading), []);
            let what = &reading.faults[0].what;
            assert!(what.ends_with(&format!("found {found}")) && !what.contains("hunter2"), "{what}");
        }
    }

    #[test]
    fn host_names_can_be_right() {
        for (text, name) in
            [("h: node-1.example.org", Some("node-1.example.org")), ("h: Node1", Some("node1")), ("h: 7", Some("7"))]
        {
            let mut reading = Reading::new("f", "x");
            let said = host_name(&mut table(text.as_bytes(), &mut reading).unwrap(), "h", &mut reading);
            assert_eq!(said.map(|said| said.value).as_deref(), name);
            assert_eq!(reading.remarks.len(), usize::from(text.contains('N')));
        }
        for text in ["h: a_b", "h: 'gpu-{mac}'", "h: ''", "h: [a]"] {
            let mut reading = Reading::new("f", "x");
            assert_eq!(host_name(&mut table(text.as_bytes(), &mut reading).unwrap(), "h", &mut reading), None);
            assert!(reading.faults[0].what.starts_with("f:1:4: h: needed a "), "{:?}", reading.faults);
        }
    }
}
