//! The second part of `make bench`: how fast kernel modules are proven next to `modinfo`, which reads the same files in one process and proves
//! nothing. One run on one machine, warm, alternating; medians.
//!
//! Modules: the first thousand of the reference recipe's kernel, as Debian packs them, by xz. Then one module of an image changes, and the new
//! disk is made next to `cp --sparse=always` of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use basalt::format::{kernel_image, module, symvers};
use basalt::host::parallel;
use basalt::kmod::{Facts, Kernel, Keyring, Symbols, prove};
use basalt::lock;

const MODULES: usize = 1000;
const RUNS: usize = 5;

fn main() -> Result<()> {
    let work = tempfile::Builder::new().prefix("basalt-bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bench = Bench::new(work.path())?;
    let (mut modinfo, mut read, mut signed, mut both) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        modinfo.push(bench.modinfo()?);
        read.push(timed(|| bench.proven(None, false))?);
        signed.push(timed(|| bench.proven(Some(&bench.ring), false))?);
        both.push(timed(|| bench.proven(None, true))?);
    }
    let peer = median(&mut modinfo);
    println!("\n| what | Basalt | peer | ratio | bar |\n|---|---|---|---|---|");
    for (what, times, bar) in [
        ("1,000 kernel modules proven, one processor", &mut read, "1.2"),
        ("the same with signatures", &mut signed, "3"),
        ("without, all processors", &mut both, "1"),
    ] {
        let ours = median(times);
        println!("| {what} | {ours:.2} s | {peer:.2} s (modinfo) | {:.2} | {bar} |", ours / peer);
    }
    let (ours, peer) = bench.changed(work.path())?;
    println!("| one kernel module changed, raw | {ours:.2} s | {peer:.2} s (cp) | {:.2} | 4 |", ours / peer);
    Ok(())
}

/// A kernel, its modules, and who signed them.
struct Bench {
    paths: Vec<PathBuf>,
    ring: Keyring,
    exports: String,
    release: String,
    built_in: Vec<String>,
}

impl Bench {
    /// Unpacks the kernel of the reference recipe and its headers, which a recipe's lock pins when it has modules.
    fn new(work: &Path) -> Result<Self> {
        let recipe = work.join("bench.toml");
        run(Command::new("cp").args(["-r", "image-recipes"]).arg(work.join("recipes")))?;
        let text = "name = \"bench\"\nversion = \"1\"\ninclude = [\"recipes/gpu-node-stock.toml\"]\n[[kernel-module]]\nname = \"none\"\npath = \"modules\"\n";
        fs::create_dir(work.join("modules"))?;
        fs::write(work.join("modules/none.ko"), "")?;
        fs::write(&recipe, text)?;
        run(Command::new("target/bin/basalt").args(["vendor", "--quiet"]).arg(&recipe).arg(work.join("vendor")))?;
        let lock = lock::read(&recipe.with_extension("lock"))?.context("no lock")?;
        let section = lock.architecture.into_values().next().context("no architecture")?;
        let (kernel, release) = section.packages.iter().find_map(|one| Some((one, one.kernel()?))).context("no kernel")?;
        let headers = kernel.headers_among(section.headers.iter()).context("no headers")?.map_err(anyhow::Error::msg)?;
        for package in [kernel, headers] {
            let blob = work.join("vendor/store/blobs").join(package.sha256.to_hex());
            run(Command::new("dpkg-deb").arg("-x").arg(blob).arg(work))?;
        }
        let exports = fs::read_to_string(work.join(format!("usr/src/linux-headers-{release}/Module.symvers")))?;
        let folder = ["usr/lib/modules", "lib/modules"].map(|name| work.join(name).join(release));
        let folder = folder.into_iter().find(|path| path.is_dir()).context("a kernel without modules")?;
        let mut paths = Vec::new();
        files(&folder, &mut paths)?;
        paths.truncate(MODULES);
        ensure!(paths.len() == MODULES, "found {} modules", paths.len());
        let built_in = fs::read_to_string(folder.join("modules.builtin"))?;
        Ok(Self {
            paths,
            ring: Keyring::of_kernel(&kernel_image::unpack(&fs::read(work.join(format!("boot/vmlinuz-{release}")))?)?),
            exports,
            release: release.to_owned(),
            built_in: built_in.lines().filter_map(module::name_of).collect(),
        })
    }

    /// One process for all files.
    fn modinfo(&self) -> Result<f64> {
        timed(|| run(Command::new("/sbin/modinfo").args(&self.paths).stdout(Stdio::null())))
    }

    /// An image with one module, which is another one in each run: seconds of a build, and of a copy of its disk.
    fn changed(&self, work: &Path) -> Result<(f64, f64)> {
        let [.., one, other] = &self.paths[..] else { anyhow::bail!("needed two modules") };
        let (modules, folder) = ([one, other], work.join("changed"));
        let names: Vec<_> = modules.iter().filter_map(|path| module::name_of(&path.display().to_string())).collect();
        let text = format!(
            "name = \"changed\"\nversion = \"1\"\ninclude = [\"recipes/gpu-node-stock.toml\"]\n[[kernel-module]]\nname = \"one\"\n\
             path = \"changed\"\nin-tree-modules-to-remove = {names:?}\n"
        );
        fs::write(work.join("changed.toml"), text)?;
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        // The first two fill the cache.
        for turn in 0..RUNS + 2 {
            let module = modules[turn % 2];
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder)?;
            fs::copy(module, folder.join(module.file_name().context("a name")?))?;
            let mut build = Command::new("target/bin/basalt");
            build.args(["build", "--quiet", "--format", "raw", "--out"]).arg(work.join("out")).arg(work.join("changed.toml"));
            let built = timed(|| run(build.stdout(Stdio::null())))?;
            let (disk, copy) = (work.join("out/changed.raw"), work.join("copy.raw"));
            let copied = timed(|| run(Command::new("cp").args(["--sparse=always", "--reflink=never"]).arg(disk).arg(&copy)))?;
            fs::remove_file(copy)?;
            if turn >= 2 {
                ours.push(built);
                peer.push(copied);
            }
        }
        Ok((median(&mut ours), median(&mut peer)))
    }

    /// Reads and proves all, exports included; fails when one does not fit.
    fn proven(&self, ring: Option<&Keyring>, everywhere: bool) -> Result<()> {
        let read = |path: &PathBuf| Facts::read(&path.display().to_string(), &fs::read(path)?, ring).map_err(anyhow::Error::from);
        let facts = if everywhere {
            parallel::map(&self.paths, read)?
        } else {
            self.paths.iter().map(read).collect::<Result<Vec<_>>>()?
        };
        let first = facts.first().context("no modules")?;
        let kernel = Kernel {
            release: self.release.clone(),
            machine: first.machine,
            vermagic: first.vermagic.clone().context("no vermagic")?,
            symbols: Symbols::of_kernel(&symvers::parse(&self.exports)?),
            built_in: self.built_in.iter().cloned().collect(),
            modules: facts.iter().map(|facts| facts.name.clone()).collect(),
            signed_only: ring.is_some(),
        };
        // What a module needs of one beyond the thousand is no concern here.
        let wrong = prove(&kernel, &facts).into_iter().flatten().filter(|finding| finding.kind() != "depends").count();
        ensure!(wrong == 0, "{wrong} findings");
        Ok(())
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            files(&path, found)?;
        } else if module::name_of(&path.display().to_string()).is_some() {
            found.push(path);
        }
    }
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed().as_secs_f64())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
