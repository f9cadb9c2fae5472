//! The ready measurement of a network, by the real iperf3. `vm_reference` measures disk and memory.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::unistd::getuid;
use qemu_tests::{Scratch, agent};
use serde_json::Value;

const WISH: &str = "[[acceptance]]\nname = \"link\"\nready = \"network\"\nserver = \"127.0.0.1\"\nat-least = 1000000\n";

/// `$1` is the agent, `$2` its node. Nobody of that node can be asked to start the unit of the run: its program is run here as the unit does.
const SCRIPT: &str = r#"ip link set lo up
"$1" --root "$2" apply >&2 || :
"$1" --root "$2" acceptance-run && exit 9
"$1" --root "$2" plan >&2 || :
iperf3 --server --one-off --bind 127.0.0.1 >&2 &
until "$1" --root "$2" acceptance-run >&2; do kill -0 $!; sleep 0.2; done
"$1" --root "$2" apply --json"#;

#[test]
fn cli_a_network_is_measured_with_iperf3() -> Result<()> {
    let scratch = Scratch::new()?;
    scratch.write("root/etc/basalt/firstboot.d/50-case.toml", WISH)?;
    scratch.write("root/proc/cmdline", "quiet\n")?;
    // In a network of its own: the port is free there.
    let mut command = Command::new("unshare");
    command.args(if getuid().is_root() { &["--net"][..] } else { &["--map-root-user", "--net"] });
    command.args(["sh", "-ec", SCRIPT, "sh"]).arg(agent()?).arg(scratch.path().join("root"));
    let output = command.output().context("unshare")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {told}", output.status);
    let planned =
        told.lines().find(|line| line.starts_with("acceptance/run ") && line.contains("link failed: ")).unwrap_or_default();
    ensure!(planned.contains("unable to connect"), "without a server: {told}");
    let done: Value = serde_json::from_slice(&output.stdout)?;
    let figure = &done["figures"][0];
    ensure!(figure["name"] == "link" && figure["unit"] == "bit/s" && figure["passed"] == true, "{done:#}");
    ensure!(figure["value"].as_f64().is_some_and(|value| value > 1e6), "{figure}");
    Ok(())
}
