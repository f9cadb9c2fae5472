//! GRUB's configuration: the menu of the first boot, and the stub on the EFI system partition that finds the menu by label.
//!
//! The menu is only the first: `/boot/grub/grub.cfg` is a link to `../loader/grub.cfg`, so that libostree writes a new one with each
//! deployment and switches to it together with the boot entries.

use std::fmt::Write as _;

use super::BOOT_LABEL;

/// Seconds that the menu waits for a key.
const TIMEOUT: u32 = 1;

/// What the signed GRUB reads first: it looks in `EFI/debian` of the partition it was loaded from.
pub fn stub() -> String {
    format!("search --no-floppy --label {BOOT_LABEL} --set=root\nset prefix=($root)/grub\nconfigfile ($root)/grub/grub.cfg\n")
}

/// A menu of one entry. Paths are those of the boot filesystem. It is shown on the screen, and on the serial line that the kernel
/// uses as console, if there is one.
pub fn menu(title: &str, linux: &str, initrd: &str, args: &[String]) -> String {
    let mut text = format!("set default=0\nset timeout={TIMEOUT}\n");
    text.push_str(&console(args).unwrap_or_default());
    let _ = writeln!(text, "menuentry {} --class gnu-linux --class os --unrestricted --id ostree-0 {{", quoted(title));
    let args: Vec<_> = args.iter().map(|arg| quoted(arg)).collect();
    let _ = writeln!(text, "  linux {} {}\n  initrd {}\n}}", quoted(linux), args.join(" "), quoted(initrd));
    text
}

/// Where GRUB speaks: on the screen, and on the serial line that the kernel uses as console. None when it uses none.
pub fn console(args: &[String]) -> Option<String> {
    let (unit, speed) = args.iter().find_map(|arg| serial(arg))?;
    Some(format!("serial --unit={unit} --speed={speed}\nterminal_input console serial\nterminal_output console serial\n"))
}

/// Unit and speed of `console=ttyS0,115200n8`.
fn serial(arg: &str) -> Option<(u8, u32)> {
    let (unit, options) = arg.strip_prefix("console=ttyS")?.split_once(',').unwrap_or((arg.strip_prefix("console=ttyS")?, ""));
    let digits = options.find(|c: char| !c.is_ascii_digit()).unwrap_or(options.len());
    Some((unit.parse().ok()?, options[..digits].parse().unwrap_or(9600)))
}

/// A word of GRUB's script as it stands: what would be expanded or would end it goes into single quotes.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%~^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_something_to_grub_are_quoted() {
        for (word, text) in
            [("a=b,c", "a=b,c"), ("a;b", "'a;b'"), ("$x", "'$x'"), ("it's", r"'it'\''s'"), ("", "''"), ("{", "'{'")]
        {
            assert_eq!(quoted(word), text);
        }
    }

    #[test]
    fn the_menu_speaks_where_the_kernel_speaks() {
        for (arg, found) in [
            ("console=ttyS0,115200n8", Some((0, 115_200))),
            ("console=ttyS1", Some((1, 9600))),
            ("console=tty0", None),
            ("console=ttySx", None),
        ] {
            assert_eq!(serial(arg), found, "{arg}");
        }
        let menu = menu("D (ostree:0)", "/l", "/i", &["rw".into(), "console=ttyS0,115200".into()]);
        assert_eq!(
            menu,
            "set default=0\nset timeout=1\nserial --unit=0 --speed=115200\nterminal_input console serial\n\
             terminal_output console serial\nmenuentry 'D (ostree:0)' --class gnu-linux --class os --unrestricted --id ostree-0 {\n  \
             linux /l rw console=ttyS0,115200\n  initrd /i\n}\n"
        );
    }
}
