//! How to reach registries: the flags of every verb that may.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::registry::Access;

/// Flags for registries.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Registry")]
pub struct NetworkArgs {
    /// A login (auth.json) [default: where skopeo login puts it]
    #[arg(long, value_name = "FILE")]
    authfile: Option<PathBuf>,
    /// A folder with the certificate (*.crt) of the registry's authority
    #[arg(long, value_name = "DIR")]
    cert_dir: Option<PathBuf>,
    /// How often to try again, with growing pauses
    #[arg(long, value_name = "TIMES", default_value_t = 3)]
    retry: u32,
    /// Give up when nothing came or went for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
}

impl NetworkArgs {
    /// What they say.
    pub fn access(&self) -> Access {
        Access {
            auth_file: self.authfile.clone(),
            certificates: self.cert_dir.clone(),
            retries: self.retry,
            silence: Duration::from_secs(self.timeout),
        }
    }
}
