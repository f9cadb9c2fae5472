//! Another program, run to its end: in a clean environment, with a limit for its time and for what it prints.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::Value;

/// It may print so many bytes.
const MOST: u64 = 1 << 20;
/// What it says on its standard error goes into one line of a report.
const WORDS: usize = 200;
/// All that it finds of an environment: its words and numbers are those of no country.
const ENVIRONMENT: [(&str, &str); 2] = [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"), ("LC_ALL", "C.UTF-8")];

/// What is heard of it.
enum Heard {
    Printed(io::Result<Vec<u8>>),
    Complained(Vec<u8>),
    Ended(io::Result<ExitStatus>),
}

/// What `command` prints on its standard output.
///
/// # Errors
/// When it cannot be run, prints too much, is not done in time or ends with another status than 0: says which. Whatever it started is gone then, and
/// afterwards, as far as it stayed in its process group.
pub fn output(command: &[String], limit: Duration) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or_else(|| "needed a program, found nothing".to_owned())?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(ENVIRONMENT)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_run(program, &error))?;
    let group = i32::try_from(child.id()).map(Pid::from_raw).map_err(|error| error.to_string())?;
    let (sender, heard) = mpsc::channel();
    let (prints, complains, ends) = (sender.clone(), sender.clone(), sender);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    // Who hears nobody any more has been given up: it does not matter whether anybody listens.
    thread::spawn(move || drop(prints.send(Heard::Printed(all(stdout)))));
    thread::spawn(move || drop(complains.send(Heard::Complained(all(stderr).unwrap_or_default()))));
    thread::spawn(move || drop(ends.send(Heard::Ended(child.wait()))));
    let told = listen(program, &heard, limit, group);
    let _ = killpg(group, Signal::SIGKILL);
    told
}

/// Until all is heard, or too much.
fn listen(program: &str, heard: &mpsc::Receiver<Heard>, limit: Duration, group: Pid) -> Result<Vec<u8>, String> {
    let begun = Instant::now();
    let (mut printed, mut complaint, mut status) = (None, None, None);
    loop {
        match heard.recv_timeout(limit.saturating_sub(begun.elapsed())) {
            Ok(Heard::Printed(bytes)) => printed = Some(bytes.map_err(|error| format!("{program}: {error}"))?),
            Ok(Heard::Complained(bytes)) => complaint = Some(bytes),
            Ok(Heard::Ended(ended)) => {
                status = Some(ended.map_err(|error| format!("{program}: {error}"))?);
                // What it left behind holds its standard output open.
                let _ = killpg(group, Signal::SIGKILL);
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(format!("{program} was not done within {} s", limit.as_secs()));
            }
        }
        if let (Some(printed), Some(complaint), Some(status)) = (&mut printed, &complaint, status) {
            return if status.success() { Ok(std::mem::take(printed)) } else { Err(ended(program, status, complaint, printed)) };
        }
    }
}

fn all(stream: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.map_or(Ok(0), |stream| stream.take(MOST + 1).read_to_end(&mut bytes))?;
    if bytes.len() as u64 > MOST { Err(io::Error::other(format!("it printed more than {MOST} bytes"))) } else { Ok(bytes) }
}

/// Its last line says most; where standard error has none, it was told on standard output: as [`error_in`] its JSON, or in a line.
fn ended(program: &str, status: ExitStatus, complaint: &[u8], printed: &[u8]) -> String {
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(|line| line.chars().take(WORDS).collect::<String>())
    };
    let json = || serde_json::from_slice::<Value>(printed).ok().and_then(|json| error_in(&json).map(str::to_owned));
    let words = last(complaint).or_else(json).or_else(|| last(printed)).map(|line| format!(": {line}")).unwrap_or_default();
    format!("{program}: {status}{words}")
}

/// Why a program has no result, as it says in its JSON: iperf3's way. Version 3.12 ends with status 0 all the same.
pub fn error_in(json: &Value) -> Option<&str> {
    json.get("error")?.as_str()
}

fn cannot_run(program: &str, error: &io::Error) -> String {
    let hint = if error.kind() == io::ErrorKind::NotFound { ": the image needs the package that has it" } else { "" };
    let named = if program == "iperf3" && !hint.is_empty() { " (package iperf3)" } else { "" };
    format!("{program} cannot be run: {error}{hint}{named}")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::output;

    fn shell(script: &str, seconds: u64) -> Result<String, String> {
        let command = ["sh", "-c", script].map(str::to_owned);
        output(&command, Duration::from_secs(seconds)).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn what_is_printed_and_why_not() {
        assert_eq!(shell("echo 5; echo six >&2; cat", 30).as_deref(), Ok("5\n"));
        assert_eq!(shell("env | grep --invert-match '^PWD\\|^SHLVL\\|^_' | sort; pwd", 30).unwrap().lines().count(), 3);
        for (script, why) in [
            ("echo one >&2; echo two >&2; exit 3", "sh: exit status: 3: two"),
            ("echo '{\"error\": 1}'; exit 1", "sh: exit status: 1: {\"error\": 1}"),
            ("echo '{'; echo '\"error\": \"no server\"'; echo '}'; exit 1", "sh: exit status: 1: no server"),
            ("kill -9 $$", "sh: signal: 9 (SIGKILL)"),
            ("yes | head --bytes 3000000", "sh: it printed more than 1048576 bytes"),
        ] {
            assert_eq!(shell(script, 30), Err(why.to_owned()), "{script}");
        }
        for (program, why) in [
            ("/none", "/none cannot be run: No such file or directory (os error 2): the image needs the package that has it"),
            ("/etc", "/etc cannot be run: Permission denied (os error 13)"),
        ] {
            assert_eq!(output(&[program.to_owned()], Duration::from_secs(9)), Err(why.to_owned()));
        }
        assert!(output(&[], Duration::from_secs(9)).is_err());
    }

    #[test]
    fn nothing_outlives_its_time() {
        let begun = Instant::now();
        let folder = tempfile::tempdir().unwrap();
        let alive = folder.path().join("alive");
        // It and what it started: that one would leave a file.
        let late = format!("(sleep 4; touch {}) & echo 1; sleep 60", alive.display());
        assert_eq!(shell(&late, 1), Err("sh was not done within 1 s".to_owned()));
        let left = format!("(sleep 4; touch {}) & echo 1", alive.display());
        assert_eq!(shell(&left, 30).as_deref(), Ok("1\n"), "what is left behind is not waited for");
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_secs(5));
        assert!(!alive.exists());
    }
}
