//! A system that other programs made becomes an image: by mmdebstrap as a tree, by umoci and skopeo through a registry with TLS and a
//! login as a container image. The image boots with Secure Boot on from a disk with 4096-byte sectors, and Debian's own programs find in
//! it what was put in: files, owners, a capability, and with Debian's SELinux policy in the base the label that libselinux gives each file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Running, SectorSize, choose_accel};
use qemu_tests::{Basalt, CHANGED, Foreign, Labels, Registry, Scratch, foreign_base, manifest, repository};
use serde_json::Value;

/// Under TCG beside others, with SELinux in every open.
const BOOT: Duration = Duration::from_secs(1500);
const COMMAND: Duration = Duration::from_secs(400);
const GROWN: u64 = 4 << 30;
/// What the recipe adds to the base. Debian's kernel prefers AppArmor unless it is told. The file has `CAP_NET_RAW`, effective and permitted,
/// as `struct vfs_cap_data` of revision 2.
const MORE: &str = r#"
[kernel]
args = ["security=selinux", "enforcing=0"]

[disk]
sector-size = 4096

[[file]]
path = "/usr/bin/capable"
source = "capable"
mode = "0755"
xattrs = { "security.capability" = "0sAQAAAgAgAAAAAAAAAAAAAAAAAAA=", "user.basalt" = "kept" }
"#;
/// Kind, path and label of everything in the image's own folder, in byte order.
const LABELS: &str = "find /usr -xdev -printf '%y %p %Z\\n' | LC_ALL=C sort | sha256sum";
/// What restorecon would change of what the image brings.
const WRONG: &str = "restorecon -R -n -v /usr /boot /etc/systemd /etc/init.d 2>&1";
/// The attributes of a file as GNU tar archives them.
const ATTRIBUTES: &str = "tar --xattrs --xattrs-include=user.* -C / -cf - usr/bin/capable | grep -ao 'SCHILY.xattr.user.*'";
/// What a build writes: which plan the image is of.
const IDENTITY: &str = "/usr/lib/basalt/image.json";

struct Case {
    scratch: Scratch,
    /// Kept, so that the next run has the base: its digests decide, not where it came from.
    cache: PathBuf,
}

impl Case {
    /// Builds `out` from this base.
    fn build(&self, out: &str, base: &str, args: &[&str]) -> Result<PathBuf> {
        self.scratch.write("other.toml", format!("name = \"other\"\nversion = \"1\"\n\n[base]\n{base}\n{MORE}"))?;
        let folder = self.scratch.path().join(out);
        let ran = Basalt::new(["build", "--quiet", "--format", "raw", "--out"]).arg(&folder).args(args).arg("other.toml");
        let ran = ran.folder(self.scratch.path()).cache(&self.cache).run(&self.scratch)?;
        ensure!(ran.code == 0, "{base}: exit code {}\n{}", ran.code, ran.stderr);
        println!("{out}: built in {} ms", ran.took.as_millis());
        Ok(folder)
    }
}

#[test]
fn vm_a_base_that_others_made_boots() -> Result<()> {
    let foreign = foreign_base()?;
    let case = Case { scratch: Scratch::new()?, cache: repository().join("target/other-base/cache") };
    let registry = Registry::start(&case.scratch)?;
    registry.put(&format!("oci:{}:changed", foreign.image.display()), "hosts/debian:trixie")?;
    symlink(&foreign.tar, case.scratch.path().join("root.tar"))?;
    case.scratch.write("capable", "a file\n")?;

    let (login, certificates) = (registry.auth_file.display().to_string(), registry.certificates.display().to_string());
    let way = ["--authfile", &login, "--cert-dir", &certificates];
    let image = format!("kind = \"oci\"\nfrom = \"{}/hosts/debian:trixie\"", registry.host);
    let image = case.build("image", &image, &way)?;
    let tree = case.build("tree", "kind = \"tree\"\npath = \"root.tar\"", &[])?;
    only_the_upper_layers_differ(&case, &tree, &image)?;
    the_bill_of_materials_has_every_package(&foreign, &image)?;

    let manifest = manifest(&image)?;
    let labels = every_label_is_libselinuxs(&case, &manifest)?;
    let disk = Disk { sector_size: SectorSize::B4096, size: Some(GROWN), ..Disk::new(&image.join("other.raw")) };
    let mut vm = Machine::new(disk, choose_accel(&case.cache)?).channel().start()?;
    it_is_the_system(&mut vm, &foreign, &manifest)?;
    it_has_these_labels(&mut vm, &labels)?;
    it_has_large_sectors_and_every_attribute(&mut vm, &manifest)
}

/// In the commit, by Debian's matchpathcon and the commit's own rules.
fn every_label_is_libselinuxs(case: &Case, manifest: &Value) -> Result<Labels> {
    let (repository, commit) = (case.cache.join("ostree/repo"), manifest["commit"].as_str().context("no commit")?);
    let labels = Labels::of_commit(&repository, commit)?;
    let wanted = labels.by_libselinux(&repository, commit, &case.scratch.folder("rules")?)?;
    ensure!(labels.0.len() > 10_000, "{} paths", labels.0.len());
    let wrong = labels.0.iter().filter(|(path, label)| wanted.0.get(*path) != Some(*label));
    let wrong: Vec<_> = wrong.take(10).map(|(path, label)| (path, label, wanted.0.get(path))).collect();
    ensure!(wrong.is_empty(), "path, label, what libselinux says: {wrong:#?}");
    Ok(labels)
}

fn it_has_these_labels(vm: &mut Running, labels: &Labels) -> Result<()> {
    let sum = vm.must(LABELS, COMMAND)?;
    ensure!(sum.trim_end_matches([' ', '-']) == labels.sum("/usr"), "{LABELS}: {sum}, on the host {}", labels.sum("/usr"));
    answers(vm, &[("getenforce", "Permissive"), (WRONG, "")])
}

fn it_has_large_sectors_and_every_attribute(vm: &mut Running, manifest: &Value) -> Result<()> {
    ensure!(manifest["sector-size"] == 4096, "manifest.json: {manifest}");
    let commit = manifest["commit"].as_str().context("no commit")?;
    // As the commit has it.
    let listed = format!(
        "ostree ls -X {commit} /usr/bin/capable | grep -c \"b'security.capability'.*0x01, 0x00, 0x00, 0x02, 0x00, 0x20,\""
    );
    answers(
        vm,
        &[
            ("cat /sys/class/block/vda/queue/logical_block_size", "4096"),
            ("cat /sys/kernel/security/lockdown", "none [integrity] confidentiality"),
            ("getcap /usr/bin/capable", "/usr/bin/capable cap_net_raw=ep"),
            (ATTRIBUTES, "SCHILY.xattr.user.basalt=kept"),
            (&listed, "1"),
        ],
    )?;
    let grown: u64 = vm.must("stat -f -c '%b %S' /var | { read b s; echo $((b * s)); }", COMMAND)?.parse()?;
    ensure!(grown > GROWN / 2, "the root filesystem did not grow: {grown} bytes");
    Ok(())
}

fn answers(vm: &mut Running, rows: &[(&str, &str)]) -> Result<()> {
    for (script, wanted) in rows {
        let found = vm.must(script, COMMAND)?;
        ensure!(found == *wanted, "{script}\n  needed {wanted:?}\n  found  {found:?}");
    }
    Ok(())
}

/// Two disks differ in the files that umoci's layers changed, and in nothing else.
fn only_the_upper_layers_differ(case: &Case, tree: &std::path::Path, image: &std::path::Path) -> Result<()> {
    let ran = Basalt::new(["diff", "--json"]).arg(tree.join("other.raw")).arg(image.join("other.raw")).run(&case.scratch)?;
    let ran = ran.exits(0);
    let found: Value = serde_json::from_str(&ran.stdout)?;
    let files = found["files"].as_array().context("no files")?;
    // Files of `/etc` have the image's time, which is not the same.
    let change = |file: &Value| {
        let mut changes = file["changes"].as_array()?.iter().filter_map(|change| change["what"].as_str());
        Some((file["path"].as_str()?.to_owned(), changes.find(|what| *what != "time")?.to_owned()))
    };
    let found: BTreeMap<_, _> = files.iter().filter_map(change).collect();
    let mut wanted: BTreeMap<_, _> = CHANGED.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect();
    // The deployment's own copy.
    let copies: Vec<_> =
        wanted.iter().filter(|(path, _)| path.starts_with("/etc/")).map(|(path, what)| (path.clone(), what.clone())).collect();
    wanted.extend(copies.into_iter().map(|(path, what)| (format!("/usr{path}"), what)));
    let identity = found.get(IDENTITY).cloned().context("the plans are two")?;
    wanted.insert(IDENTITY.to_owned(), identity);
    assert_eq!(found, wanted);
    Ok(())
}

fn the_bill_of_materials_has_every_package(foreign: &Foreign, image: &std::path::Path) -> Result<()> {
    let bill: Value = serde_json::from_slice(&fs::read(image.join("other.spdx.json"))?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed = bill["packages"].as_array().context("no packages")?.iter();
    let listed: BTreeSet<_> = listed.map(|package| (text(&package["name"]), text(&package["versionInfo"]))).collect();
    let missing: Vec<_> = foreign
        .packages
        .iter()
        .map(|package| (package.name.clone(), package.version.clone()))
        .filter(|package| !listed.contains(package))
        .collect();
    ensure!(missing.is_empty() && foreign.packages.len() > 100, "not in the bill of materials: {missing:?}");
    Ok(())
}

/// Booted, with Secure Boot on and nothing failed; the agent answers; dpkg and libostree, which did not make the image, find it whole.
fn it_is_the_system(vm: &mut Running, foreign: &Foreign, manifest: &Value) -> Result<()> {
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "{state}: {}", vm.shell("systemctl --failed --no-pager", COMMAND)?.text());
    // The system may be up before the agent is done.
    vm.must("basalt-firstboot status --wait >/dev/null; :", COMMAND)?;
    let text = |key: &str| manifest[key].as_str().with_context(|| format!("manifest.json: no {key}"));
    let agent = "busctl get-property org.basalt.FirstBoot1 /org/basalt/FirstBoot1 org.basalt.FirstBoot1";
    // Debian's kernel lies in /boot of a disk that libostree does not know; what the layers changed is theirs, what a build writes is its own,
    // and empty folders of caches and logs are the node's.
    let verify = "dpkg --verify | grep -v ' c /\\| /boot/\\| /var/\\| /usr/lib/os-release\\| /usr/share/doc/\\| /usr/share/menu/\\| /usr/share/pixmaps' || echo whole";
    let (deployed, plan) = (format!("{}.0", text("commit")?), format!("s \"{}\"", text("plan")?));
    let rows = [
        ("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '", "1"),
        ("ostree admin status | sed -n 's/^\\* other //p'", deployed.as_str()),
        (&format!("{agent} State"), "s \"configured\""),
        (&format!("{agent} PlanId"), &plan),
        ("dpkg-query --show --showformat '${db:Status-Status}\\n' | grep -c '^installed$'", &foreign.packages.len().to_string()),
        (verify, "whole"),
        ("ostree fsck --repo=/ostree/repo >/dev/null 2>&1 && echo clean", "clean"),
        ("cat /etc/motd /usr/share/menu/* /usr/share/case/Gruß", "of the second layer\nleft alone\nnew"),
        ("ls -d /etc/issue.net /usr/share/pixmaps 2>/dev/null || echo gone", "gone"),
        ("stat -c %a /etc/bash.bashrc && cmp /usr/bin/dash /usr/bin/dash-again && echo same", "600\nsame"),
        ("stat -c '%U %G' /usr/bin/ssh-agent /etc/shadow /etc/gshadow | sort -u", "root _ssh\nroot shadow"),
    ];
    answers(vm, &rows)
}
