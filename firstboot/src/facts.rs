//! What the node is: read once, from a root. What cannot be found out is a fault with a reason, and the others are still found.

use std::str::FromStr;

use basalt_contract::{Deployment, Fault, Hardware, ImageInfo, ModulesInfo, TunedInfo, names};
use serde::Serialize;

use crate::backend::{FileError, Files};
use crate::hardware;

/// What the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Default)]
pub struct Facts {
    /// The image, as its builder described it.
    pub image: Option<ImageInfo>,
    /// This boot, as the kernel writes it.
    pub boot_id: Option<String>,
    /// This node: 32 hexadecimal digits.
    pub machine_id: Option<String>,
    /// The deployment that runs.
    pub deployment: Option<Deployment>,
    /// The profiles of tuned that the image wants, where it wants any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuned: Option<String>,
    /// What the image promises of its kernel modules, where it brings any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modules: Option<ModulesInfo>,
    /// What the machine is made of.
    pub hardware: Hardware,
    /// What could not be found out.
    pub faults: Vec<Fault>,
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const MACHINE_ID: &str = "/etc/machine-id";
const MOUNTS: &str = "/proc/self/mountinfo";
/// What the kernel was booted with.
pub const COMMAND_LINE: &str = "/proc/cmdline";

/// Finds out everything below `files`' root.
pub fn collect(files: &dyn Files) -> Facts {
    let mut faults = Vec::new();
    let mut note = |subject: &str, next_step: &str, what: String| {
        faults.push(Fault::new(subject, what, next_step));
    };
    Facts {
        image: image(files).map_err(|what| note("image", "boot an image that Basalt built", what)).ok(),
        boot_id: boot_id(files).map_err(|what| note("boot", "check that /proc is mounted", what)).ok(),
        machine_id: machine_id(files)
            .map_err(|what| note("machine", "run systemd-machine-id-setup, then restart the agent", what))
            .ok(),
        deployment: deployment(files)
            .map_err(|what| note("deployment", "boot an entry that libostree wrote; see `ostree admin status`", what))
            .ok(),
        tuned: tuned(files).map_err(|what| note("tuned", "boot an image that Basalt built", what)).ok().flatten(),
        modules: modules(files).map_err(|what| note("modules", "boot an image that Basalt built", what)).ok().flatten(),
        hardware: hardware::collect(files, |what| {
            note("hardware", "see `journalctl -k`: the kernel says what it could not do", what)
        }),
        faults,
    }
}

/// This boot alone: what tells a report of this boot from an older one.
///
/// # Errors
/// Says in words why it cannot be told.
pub fn boot_id(files: &dyn Files) -> Result<String, String> {
    let text = line(files, BOOT_ID)?;
    let groups: Vec<_> = text.split('-').map(str::len).collect();
    if groups == [8, 4, 4, 4, 12] && text.chars().all(|c| is_hex(c) || c == '-') {
        Ok(text)
    } else {
        Err(format!("{BOOT_ID}: needed a UUID in lower case, found {:?}", short(&text)))
    }
}

fn image(files: &dyn Files) -> Result<ImageInfo, String> {
    let bytes = files.read(names::IMAGE_FILE).map_err(|error| error.to_string())?;
    ImageInfo::from_json(&bytes).map_err(|error| format!("{}: {error}", names::IMAGE_FILE))
}

fn tuned(files: &dyn Files) -> Result<Option<String>, String> {
    let read = files.read_if_there(names::TUNED_FILE).map_err(|error| error.to_string())?;
    let Some(bytes) = read else { return Ok(None) };
    let info = TunedInfo::from_json(&bytes).map_err(|error| format!("{}: {error}", names::TUNED_FILE))?;
    Ok(Some(info.active))
}

fn modules(files: &dyn Files) -> Result<Option<ModulesInfo>, String> {
    let read = files.read_if_there(names::MODULES_FILE).map_err(|error| error.to_string())?;
    let info = read.map(|bytes| ModulesInfo::from_json(&bytes)).transpose();
    info.map_err(|error| format!("{}: {error}", names::MODULES_FILE))
}

fn machine_id(files: &dyn Files) -> Result<String, String> {
    let text = line(files, MACHINE_ID)?;
    if text.len() == 32 && text.chars().all(is_hex) {
        Ok(text)
    } else {
        Err(format!("{MACHINE_ID}: needed 32 hexadecimal digits, found {:?}", short(&text)))
    }
}

/// The deployment is where "/" comes from: that stays true when another deployment is written while this one runs. Where "/" is
/// an overlay (composefs), the link that the boot entry named says it.
fn deployment(files: &dyn Files) -> Result<Deployment, String> {
    let mounted = text(files, MOUNTS).and_then(|mounts| of_mounts(&mounts));
    mounted.or_else(|why_not| {
        let link = text(files, COMMAND_LINE)
            .and_then(|line| ostree_argument(&line))
            .and_then(|link| files.read_link(&format!("/sysroot{link}")).map_err(|error| error.to_string()))
            .and_then(|target| target.parse().map_err(|NotADeployment| not_a_deployment("the link's target", &target)));
        link.map_err(|nor| format!("cannot tell which deployment runs: {why_not}; {nor}"))
            .map(|DeploymentPath(deployment)| deployment)
    })
}

/// The deployment that is mounted on "/", from `/proc/self/mountinfo` (proc_pid_mountinfo(5): the fourth field is the folder in
/// the filesystem, the fifth the mount point; the last mount on a point is the one that is seen).
fn of_mounts(mounts: &str) -> Result<Deployment, String> {
    let root = mounts.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (folder, point) = (fields.next()?, fields.next()?);
        (point == "/").then_some(folder)
    });
    let root = root.ok_or_else(|| format!("{MOUNTS}: nothing is mounted on /"))?;
    root.parse()
        .map(|DeploymentPath(deployment)| deployment)
        .map_err(|NotADeployment| format!("{MOUNTS}: {}", not_a_deployment("the folder mounted on /", root)))
}

/// The value of `ostree=` on the kernel's command line.
fn ostree_argument(line: &str) -> Result<String, String> {
    let value = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("ostree="));
    match value {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        Some(path) => Err(format!("{COMMAND_LINE}: needed ostree=/..., found {:?}", short(path))),
        None => Err(format!("{COMMAND_LINE}: there is no ostree= argument")),
    }
}

/// A path that ends in `deploy/OS/deploy/CHECKSUM.SERIAL`, as libostree lays deployments out.
struct DeploymentPath(Deployment);

struct NotADeployment;

impl FromStr for DeploymentPath {
    type Err = NotADeployment;

    fn from_str(path: &str) -> Result<Self, NotADeployment> {
        let parts: Vec<_> = path.split('/').collect();
        let [.., "deploy", os_name, "deploy", name] = parts.as_slice() else { return Err(NotADeployment) };
        let (checksum, serial) = name.split_once('.').ok_or(NotADeployment)?;
        if checksum.len() != 64 || !checksum.chars().all(is_hex) || os_name.is_empty() {
            return Err(NotADeployment);
        }
        let serial = serial.parse().map_err(|_| NotADeployment)?;
        Ok(Self(Deployment { os_name: (*os_name).to_owned(), checksum: checksum.to_owned(), serial }))
    }
}

fn not_a_deployment(what: &str, found: &str) -> String {
    format!("needed deploy/OS/deploy/CHECKSUM.SERIAL as {what}, found {:?}", short(found))
}

/// A file's text.
pub(crate) fn text(files: &dyn Files, path: &str) -> Result<String, String> {
    let bytes = files.read(path).map_err(|error: FileError| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| format!("{path}: it is not UTF-8"))
}

/// A file's text without the line feed at its end.
pub(crate) fn line(files: &dyn Files, path: &str) -> Result<String, String> {
    text(files, path).map(|text| text.trim_end_matches('\n').to_owned())
}

/// So much of a text that is not what it should be is shown: what is broken may be large.
pub(crate) fn short(text: &str) -> String {
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(80).collect();
    let rest = chars.as_str().len();
    if rest == 0 { start } else { format!("{start}... and {rest} bytes more") }
}

const fn is_hex(c: char) -> bool {
    matches!(c, '0'..='9' | 'a'..='f')
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{Facts, collect, of_mounts};
    use crate::backend::real::Root;

    const CHECKSUM: &str = "9a0b1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9";
    const IMAGE: &str = include_str!("../contract/fixtures/image-1.json");

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn node(files: &[(&str, &str)], link: Option<(&str, &str)>) -> Facts {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            write(folder.path(), path, text);
        }
        if let Some((path, target)) = link {
            fs::create_dir_all(folder.path().join(path).parent().unwrap()).unwrap();
            symlink(target, folder.path().join(path)).unwrap();
        }
        collect(&Root::open(folder.path()).unwrap())
    }

    const GOOD: [(&str, &str); 5] = [
        ("usr/lib/basalt/image.json", IMAGE),
        ("proc/sys/kernel/random/boot_id", "2f6d3ee1-6b0f-4a52-9d0f-7f0c7a3e5a11\n"),
        ("etc/machine-id", "6c1f0a55a4f94f0a8f5a1b2c3d4e5f60\n"),
        ("sys/devices/system/cpu/online", "0-1\n"),
        ("proc/meminfo", "MemTotal: 2014156 kB\n"),
    ];

    fn mounts() -> String {
        format!(
            "24 1 254:3 / /sysroot ro,relatime shared:2 - ext4 /dev/vda3 rw\n\
             1 1 254:3 /ostree/deploy/basalt/deploy/{CHECKSUM}.1 / rw,relatime shared:1 - ext4 /dev/vda3 rw\n\
             27 1 254:3 /ostree/deploy/basalt/var /var rw,relatime shared:3 - ext4 /dev/vda3 rw\n"
        )
    }

    #[test]
    fn a_node_by_its_mounts() {
        let mounts = mounts();
        let facts = node(&[&GOOD[..], &[("proc/self/mountinfo", mounts.as_str())]].concat(), None);
        assert_eq!(facts.faults, []);
        let deployment = facts.deployment.unwrap();
        assert_eq!((deployment.os_name.as_str(), deployment.checksum.as_str(), deployment.serial), ("basalt", CHECKSUM, 1));
        assert_eq!(facts.image.unwrap().version, "1.2.0");
        assert_eq!((facts.machine_id.unwrap().as_str(), facts.tuned), ("6c1f0a55a4f94f0a8f5a1b2c3d4e5f60", None));
    }

    #[test]
    fn a_node_whose_image_has_an_active_profile() {
        let mounts = mounts();
        let tuned = include_str!("../contract/fixtures/tuned-1.json");
        let files = [("proc/self/mountinfo", mounts.as_str()), ("usr/lib/basalt/tuned.json", tuned)];
        let facts = node(&[&GOOD[..], &files].concat(), None);
        assert_eq!(
            (facts.faults, facts.tuned.as_deref(), facts.modules),
            (vec![], Some("basalt-gpu-inference basalt-cpu-isolated"), None)
        );
    }

    #[test]
    fn a_node_whose_image_brings_kernel_modules() {
        let mounts = mounts();
        let modules = include_str!("../contract/fixtures/modules-1.json");
        let files = [("proc/self/mountinfo", mounts.as_str()), ("usr/lib/basalt/modules.json", modules)];
        let facts = node(&[&GOOD[..], &files].concat(), None);
        assert_eq!((facts.faults, facts.modules.unwrap().blacklist), (vec![], vec!["nouveau".to_owned()]));
    }

    #[test]
    fn a_node_with_an_overlay_as_root_by_its_link() {
        let files = [
            ("proc/self/mountinfo", "1 1 0:30 / / rw - overlay overlay ro\n"),
            ("proc/cmdline", "root=LABEL=root rw ostree=/ostree/boot.1/basalt/abc/0 quiet\n"),
        ];
        let target = format!("../../../deploy/basalt/deploy/{CHECKSUM}.0");
        let link = ("sysroot/ostree/boot.1/basalt/abc/0", target.as_str());
        let facts = node(&[&GOOD[..], &files].concat(), Some(link));
        assert_eq!((facts.faults, facts.deployment.unwrap().serial), (vec![], 0));
    }

    #[test]
    fn nothing_there_is_a_fault_each() {
        let facts = node(&[], None);
        let subjects: Vec<_> = facts.faults.iter().map(|fault| fault.subject.as_str()).collect();
        assert_eq!(subjects, ["image", "boot", "machine", "deployment", "hardware", "hardware"]);
        assert!(facts.faults.iter().all(|fault| !fault.next_step.is_empty()));
        assert!(facts.faults[0].what.starts_with("/usr/lib/basalt/image.json: cannot read it: "), "{}", facts.faults[0].what);
    }

    #[test]
    fn garbage_is_told_with_what_was_found() {
        let cases: [(&str, &str, &str); 11] = [
            ("usr/lib/basalt/tuned.json", "{\"format\": 3}", "tuned.json of format 3"),
            ("usr/lib/basalt/modules.json", "{\"format\": 1}", "modules.json cannot be understood: missing field"),
            ("usr/lib/basalt/image.json", "{\"format\": 9}", "image.json of format 9"),
            ("usr/lib/basalt/image.json", "\u{fffd}", "image.json cannot be understood"),
            ("proc/sys/kernel/random/boot_id", "", "needed a UUID in lower case, found \"\""),
            ("proc/sys/kernel/random/boot_id", "2F6D3EE1-6b0f-4a52-9d0f-7f0c7a3e5a11", "found \"2F6D3EE1"),
            ("etc/machine-id", "uninitialized\n", "needed 32 hexadecimal digits, found \"uninitialized\""),
            ("proc/self/mountinfo", "", "nothing is mounted on /"),
            ("proc/self/mountinfo", "1 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "found \"/\""),
            ("proc/cmdline", "quiet", "there is no ostree= argument"),
            ("proc/cmdline", "ostree=aboot", "needed ostree=/..., found \"aboot\""),
        ];
        for (path, text, part) in cases {
            let facts = node(&[(path, text)], None);
            assert!(facts.faults.iter().any(|fault| fault.what.contains(part)), "{path}: {part}: {:?}", facts.faults);
        }
    }

    #[test]
    fn only_a_whole_deployment_path_counts() {
        let line = |root: &str| format!("1 1 8:1 {root} / rw - ext4 /dev/sda1 rw");
        assert!(of_mounts(&line(&format!("/ostree/deploy/os/deploy/{CHECKSUM}.0"))).is_ok());
        for root in [
            format!("/ostree/deploy/os/deploy/{CHECKSUM}"),
            format!("/ostree/deploy/os/deploy/{CHECKSUM}.x"),
            format!("/ostree/deploy//deploy/{CHECKSUM}.0"),
            format!("/deploy/{CHECKSUM}.0"),
            "/ostree/deploy/os/deploy/abc.0".to_owned(),
        ] {
            assert!(of_mounts(&line(&root)).is_err(), "{root}");
        }
        assert!(of_mounts("1 1 8:1").is_err());
    }
}
