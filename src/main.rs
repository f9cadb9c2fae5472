//! The program: see `cli`.

fn main() -> std::process::ExitCode {
    basalt::cli::run()
}
