//! Which network interface is meant: by its permanent hardware address, or by where it is on PCI.

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interface {
    /// By its permanent hardware address, lower case: `52:54:00:12:34:56`.
    Mac(String),
    /// By its place on PCI, lower case: `0000:41:00.0`.
    Pci(String),
}

/// A name that Linux gives an interface has fewer bytes.
const LONGEST: usize = 15;

impl Interface {
    /// Reads a hardware address or a PCI address.
    ///
    /// # Errors
    /// Says what was needed and found.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.to_ascii_lowercase();
        let hex = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|c| c.is_ascii_hexdigit());
        let parts: Vec<_> = text.split(':').collect();
        let function = |text: &str| text.split_once('.').is_some_and(|(device, function)| hex(device, 2) && hex(function, 1));
        match parts.as_slice() {
            all @ [_, _, _, _, _, _] if all.iter().all(|part| hex(part, 2)) => Ok(Self::Mac(text)),
            [domain, bus, rest] if hex(domain, 4) && hex(bus, 2) && function(rest) => Ok(Self::Pci(text)),
            _ => Err(format!(
                "needed a hardware address like 52:54:00:12:34:56 or a PCI address like 0000:41:00.0, found {text:?}"
            )),
        }
    }

    /// Whether an interface can have this name.
    ///
    /// # Errors
    /// Says what was needed and found.
    pub fn name(text: &str) -> Result<(), String> {
        let plain = text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
        let begins = text.bytes().next().is_some_and(|c| c.is_ascii_alphabetic());
        // The kernel deals out eth0 and its like itself: who renames to one of them loses the race at some boot.
        let kernels = text.strip_prefix("eth").is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit()));
        if plain && begins && text.len() <= LONGEST && !kernels && !matches!(text, "all" | "default" | "lo") {
            return Ok(());
        }
        let hint =
            if kernels { "a name that the kernel does not give itself" } else { "a letter, then letters, digits, \"-_.\"" };
        Err(format!("needed {hint}, at most {LONGEST}, found {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Interface;

    #[test]
    fn addresses_and_names() {
        assert_eq!(Interface::parse("52:54:00:12:34:AB"), Ok(Interface::Mac("52:54:00:12:34:ab".to_owned())));
        assert_eq!(Interface::parse("0000:C1:00.1"), Ok(Interface::Pci("0000:c1:00.1".to_owned())));
        for bad in ["", "eth0", "52:54:00:12:34", "52:54:00:12:34:5", "00:41:00.0", "0000:41:00", "0000:41:0.0", "0000:41:00.10"]
        {
            assert!(Interface::parse(bad).is_err(), "{bad}");
        }
        for good in ["rail0", "p0", "ethernet", "a-b_c.1"] {
            assert_eq!(Interface::name(good), Ok(()), "{good}");
        }
        for bad in ["", "0rail", "eth0", "lo", "all", "a/b", "a b", "sixteen-letters-"] {
            assert!(Interface::name(bad).is_err(), "{bad}");
        }
    }
}
