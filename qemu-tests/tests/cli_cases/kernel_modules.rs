//! `[[kernel-module]]`: modules that others built become part of an image when its kernel loads them, and the build says why when it does
//! not. The modules are Debian's own in the place of others', the programs that look at the result are kmod's.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use basalt::format::module;
use qemu_tests::{Basalt, KernelPackage, Ran, Warm, kernel_package, run};
use serde_json::Value;

const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;
const INVALID: i32 = Kind::Invalid.exit_code() as i32;
/// What depmod writes as text.
const TEXTS: [&str; 5] = ["modules.dep", "modules.alias", "modules.symbols", "modules.softdep", "modules.devname"];
/// In the place of the kernel's own.
pub(crate) const ENTRY: &str = r#"
[[kernel-module]]
name = "sampler"
path = "modules"
load = ["act_sample"]
parameters = { act_sample = "case=1" }
blacklist = ["nouveau"]
in-tree-modules-to-remove = ["act_sample"]
"#;

/// A copy of the reference recipe beside the archive's kernel.
pub struct Case {
    pub warm: Warm,
    pub package: KernelPackage,
    /// The text of the reference recipe.
    pub recipe: String,
}

impl Case {
    /// The reference recipe, with the archive's kernel.
    pub fn new() -> Result<Self> {
        let (warm, package) = (Warm::new()?, kernel_package()?);
        warm.lock_kernel(&package)?;
        let recipe = fs::read_to_string(&warm.recipe)?;
        Ok(Self { recipe, warm, package })
    }

    /// One of the kernel's own modules, as Debian packs it: its file's name and its bytes.
    pub fn stock(&self, name: &str) -> Result<(String, Vec<u8>)> {
        let found = run(Command::new("find").arg(&self.package.modules).args(["-name", &format!("{name}.ko*")]))?;
        let path = Path::new(found.trim_end());
        Ok((path.file_name().context("a name")?.to_string_lossy().into_owned(), fs::read(path)?))
    }

    /// Makes the folder `modules` beside the recipe anew, with these files.
    pub fn modules(&self, files: &[(&str, &[u8])]) -> Result<()> {
        let folder = self.warm.recipe.with_file_name("modules");
        let _ = fs::remove_dir_all(&folder);
        for (path, bytes) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    pub fn build(&self, more: &str) -> Result<Ran> {
        self.building(more, "out")?.run(&self.warm.scratch)
    }

    /// A build of the recipe and `more`, to be.
    pub fn building(&self, more: &str, out: &str) -> Result<Basalt> {
        fs::write(&self.warm.recipe, format!("{}\n{more}", self.recipe))?;
        Ok(self.warm.build(out)?.args(["--format", "raw"]))
    }

    pub fn ostree(&self, args: &[&str]) -> Result<String> {
        run(Command::new("ostree").arg(format!("--repo={}", self.warm.cache.join("ostree/repo").display())).args(args))
    }
}

/// The words of each line. Which of two dependencies comes first differs between versions of depmod: see `modules_index` for that.
fn lines(text: &str) -> Vec<Vec<&str>> {
    let mut lines: Vec<Vec<_>> = text.lines().map(|line| line.split(' ').collect()).collect();
    lines.iter_mut().filter_map(|words| words.get_mut(1..)).for_each(<[&str]>::sort_unstable);
    lines
}

fn texts(folder: &Path) -> Result<BTreeMap<&'static str, String>> {
    TEXTS.iter().map(|name| Ok((*name, fs::read_to_string(folder.join(name)).with_context(|| (*name).to_owned())?))).collect()
}

#[test]
fn cli_kernel_modules_are_proven_and_found_by_modprobe() -> Result<()> {
    let case = Case::new()?;
    let (release, (file, bytes)) = (case.package.release.as_str(), case.stock("act_sample")?);
    let kmm = format!("opt/lib/modules/{release}/{file}");
    case.modules(&[(&kmm, &bytes), ("opt/lib/modules/6.1.0-1-amd64/act_sample.ko", b"another kernel's"), ("README", b"")])?;
    case.build(ENTRY)?.exits(0);

    let manifest = case.warm.manifest("out")?;
    let module = &manifest["kernel-modules"][0];
    let path = format!("updates/sampler/{file}");
    ensure!(module["name"] == "act_sample" && module["path"] == path.as_str() && module["allowed"] == Value::Null, "{module}");
    ensure!(module["signed-by"].as_str().is_some_and(|owner| owner.contains("kernel key")), "{module}");
    let args = manifest["kernel-args"].as_array().context("no arguments")?;
    ensure!(args.iter().any(|arg| arg == "modprobe.blacklist=nouveau"), "{args:?}");

    let commit = manifest["commit"].as_str().context("no commit")?;
    for (path, text) in [
        ("/usr/lib/modules-load.d/basalt-sampler.conf", "act_sample\n"),
        ("/usr/lib/modprobe.d/basalt-sampler.conf", "options act_sample case=1\nblacklist nouveau\n"),
    ] {
        ensure!(case.ostree(&["cat", commit, path])? == text, "{path}");
    }
    let root = case.warm.scratch.path().join("root");
    fs::create_dir_all(root.join("lib"))?;
    let to = root.join("lib/modules");
    case.ostree(&["checkout", "--user-mode", "--subpath=/usr/lib/modules", commit, &to.display().to_string()])?;
    let folder = to.join(release);
    ensure!(fs::read(folder.join(&path))? == bytes, "{path}: other bytes");
    ensure!(!folder.join("kernel/net/sched").join(&file).exists(), "the kernel's own is still there");

    // By the binary index that was written without depmod.
    let modprobe =
        ["-d", &root.display().to_string(), "-S", release, "--ignore-install", "--show-depends", "act_sample"].map(str::to_owned);
    let shown = run(Command::new("/sbin/modprobe").args(modprobe))?;
    let files: Vec<_> = shown.lines().filter_map(|line| line.split_whitespace().nth(1)).map(PathBuf::from).collect();
    ensure!(files.last().is_some_and(|last| last.ends_with(&path)) && files.iter().all(|file| file.is_file()), "{shown}");
    let ours = texts(&folder)?;
    // depmod writes new files: these may be links of the repository's.
    for name in TEXTS {
        fs::remove_file(folder.join(name))?;
    }
    run(Command::new("/sbin/depmod").arg("-b").arg(&root).arg(release))?;
    for (name, text) in texts(&folder)? {
        let (ours, theirs) = (lines(&ours[name]), lines(&text));
        let other: Vec<_> = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).take(3).collect();
        ensure!(ours.len() == theirs.len() && other.is_empty(), "{name} is not what depmod makes: {other:#?}");
    }
    Ok(())
}

/// The exports that the recipe names are those of the headers: both refuse and take the same.
#[test]
fn cli_kernel_modules_are_proven_against_the_headers_or_what_the_recipe_names() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("act_sample")?;
    case.modules(&[(&file, &bytes)])?;
    case.build(ENTRY)?.exits(0);
    let lock = fs::read_to_string(case.warm.recipe.with_extension("lock"))?;
    let headers = format!("name = \"linux-headers-{}\"", case.package.release);
    ensure!(lock.contains("headers]]") && lock.contains(&headers), "the lock has no headers");
    let plan = case.warm.basalt(["plan"]).arg(&case.warm.recipe).run(&case.warm.scratch)?.exits(0);
    ensure!(plan.stdout.contains("proven against linux-headers-"), "{}", plan.stdout);
    let by_headers = case.warm.manifest("out")?;

    let named = format!("{ENTRY}\n[kernel]\nsymvers = \"Module.symvers\"\n");
    let symvers = case.warm.recipe.with_file_name("Module.symvers");
    fs::copy(&case.package.symvers, &symvers)?;
    case.build(&named)?.exits(0);
    ensure!(case.warm.manifest("out")?["kernel-modules"] == by_headers["kernel-modules"], "{by_headers}");
    let lock = fs::read_to_string(case.warm.recipe.with_extension("lock"))?;
    ensure!(!lock.contains(&headers), "the lock has headers that nobody asks for");
    // One other checksum.
    let text = fs::read_to_string(&symvers)?;
    let line = text.lines().find(|line| line.contains("\tpsample_sample_packet\t")).context("no such symbol")?;
    fs::write(&symvers, text.replacen(line, &line.replacen(&line[2..10], "00c0ffee", 1), 1))?;
    let words =
        "act_sample.ko.xz: psample_sample_packet: psample exports it with CRC 0x00c0ffee, the module was built against 0x";
    case.build(&named)?.exits(VERIFICATION).says(words);
    Ok(())
}

#[test]
fn cli_kernel_modules_that_do_not_fit_are_refused_with_the_reason() -> Result<()> {
    let case = Case::new()?;
    let (_, packed) = case.stock("act_sample")?;
    let bytes = module::unpack(&packed)?.into_owned();
    let stripped = module::signature::strip(&bytes)?.to_vec();
    let at = bytes.windows(11).position(|window| window == b" mod_unload").context("no vermagic")?;
    let mut other = stripped.clone();
    other[at + 1] = b'M';
    let refused = |files: &[(&str, &[u8])], entry: &str, code: i32, words: &[&str]| -> Result<()> {
        case.modules(files)?;
        let ran = case.build(entry)?.exits(code);
        let missing: Vec<_> = words.iter().filter(|word| !ran.stderr.contains(*word)).collect();
        ensure!(missing.is_empty(), "{missing:?} is not said:\n{}", ran.stderr);
        Ok(())
    };
    let module: &[(&str, &[u8])] = &[("act_sample.ko", &stripped)];
    // It will lie there as the kernel's own do.
    refused(module, ENTRY, VERIFICATION, &["updates/sampler/act_sample.ko.xz: is not signed", "next: "])?;
    refused(
        &[("act_sample.ko", &other)],
        ENTRY,
        VERIFICATION,
        &["act_sample.ko.xz: vermagic: needed ", "act_sample.ko.xz: is not signed"],
    )?;
    refused(&[("act_sample.ko", b"text")], ENTRY, INVALID, &["kernel module sampler: updates/sampler/act_sample.ko", "needed"])?;
    refused(&[("README", b"")], ENTRY, VERIFICATION, &["needed modules (*.ko", "found none"])?;
    let elsewhere = "opt/lib/modules/6.1.0-1-amd64/act_sample.ko";
    let words = ["needed modules for the kernel", "found in /opt/lib/modules those for 6.1.0-1-amd64"];
    refused(&[(elsewhere, &bytes)], ENTRY, VERIFICATION, &words)?;
    let mapped = ENTRY.replace("path = \"modules\"", "kernel-mappings = [{ regexp = '^6\\.1\\.', path = \"modules\" }]");
    refused(&[("act_sample.ko", &bytes)], &mapped, VERIFICATION, &["kernel module sampler: no mapping is for the kernel"])?;
    // What is needed goes: the new module and the kernel's own that use it are told.
    let gone = ENTRY
        .replace("[\"act_sample\"]\n", "[\"act_sample\", \"psample\"]\n")
        .replace("load = [\"act_sample\", \"psample\"]", "load = [\"act_sample\"]");
    let words = ["updates/sampler/act_sample.ko.xz: psample_", "exported by nobody", "\n  kernel/"];
    refused(&[("act_sample.ko", &bytes)], &gone, VERIFICATION, &words)?;
    let unknown = ENTRY.replace("remove = [\"act_sample\"]", "remove = [\"act_sampel\"]");
    refused(&[("act_sample.ko", &bytes)], &unknown, INVALID, &["needed a module of", "found \"act_sampel\""])?;

    // What a person allows is written down.
    case.modules(module)?;
    case.build(&format!("{ENTRY}allow = [\"signature\"]\n"))?.exits(0);
    let manifest = case.warm.manifest("out")?;
    let allowed = &manifest["kernel-modules"][0]["allowed"];
    ensure!(allowed[0].as_str().is_some_and(|text| text.starts_with("is not signed")), "{manifest}");
    Ok(())
}

#[test]
fn cli_kernel_modules_mistakes_in_the_recipe_are_told_with_their_place() -> Result<()> {
    let warm = Warm::new()?;
    let recipe = fs::read_to_string(&warm.recipe)?;
    let lines = recipe.lines().count();
    let entry = "[[kernel-module]]\nname = \"x\"\n[[kernel-module]]\nname = \"y\"\npath = \"none\"\nallow = [\"signatur\"]\nload = [\"a b\"]\n";
    fs::write(&warm.recipe, format!("{recipe}\n{entry}"))?;
    let ran = warm.basalt(["check"]).arg(&warm.recipe).run(&warm.scratch)?.exits(INVALID);
    for (line, words) in [
        (3, "needed exactly one of \"path\", \"from\", \"deb\", \"packages\" and \"kernel-mappings\", found none"),
        (6, "kernel-module \"none\": needed a folder or a tar archive"),
        (7, "kernel-module.allow: needed one of machine, vermagic,"),
        (8, "kernel-module.load: needed a kernel module's name"),
    ] {
        let place = format!("gpu-node-stock.toml:{}:", lines + line);
        let told = ran.stderr.lines().chain(ran.stdout.lines()).any(|told| told.contains(&place) && told.contains(words));
        ensure!(told, "{place} {words}\n{}{}", ran.stdout, ran.stderr);
    }
    Ok(())
}
