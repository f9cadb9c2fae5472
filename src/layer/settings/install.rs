//! The `[Install]` section of a unit file, as systemd.unit(5) and systemd.syntax(7) describe it.

/// What `systemctl enable` reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Install {
    /// Units that want this one.
    pub wanted_by: Vec<String>,
    /// Units that require this one.
    pub required_by: Vec<String>,
    /// Units that keep this one up.
    pub upheld_by: Vec<String>,
    /// Other names.
    pub alias: Vec<String>,
    /// Units to enable with this one.
    pub also: Vec<String>,
    /// The instance that a template is enabled with.
    pub default_instance: Option<String>,
}

impl Install {
    /// Whether there is nothing to enable.
    pub fn is_empty(&self) -> bool {
        [&self.wanted_by, &self.required_by, &self.upheld_by, &self.alias, &self.also].iter().all(|list| list.is_empty())
    }

    /// Reads a unit file or a drop-in, whose settings add to what is there. An empty list begins anew.
    pub fn read(&mut self, text: &str) {
        let mut in_section = false;
        for line in lines(text) {
            if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                in_section = section == "Install";
            } else if in_section && let Some((key, value)) = line.split_once('=') {
                self.set(key.trim(), value.trim());
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        let list = match key {
            "WantedBy" => &mut self.wanted_by,
            "RequiredBy" => &mut self.required_by,
            "UpheldBy" => &mut self.upheld_by,
            "Alias" => &mut self.alias,
            "Also" => &mut self.also,
            "DefaultInstance" => {
                self.default_instance = (!value.is_empty()).then(|| value.to_owned());
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            list.clear();
        }
        list.extend(value.split_whitespace().map(str::to_owned));
    }
}

/// Lines without comments; those that end with a backslash joined with the next.
fn lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) || (line.is_empty() && joined.is_empty()) {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(begun) => {
                joined.push_str(begun);
                joined.push(' ');
            }
            None => {
                joined.push_str(line);
                lines.push(std::mem::take(&mut joined));
            }
        }
    }
    if !joined.is_empty() {
        lines.push(joined);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_with_all_its_spellings() {
        let mut install = Install::default();
        install.read(
            "[Unit]\nWantedBy=no.target\n[Install]\n# WantedBy=no.target\nWantedBy = a.target \\\n; in between\n  b.target\nWantedBy=c.target\n\
             Alias=x.service\nAlias=\nDefaultInstance=tty1\nAlso=y.socket\n[Service]\nAlias=no.service\n",
        );
        assert_eq!(install.wanted_by, ["a.target", "b.target", "c.target"]);
        assert!(install.alias.is_empty() && install.required_by.is_empty());
        assert_eq!((install.default_instance.as_deref(), install.also.as_slice()), (Some("tty1"), &["y.socket".to_owned()][..]));
        install.read("[Install]\nWantedBy=\nWantedBy=d.target\n");
        assert_eq!(install.wanted_by, ["d.target"], "a drop-in may begin anew");
    }
}
