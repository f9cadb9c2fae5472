//! Runs compiler and make of the target, in a root of locked packages that nobody keeps.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Request, mistake};
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::space;
use crate::host::tools::{self, Tool};
use crate::layer::debian::privilege::Privilege;
use crate::layer::debian::repository;
use crate::layer::debian::work::{self, Work};
use crate::store::Store;
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

/// Builds, and puts modules and their index into the folder `out`. A failure leaves all that was told at `log`.
pub fn run(request: &Request<'_>, out: &Path, log: &Path, store: &Store) -> Result<()> {
    tools::need(&TOOLS, "building kernel modules")?;
    work::sweep(store)?;
    let work = Work::make(store, Privilege::find()?)?;
    let at = |name: &str| work.path.join(name);
    for name in ["repository", "tmp", "patches", "out"] {
        fs::create_dir(at(name))?;
    }
    let installed = repository::fill(&at("repository"), request.packages, store)?;
    let source: u64 = request.source.size;
    // Objects with debug data are some thirty times their source.
    space::need(store.root(), installed + 30 * source, "building kernel modules")?;
    tar::write(&request.source.tree, BufWriter::new(File::create(at("source.tar"))?))?;
    for (number, (name, text)) in request.patches.iter().enumerate() {
        fs::write(at("patches").join(format!("{number:04}-{}", name.replace('/', "-"))), text)?;
    }
    fs::write(at("make"), request.make.iter().map(|argument| format!("{argument}\n")).collect::<String>())?;
    fs::write(at("build"), HOOK)?;
    fs::write(at("log"), "")?;
    match command(request, &work).run() {
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

fn command(request: &Request<'_>, work: &Work) -> Cmd {
    // The repository's address is a line of sources.list, where a space ends a word.
    let address = work.path.join("repository").display().to_string().replace('%', "%25").replace(' ', "%20");
    let mut command = work.privilege.bound_cmd();
    command = command.args(["sh", "-c", "umask 022; exec \"$@\"", "sh", "mmdebstrap"]);
    command = command.args(["--mode=unshare", "--variant=essential", "--format=null", "--skip=cleanup"]);
    command = command.arg(format!("--architectures={}", request.architecture));
    // The repository has one version of each, wherever it was found.
    let names: Vec<_> = request.requested.iter().map(|name| name.split('/').next().unwrap_or(name)).collect();
    command = command.arg(format!("--include={}", names.join(",")));
    command = command.arg("--aptopt=APT::Install-Recommends \"false\"").arg("--dpkgopt=force-unsafe-io");
    command = command.arg("--dpkgopt=force-confold").arg(format!("--essential-hook={NO_INITRAMFS}"));
    for path in WITHOUT {
        command = command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    command = command.arg("--customize-hook=sh \"$BASALT_WORK/build\" \"$1\"");
    command = command.arg("").arg("-").arg(format!("deb [trusted=yes] copy:{address} ./"));
    command
        .env("BASALT_WORK", &work.path)
        .env("BASALT_NAME", &request.source.name)
        .env("BASALT_VERSION", &request.source.version)
        .env("BASALT_KERNEL", &request.kernel.release)
        .env("BASALT_STRIP", if request.keep_debug { "no" } else { "yes" })
        .env("TMPDIR", work.path.join("tmp"))
        .env("SOURCE_DATE_EPOCH", request.time.to_string())
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("HOME", "/nonexistent")
        .env("INITRD", "No")
        .folder(&work.path)
}

/// What went wrong first. The root itself may have failed, before anything was told.
fn explained(request: &Request<'_>, failure: &Failure, told: &[u8], log: &Path) -> Result<Failure> {
    if told.is_empty() {
        return Ok(Failure::new(Kind::Failed, format!("the root for the compiler cannot be made: {}", failure.what)));
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
