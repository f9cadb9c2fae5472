//! `basalt test`: boots an artefact and runs the checks of its recipe.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use super::machine::{self, MachineArgs};
use super::signer::ModuleSignerArgs;
use super::{Context, input};
use crate::artefact;
use crate::failure::{Failure, Kind};
use crate::host::folder;
use crate::layer::kernel_modules::Proven;
use crate::pipeline;
use crate::plan::{Check, Format, Plan};
use crate::progress::{Stage, Unit};
use crate::recipe;
use crate::vm::{self, Expect, Report, Running, Writes};

/// How long a machine may take to boot; emulated processors beside other work are slow.
const BOOT: Duration = Duration::from_secs(600);
/// How long one check may take; some wait for the agent.
const CHECK: Duration = Duration::from_secs(300);

/// Boots an artefact in QEMU with UEFI and Secure Boot and runs checks in it. Given a recipe or a plan, builds it first. The image is
/// not changed: the way in is a systemd credential. The machine's owner has enrolled the keys that a recipe names as kernel.module-keys.
/// Fails with exit code 6 when a check does.
#[derive(Debug, Args)]
pub struct TestArgs {
    #[command(flatten)]
    input: input::InputArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    modules: ModuleSignerArgs,
    /// Where the artefacts of a recipe go
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// The recipe whose checks an artefact has to pass
    #[arg(long, value_name = "RECIPE")]
    recipe: Option<PathBuf>,
    /// Tell progress and result as JSON lines
    #[arg(long)]
    pub json: bool,
    /// Close with a screen that says what was booted and where it lies
    #[arg(long)]
    summary: bool,
}

/// Runs the verb.
pub fn run(args: &TestArgs, context: &Context) -> Result<()> {
    let store = context.store()?;
    let is_source = args.input.path.extension().is_some_and(|extension| extension == "toml" || extension == "json");
    let (disk, checks, owner_keys) = if is_source {
        folder::need(&args.out, "choose another folder with --out")?;
        let plan = input::plan(&args.input, context, &store)?;
        let disk = build(&plan, args, context, &store).map_err(|error| input::placed(error, &args.input))?;
        let keys = plan.kernel_modules().into_iter().flat_map(|modules| &modules.keys);
        let keys = keys.map(|key| machine::owner_key(&store.blob_path(&key.sha256))).collect::<Result<Vec<_>>>()?;
        (disk, plan.checks, keys)
    } else {
        let checks = args.recipe.as_deref().map(recipe::load).transpose()?.map(|recipe| recipe.checks);
        (args.input.path.clone(), checks.unwrap_or_else(default_checks), Vec::new())
    };
    let machine = args.machine.machine(&disk, Writes::Discarded, &store)?.owner_keys(owner_keys).channel();
    let started = Instant::now();
    let stage = Stage::start(&*context.sink, "boot", disk.display().to_string(), None, Unit::None);
    let mut guest = machine.start()?;
    guest.ready(BOOT)?;
    guest.wait_for_boot(BOOT)?;
    let seconds = started.elapsed().as_secs();
    stage.finish(false);
    let wanted: Vec<_> = checks.iter().map(to_vm).collect();
    let report = vm::run_checks(&mut guest, &wanted, CHECK)?;
    if args.json {
        let passed = report.passed();
        let result = serde_json::json!({
            "version": crate::progress::VERSION, "event": "tested", "disk": disk, "passed": passed, "report": report,
        });
        super::print(&format!("{result}\n"))?;
    } else {
        super::print(&format!("{report}\n"))?;
    }
    if args.summary {
        super::print(&screen(&mut guest, &disk, seconds)?)?;
    }
    guest.power_off(CHECK)?;
    judge(&report, &disk)
}

/// Builds what is not there yet; answers the first artefact that boots. A recipe that wants no disk gets one here.
fn build(plan: &Plan, args: &TestArgs, context: &Context, store: &crate::store::Store) -> Result<PathBuf> {
    let mut formats = plan.outputs.clone();
    if !formats.iter().any(|format| format.is_disk()) {
        formats.push(Format::Raw);
    }
    let access = args.input.network.access();
    let (network, signers) = (args.input.network(&access), args.modules.signers());
    let built = pipeline::build(plan, &formats, &args.out, store, network, &signers, &*context.sink)?;
    let disk = built.manifest.artefacts.iter().find(|artefact| artefact.format.is_disk());
    let disk = disk.ok_or_else(|| Failure::new(Kind::Failed, "the build made no disk"))?;
    Ok(args.out.join(&disk.file))
}

fn judge(report: &Report, disk: &Path) -> Result<()> {
    if report.passed() {
        return Ok(());
    }
    let failed: Vec<_> = report.outcomes.iter().filter(|outcome| !outcome.passed).map(|outcome| outcome.name.as_str()).collect();
    let what = format!("{}: {} of {} checks failed: {}", disk.display(), failed.len(), report.outcomes.len(), failed.join(", "));
    Err(Failure::new(Kind::Verification, what).hint(format!("look around in it: basalt boot {}", disk.display())).into())
}

fn to_vm(check: &Check) -> vm::Check {
    let expect = Expect { status: check.status, equals: check.stdout.clone(), contains: check.contains.clone() };
    vm::Check { name: check.name.clone(), run: check.run.clone(), expect }
}

/// What any image should answer, for an artefact without a recipe.
fn default_checks() -> Vec<Check> {
    vec![Check {
        name: "the system is running".into(),
        run: vec!["systemctl".into(), "is-system-running".into()],
        status: 0,
        stdout: Some("running".into()),
        contains: None,
    }]
}

/// The firmware's variable has four bytes of attributes before its value. Of the kernel's modes the one in brackets is in force.
const SECURE_BOOT: &str = "od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* 2>/dev/null | grep -qw 1 && printf on || printf off; \
    sed 's/.*\\[\\(.*\\)\\].*/, kernel lockdown: \\1/' /sys/kernel/security/lockdown";

/// Kernel modules that others built, and whose signatures they have.
fn modules(modules: &[Proven]) -> String {
    let signers: BTreeSet<_> = modules.iter().filter_map(|module| module.signed_by.as_deref()).collect();
    let signed = if signers.is_empty() {
        String::new()
    } else {
        format!(", signed by {}", signers.into_iter().collect::<Vec<_>>().join("; "))
    };
    format!("{} proven to fit the kernel{signed}", modules.len())
}

/// What was booted, as the guest itself tells it.
fn screen(guest: &mut Running, disk: &Path, seconds: u64) -> Result<String> {
    let mut ask = |script: &str| guest.must(script, CHECK);
    let mut rows = vec![
        ("image", ask(". /usr/lib/os-release; echo \"$IMAGE_ID $IMAGE_VERSION on $PRETTY_NAME\"")?),
        ("kernel", ask("uname -r")?),
        ("deployment", ask("ostree admin status | sed -n 's/^\\* //p'")?),
        ("secure boot", ask(SECURE_BOOT)?),
        // An image can be without the agent.
        ("agent", ask("basalt-firstboot status --wait 2>&1 || true")?.replace('\n', "\n              ")),
        ("root", ask("df -h --output=size,avail /var | tail -1 | awk '{print $1 \" size, \" $2 \" free\"}'")?),
    ];
    rows.push(("booted in", format!("{seconds} s, in QEMU")));
    let folder = disk.parent().unwrap_or(Path::new("."));
    if let Some(manifest) = artefact::manifest::read(folder)? {
        if !manifest.kernel_modules.is_empty() {
            rows.push(("modules", modules(&manifest.kernel_modules)));
        }
        rows.push(("plan", manifest.plan.to_string()));
        for artefact in &manifest.artefacts {
            rows.push(("artefact", folder.join(&artefact.file).display().to_string()));
        }
    }
    rows.push(("try it", format!("basalt boot {}", disk.display())));
    Ok(rows.iter().fold(String::from("\n"), |text, (name, value)| text + &format!("{name:>12}  {}\n", value.trim())))
}
