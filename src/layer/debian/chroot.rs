//! Runs mmdebstrap: who may, where, with what, and what is cleared away after a crash.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::privilege::Privilege;
use super::work::Work;
use super::{Inputs, numbers, repository};
use crate::digest::Digest;
use crate::failure::{Failure, Kind};
use crate::host::cmd::Cmd;
use crate::host::tools::{self, Tool};
use crate::host::{interrupt, space};
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;

/// Name and text of each hook, in the order in which they run.
const HOOKS: [(&str, &str); 3] = [
    ("extract", include_str!("hooks/extract")),
    ("install", include_str!("hooks/install")),
    ("initramfs", include_str!("hooks/initramfs")),
];

/// For every machine, not for the one that builds; the same bytes every time: one thread, no times, no strip.
const DRACUT: [&str; 10] = [
    "--force",
    "--no-hostonly",
    "--no-hostonly-cmdline",
    "--reproducible",
    "--nostrip",
    "--add",
    "ostree",
    "--tmpdir=/var/tmp",
    "--compress",
    "zstd -9 -T1 -q",
];

/// libostree's configuration in the initramfs: `/sysroot` read-only, no composefs.
const PREPARE_ROOT: &str = "[sysroot]\nreadonly = true\n\n[composefs]\nenabled = no\n";

const TOOLS: [Tool; 5] = [
    Tool { program: "mmdebstrap", package: "mmdebstrap" },
    Tool { program: "apt-get", package: "apt" },
    Tool { program: "dpkg-deb", package: "dpkg" },
    Tool { program: "unshare", package: "util-linux" },
    Tool { program: "newuidmap", package: "uidmap" },
];

/// The part of the base's key that is decided here.
pub fn digest() -> Digest {
    Digest::of_value(&(HOOKS, DRACUT, PREPARE_ROOT))
}

/// Makes the root and writes it as a tar to `out`.
pub fn make(inputs: &Inputs, out: &Path, store: &Store, sink: &dyn Sink) -> Result<()> {
    tools::need(&TOOLS, "making a base")?;
    let privilege = Privilege::find()?;
    let work = Work::make(store, privilege)?;
    let at = |name: &str| work.path.join(name);
    for name in ["repository", "tmp"] {
        fs::create_dir(at(name))?;
    }
    let installed = repository::fill(&at("repository"), inputs.packages, store)?;
    // The root, its packages once more within it, and the archive, with a third for what the sizes do not say.
    let debs: u64 = inputs.packages.iter().map(|package| package.size).sum();
    space::need(store.root(), (2 * installed + debs) / 3 * 4, "making a base")?;
    for (name, text) in HOOKS {
        fs::write(at(name), text)?;
    }
    fs::write(at("passwd"), numbers::passwd(inputs.users, inputs.groups))?;
    fs::write(at("group"), numbers::group(inputs.groups))?;
    fs::write(at("prepare-root.conf"), PREPARE_ROOT)?;
    fs::write(at("dracut-arguments"), DRACUT.map(|argument| format!("{argument}\n")).concat())?;
    fs::write(at("progress"), "")?;
    let command = command(inputs, out, &work);
    let watch = Watch { path: at("progress"), sink };
    watch.during(|| command.run()).map_err(|failure| match failure.kind {
        Kind::Failed => Failure::new(Kind::Failed, format!("the base cannot be made: {}", failure.what)),
        _ => failure,
    })?;
    work.remove()
}

fn command(inputs: &Inputs, out: &Path, work: &Work) -> Cmd {
    let mut command = work.mmdebstrap(inputs.architecture, inputs.time);
    command = command.args(["--variant=essential", "--format=tar", "--skip=cleanup/reproducible"]);
    for (option, hook) in ["--extract-hook", "--customize-hook", "--customize-hook"].into_iter().zip(HOOKS) {
        command = command.arg(format!("{option}=sh \"$BASALT_WORK/{}\" \"$1\"", hook.0));
    }
    command.arg("").arg(out).arg(work.repository_line())
}

/// Follows the file to which the hooks write where they are, and tells the sink.
struct Watch<'a> {
    path: PathBuf,
    sink: &'a dyn Sink,
}

impl Watch<'_> {
    /// Runs `work` and tells its stages meanwhile.
    fn during<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let told = scope.spawn(|| self.follow(&done));
            let result = work();
            done.store(true, Ordering::Relaxed);
            if let (Ok(Some(stage)), true) = (told.join(), result.is_ok()) {
                stage.finish(false);
            }
            result
        })
    }

    /// Reads the file until `done`. Answers the stage that is running then.
    fn follow(&self, done: &AtomicBool) -> Option<Stage<'_>> {
        let mut stage = Some(Stage::start(self.sink, "bootstrap", "the essential packages", None, Unit::None));
        let mut offset = 0;
        loop {
            let last = done.load(Ordering::Relaxed) || interrupt::pending();
            let text = self.new_lines(&mut offset).unwrap_or_default();
            for line in text.lines() {
                self.tell(line, &mut stage);
            }
            if last {
                return stage;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn new_lines(&self, offset: &mut u64) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(*offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        // A line that is still being written is read the next time.
        text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
        *offset += text.len() as u64;
        Ok(text)
    }

    fn tell<'a>(&'a self, line: &str, stage: &mut Option<Stage<'a>>) {
        let words: Vec<_> = line.split(' ').collect();
        let next = match words[..] {
            // Each is unpacked, then configured.
            ["stage:", "packages", count] => {
                let total = count.parse().ok().map(|count: u64| 2 * count);
                Some(("packages", "unpacking and configuring", total, Unit::Items))
            }
            ["stage:", "initramfs"] => Some(("initramfs", "dracut", None, Unit::None)),
            ["stage:", "archive"] => Some(("archive", "the base's files", None, Unit::None)),
            _ => None,
        };
        if let Some((name, detail, total, unit)) = next {
            if let Some(stage) = stage.take() {
                stage.finish(false);
            }
            *stage = Some(Stage::start(self.sink, name, detail, total, unit));
        } else if let (Some(stage), true) = (stage, is_step(line)) {
            stage.advance(1);
        }
    }
}

/// Whether a line of dpkg's `--status-fd` says that a package was unpacked or is configured now.
fn is_step(line: &str) -> bool {
    let state = line.strip_prefix("status: ").and_then(|rest| rest.rsplit_once(": "));
    matches!(state, Some((_, "unpacked" | "installed")))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::progress::Event;

    #[derive(Default)]
    struct Names(Mutex<Vec<String>>);

    impl Sink for Names {
        fn event(&self, event: Event) {
            let text = match event {
                Event::StageStarted { stage, .. } => format!("+{stage}"),
                Event::StageFinished { stage, .. } => format!("-{stage}"),
                Event::StageAdvanced { done, .. } => done.to_string(),
                other => format!("{other:?}"),
            };
            self.0.lock().unwrap().push(text);
        }
    }

    #[test]
    fn stages_are_told_as_the_hooks_write_them() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let names = Names::default();
        let watch = Watch { path: file.path().to_owned(), sink: &names };
        let text = "stage: packages 1\nprocessing: install: a\nstatus: a: half-installed\nstatus: a: unpacked\nstatus: a:amd64: \
                    installed\nstage: initramfs\nstage: arch";
        watch.during(|| fs::write(file.path(), text)).unwrap();
        let told = names.0.into_inner().unwrap();
        assert_eq!(told, ["+bootstrap", "-bootstrap", "+packages", "1", "2", "-packages", "+initramfs", "-initramfs"]);
    }

    #[test]
    fn the_hooks_are_short_and_sound() {
        for (name, text) in HOOKS {
            assert!(text.lines().count() <= 50, "{name}");
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), text).unwrap();
            Cmd::new("sh").arg("-n").arg(file.path()).run().unwrap();
        }
    }
}
