//! `make bench`: what the first-boot agent costs a boot of the reference image, next to the same boot without it.
//!
//! Without it means: in the place of its two units stand ones that do nothing, and `basalt-configured.target` is reached as soon as tuned is up,
//! for which kubelet and container runtimes would have to wait anyway. Each boot is a first one, of the bytes that ship; machines with and without alternate.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, choose_accel};
use qemu_tests::{Image, reference_image};

/// Of each kind.
const RUNS: usize = 5;
/// Under TCG.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
/// The image's own disk has no room for what its acceptance run measures: nodes have larger ones.
const DISK: u64 = 4 << 30;

/// All of desired state that takes no reboot.
const DESIRED: &str = r#"
identity.host-name = "bench"
tuned.profile = "basalt-node"
labels.tier = "bench"
kubelet = { reserved-cpus = "0", taints = ["example.org/gpu=yes:NoSchedule"] }
"#;
/// Without the acceptance run that the recipe asks for: what it measures takes as long as somebody wants it to.
const NO_RUN: &str = "d /etc/basalt/firstboot.d\nf+ /etc/basalt/firstboot.d/50-recipe.toml\n";
const NO_AGENT: &str = "[Unit]\nConditionPathExists=!/etc/initrd-release\nWants=basalt-configured.target\n\
                        [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
const NO_WAIT: &str = "[Unit]\nConditionPathExists=!/etc/initrd-release\nAfter=tuned.service\n\
                       [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";

fn main() -> Result<()> {
    let image = reference_image()?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 1..=RUNS {
        without.push(boot(&image, false).context("without the agent")?);
        with.push(boot(&image, true).context("with the agent")?);
        eprintln!("pair {pair} of {RUNS}");
    }
    let median = |list: &[Boot], value: fn(&Boot) -> f64| {
        let mut values: Vec<_> = list.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (ours, theirs) = (median(&with, |boot| boot.target), median(&without, |boot| boot.target));
    let share = median(&with, |boot| 100.0 * boot.agent / boot.all);
    println!("\n| first boot, median of {RUNS} | with the agent | without | difference | goal |\n|---|---|---|---|---|");
    println!("| seconds to basalt-configured.target | {ours:.1} | {theirs:.1} | {:.1} | 3 |", ours - theirs);
    println!(
        "| seconds of processor | {:.1}, of which {:.2} the agent's | {:.1} | {share:.1} % | 3 % |",
        median(&with, |boot| boot.all),
        median(&with, |boot| boot.agent),
        median(&without, |boot| boot.all)
    );
    Ok(())
}

/// What one boot took, in seconds.
struct Boot {
    /// From the kernel's start until the target was reached.
    target: f64,
    /// Processor time of the agent, and of whoever waits for it.
    agent: f64,
    /// Processor time of all.
    all: f64,
}

fn boot(image: &Image, agent: bool) -> Result<Boot> {
    let disk = Disk { size: Some(DISK), ..Disk::new(&image.artefact("raw")?) };
    let machine = Machine::new(disk, choose_accel(&image.cache)?).channel();
    let mut machine = machine.credential("basalt.firstboot", DESIRED).credential("tmpfiles.extra", NO_RUN);
    if !agent {
        machine = machine.unit("basalt-firstboot.service", NO_AGENT, "multi-user.target");
        machine = machine.unit("basalt-configured.service", NO_WAIT, "basalt-configured.target");
    }
    let mut vm = machine.start()?;
    let state = vm.wait_for_boot(BOOT)?;
    ensure!(state == "running", "the boot ended {state}: {}", vm.shell("basalt-firstboot status", COMMAND)?.text());
    let mut number = |script: &str| -> Result<f64> {
        let text = vm.must(script, COMMAND)?;
        text.parse().with_context(|| format!("{script}: {text:?}"))
    };
    let all = number("awk '/^cpu / { print ($2 + $3 + $4 + $7 + $8) / 100 }' /proc/stat")?;
    let target = number("systemctl show -P ActiveEnterTimestampMonotonic basalt-configured.target")? / 1e6;
    ensure!(target > 0.0, "basalt-configured.target was not reached");
    let used = number(
        "systemctl show -P CPUUsageNSec basalt-firstboot.service basalt-configured.service | awk '{ s += $1 } END { print s }'",
    )?;
    let configured = vm.shell("basalt-firstboot status", COMMAND)?.text().contains("State       configured\n");
    ensure!(configured == agent, "the agent ran: {configured}, needed {agent}");
    vm.power_off(COMMAND)?;
    Ok(Boot { target, agent: used / 1e9, all })
}
