//! Which kernel arguments may have several values.
//!
//! Of most the kernel keeps the last value, so that a second one takes the first away without a word: those are not in the table.
//! Sources: the kernel's `Documentation/admin-guide/kernel-parameters.txt` and `mm/hugetlbpage.rst` (6.12), and for programs that
//! read its command line modprobe.d(5), kernel-command-line(7) of systemd and dracut.cmdline(7).

/// Each mention adds to those before it.
const ADDS: [&str; 32] = [
    // The kernel.
    "acpi_osi",
    "cgroup_disable",
    "cgroup_no_v1",
    "console",
    "dyndbg",
    "initcall_blacklist",
    "memmap",
    "reserve",
    "video",
    // kmod.
    "modprobe.blacklist",
    // systemd: also what is read in the initramfs, with `rd.` before it.
    "modules_load",
    "rd.modules_load",
    "systemd.mask",
    "systemd.setenv",
    "systemd.set_credential",
    "systemd.wants",
    "rd.systemd.mask",
    "rd.systemd.setenv",
    "rd.systemd.wants",
    // dracut.
    "bond",
    "bridge",
    "ifname",
    "ip",
    "nameserver",
    "rd.driver.blacklist",
    "rd.driver.post",
    "rd.driver.pre",
    "rd.route",
    "rd.znet",
    "team",
    "vlan",
    "netroot",
];

/// The same of all whose names begin so (dracut: which devices are needed).
const ADD_BELOW: [&str; 4] = ["rd.dm.", "rd.luks.", "rd.lvm.", "rd.md."];

/// Options with commas between them. Each mention adds its options, and each option has one value: `pci=realloc` and `pci=noats` go
/// together, `pci=realloc` and `pci=realloc=off` do not.
const OPTIONS: [&str; 5] = ["amd_iommu", "efi", "intel_iommu", "iommu", "pci"];

/// What `text` sets, and to which value: nothing where each mention adds.
pub fn settings(text: &str) -> Vec<(String, String)> {
    if let Some((size, number)) = text.split_once(' ') {
        let size = size.split_once('=').map_or(size, |(_, size)| size);
        return vec![(format!("hugepages of {}", bytes(size)), value(number))];
    }
    let name = canonical(text);
    let adds =
        ADDS.contains(&name.as_str()) || name.ends_with(".dyndbg") || ADD_BELOW.iter().any(|below| name.starts_with(below));
    match name.as_str() {
        _ if adds => Vec::new(),
        // A size without a number behind it reserves nothing.
        "hugepagesz" => Vec::new(),
        // One for memory above 4 GiB and one for memory below go together.
        "crashkernel" => {
            let value = value(text);
            let ending = [",high", ",low"].into_iter().find(|ending| value.ends_with(ending)).unwrap_or_default();
            vec![(format!("{name}{ending}"), value)]
        }
        known if OPTIONS.contains(&known) => {
            value(text).split(',').map(|option| (format!("{name} ({})", slot(option)), option.to_owned())).collect()
        }
        _ => vec![(name, value(text))],
    }
}

/// Whether it begins with a size of large pages.
pub fn is_size(text: &str) -> bool {
    text.starts_with("hugepagesz=")
}

/// Whether it is a number of large pages whose size stands before it, or nowhere.
pub fn is_number(text: &str) -> bool {
    text.starts_with("hugepages=")
}

/// Whether it is a size of large pages alone.
pub fn is_bare_size(text: &str) -> bool {
    is_size(text) && !text.contains(' ')
}

/// The name. The kernel takes `-` for `_` in it.
fn canonical(text: &str) -> String {
    text.split('=').next().unwrap_or_default().replace('-', "_")
}

/// What stands behind the name. A flag has none, which is another thing than any value: `nosmt` is not `nosmt=force`.
fn value(text: &str) -> String {
    text.split_once('=').map_or_else(|| "without a value".to_owned(), |(_, value)| value.to_owned())
}

/// What an option decides: `on` and `off` one thing, `pt` and `nopt`, too.
fn slot(option: &str) -> &str {
    let name = option.split(['=', ':']).next().unwrap_or(option);
    match name {
        "on" | "off" => "on or off",
        name => name.strip_prefix("no").filter(|rest| !rest.is_empty()).unwrap_or(name),
    }
}

/// A size as the kernel reads it (`memparse`): 1024M is 1G.
fn bytes(size: &str) -> String {
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &size[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return size.to_owned(),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes % (1 << 30) == 0 => format!("{} GiB", bytes >> 30),
        Some(bytes) if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        Some(bytes) => format!("{bytes} bytes"),
        None => size.to_owned(),
    }
}
