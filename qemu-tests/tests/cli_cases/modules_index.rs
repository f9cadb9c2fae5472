//! Indexes of kernel modules are what depmod(8) makes, byte for byte: of a part of Debian's kernel, to which modules are added.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::format::modules_index::{Extended, Index, Layout, Module, ModulePath, SearchOrder, Trie};
use qemu_tests::{Scratch, kernel_package, run};

/// What is taken of the kernel: some hundred modules that depend on each other.
const FOLDERS: [&str; 12] = [
    "drivers/block",
    "drivers/infiniband",
    "drivers/md",
    "drivers/net/ethernet/mellanox",
    "drivers/nvme",
    "drivers/vfio",
    "fs/btrfs",
    "fs/ext4",
    "fs/jbd2",
    "lib",
    "net/8021q",
    "net/bridge",
];
/// Where held back modules come: with all that depends on them, so that nobody imports what is not there.
const HELD: [(&str, &str); 4] =
    [("mlx5_core", "updates"), ("btrfs", "extra/fs/btrfs-of-ours"), ("loop", "updates/dkms"), ("nvme", "weak")];
/// What depmod makes.
const MADE: [&str; 11] = [
    "modules.alias",
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep",
    "modules.dep.bin",
    "modules.devname",
    "modules.softdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.weakdep",
];

/// A root with modules of one kernel.
struct Tree {
    scratch: Scratch,
    release: String,
}

impl Tree {
    /// With the modules in [`FOLDERS`], and depmod's index.
    fn new() -> Result<Self> {
        let from = kernel_package()?.modules;
        let release = from.file_name().context("a release")?.to_string_lossy().into_owned();
        let tree = Self { scratch: Scratch::new()?, release };
        fs::create_dir_all(tree.folder())?;
        for file in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
            fs::copy(from.join(file), tree.folder().join(file))?;
        }
        for folder in FOLDERS {
            let to = tree.folder().join("kernel").join(folder);
            fs::create_dir_all(&to)?;
            run(Command::new("cp").arg("-RT").arg(from.join("kernel").join(folder)).arg(to))?;
        }
        tree.depmod()?;
        Ok(tree)
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("lib/modules").join(&self.release)
    }

    fn depmod(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        run(Command::new("/sbin/depmod").arg("-b").arg(self.scratch.path()).arg(&self.release))?;
        self.files()
    }

    fn files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for name in MADE.iter().chain(&["modules.order"]) {
            let path = self.folder().join(name);
            if path.exists() {
                files.insert((*name).to_owned(), fs::read(path)?);
            }
        }
        Ok(files)
    }

    /// Moves or copies a module into another folder; its new path.
    fn place(&self, path: &ModulePath, folder: &str, keep: Keep) -> Result<ModulePath> {
        let from = self.folder().join(path.as_str());
        let to = format!("{folder}/{}", from.file_name().context("a name")?.to_string_lossy());
        fs::create_dir_all(self.folder().join(folder))?;
        match keep {
            Keep::Both => fs::copy(from, self.folder().join(&to)).map(drop)?,
            Keep::New => fs::rename(from, self.folder().join(&to))?,
        }
        Ok(ModulePath::parse(&to)?)
    }

    /// What the programs of others say of a module.
    fn module(&self, path: &ModulePath) -> Result<Module> {
        let file = self.folder().join(path.as_str());
        let lines = |field: &str| -> Result<Vec<String>> {
            Ok(run(Command::new("/sbin/modinfo").args(["-F", field]).arg(&file))?.lines().map(str::to_owned).collect())
        };
        let unpacked = self.unpacked(&file)?;
        let symbols = run(Command::new("nm").arg("-p").arg(unpacked))?;
        let symbols = symbols.lines().filter_map(|line| line[17..].split_once(' '));
        let (undefined, defined): (Vec<_>, Vec<_>) = symbols.partition(|(kind, _)| ["U", "w", "v"].contains(kind));
        Ok(Module {
            path: path.clone(),
            aliases: lines("alias")?,
            softdeps: lines("softdep")?,
            weakdeps: lines("weakdep")?,
            exports: defined.iter().filter_map(|(_, name)| name.strip_prefix("__crc_")).map(str::to_owned).collect(),
            imports: undefined.into_iter().map(|(_, name)| name.to_owned()).collect(),
        })
    }

    fn unpacked(&self, file: &Path) -> Result<PathBuf> {
        if file.extension().is_some_and(|end| end == "ko") {
            return Ok(file.to_owned());
        }
        let output = Command::new("xz").args(["--decompress", "--stdout"]).arg(file).output().context("xz")?;
        ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
        self.scratch.write("unpacked.ko", output.stdout)
    }
}

enum Keep {
    /// The old one stays, too.
    Both,
    New,
}

/// What depmod has made is what the index writes, and reads again.
#[track_caller]
fn assert_same(extended: &Extended, depmod: &BTreeMap<String, Vec<u8>>) {
    let files = extended.index.files().unwrap();
    for name in MADE {
        let (ours, theirs) = (files.get(name), depmod.get(name));
        assert_eq!(ours.is_some(), theirs.is_some(), "{name}");
        if ours != theirs {
            let text = |bytes: Option<&Vec<u8>>| String::from_utf8_lossy(bytes.map_or(&[], |bytes| bytes)).into_owned();
            let (ours, theirs) = (text(ours), text(theirs));
            let differs = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
            panic!("{name} differs: {differs:?}; guessed: {:?}", extended.guessed);
        }
    }
    assert_eq!(Index::read(depmod).unwrap(), extended.index);
    assert_eq!(extended.guessed, []);
}

/// What `.bin` files mean is what the text files say, and written in their layout they are the same.
#[test]
fn cli_depmods_index_is_read_and_written_again() -> Result<()> {
    let tree = Tree::new()?;
    let mut files = tree.files()?;
    let index = Index::read(&files)?;
    assert!(index.paths().count() > 100, "{} modules", index.paths().count());
    for name in MADE.iter().filter(|name| name.ends_with(".bin")) {
        let (trie, layout) = Trie::read(&files[*name]).with_context(|| (*name).to_owned())?;
        assert_eq!(trie.write(layout)?, files[*name], "{name}");
        for other in [Layout::ParentsFirst, Layout::ParentsLast] {
            assert_eq!(Trie::read(&trie.write(other)?)?, (trie.clone(), other), "{name}");
        }
    }
    files.remove("modules.order");
    assert_eq!(index.files()?, files);
    Ok(())
}

#[test]
fn cli_added_modules_are_indexed_as_depmod_does() -> Result<()> {
    let tree = Tree::new()?;
    let whole = Index::read(&tree.files()?)?;
    let mut held = BTreeMap::new();
    for (name, folder) in HELD {
        let path = whole.path(name).with_context(|| name.to_owned())?;
        let users = whole.paths().filter(|user| whole.dependencies(&user.name()).is_some_and(|all| all.contains(&path)));
        held.extend(users.chain([path]).map(|path| (path.clone(), folder)));
    }
    assert!(held.len() > HELD.len(), "mlx5_core has users");
    let mut added = Vec::new();
    for (path, folder) in &held {
        added.push(tree.place(path, folder, Keep::New)?);
    }
    // Hidden from depmod meanwhile.
    let aside = tree.scratch.folder("aside")?;
    for path in &added {
        fs::rename(tree.folder().join(path.as_str()), aside.join(path.name()))?;
    }
    let base = tree.depmod()?;
    for path in &added {
        fs::rename(aside.join(path.name()), tree.folder().join(path.as_str()))?;
    }
    let modules = added.iter().map(|path| tree.module(path)).collect::<Result<Vec<_>>>()?;
    let extended = Index::read(&base)?.with(&[], &modules, &SearchOrder::default())?;
    assert_same(&extended, &tree.depmod()?);
    assert_eq!(extended.passed_over, []);
    let exported: BTreeSet<_> = extended.unresolved.iter().map(|unresolved| unresolved.symbol.as_str()).collect();
    assert!(exported.contains("__kmalloc") || exported.contains("__kmalloc_noprof"), "{exported:?}");
    // And away again.
    let extended = extended.index.with(&added, &[], &SearchOrder::default())?;
    assert_same(&extended, &base);
    Ok(())
}

#[test]
fn cli_replaced_modules_are_indexed_as_depmod_does() -> Result<()> {
    let tree = Tree::new()?;
    let base = Index::read(&tree.files()?)?;
    let mut modules = Vec::new();
    let mut old = Vec::new();
    for name in ["mlx5_core", "ib_core", "nvme_core", "jbd2", "vfio"] {
        let path = base.path(name).with_context(|| name.to_owned())?;
        modules.push(tree.module(&tree.place(path, "updates", Keep::Both)?)?);
        old.push(path.clone());
    }
    let extended = base.with(&[], &modules, &SearchOrder::default())?;
    assert_same(&extended, &tree.depmod()?);
    old.sort();
    let mut passed_over = extended.passed_over.clone();
    passed_over.sort();
    assert_eq!(passed_over, old);
    Ok(())
}
