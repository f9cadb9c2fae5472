//! The command line: one match from verb to function.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use basalt_contract::{Report, State};
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::agent::Also;
use crate::apply::Applied;
use crate::backend::real::throughput::Throughput;
use crate::backend::{Outside, real};
use crate::status::Status;
use crate::{acceptance, apply, dbus, deploy, explain, export, facts, report, serve, status};

/// The first-boot agent of Basalt: finds out what this node is and reports it.
#[derive(Parser)]
#[command(name = "basalt-firstboot", version, max_term_width = 80)]
struct Cli {
    /// The root folder of the node
    #[arg(long, value_name = "DIR", default_value = "/", global = true)]
    root: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Run as the service org.basalt.FirstBoot1 on the system bus
    Serve,
    /// What basalt-kernel-arguments.service runs
    #[command(hide = true)]
    Deploy,
    /// What basalt-acceptance.service runs
    #[command(hide = true)]
    AcceptanceRun,
    /// What an acceptance run runs for what is ready: prints MB/s
    #[command(hide = true)]
    Measure { what: Throughput },
    /// Say how the node does: ask the running agent, else read its last report
    ///
    /// Under a --root other than / the last report is read. Exit status: 0 when
    /// the node is configured, 1 when it is not or cannot be told, 2 for a wrong
    /// command line.
    Status {
        #[command(flatten)]
        output: Output,
        /// Wait until the running agent is done, and tries nothing again
        #[arg(long)]
        wait: bool,
        /// The same, and show each step
        #[arg(long)]
        watch: bool,
        /// Wait no longer than this, and fail then
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
    },
    /// Find out what this node is, and print it; change nothing
    ///
    /// Exit status: 0 when all could be found out, 1 when not.
    Facts(Output),
    /// Say what differs between the node and its desired state; change nothing
    ///
    /// Desired state is TOML, later files over earlier ones: those in
    /// /usr/lib/basalt/firstboot.d and /etc/basalt/firstboot.d, QEMU's fw_cfg, the
    /// system credential basalt.firstboot, and the file that basalt.firstboot= on
    /// the kernel's command line names. Exit status: 0 when all could be told, 1
    /// when not.
    Plan(Output),
    /// Say what holds and what does not; change nothing
    ///
    /// Asks whoever did the work whether it is so. Exit status: 0 when all holds,
    /// 1 when not.
    Verify(Output),
    /// Print what the node is, as desired state (TOML); change nothing
    ///
    /// What cannot be told is a comment.
    Export,
    /// Say all that is known of one action
    ///
    /// Who asked for it, what is done about it, what became of it. Exit status: 0
    /// when it holds, 1 when it differs or is unknown.
    Explain {
        /// As `plan` names it: identity/host-name
        action: String,
        #[command(flatten)]
        output: Output,
    },
    /// Make the node what its desired state says, and look again
    ///
    /// The running agent does it; without one, or under a --root other than /, it
    /// is done here. What failed three times waits until what is wished changes,
    /// or --retry says so. Exit status: 0 when nothing differs any more, 1 when
    /// something does.
    Apply {
        #[command(flatten)]
        output: Output,
        /// Only say what would be done, as `plan` does
        #[arg(long)]
        dry_run: bool,
        /// Also try what failed too often
        #[arg(long, conflicts_with = "dry_run")]
        retry: bool,
    },
    /// Measure again what an acceptance run measured, and apply
    ///
    /// Without this it is measured once for each image and for what is newly
    /// wished. The running agent has it done, as with `apply`. Exit status: 0
    /// when nothing differs and every figure is inside of its thresholds, else 1.
    Accept(Output),
}

#[derive(Args)]
struct Output {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs what the command line says, and gives the exit status.
///
/// # Errors
/// When it cannot be done; the error says why.
pub fn run() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let mut outside = real::outside(&cli.root).with_context(|| format!("{}: cannot be the root folder", cli.root.display()))?;
    let here = cli.root == Path::new("/");
    if !here && !matches!(cli.verb, Verb::Serve) {
        // Whoever is on the bus belongs to the running node.
        (outside.tuner, outside.namer, outside.units) =
            (Box::new(real::Elsewhere), Box::new(real::Elsewhere), Box::new(real::Elsewhere));
    }
    let files = outside.files.as_ref();
    let good = match cli.verb {
        Verb::Serve => return runtime()?.block_on(serve::serve(&outside)),
        Verb::Status { output, wait, watch, timeout } => {
            let status = if here {
                let shown = |line: &str| if output.json { eprintln!("{line}") } else { println!("{line}") };
                runtime()?.block_on(status::ask(
                    files,
                    status::Patience { wait, watch, limit: timeout.map(Duration::from_secs) },
                    shown,
                ))?
            } else {
                status::read(files, "--root names another node than the running one".to_owned())?
            };
            print(&output, &status, &status.screen())?;
            status.state == State::Configured
        }
        Verb::Deploy => deploy::deploy(files).map(|()| true)?,
        Verb::AcceptanceRun => acceptance::run(&outside).map(|()| true)?,
        Verb::Measure { what } => {
            print(&Output { json: false }, &(), &format!("{:.1}\n", what.measure(&cli.root)?))?;
            true
        }
        Verb::Facts(output) => {
            let facts = facts::collect(files);
            print(&output, &facts, &report::of_facts(&facts))?;
            facts.faults.is_empty()
        }
        Verb::Plan(output) | Verb::Apply { output, dry_run: true, .. } => {
            let facts = facts::collect(files);
            let plan = runtime()?.block_on(apply::plan(&outside, &facts));
            print(&output, &plan, &plan.screen())?;
            plan.faults.is_empty()
        }
        Verb::Verify(output) => {
            let facts = facts::collect(files);
            let found = runtime()?.block_on(apply::verify(&outside, &facts));
            print(&output, &found, &found.screen())?;
            found.faults.is_empty()
        }
        Verb::Export => {
            let facts = facts::collect(files);
            let text = runtime()?.block_on(export::export(&outside, &facts)).map_err(anyhow::Error::msg)?;
            print(&Output { json: false }, &(), &text)?;
            true
        }
        Verb::Explain { action, output } => {
            let facts = facts::collect(files);
            let explained = runtime()?.block_on(explain::explain(&outside, &facts, &action))?;
            print(&output, &explained, &explained.screen())?;
            explained.action.is_none()
        }
        Verb::Apply { output, retry, .. } => {
            let also = if retry { Also::Failed } else { Also::Nothing };
            let applied = runtime()?.block_on(apply_here_or_there(&outside, here, also))?;
            print(&output, &applied, &applied.screen())?;
            applied.faults.is_empty()
        }
        Verb::Accept(output) => {
            let applied = runtime()?.block_on(apply_here_or_there(&outside, here, Also::Measured))?;
            print(&output, &applied, &applied.screen())?;
            applied.faults.is_empty()
        }
    };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The running agent does it, where there is one: two that work at once would be in each other's way.
async fn apply_here_or_there(outside: &Outside, here: bool, also: Also) -> anyhow::Result<Applied> {
    let asked = if here { dbus::apply(also).await } else { Ok(false) };
    let agent_is_there = asked.map_err(|why| anyhow::anyhow!("the running agent: {why}"))?;
    let files = outside.files.as_ref();
    if agent_is_there {
        let patience = status::Patience { wait: true, ..Default::default() };
        let Status { report, .. } = status::ask(files, patience, |_| ()).await?;
        let report = report.context("the running agent tells nothing")?;
        let Report { steps, holds, figures, faults, .. } = report;
        return Ok(Applied { steps, holds, figures, faults, ..Applied::default() });
    }
    match also {
        Also::Nothing => Ok(()),
        Also::Failed => apply::retry(outside),
        Also::Measured => apply::accept(outside),
    }
    .map_err(anyhow::Error::msg)?;
    let facts = facts::collect(files);
    Ok(apply::apply(outside, &facts, &mut |_| ()).await)
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the event loop")
}

fn print(output: &Output, value: &impl Serialize, screen: &str) -> anyhow::Result<()> {
    let text = if output.json { serde_json::to_string_pretty(value)? + "\n" } else { screen.to_owned() };
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        // The reader has seen enough (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("cannot write to standard output"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_command_line_is_sound_and_narrow() {
        let mut program = Cli::command();
        program.clone().debug_assert();
        program.build();
        for mut command in program.get_subcommands().cloned().chain([program.clone()]) {
            let help = command.render_long_help().to_string();
            assert!(help.lines().all(|line| line.chars().count() < 80), "{help}");
        }
    }
}
