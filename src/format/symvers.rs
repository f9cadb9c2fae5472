//! `Module.symvers`: what a kernel and its modules export, with the checksum of each symbol's type. Written by modpost of the kernel's
//! build; distributions ship it with their headers, or compressed beside the kernel (`symvers.xz`).
//!
//! ```text
//! 0x12345678 <tab> symbol <tab> vmlinux or path of a module <tab> EXPORT_SYMBOL[_GPL] <tab> namespace, perhaps empty
//! ```
//!
//! Source: Documentation/kbuild/modules.rst, since Linux 5.10; before, the namespace came third and is refused.

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// `kmalloc_noprof`
    pub name: &'a str,
    /// Of its type. Zero without modversions.
    pub crc: u32,
    /// `vmlinux`, or `drivers/net/foo` for `drivers/net/foo.ko`.
    pub owner: &'a str,
    /// For modules under the GPL only.
    pub gpl: bool,
    /// Who uses it must import this; empty: anybody may.
    pub namespace: &'a str,
}

/// A line that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What was needed, and what was found.
    pub why: String,
}

/// The symbols of a file, in its order.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Vec<Symbol<'_>>, BadLine> {
    // Not `lines`, which takes a carriage return for a part of some line ends.
    text.split_terminator('\n')
        .enumerate()
        .map(|(index, line)| symbol(line).map_err(|why| BadLine { line: index + 1, why }))
        .collect()
}

fn symbol(line: &str) -> Result<Symbol<'_>, String> {
    let fields: Vec<_> = line.split('\t').collect();
    let [crc, name, owner, export, rest @ ..] = fields.as_slice() else {
        return Err(format!("needed checksum, symbol, module and export, parted by tabs, found {} fields", fields.len()));
    };
    let digits = crc.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let crc = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let crc = crc.ok_or_else(|| format!("needed a checksum of 32 bits as 0x12345678, found {:?}", fields[0]))?;
    let gpl = match *export {
        "EXPORT_SYMBOL" => false,
        "EXPORT_SYMBOL_GPL" => true,
        other => return Err(format!("needed EXPORT_SYMBOL or EXPORT_SYMBOL_GPL, found {other:?}")),
    };
    let namespace = match rest {
        [] => "",
        [namespace] => namespace,
        _ => return Err(format!("needed at most 5 fields, found {}", fields.len())),
    };
    if let Some(field) = [*name, *owner, namespace].into_iter().find(|field| field.chars().any(char::is_control)) {
        return Err(format!("needed text without control characters, found {field:?}"));
    }
    if name.is_empty() || owner.is_empty() {
        return Err("needed a symbol and who exports it, found nothing".to_owned());
    }
    Ok(Symbol { name, crc, owner, gpl, namespace })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_told() {
        let text = "0x7e2dd1fa\tusb_disabled\tdrivers/usb/core/usbcore\tEXPORT_SYMBOL_GPL\t\n0x00000001\tf\tvmlinux\tEXPORT_SYMBOL\tNS\n";
        let found = parse(text).unwrap();
        let usb = Symbol { name: "usb_disabled", crc: 0x7e2d_d1fa, owner: "drivers/usb/core/usbcore", gpl: true, namespace: "" };
        assert_eq!(found, [usb, Symbol { name: "f", crc: 1, owner: "vmlinux", gpl: false, namespace: "NS" }]);
    }

    #[test]
    fn what_is_no_line_is_told_with_its_number() {
        for (line, why) in [
            ("0x1\tf", "found 2 fields"),
            ("1\tf\tvmlinux\tEXPORT_SYMBOL\t", "found \"1\""),
            ("0x123456789\tf\tvmlinux\tEXPORT_SYMBOL\t", "found \"0x123456789\""),
            ("0x+1\tf\tvmlinux\tEXPORT_SYMBOL\t", "found \"0x+1\""),
            ("0x1\tf\tNS\tvmlinux\tEXPORT_SYMBOL", "found \"vmlinux\""),
            ("0x1\t\tvmlinux\tEXPORT_SYMBOL\t", "found nothing"),
            ("0x1\tf\tvmlinux\tEXPORT_SYMBOL\t\t", "found 6"),
            ("0x1\tf\tvmlinux\tEXPORT_SYMBOL\tNS\r", "without control characters, found \"NS\\r\""),
        ] {
            let found = parse(&format!("0x1\tg\tvmlinux\tEXPORT_SYMBOL\t\n{line}\n")).unwrap_err();
            assert!(found.line == 2 && found.why.contains(why), "{line}: {found}");
        }
    }
}
