//! What modprobe and systemd are told of modules.

use std::fmt::Write as _;

use crate::plan::KernelModules;

/// Where modprobe reads what is said of modules.
pub const MODPROBE: &str = "/usr/lib/modprobe.d";

/// Files by path: `modprobe.d` for parameters and what is never loaded for a device, `modules-load.d` for what is loaded at boot.
pub fn files(wanted: &KernelModules) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for set in &wanted.sets {
        let mut text = String::new();
        for (module, parameters) in &set.parameters {
            let _ = writeln!(text, "options {module} {parameters}");
        }
        for module in &set.blacklist {
            let _ = writeln!(text, "blacklist {module}");
        }
        if !text.is_empty() {
            files.push((format!("{MODPROBE}/basalt-{}.conf", set.name), text));
        }
        if !set.load.is_empty() {
            files.push((format!("/usr/lib/modules-load.d/basalt-{}.conf", set.name), set.load.join("\n") + "\n"));
        }
    }
    files
}

/// The kernel argument that keeps modules from being loaded for a device, in the initramfs, too: kmod reads it wherever it runs.
pub fn blacklist_argument<'a>(modules: impl IntoIterator<Item = &'a String>) -> Option<String> {
    let mut names: Vec<_> = modules.into_iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("modprobe.blacklist={}", names.join(",")))
}
