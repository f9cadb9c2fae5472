//! A system that other programs made becomes an image: by mmdebstrap as a tree, by umoci and skopeo through a registry with TLS and a
//! login as a container image. The image boots with Secure Boot on, and Debian's own programs find in it what was put in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Running, choose_accel};
use qemu_tests::{Basalt, CHANGED, Foreign, Registry, Scratch, foreign_base, manifest, repository};
use serde_json::Value;

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const GROWN: u64 = 4 << 30;
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
        self.scratch.write("other.toml", format!("name = \"other\"\nversion = \"1\"\n\n[base]\n{base}\n"))?;
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

    let (login, certificates) = (registry.auth_file.display().to_string(), registry.certificates.display().to_string());
    let way = ["--authfile", &login, "--cert-dir", &certificates];
    let image = format!("kind = \"oci\"\nfrom = \"{}/hosts/debian:trixie\"", registry.host);
    let image = case.build("image", &image, &way)?;
    let tree = case.build("tree", "kind = \"tree\"\npath = \"root.tar\"", &[])?;
    only_the_upper_layers_differ(&case, &tree, &image)?;
    the_bill_of_materials_has_every_package(&foreign, &image)?;

    let disk = Disk { size: Some(GROWN), ..Disk::new(&image.join("other.raw")) };
    let mut vm = Machine::new(disk, choose_accel(&case.cache)?).channel().start()?;
    it_is_the_system(&mut vm, &foreign, &manifest(&image)?)
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
    let text = |key: &str| manifest[key].as_str().with_context(|| format!("manifest.json: no {key}"));
    let agent = "busctl get-property org.basalt.FirstBoot1 /org/basalt/FirstBoot1 org.basalt.FirstBoot1";
    // Debian's kernel lies in /boot of a disk that libostree does not know; what the layers changed is theirs, what a build writes is its own,
    // and empty folders of caches and logs are the node's.
    let verify = "dpkg --verify | grep -v ' c /\\| /boot/\\| /var/\\| /usr/lib/os-release\\| /usr/share/doc/\\| /usr/share/menu/\\| /usr/share/pixmaps' || echo whole";
    for (script, wanted) in [
        ("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '", "1"),
        ("ostree admin status | sed -n 's/^\\* other //p'", &format!("{}.0", text("commit")?)),
        (&format!("{agent} State"), "s \"configured\""),
        (&format!("{agent} PlanId"), &format!("s \"{}\"", text("plan")?)),
        ("dpkg-query --show --showformat '${db:Status-Status}\\n' | grep -c '^installed$'", &foreign.packages.len().to_string()),
        (verify, "whole"),
        ("ostree fsck --repo=/ostree/repo >/dev/null 2>&1 && echo clean", "clean"),
        ("cat /etc/motd /usr/share/menu/* /usr/share/case/Gruß", "of the second layer\nleft alone\nnew"),
        ("ls -d /etc/issue.net /usr/share/pixmaps 2>/dev/null || echo gone", "gone"),
        ("stat -c %a /etc/bash.bashrc && cmp /usr/bin/dash /usr/bin/dash-again && echo same", "600\nsame"),
        ("stat -c '%U %G' /usr/bin/ssh-agent /etc/shadow /etc/gshadow | sort -u", "root _ssh\nroot shadow"),
    ] {
        let found = vm.must(script, COMMAND)?;
        ensure!(found == wanted, "{script}\n  needed {wanted:?}\n  found  {found:?}");
    }
    Ok(())
}
