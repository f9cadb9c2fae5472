//! `basalt verify`: good, differs, missing and cannot be read are four answers.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::Warm;

const INPUT: i32 = Kind::Input.exit_code() as i32;
const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;

#[test]
fn cli_verify_tells_what_an_artefact_is() -> Result<()> {
    let warm = Warm::new()?;
    warm.build("out")?.args(["--format", "raw"]).run(&warm.scratch)?.exits(0);
    let at = |name: &str| warm.scratch.path().join("out").join(name);
    let verify = |name: &str| warm.basalt(["verify"]).arg(at(name)).run(&warm.scratch);

    let good = verify("")?.exits(0).stdout;
    let files = ["manifest.json", "gpu-node.raw", "gpu-node.spdx.json", "gpu-node.intoto.json"];
    assert_eq!(good, files.map(|file| format!("{file}: good\n")).concat());
    assert_eq!(verify("gpu-node.raw")?.exits(0).stdout, "manifest.json: good\ngpu-node.raw: good\n");
    verify("SHA256SUMS")?.exits(INPUT).says("the manifest beside it does not list it");
    verify("..")?.exits(INPUT).says("no manifest.json that this Basalt reads").says("next: ");

    let sbom = fs::read(at("gpu-node.spdx.json"))?;
    fs::write(at("gpu-node.spdx.json"), [&sbom[..], b" "].concat())?;
    let ran = verify("")?.exits(VERIFICATION);
    assert!(ran.stdout.contains(&format!(
        "gpu-node.spdx.json: differs: needed {} bytes, found {} bytes",
        sbom.len(),
        sbom.len() + 1
    )));
    fs::remove_file(at("gpu-node.spdx.json"))?;
    assert!(verify("")?.exits(INPUT).stdout.contains("gpu-node.spdx.json: missing\n"));
    fs::write(at("gpu-node.spdx.json"), sbom)?;
    verify("")?.exits(0);

    // One byte, in the middle of the disk.
    let raw = File::options().write(true).open(at("gpu-node.raw"))?;
    raw.write_all_at(b"x", 300 << 20)?;
    let ran = verify("gpu-node.raw")?.exits(VERIFICATION).says("1 of 2 files are not what the manifest says: gpu-node.raw");
    assert!(ran.stdout.contains("gpu-node.raw: differs: needed sha256 "), "{}", ran.stdout);
    Ok(())
}

const FILE: &str = r#"
[[file]]
path = "/usr/lib/case/file"
text = "planted here"
mode = "0640"
xattrs = { "user.note" = "hello" }
"#;

/// The first byte of an inode on the disk, by debugfs.
fn inode(disk: &Path, start: u64, path: &str) -> Result<u64> {
    let at = format!("{}?offset={start}", disk.display());
    let output = Command::new("debugfs").args(["-R", &format!("imap {path}"), &at]).output().context("debugfs")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // "located at block 1234, offset 0x0100"
    let place =
        text.split("located at block ").nth(1).with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    let (block, offset) = place.trim().split_once(", offset 0x").context("no offset")?;
    Ok(start + block.parse::<u64>()? * 4096 + u64::from_str_radix(offset.trim(), 16)?)
}

#[test]
fn cli_verify_rebuild_names_the_first_difference_by_what_it_is_part_of() -> Result<()> {
    let warm = Warm::new()?;
    let recipe = fs::read_to_string(&warm.recipe)?;
    fs::write(&warm.recipe, recipe + FILE)?;
    warm.build("out")?.args(["--format", "raw"]).run(&warm.scratch)?.exits(0);
    let disk = warm.scratch.path().join("out/gpu-node.raw");
    let rebuild = || warm.basalt(["verify", "--offline", "--rebuild"]).arg(&warm.recipe).arg(&disk).run(&warm.scratch);
    let good = rebuild()?.exits(0).stdout;
    assert!(good.ends_with("gpu-node.raw built again: good\n"), "{good}");

    let manifest = warm.manifest("out")?;
    let start = |label: &str| -> Result<u64> {
        let partitions = manifest["partitions"].as_array().context("no partitions")?;
        let found = partitions.iter().find(|partition| partition["label"] == label).context("no such partition")?;
        found["start"].as_u64().context("no start")
    };
    let (esp, root) = (start("EFI-SYSTEM")?, start("root")?);
    let commit = manifest["commit"].as_str().context("no commit")?;
    let path = format!("/ostree/deploy/gpu-node/deploy/{commit}.0/usr/lib/case/file");
    let inode = inode(&disk, root, &path)?;
    let bytes = fs::read(&disk)?;
    let find = |from: u64, what: &[u8]| -> Result<u64> {
        let from = usize::try_from(from)?;
        let place = bytes[from..].windows(what.len()).position(|part| part == what).context("not on the disk")?;
        Ok((from + place) as u64)
    };
    let content = find(root, b"planted here")?;
    let xattr = find(inode, b"hello")?;
    ensure!(xattr < inode + 256, "the attribute stands elsewhere");
    // The entry of the folder EFI in the ESP's root: date of the last write.
    let entry = find(esp, b"EFI        ")?;

    let file = File::options().write(true).open(&disk)?;
    let planted = [
        (512 + 56, "partition table: identifier of the disk".to_owned()),
        (512 * 2 + 16, "partition table: identifier of partition 1".into()),
        (entry + 24, "partition EFI-SYSTEM: entry 1 of the folder /: time and date".into()),
        (root + 1024 + 0x68, "partition root: superblock: UUID".into()),
        (inode + 0x10, format!("partition root: {path}: time: needed 0, found ")),
        (content + 2, format!("partition root: {path}: byte 2")),
        (xattr, format!("partition root: {path}: xattr user.note: needed 68656c6c6f, found ")),
    ];
    for (at, wanted) in planted {
        let mut before = [0];
        let whole = File::open(&disk)?;
        whole.read_exact_at(&mut before, at)?;
        file.write_all_at(&[before[0] ^ 1], at)?;
        let ran = rebuild()?.exits(VERIFICATION).stdout;
        let line = ran.lines().last().unwrap_or_default();
        let expected = format!("gpu-node.raw built again: differs: needed what its inputs make, found at byte {at}, {wanted}");
        assert!(line.starts_with(&expected), "needed {expected}\n found {line}");
        file.write_all_at(&before, at)?;
    }
    rebuild()?.exits(0);

    // Another recipe.
    let recipe = fs::read_to_string(&warm.recipe)?.replace("planted here", "something else");
    fs::write(&warm.recipe, recipe)?;
    warm.basalt(["lock"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0);
    rebuild()?.exits(VERIFICATION).says("it makes another plan: needed ");
    Ok(())
}
