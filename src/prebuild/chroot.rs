//! Runs compiler and make of the target, in a root of locked packages. The root is kept as a tar: what changes between two builds is
//! mostly the source, and the packages take ten times as long to install as a tar to unpack.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{Request, mistake};
use crate::architecture::Architecture;
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::space;
use crate::host::tools::{self, Tool};
use crate::layer::debian::privilege::Privilege;
use crate::layer::debian::repository;
use crate::layer::debian::work::{self, Work};
use crate::store::{Alone, Store};
use crate::tree::tar;

/// What is done there.
pub const HOOK: &str = include_str!("hooks/build");

const TOOLS: [Tool; 5] = [
    Tool { program: "mmdebstrap", package: "mmdebstrap" },
    Tool { program: "apt-get", package: "apt" },
    Tool { program: "dpkg-deb", package: "dpkg" },
    Tool { program: "unshare", package: "util-linux" },
    Tool { program: "newuidmap", package: "uidmap" },
];

/// Nobody reads documentation there.
const WITHOUT: [&str; 3] = ["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"];
/// Headers may ask for their kernel, and that for an initramfs, which nobody boots.
const NO_INITRAMFS: &str =
    "mkdir -p \"$1/etc/initramfs-tools\" && echo update_initramfs=no > \"$1/etc/initramfs-tools/update-initramfs.conf\"";

/// The store's word for roots.
const KIND: &str = "compiler-root";
/// The tar in such an entry.
const TAR: &str = "root.tar";
/// Device nodes cannot be made by everybody; mmdebstrap has put the host's there.
const UNPACK: &str = "tar --extract --numeric-owner --exclude='./dev/*' --directory \"$1\" --file \"$BASALT_ROOT\"";

/// Takes all roots out of `store`: the next build makes its own. Answers how many bytes that were.
pub fn prune(store: &Store, _alone: &Alone<'_>) -> Result<u64> {
    let folder = store.root().join(KIND);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(0) };
    let sizes = entries.flatten().filter_map(|entry| Some(fs::metadata(entry.path().join(TAR)).ok()?.len()));
    let bytes = sizes.sum();
    fs::remove_dir_all(&folder).with_context(|| format!("{}: cannot be removed", folder.display()))?;
    Ok(bytes)
}

/// Builds, and puts modules and their index into the folder `out`. A failure leaves all that was told at `log`.
pub fn run(request: &Request<'_>, out: &Path, log: &Path, store: &Store) -> Result<()> {
    tools::need(&TOOLS, "building kernel modules")?;
    work::sweep(store)?;
    let work = Work::make(store, Privilege::find()?)?;
    let at = |name: &str| work.path.join(name);
    for name in ["tmp", "patches", "out"] {
        fs::create_dir(at(name))?;
    }
    let root = root(request, &work, store)?;
    let source: u64 = request.source.size;
    // Objects with debug data are some thirty times their source.
    space::need(store.root(), fs::metadata(&root)?.len() + 30 * source, "building kernel modules")?;
    tar::write(&request.source.tree, BufWriter::new(File::create(at("source.tar"))?))?;
    for (number, (name, text)) in request.patches.iter().enumerate() {
        fs::write(at("patches").join(format!("{number:04}-{}", name.replace('/', "-"))), text)?;
    }
    fs::write(at("make"), request.make.iter().map(|argument| format!("{argument}\n")).collect::<String>())?;
    fs::write(at("build"), HOOK)?;
    fs::write(at("log"), "")?;
    match command(request, &work, &root).run() {
        Ok(_) => {}
        Err(failure) if failure.kind == Kind::Failed => {
            let told = fs::read(at("log")).unwrap_or_default();
            return Err(explained(request, &failure, &told, log)?.into());
        }
        Err(failure) => return Err(failure.into()),
    }
    for entry in fs::read_dir(at("out"))? {
        let entry = entry?;
        fs::copy(entry.path(), out.join(entry.file_name()))?;
    }
    work.remove()
}

/// Everything that decides a root.
#[derive(Serialize)]
struct Key<'a> {
    without: &'a [&'a str],
    hook: &'a str,
    architecture: Architecture,
    requested: &'a [String],
    packages: Vec<(&'a str, Digest)>,
    time: i64,
}

/// The tar with the root for `request`: made in `work`, or kept from a build before.
fn root(request: &Request<'_>, work: &Work, store: &Store) -> Result<PathBuf> {
    let key = Digest::of_value(&Key {
        without: &WITHOUT,
        hook: NO_INITRAMFS,
        architecture: request.architecture,
        requested: request.requested,
        packages: request.packages.iter().map(|package| (package.name.as_str(), package.sha256)).collect(),
        time: request.time,
    });
    let entry = store.entry_or_make(KIND, &key, |folder| {
        let repository = work.path.join("repository");
        fs::create_dir(&repository)?;
        let installed = repository::fill(&repository, request.packages, store)?;
        space::need(store.root(), 2 * installed, "a root for the compiler")?;
        install(request, work).run().map_err(|failure| match failure.kind {
            Kind::Failed => Failure::new(Kind::Failed, format!("the root for the compiler cannot be made: {}", failure.what)),
            _ => failure,
        })?;
        Ok(fs::rename(work.path.join(TAR), folder.join(TAR))?)
    })?;
    Ok(entry.path.join(TAR))
}

/// Installs the packages.
fn install(request: &Request<'_>, work: &Work) -> Cmd {
    let mut command = work.mmdebstrap(request.architecture, request.time).args(["--variant=essential", "--format=tar"]);
    // The repository has one version of each, wherever it was found.
    let names: Vec<_> = request.requested.iter().map(|name| name.split('/').next().unwrap_or(name)).collect();
    command = command.arg(format!("--include={}", names.join(",")));
    command = command.arg("--aptopt=APT::Install-Recommends \"false\"").arg("--dpkgopt=force-unsafe-io");
    command = command.arg("--dpkgopt=force-confold").arg(format!("--essential-hook={NO_INITRAMFS}"));
    for path in WITHOUT {
        command = command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command.arg("").arg(work.path.join(TAR)).arg(work.repository_line())
}

/// Builds in the root of the tar `root`, in which nothing is installed any more.
fn command(request: &Request<'_>, work: &Work, root: &Path) -> Cmd {
    work.mmdebstrap(request.architecture, request.time)
        .args(["--variant=custom", "--format=null", "--skip=update,cleanup"])
        .arg(format!("--setup-hook={UNPACK}"))
        .arg("--customize-hook=sh \"$BASALT_WORK/build\" \"$1\"")
        .args(["", "-", "deb [trusted=yes] copy:/nonexistent ./"])
        .env("BASALT_ROOT", root)
        .env("BASALT_NAME", &request.source.name)
        .env("BASALT_VERSION", &request.source.version)
        .env("BASALT_KERNEL", &request.kernel.release)
        .env("BASALT_STRIP", if request.keep_debug { "no" } else { "yes" })
}

/// What went wrong first. The root may not have been unpacked, before anything was told.
fn explained(request: &Request<'_>, failure: &Failure, told: &[u8], log: &Path) -> Result<Failure> {
    if told.is_empty() {
        return Ok(Failure::new(Kind::Failed, format!("the root for the compiler cannot be unpacked: {}", failure.what)));
    }
    fs::write(log, told).with_context(|| format!("{}: cannot be written", log.display()))?;
    let source = request.source;
    let told = String::from_utf8_lossy(told);
    let inside = [
        format!("/usr/src/{}-{}/", source.name, source.version),
        format!("/var/lib/dkms/{}/{}/build/", source.name, source.version),
    ];
    let first = mistake::first(&told, &[&inside[0], &inside[1]]);
    let what = format!("{} {} for the kernel {}: {first}", source.name, source.version, request.kernel.release);
    let next = format!(
        "mend it with --patch FILE, or take a version that is made for this kernel; all that was told is in {}",
        log.display()
    );
    Ok(Failure::new(Kind::Verification, what).hint(next))
}
