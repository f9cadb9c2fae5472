//! The disk, read by other people's programs: clean to every checker, and exactly the tree of the commit.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Warm, reference_image};
use serde_json::Value;

/// Files with whatever a filesystem can keep of one. `twin` has the content and attributes of `one`, so that both are one inode.
const FILES: &str = r#"
[[file]]
path = "/usr/lib/case/one"
text = "the same\n"
mode = "0640"
uid = 4321
gid = 1234
xattrs = { "user.note" = "hello", "user.bytes" = "0sAAECA/8=" }
[[file]]
path = "/usr/lib/case/twin"
text = "the same\n"
mode = "0640"
uid = 4321
gid = 1234
xattrs = { "user.note" = "hello", "user.bytes" = "0sAAECA/8=" }
[[file]]
path = "/usr/lib/case/can"
text = "may bind\n"
mode = "0755"
xattrs = { "security.capability" = "0sAQAAAgAEAAAAAAAAAAAAAAAAAAA=", "user.long" = "LONG" }
[[file]]
path = "/usr/lib/case/link"
symlink = "/usr/lib/case/a target that is far too long for an inode LONG"
"#;

/// Runs a program that must find nothing wrong.
fn clean(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| program.to_owned())?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{program} {args:?}: {}\n{text}", output.status);
    Ok(text)
}

fn partition<'a>(manifest: &'a Value, label: &str) -> Result<&'a Value> {
    let partitions = manifest["partitions"].as_array().context("no partitions")?;
    partitions.iter().find(|partition| partition["label"] == label).with_context(|| label.to_owned())
}

/// The filesystem `label` of `disk` as the tools of ext4 take it: `FILE?offset=BYTES`.
fn filesystem(disk: &Path, manifest: &Value, label: &str) -> Result<String> {
    let start = partition(manifest, label)?["start"].as_u64().context("no start")?;
    Ok(format!("{}?offset={start}", disk.display()))
}

#[test]
fn cli_every_checker_finds_the_disk_clean() -> Result<()> {
    let (image, manifest, warm) = (reference_image()?, Warm::expected()?, Warm::new()?);
    let (raw, qcow2) = (image.artefact("raw")?, image.artefact("qcow2")?);
    let path = |path: &Path| path.display().to_string();
    let verdict = clean("sgdisk", &["-v", &path(&raw)])?;
    assert!(verdict.contains("No problems found"), "{verdict}");
    for label in ["boot", "root"] {
        clean("e2fsck", &["-fn", &filesystem(&raw, &manifest, label)?])?;
    }
    let esp = partition(&manifest, "EFI-SYSTEM")?;
    let copy = warm.scratch.path().join("esp");
    let bounds = ["start", "size"].map(|key| esp[key].as_u64().unwrap_or_default());
    let [skip, count] = bounds.map(|bytes| bytes.to_string());
    let (input, output) = (format!("if={}", path(&raw)), format!("of={}", path(&copy)));
    clean("dd", &[&input, &output, "bs=1M", "iflag=skip_bytes,count_bytes", &format!("skip={skip}"), &format!("count={count}")])?;
    clean("fsck.fat", &["-n", &path(&copy)])?;
    clean("qemu-img", &["check", &path(&qcow2)])?;
    clean("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", &path(&raw), &path(&qcow2)])?;
    Ok(())
}

/// One line of the commit's list.
#[derive(Debug)]
struct Listed {
    kind: char,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    object: String,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// `ostree ls -R -X -C`: kind and mode, owner, size, checksums, attributes, path and the target of a link.
fn listed(line: &str) -> Option<(String, Listed)> {
    let (head, rest) = line.split_once(" { ")?;
    let (xattrs, path) = rest.split_once(" } /")?;
    let words: Vec<_> = head.split_whitespace().collect();
    let kind = words[0].chars().next()?;
    let path = path.split_once(" -> ").map_or(path, |(path, _)| path);
    let listed = Listed {
        kind,
        mode: u32::from_str_radix(&words[0][1..], 8).ok()?,
        owner: (words[1].parse().ok()?, words[2].parse().ok()?),
        size: words[3].parse().ok()?,
        object: words[4].to_owned(),
        xattrs: attributes(xattrs)?,
    };
    Some((format!("/{path}"), listed))
}

/// `[(b'user.note', [byte 0x68, 0x69]), ...]`, or `@a(ayay) []`.
fn attributes(text: &str) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for part in text.split("(b'").skip(1) {
        let (name, value) = part.split_once("', ")?;
        let value = value.split_once('[')?.1.split_once(']')?.0.trim_start_matches("byte ");
        let bytes = value.split(", ").filter(|word| !word.is_empty());
        let bytes = bytes.map(|word| u8::from_str_radix(word.trim_start_matches("0x"), 16).ok()).collect::<Option<_>>()?;
        found.insert(name.to_owned(), bytes);
    }
    Some(found)
}

/// Answers of one run of debugfs, by command.
fn debugfs(filesystem: &str, folder: &Path, commands: &[String]) -> Result<HashMap<String, String>> {
    let script = folder.join("commands");
    fs::write(&script, commands.join("\n") + "\n")?;
    let output = Command::new("debugfs").arg("-f").arg(&script).arg(filesystem).output().context("debugfs")?;
    let text = String::from_utf8(output.stdout)?;
    let answers = text.split("debugfs: ").skip(1).filter_map(|answer| answer.split_once('\n'));
    Ok(answers.map(|(command, answer)| (command.to_owned(), answer.to_owned())).collect())
}

/// What `ls -p` of debugfs says of one name.
#[derive(Debug, PartialEq)]
struct Inode {
    number: u64,
    mode: u32,
    owner: (u32, u32),
    size: u64,
}

/// `/INODE/MODE/UID/GID/NAME/SIZE/` by name.
fn inodes(answer: &str) -> HashMap<String, Inode> {
    let line = |line: &str| {
        let words: Vec<_> = line.split('/').collect();
        let number = |at: usize| words.get(at)?.parse().ok();
        let mode = u32::from_str_radix(words.get(2)?, 8).ok()?;
        let owner = (words.get(3)?.parse().ok()?, words.get(4)?.parse().ok()?);
        Some(((*words.get(5)?).to_owned(), Inode { number: number(1)?, mode, owner, size: number(6).unwrap_or(0) }))
    };
    answer.lines().filter_map(line).collect()
}

/// A disk whose recipe has [`FILES`], and the list of its commit.
struct Case {
    warm: Warm,
    root: String,
    deployment: String,
    commit: String,
    tree: BTreeMap<String, Listed>,
}

impl Case {
    fn build() -> Result<Self> {
        let warm = Warm::new()?;
        let files = FILES.replace("LONG", &"long".repeat(300));
        fs::write(&warm.recipe, fs::read_to_string(&warm.recipe)? + &files)?;
        warm.build("out")?.arg("--format").arg("raw").run(&warm.scratch)?.exits(0);
        let manifest = warm.manifest("out")?;
        let commit = manifest["commit"].as_str().context("no commit")?.to_owned();
        let disk = warm.scratch.path().join("out/gpu-node.raw");
        let root = filesystem(&disk, &manifest, "root")?;
        clean("e2fsck", &["-fn", &root])?;
        let list = clean("ostree", &["ls", &repo(&warm), "-R", "-X", "-C", &commit, "/"])?;
        let tree = list.lines().map(|line| listed(line).with_context(|| line.to_owned())).collect::<Result<_>>()?;
        let deployment = format!("/ostree/deploy/gpu-node/deploy/{commit}.0");
        Ok(Self { warm, root, deployment, commit, tree })
    }

    fn ask(&self, commands: &[String]) -> Result<HashMap<String, String>> {
        debugfs(&self.root, self.warm.scratch.path(), commands)
    }
}

fn repo(warm: &Warm) -> String {
    format!("--repo={}", PathBuf::from(&warm.cache).join("ostree/repo").display())
}

#[test]
fn cli_the_disk_has_every_path_of_the_commit_as_it_is() -> Result<()> {
    let case = Case::build()?;
    assert!(case.tree.len() > 10_000, "{} paths", case.tree.len());
    let list = |folder: &str| format!("ls -p \"{folder}\"");
    let deployed = |path: &str| format!("{}{}", case.deployment, path.trim_end_matches('/'));
    let folders = case.tree.iter().filter(|(_, listed)| listed.kind == 'd').map(|(path, _)| list(&deployed(path)));
    let objects = (0..256).map(|prefix| list(&format!("/ostree/repo/objects/{prefix:02x}")));
    let answers = case.ask(&folders.chain(objects).collect::<Vec<_>>())?;
    let inodes: HashMap<_, _> = answers.iter().map(|(command, answer)| (command.as_str(), inodes(answer))).collect();
    let mut wrong = String::new();
    let mut linked = 0;
    for (path, listed) in case.tree.iter().filter(|(path, _)| *path != "/") {
        let (folder, name) = path.rsplit_once('/').context("no folder")?;
        let found = inodes.get(list(&deployed(folder)).as_str()).and_then(|names| names.get(name));
        let Some(found) = found else {
            writeln!(wrong, "{path} is missing")?;
            continue;
        };
        let kind = match listed.kind {
            'd' => 0o040_000,
            'l' => 0o120_000,
            _ => 0o100_000,
        };
        if found.mode != kind | listed.mode || found.owner != listed.owner || (listed.kind == '-' && found.size != listed.size) {
            writeln!(wrong, "{path}: needed {listed:?}, found {found:?}")?;
        }
        // Every file of a deployment is a hard link to its object, except that libostree copies empty ones.
        if listed.kind == 'd' || (listed.kind == '-' && listed.size == 0) {
            continue;
        }
        let (prefix, rest) = listed.object.split_at(2);
        let objects = inodes.get(list(&format!("/ostree/repo/objects/{prefix}")).as_str());
        match objects.and_then(|objects| objects.get(&format!("{rest}.file"))) {
            Some(object) if object.number == found.number => linked += 1,
            object => writeln!(wrong, "{path}: inode {}, and its object is {object:?}", found.number)?,
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(linked > 10_000, "{linked} hard links");
    Ok(())
}

#[test]
fn cli_the_disk_has_every_attribute_owner_and_hard_link() -> Result<()> {
    let case = Case::build()?;
    let with: Vec<_> = case.tree.iter().filter(|(_, listed)| !listed.xattrs.is_empty()).collect();
    let of = |path: &str| case.tree.get(path).with_context(|| path.to_owned());
    assert_eq!(of("/usr/lib/case/can")?.xattrs["security.capability"].len(), 20);
    assert_eq!(of("/usr/lib/case/can")?.xattrs["user.long"].len(), 1200);
    assert_eq!(of("/usr/lib/case/one")?.xattrs["user.bytes"], [0, 1, 2, 3, 255]);
    assert_eq!(of("/usr/lib/case/one")?.owner, (4321, 1234));
    let get = |path: &str, name: &str| {
        format!("ea_get -f {}/value \"{}{path}\" {name}", case.warm.scratch.path().display(), case.deployment)
    };
    for (path, listed) in &with {
        let names = case.ask(&[format!("ea_list \"{}{path}\"", case.deployment)])?;
        let names = names.values().next().context("no answer")?;
        let found = names.lines().filter(|line| line.starts_with("  ") && line.contains(" (")).count();
        assert_eq!(found, listed.xattrs.len(), "{path}: {names}");
        for (name, value) in &listed.xattrs {
            case.ask(&[get(path, name)])?;
            let found = fs::read(case.warm.scratch.path().join("value")).with_context(|| format!("{path} {name}"))?;
            assert_eq!(&found, value, "{path} {name}");
            fs::remove_file(case.warm.scratch.path().join("value"))?;
        }
    }
    let folder = format!("ls -p \"{}/usr/lib/case\"", case.deployment);
    let mut found = inodes(&case.ask(std::slice::from_ref(&folder))?[&folder]);
    assert_eq!(found.remove("one").context("one")?, found.remove("twin").context("twin")?);
    // Contents: small, linked, large, and the long target of a link.
    for path in ["/usr/lib/case/one", "/usr/etc/ssh/sshd_config", "/usr/bin/bash", "/usr/lib/os-release"] {
        let expected = Command::new("ostree").args(["cat", &repo(&case.warm), &case.commit, path]).output()?.stdout;
        let to = case.warm.scratch.path().join("content");
        case.ask(&[format!("dump \"{}{path}\" {}", case.deployment, to.display())])?;
        assert!(fs::read(&to)? == expected && !expected.is_empty(), "{path}");
        fs::remove_file(to)?;
    }
    let link = case.ask(&[format!("cat \"{}/usr/lib/case/link\"", case.deployment)])?;
    let target = link.values().next().context("no link")?;
    assert_eq!(target.trim_end(), format!("/usr/lib/case/a target that is far too long for an inode {}", "long".repeat(300)));
    Ok(())
}
