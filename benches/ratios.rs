//! `make bench`: how fast Basalt is next to the best calls of the programs that users have today, in one run on one machine.
//!
//! Not a timed test: it fails only when something does not work. Each row is a ratio; the README shows the table.
//!
//! Peers: for a cold build mmdebstrap, dracut, `ostree commit` and `cp --sparse=always` one after the other, from the same packages
//! on the same disk; for a changed overlay file `cp --sparse=always` of the disk that was made.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Runs of each side of a warm comparison; the median counts.
const RUNS: usize = 5;

fn main() -> Result<()> {
    let work = tempfile::Builder::new().prefix("basalt-bench-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let bench = Bench { work: work.path().to_owned(), program: PathBuf::from("target/bin/basalt").canonicalize()? };
    bench.prepare()?;
    let (row, cold) = bench.cold().context("cold build")?;
    let mut rows = vec![row];
    rows.extend(bench.warm(&cold).context("warm builds")?);
    println!("\n| what | Basalt | peer | ratio | bar |\n|---|---|---|---|---|");
    for row in rows {
        println!("| {} | {} | {} | {:.2} | {} |", row.what, row.ours, row.peer, row.ratio, row.bar);
    }
    Ok(())
}

struct Row {
    what: &'static str,
    ours: String,
    peer: String,
    ratio: f64,
    bar: &'static str,
}

/// A change of the overlay, the same kind in each run.
type Step<'a> = (&'static str, &'a dyn Fn(usize) -> Result<()>);

struct Bench {
    work: PathBuf,
    program: PathBuf,
}

/// What one build took.
struct Built {
    seconds: f64,
    peak_resident: u64,
    peak_allocated: u64,
    artefacts: u64,
}

impl Bench {
    /// A recipe like the reference one, with a big overlay, and a cache that has its packages but no base.
    fn prepare(&self) -> Result<()> {
        copy_tree(Path::new("image-recipes"), &self.work.join("recipes"))?;
        fs::create_dir_all(self.work.join("overlay/usr/share/bench"))?;
        let text =
            "name = \"bench\"\nversion = \"1\"\ninclude = [\"recipes/gpu-node-stock.toml\"]\n[[overlay]]\npath = \"overlay\"\n";
        fs::write(self.work.join("bench.toml"), text)?;
        let default = basalt::store::Store::default_root()?;
        run(self.basalt(&default).args(["vendor"]).arg(self.recipe()).arg(self.work.join("vendor")))?;
        Ok(())
    }

    fn recipe(&self) -> PathBuf {
        self.work.join("bench.toml")
    }

    fn basalt(&self, cache: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.env("BASALT_CACHE", cache);
        command
    }

    fn cold(&self) -> Result<(Row, Built)> {
        let ours = self.build(&self.work.join("cache"), &self.work.join("cold"))?;
        let parts = self.peers(&self.work.join("cold"))?;
        let total: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
        let words: Vec<_> = parts.iter().map(|(name, seconds)| format!("{name} {seconds:.1}")).collect();
        let row = Row {
            what: "cold build, packages cached, raw",
            ours: format!("{:.1} s", ours.seconds),
            peer: format!("{total:.1} s ({})", words.join(" + ")),
            ratio: ours.seconds / total,
            bar: "1.2",
        };
        Ok((row, ours))
    }

    /// The same work by the programs that users have: seconds of each.
    fn peers(&self, made: &Path) -> Result<Vec<(&'static str, f64)>> {
        let folder = self.work.join("peer");
        let debs = folder.join("debs");
        fs::create_dir_all(&debs)?;
        let plan: Value = serde_json::from_slice(&fs::read(self.work.join("vendor/plan.json"))?)?;
        let packages = plan["base"]["packages"].as_array().context("the plan has no packages")?;
        let mut names = Vec::new();
        for package in packages {
            let field = |name: &str| package[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"));
            let file = field("filename")?;
            let file = file.rsplit('/').next().unwrap_or_default();
            fs::copy(self.work.join("vendor/store/blobs").join(field("sha256")?), debs.join(file))?;
            names.push(field("name")?);
        }
        let index = Command::new("apt-ftparchive").args(["packages", "."]).current_dir(&debs).output()?;
        ensure!(index.status.success(), "apt-ftparchive: {}", String::from_utf8_lossy(&index.stderr));
        fs::write(debs.join("Packages"), index.stdout)?;
        let hook = folder.join("dracut");
        let times = folder.join("times");
        let script = format!(
            "#!/bin/sh\nset -e\nkver=$(ls \"$1/usr/lib/modules\")\ndate +%s.%N > {0}\n\
             chroot \"$1\" dracut --force --no-hostonly --reproducible --kver \"$kver\" --add ostree --compress 'zstd -9 -T1 -q' \
             \"/usr/lib/modules/$kver/initramfs.img\" >/dev/null 2>&1\ndate +%s.%N >> {0}\n",
            times.display()
        );
        fs::write(&hook, script)?;
        fs::write(&times, "")?;
        Command::new("chmod").args(["-R", "a+rX"]).arg(&self.work).status()?;
        Command::new("chmod").args(["a+rwx"]).arg(&hook).arg(&times).status()?;
        let tar = folder.join("base.tar");
        let whole = run(Command::new("mmdebstrap")
            .env("INITRD", "No")
            .env("TMPDIR", &folder)
            .args(["--quiet", "--mode=unshare", "--variant=essential", "--format=tar", "--skip=output/dev"])
            .arg(format!("--include={}", names.join(",")))
            .arg(format!("--customize-hook={}", hook.display()))
            .arg("")
            .arg(&tar)
            .arg(format!("deb [trusted=yes] copy://{} ./", debs.display())))?;
        let stamps = fs::read_to_string(&times)?;
        let stamps: Vec<f64> = stamps.lines().filter_map(|line| line.parse().ok()).collect();
        let [begin, end] = stamps[..] else { anyhow::bail!("dracut's hook left {stamps:?}") };
        let repo = folder.join("repo");
        run(Command::new("ostree").arg("init").arg("--mode=bare-user").arg("--repo").arg(&repo))?;
        let commit = run(Command::new("ostree")
            .arg("commit")
            .arg("--repo")
            .arg(&repo)
            .args(["--branch=peer", "--tar-autocreate-parents"])
            .arg(format!("--tree=tar={}", tar.display())))?;
        let copy = self.copy(&made.join("bench.raw"))?;
        let dracut = end - begin;
        Ok(vec![("mmdebstrap", whole - dracut), ("dracut", dracut), ("ostree commit", commit), ("cp", copy)])
    }

    fn warm(&self, cold: &Built) -> Result<Vec<Row>> {
        let cache = self.work.join("cache");
        let out = self.work.join("cold");
        let changed = self.work.join("overlay/usr/share/bench/changed");
        let steps: [Step; 3] = [
            ("an overlay file added", &|run| Ok(fs::write(changed.with_extension(run.to_string()), vec![1; 1 << 20])?)),
            ("an overlay file grown", &|run| Ok(fs::write(changed.with_extension("0"), vec![2; (run + 2) << 20])?)),
            ("an overlay file removed", &|run| Ok(fs::remove_file(changed.with_extension(run.to_string()))?)),
        ];
        let mut rows = Vec::new();
        let mut peak = 0;
        let mut spread: f64 = 0.0;
        for (what, change) in steps {
            let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for run in 0..RUNS {
                change(run)?;
                let built = self.build(&cache, &out)?;
                let copy = self.copy(&out.join("bench.raw"))?;
                ratios.push(built.seconds / copy);
                ours.push(built.seconds);
                theirs.push(copy);
                peak = peak.max(built.peak_resident);
                spread = spread.max(built.peak_allocated as f64 / built.artefacts as f64);
            }
            let row = Row {
                what,
                ours: format!("{:.2} s", median(&mut ours)),
                peer: format!("{:.2} s (cp)", median(&mut theirs)),
                ratio: median(&mut ratios),
                bar: "4 (goal 1.5)",
            };
            rows.push(row);
        }
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            ours.push(self.build(&cache, &out)?.seconds);
            theirs.push(run(Command::new("sha256sum").arg(out.join("bench.raw")))?);
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        let (ours_text, peer) = (format!("{ours:.2} s"), format!("{theirs:.2} s (sha256sum)"));
        rows.push(Row { what: "an unchanged plan", ours: ours_text, peer, ratio: ours / theirs, bar: "verifies only" });
        rows.extend(self.formats(&cache)?);
        rows.extend(self.readers(&out)?);
        let resident = peak as f64 / f64::from(1 << 20);
        let ours = format!("{resident:.0} MB");
        rows.push(Row { what: "peak resident memory", ours, peer: "300 MB".into(), ratio: resident / 300.0, bar: "1" });
        let (ours, peer) = ("new bytes outside the cache".into(), "the artefacts".into());
        let spread = spread.max(cold.peak_allocated as f64 / cold.artefacts as f64);
        rows.push(Row { what: "peak of disk space", ours, peer, ratio: spread, bar: "1.2" });
        Ok(rows)
    }

    /// Every format next to the raw disk alone, after a file of 1 MiB has changed; and what of the OCI image a registry must take then.
    fn formats(&self, cache: &Path) -> Result<Vec<Row>> {
        let changed = self.work.join("overlay/usr/share/bench/changed");
        let (raw, all) = (self.work.join("raw"), self.work.join("all"));
        // What both take from the cache is there before.
        self.build_formats(cache, &all, "raw,qcow2,oci")?;
        let before = self.layers(&all)?;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..RUNS {
            fs::write(&changed, vec![2 * run as u8 + 3; 1 << 20])?;
            let alone = self.build_formats(cache, &raw, "raw")?.seconds;
            fs::write(&changed, vec![2 * run as u8 + 4; 1 << 20])?;
            let seconds = self.build_formats(cache, &all, "raw,qcow2,oci")?.seconds;
            ratios.push(seconds / alone);
            ours.push(seconds);
            theirs.push(alone);
        }
        let after = self.layers(&all)?;
        fs::remove_file(changed)?;
        let size = |layers: &[(String, u64)]| layers.iter().map(|(_, size)| size).sum::<u64>() as f64;
        let new: Vec<_> = after.iter().filter(|layer| !before.contains(layer)).cloned().collect();
        let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
        Ok(vec![
            Row {
                what: "raw, qcow2 and OCI of a changed file",
                ours: format!("{:.2} s", median(&mut ours)),
                peer: format!("{:.2} s (raw alone)", median(&mut theirs)),
                ratio: median(&mut ratios),
                bar: "1.6",
            },
            Row {
                what: "pushed for a changed file of 1 MiB",
                ours: mib(size(&new)),
                peer: format!("{} (the image)", mib(size(&after))),
                ratio: size(&new) / size(&after),
                bar: "",
            },
        ])
    }

    /// Digest and size of each layer of the OCI image in `out`.
    fn layers(&self, out: &Path) -> Result<Vec<(String, u64)>> {
        let output = self.basalt(&self.work.join("cache")).args(["inspect", "--json"]).arg(out.join("bench.oci")).output()?;
        let found: Value = serde_json::from_slice(&output.stdout)?;
        let layers = found["images"][0]["layers"].as_array().context("no layers")?;
        let layer = |layer: &Value| Some((layer["digest"].as_str()?.to_owned(), layer["size"].as_u64()?));
        layers.iter().map(|found| layer(found).context("no digest")).collect()
    }

    /// What reads disks, next to what reads every byte of them.
    fn readers(&self, out: &Path) -> Result<Vec<Row>> {
        let (disk, copy) = (out.join("bench.raw"), self.work.join("copy.raw"));
        run(Command::new("cp").arg("--sparse=always").arg(&disk).arg(&copy))?;
        let median_of = |command: &dyn Fn() -> Result<f64>| -> Result<f64> {
            let mut seconds = (0..RUNS).map(|_| command()).collect::<Result<Vec<_>>>()?;
            Ok(median(&mut seconds))
        };
        let basalt = || self.basalt(&self.work.join("cache"));
        let inspect = median_of(&|| run(basalt().arg("inspect").arg(&disk)))?;
        let ours = median_of(&|| run(basalt().arg("diff").arg(&disk).arg(&copy)))?;
        let theirs = median_of(&|| run(Command::new("cmp").arg(&disk).arg(&copy)))?;
        fs::remove_file(copy)?;
        let second = |seconds: f64| format!("{seconds:.2} s");
        Ok(vec![
            Row { what: "inspect of the raw disk", ours: second(inspect), peer: "1 s".into(), ratio: inspect, bar: "1" },
            Row {
                what: "diff of two raw disks",
                ours: second(ours),
                peer: format!("{theirs:.2} s (cmp)"),
                ratio: ours / theirs,
                bar: "2",
            },
        ])
    }

    /// One build of the raw disk, watched.
    fn build(&self, cache: &Path, out: &Path) -> Result<Built> {
        self.build_formats(cache, out, "raw")
    }

    fn build_formats(&self, cache: &Path, out: &Path, formats: &str) -> Result<Built> {
        fs::create_dir_all(cache)?;
        fs::create_dir_all(out)?;
        if !cache.join("blobs").exists() {
            copy_tree(&self.work.join("vendor/store"), cache)?;
            fs::copy(self.work.join("vendor/bench.lock"), self.work.join("bench.lock"))?;
        }
        // An artefact that is there already stays until the new one is whole.
        let before = allocated(out);
        let ended = AtomicBool::new(false);
        let begin = Instant::now();
        let (output, peak_allocated) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| {
                let mut peak = 0;
                while !ended.load(Ordering::Relaxed) {
                    peak = peak.max(allocated(out));
                    std::thread::sleep(Duration::from_millis(20));
                }
                peak.max(allocated(out))
            });
            let output =
                self.basalt(cache).args(["build", "--json", "--format", formats, "--out"]).arg(out).arg(self.recipe()).output();
            let seconds = begin.elapsed().as_secs_f64();
            ended.store(true, Ordering::Relaxed);
            (output.map(|output| (output, seconds)), watcher.join().unwrap_or_default())
        });
        let (output, seconds) = output?;
        ensure!(output.status.success(), "basalt build: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout)?;
        let last: Value = serde_json::from_str(text.lines().last().context("no result")?)?;
        let peak_resident = last["peak-resident-bytes"].as_u64().context("no peak-resident-bytes in the result")?;
        let peak_allocated = peak_allocated.saturating_sub(before);
        Ok(Built { seconds, peak_resident, peak_allocated, artefacts: allocated(out) })
    }

    fn copy(&self, disk: &Path) -> Result<f64> {
        let copy = self.work.join("copy.raw");
        let seconds = run(Command::new("cp").args(["--sparse=always", "--reflink=never"]).arg(disk).arg(&copy))?;
        fs::remove_file(copy)?;
        Ok(seconds)
    }
}

/// Runs a command that must work; answers its seconds.
fn run(command: &mut Command) -> Result<f64> {
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    let seconds = begin.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(seconds)
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    let status = Command::new("cp").arg("-a").arg(format!("{}/.", from.display())).arg(to).status()?;
    ensure!(status.success(), "cp {} failed", from.display());
    Ok(())
}

/// Bytes that the files of `folder` take on the disk.
fn allocated(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
