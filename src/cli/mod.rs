//! The command line: one verb a file, one match from verb to function, one place where a failure becomes text and an exit code.

mod boot;
mod build;
mod cache;
mod check;
mod describe;
mod diff;
mod import;
mod input;
mod inspect;
mod kmod;
mod lock;
mod machine;
mod network;
mod plan;
mod preflight;
mod push;
mod report;
mod sign;
mod signer;
mod test;
mod vendor;
mod verify;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::failure::Kind;
use crate::host::interrupt;
use crate::progress::{Bars, JsonLines, Quiet, Sink};
use crate::store::Store;

/// Builds immutable OSTree hosts for GPU and DPU machines, as an ordinary user.
#[derive(Debug, Parser)]
#[command(name = "basalt", version, max_term_width = 79, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes:
  0 done  1 failed  2 usage  3 recipe invalid  4 input missing or its digest
  differs  5 tool missing  6 verification failed  130 interrupted";

/// What every verb takes.
#[derive(Debug, Args)]
struct Global {
    /// Cache folder [default: $BASALT_CACHE, else ~/.cache/basalt]
    #[arg(long, global = true, value_name = "DIR")]
    cache: Option<std::path::PathBuf>,
    /// Say more on standard error; twice for everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// No progress, only warnings and results
    #[arg(short, long, global = true)]
    quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Name all problems of a recipe at once
    Check(check::CheckArgs),
    /// Pin every input of a recipe by digest
    Lock(lock::LockArgs),
    /// Show what build would make
    Plan(plan::PlanArgs),
    /// Build the artefacts of a recipe or a saved plan
    Build(build::BuildArgs),
    /// Boot an artefact in QEMU with its console here
    Boot(boot::BootArgs),
    /// Boot an artefact in QEMU and run the recipe's checks
    Test(test::TestArgs),
    /// Show what is in an artefact, or a file of a disk
    Inspect(inspect::InspectArgs),
    /// Say whether a recipe's kernel modules fit another kernel
    Preflight(preflight::PreflightArgs),
    /// Show how two artefacts, plans or locks differ
    Diff(diff::DiffArgs),
    /// Check artefacts against their manifest
    Verify(verify::VerifyArgs),
    /// Sign the commit and the OCI image of artefacts
    Sign(sign::SignArgs),
    /// Send an OCI image to a registry
    Push(push::PushArgs),
    /// Make a folder from which an offline machine builds
    Vendor(vendor::VendorArgs),
    /// Build kernel modules from source, for the kernel of a recipe
    Kmod(kmod::KmodArgs),
    /// Show the cache, or make room in it
    Cache(cache::CacheArgs),
    /// Turn another program's document into a part of a recipe
    Import(import::ImportArgs),
    /// Print a JSON schema: for editors, and for programs that write recipes
    Schema {
        /// What it describes
        #[arg(value_enum, default_value_t)]
        of: describe::Described,
    },
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder
    Man {
        /// The folder
        dir: std::path::PathBuf,
    },
}

/// How a verb tells its progress and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Told {
    /// For people.
    Text,
    /// JSON lines.
    Json,
}

/// What a verb works with.
struct Context {
    cache: Option<std::path::PathBuf>,
    sink: Box<dyn Sink>,
}

impl Context {
    fn store(&self) -> Result<Store> {
        let folder = match &self.cache {
            Some(folder) => folder.clone(),
            None => Store::default_root()?,
        };
        crate::host::folder::need(&folder, "choose another cache folder with --cache or BASALT_CACHE")?;
        Store::open(&folder)
    }
}

/// The whole program: reads the command line, runs the verb, prints a failure. Answers the exit code.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Kind::Usage.exit_code() } else { 0 };
            // A closed pipe (`basalt --help | head -1`) is no failure.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    set_up_tracing(cli.global.verbose);
    let told = cli.verb.told();
    let result = interrupt::install().map_err(anyhow::Error::from).and_then(|()| cli.dispatch(told));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = report::failure(&error, told == Told::Json);
            ExitCode::from(code)
        }
    }
}

fn set_up_tracing(verbose: u8) {
    let level = ["warn", "basalt=debug", "trace"][usize::from(verbose.min(2))];
    let filter = tracing_subscriber::EnvFilter::try_from_env("BASALT_LOG").unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}

impl Verb {
    fn told(&self) -> Told {
        let json = match self {
            Self::Check(args) => args.json,
            Self::Lock(args) => args.json,
            Self::Build(args) => args.json,
            Self::Test(args) => args.json,
            Self::Inspect(args) => args.json,
            Self::Diff(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Sign(args) => args.json,
            Self::Push(args) => args.json,
            Self::Kmod(args) => args.json(),
            Self::Preflight(args) => args.json,
            Self::Import(args) => args.json,
            Self::Vendor(_) | Self::Plan(_) | Self::Boot(_) | Self::Cache(_) => false,
            Self::Schema { .. } | Self::Completions { .. } | Self::Man { .. } => false,
        };
        if json { Told::Json } else { Told::Text }
    }
}

impl Cli {
    fn dispatch(self, told: Told) -> Result<()> {
        let sink: Box<dyn Sink> = match told {
            _ if self.global.quiet => Box::new(Quiet),
            Told::Json => Box::new(JsonLines::new(std::io::stdout())),
            Told::Text => Box::new(Bars::new(std::io::stderr().is_terminal())),
        };
        let context = Context { cache: self.global.cache, sink };
        match self.verb {
            Verb::Check(args) => check::run(&args),
            Verb::Lock(args) => lock::run(&args, &context),
            Verb::Plan(args) => plan::run(&args, &context),
            Verb::Build(args) => build::run(&args, &context),
            Verb::Boot(args) => boot::run(&args, &context),
            Verb::Test(args) => test::run(&args, &context),
            Verb::Inspect(args) => inspect::run(&args),
            Verb::Import(args) => import::run(&args),
            Verb::Preflight(args) => preflight::run(&args, &context),
            Verb::Diff(args) => diff::run(&args),
            Verb::Verify(args) => verify::run(&args, &context),
            Verb::Sign(args) => sign::run(&args, &context),
            Verb::Push(args) => push::run(&args, &context),
            Verb::Vendor(args) => vendor::run(&args, &context),
            Verb::Kmod(args) => kmod::run(&args, &context),
            Verb::Cache(args) => cache::run(&args, &context),
            Verb::Schema { of } => describe::schema(of),
            Verb::Completions { shell } => describe::completions(shell),
            Verb::Man { dir } => describe::man(&dir),
        }
    }
}

/// Writes a result to standard output. A reader that went away is no failure.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The command line's own description, for completions and man pages.
fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_help_text_fits_eighty_columns() {
        fn look(command: &mut clap::Command, seen: &mut usize) {
            for help in [command.render_help().to_string(), command.render_long_help().to_string()] {
                for line in help.lines() {
                    assert!(line.chars().count() < 80, "{}: {line}", command.get_name());
                    *seen += 1;
                }
            }
            for verb in command.get_subcommands_mut() {
                look(verb, seen);
            }
        }
        let mut command = command();
        command.build();
        let mut seen = 0;
        look(&mut command, &mut seen);
        assert!(seen > 100, "looked at {seen} lines");
    }
}
