//! Whether KVM works here. `/dev/kvm` may open and still be broken, and QEMU then hangs or aborts: only a guest that ran is proof.
//!
//! The guest is `probe.s`: a firmware that goes through protected to long mode, uses x87 and SSE and prints a marker; 0.1 s when
//! all is well. The verdict is kept in the cache folder until the machine boots again.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::QEMU;
use super::process::Process;
use crate::failure::{Failure, Kind};

/// How guest instructions are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By QEMU's translator: works everywhere, some ten times slower.
    Tcg,
}

impl Accel {
    /// The arguments of QEMU. Also the probe runs with them, so that it tries what a machine will use.
    pub(super) fn arguments(self) -> [&'static str; 6] {
        // smm=on: firmware with Secure Boot keeps its variables in SMM. Nehalem (x86-64-v2): a boot under TCG takes an eighth less
        // than with -cpu max, whose wide vectors, 5-level pages and SMAP are all emulated. Model 54 is an Atom that does not
        // speculate, as Linux knows: it leaves out its mitigations, page-table isolation above all, which empties the translator's
        // TLB at every system call. So a boot takes a third less, and the image's kernel arguments stay what they are.
        match self {
            Self::Kvm => ["-machine", "q35,smm=on", "-accel", "kvm", "-cpu", "host"],
            Self::Tcg => ["-machine", "q35,smm=on", "-accel", "tcg,thread=multi", "-cpu", "Nehalem,model=54"],
        }
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// What was found out, as kept in the cache.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verdict {
    /// Of the host, from `/proc/sys/kernel/random/boot_id`.
    boot_id: String,
    accel: Accel,
    /// Why not KVM.
    reason: Option<String>,
}

/// How long the probe may take.
const LIMIT: Duration = Duration::from_secs(5);
const MARKER: &str = "basalt-guest-runs";
const VERDICT_FILE: &str = "accel.json";

/// KVM where it is proven to work, else TCG. The proof is kept in `cache`.
pub fn choose(cache: &Path) -> Result<Accel, Failure> {
    if fs::File::options().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let path = cache.join(VERDICT_FILE);
    if let Some(verdict) = fs::read(&path).ok().and_then(|bytes| kept(&bytes, &boot_id)) {
        return Ok(verdict.accel);
    }
    let (accel, reason) = match probe(Accel::Kvm) {
        Ok(()) => (Accel::Kvm, None),
        Err(failure) if matches!(failure.kind, Kind::Tool | Kind::Interrupted) => return Err(failure),
        Err(failure) => {
            tracing::info!(reason = %failure, "KVM does not work here, TCG is used");
            (Accel::Tcg, Some(failure.what))
        }
    };
    let verdict = Verdict { boot_id, accel, reason };
    // A verdict that cannot be kept is found again: no reason to stop.
    if let Err(error) = serde_json::to_vec(&verdict).map_err(Into::into).and_then(|json| write_whole(&path, &json)) {
        tracing::warn!(path = %path.display(), %error, "cannot keep whether KVM works");
    }
    Ok(accel)
}

/// A kept verdict, when it is of this boot.
fn kept(bytes: &[u8], boot_id: &str) -> Option<Verdict> {
    serde_json::from_slice(bytes).ok().filter(|verdict: &Verdict| !boot_id.is_empty() && verdict.boot_id == boot_id)
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    std::io::Write::write_all(&mut file, bytes)?;
    file.persist(path)?;
    Ok(())
}

/// Fails unless the probe guest prints its marker in time.
fn probe(accel: Accel) -> Result<(), Failure> {
    let gone = |error| Failure::new(Kind::Failed, format!("the {accel} probe: its firmware cannot be written: {error}"));
    let firmware = tempfile::NamedTempFile::new().map_err(gone)?;
    fs::write(firmware.path(), rom()).map_err(gone)?;
    let mut arguments: Vec<OsString> =
        ["-nodefaults", "-no-user-config", "-display", "none", "-smp", "1", "-m", "16"].map(Into::into).into();
    arguments.extend(accel.arguments().map(Into::into));
    arguments.extend(["-bios".into(), firmware.path().into()]);
    arguments.extend(["-chardev", "stdio,id=out", "-device", "isa-debugcon,iobase=0xe9,chardev=out"].map(Into::into));
    arguments.extend(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"].map(Into::into));
    let mut process = Process::start(QEMU, arguments, Some(LIMIT))?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = process.take_stdout() {
        thread::spawn(move || {
            sender.send(BufReader::new(stdout.take(1 << 10)).lines().map_while(Result::ok).any(|line| line == MARKER))
        });
    }
    match receiver.recv_timeout(LIMIT) {
        Ok(true) => Ok(()),
        Ok(false) => Err(process.ended("the probe guest printed no marker")),
        Err(_) => Err(process.ended(&format!("the probe guest printed no marker within {} s", LIMIT.as_secs()))),
    }
}

/// The firmware: 64 KiB with the probe at its start and, where the processor begins, a jump to it.
fn rom() -> Vec<u8> {
    const RESET: usize = 0xfff0;
    let mut rom = vec![0; 1 << 16];
    rom[..PROBE.len()].copy_from_slice(&PROBE);
    rom[RESET..RESET + 5].copy_from_slice(&[0xea, 0x00, 0x00, 0x00, 0xf0]); // ljmp $0xf000, $0
    rom
}

/// `probe.s`, assembled.
#[rustfmt::skip]
const PROBE: [u8; 222] = [
    0xfa, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0xd8, 0x00, 0x0f, 0x20, 0xc0, 0x66, 0x83, 0xc8, 0x01, 0x0f,
    0x22, 0xc0, 0x66, 0xea, 0x1a, 0x00, 0x0f, 0x00, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8,
    0x8e, 0xd0, 0xdb, 0xe3, 0x9b, 0xc7, 0x05, 0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00, 0x00, 0xc7,
    0x05, 0x00, 0x20, 0x00, 0x00, 0x03, 0x30, 0x00, 0x00, 0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0x83,
    0x00, 0x00, 0x00, 0x0f, 0x20, 0xe0, 0x0d, 0x20, 0x06, 0x00, 0x00, 0x0f, 0x22, 0xe0, 0xb8, 0x00,
    0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x0d, 0x00, 0x01,
    0x00, 0x00, 0x0f, 0x30, 0x0f, 0x20, 0xc0, 0x0d, 0x02, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0xea,
    0x76, 0x00, 0x0f, 0x00, 0x18, 0x00, 0x31, 0xc0, 0x0f, 0xa2, 0x66, 0x0f, 0xef, 0xc0, 0xf3, 0x0f,
    0x7f, 0x04, 0x25, 0x00, 0x40, 0x00, 0x00, 0x48, 0x8d, 0x35, 0x14, 0x00, 0x00, 0x00, 0xb9, 0x12,
    0x00, 0x00, 0x00, 0xba, 0xe9, 0x00, 0x00, 0x00, 0xfc, 0xf3, 0x6e, 0xb0, 0x10, 0xe6, 0xf4, 0xf4,
    0xeb, 0xfd, 0x62, 0x61, 0x73, 0x61, 0x6c, 0x74, 0x2d, 0x67, 0x75, 0x65, 0x73, 0x74, 0x2d, 0x72,
    0x75, 0x6e, 0x73, 0x0a, 0x0f, 0x1f, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00, 0x1f, 0x00, 0xb8, 0x00, 0x0f, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cmd::Cmd;

    #[test]
    fn the_probe_is_what_its_source_says() {
        let folder = tempfile::tempdir().unwrap();
        let (object, binary) = (folder.path().join("probe.o"), folder.path().join("probe.bin"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/vm/probe.s");
        Cmd::new("as").arg("-o").arg(&object).arg(source).run().unwrap();
        Cmd::new("objcopy").args(["-O", "binary", "-j", ".text"]).arg(&object).arg(&binary).run().unwrap();
        assert_eq!(fs::read(binary).unwrap(), PROBE);
    }

    #[test]
    fn a_guest_runs_under_tcg() {
        probe(Accel::Tcg).unwrap();
    }

    #[test]
    fn a_verdict_holds_for_one_boot() {
        let verdict = Verdict { boot_id: "one".into(), accel: Accel::Kvm, reason: None };
        let json = serde_json::to_vec(&verdict).unwrap();
        assert_eq!(kept(&json, "one"), Some(verdict));
        assert_eq!(kept(&json, "two"), None);
        assert_eq!(kept(b"{", "one"), None);
    }

    #[test]
    fn what_is_chosen_is_kept_and_the_same_again() {
        let cache = tempfile::tempdir().unwrap();
        let first = choose(cache.path()).unwrap();
        assert_eq!(choose(cache.path()).unwrap(), first);
        let opens = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
        assert_eq!(cache.path().join(VERDICT_FILE).exists(), opens);
    }
}
