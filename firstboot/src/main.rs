//! The program `basalt-firstboot`: reads the command line, calls, says what went wrong.

use std::process::ExitCode;

fn main() -> ExitCode {
    basalt_firstboot::cli::run().unwrap_or_else(|error| {
        eprintln!("basalt-firstboot: {error:#}");
        ExitCode::FAILURE
    })
}
