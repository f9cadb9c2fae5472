//! Bases from registries that refuse, fail, fall silent or serve other bytes: message and exit code of each, and that nothing stays of the
//! attempt that was not whole.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use basalt::failure::Kind;
use qemu_tests::draft::{Draft, Member, archive, system};
use qemu_tests::{Basalt, Ran, Registry, Scratch, assert_whole, auth_file, free_port};

use crate::failing::failing;

const FAILED: i32 = Kind::Failed.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const NAME: &str = "hosts/system:1";
/// Longer than a local registry ever takes, and shorter than a simulator's layer trickles in.
const SILENCE: &str = "2";

/// A registry, and an image for it in the folder `image`, whose longest blob is its layer.
struct Case {
    scratch: Scratch,
    registry: Registry,
}

impl Case {
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        // Nothing makes these bytes shorter.
        let mut state = 1_u32;
        let noise = (0..1 << 20).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let mut members = system();
        members.push(Member::file("usr/share/case/noise", noise.collect::<Vec<_>>()));
        let case = Self { registry: Registry::start(&scratch)?, scratch };
        Draft::new(&[&archive(&members)]).write(&case.image())?;
        Ok(case)
    }

    fn image(&self) -> PathBuf {
        self.scratch.path().join("image")
    }

    fn put(&self) -> Result<()> {
        self.registry.put(&format!("oci:{}", self.image().display()), NAME)
    }

    /// Builds with a base from `host`; `out` must not be there before.
    fn build(&self, host: &str, args: &[&str]) -> Result<Ran> {
        let recipe =
            format!("name = \"case\"\nversion = \"1\"\n[base]\nkind = \"oci\"\nfrom = \"{host}/{NAME}\"\nminimal = true\n");
        self.scratch.write("case.toml", recipe)?;
        Basalt::new(["build", "case.toml", "--out", "out", "--timeout", SILENCE])
            .args(args)
            .folder(self.scratch.path())
            .cache(&self.scratch.path().join("cache"))
            .limit(Duration::from_secs(60))
            .run(&self.scratch)
    }

    fn known(&self) -> [String; 2] {
        ["--cert-dir".to_owned(), self.registry.certificates.display().to_string()]
    }

    /// With the registry's certificate and the arguments `args`, without a second try.
    fn known_build(&self, host: &str, args: &[&str]) -> Result<Ran> {
        let known = self.known();
        self.build(host, &[&["--retry", "0", &known[0], &known[1]], args].concat())
    }

    /// Nothing was made, and no half of anything lies in the cache.
    fn nothing_stayed(&self) {
        assert_whole(&self.scratch.path().join("cache"), &["blobs"]);
        assert_eq!(fs::read_dir(self.scratch.path().join("out")).map_or(0, Iterator::count), 0);
    }

    /// Where the registry keeps the layer.
    fn stored_layer(&self) -> Result<PathBuf> {
        let blobs = self.image().join("blobs/sha256");
        let sizes = fs::read_dir(blobs)?
            .map(|entry| Ok((entry.as_ref().map_or(0, |entry| entry.metadata().map_or(0, |m| m.len())), entry?)));
        let longest = sizes.collect::<Result<Vec<_>>>()?.into_iter().max_by_key(|(size, _)| *size).context("no blob")?.1;
        let hex = longest.file_name().to_string_lossy().into_owned();
        let path = self.registry.data().join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(&hex).join("data");
        anyhow::ensure!(path.is_file(), "{} is not there", path.display());
        Ok(path)
    }
}

#[test]
fn cli_a_base_says_why_a_registry_refuses() -> Result<()> {
    let case = Case::new()?;
    case.put()?;
    let host = case.registry.host.clone();
    let login = case.registry.auth_file.display().to_string();
    let wrong = auth_file(&case.scratch, &host, "case:wrong")?.display().to_string();
    let name = format!("{host}/{NAME}");
    let says = |ran: Ran, words: &str| ran.exits(FAILED).says(&name).says(words).says("next: ");

    says(case.build(&host, &["--authfile", &login])?, "authority that this machine does not know").says("--cert-dir");
    says(case.known_build(&host, &[])?, "it wants a login that may pull there").says("--authfile");
    says(case.known_build(&host, &["--authfile", &wrong])?, "it wants a login that may pull there");
    let none = format!("localhost:{}", free_port()?);
    case.known_build(&none, &[])?.exits(FAILED).says(&format!("{none}/{NAME}: it cannot be reached")).says("next: ");
    let empty = Case::new()?;
    let login_there = empty.registry.auth_file.display().to_string();
    let ran = empty.known_build(&empty.registry.host, &["--authfile", &login_there])?;
    ran.exits(FAILED).says("it has no such image").says("check name and tag");
    case.nothing_stayed();
    case.known_build(&host, &["--authfile", &login])?.exits(0);
    Ok(())
}

#[test]
fn cli_a_base_says_how_a_registry_fails() -> Result<()> {
    let case = Case::new()?;
    for (fault, words) in [
        ("status=401", "it wants a login that may pull there"),
        ("status=403", "it wants a login that may pull there"),
        ("status=404", "it has no such image"),
        ("status=429", "it takes no more requests for now"),
        ("status=500", "it failed by itself"),
        ("status=503", "it failed by itself"),
        ("silent", "it has sent nothing for 2 seconds"),
        ("stalls", "it has sent nothing for 2 seconds"),
        ("cut", ""),
    ] {
        let simulator = failing(&case.registry, fault, &case.image())?;
        let ran = case.known_build(&simulator.host, &[])?;
        println!("{fault} ({} ms): {}", ran.took.as_millis(), ran.stderr);
        ran.exits(FAILED).says(&simulator.host).says(words).says("next: ");
        case.nothing_stayed();
    }
    Ok(())
}

#[test]
fn cli_a_base_comes_from_a_registry_that_is_slow_or_fails_once() -> Result<()> {
    let case = Case::new()?;
    let known = case.known();
    for (fault, retry) in [("trickles", "0"), ("once=503", "3")] {
        let simulator = failing(&case.registry, fault, &case.image())?;
        let ran = case.build(&simulator.host, &["--retry", retry, &known[0], &known[1]])?.exits(0);
        println!("{fault}: {} ms", ran.took.as_millis());
        fs::remove_dir_all(case.scratch.path().join("out"))?;
        fs::remove_dir_all(case.scratch.path().join("cache"))?;
    }
    Ok(())
}

/// The registry's own files are changed under it, so that it serves other bytes than it was given.
#[test]
fn cli_a_base_that_a_registry_altered_is_refused() -> Result<()> {
    type Change<'a> = &'a dyn Fn(&std::path::Path) -> Result<()>;
    let altered = |path: &std::path::Path| -> Result<()> {
        let mut bytes = fs::read(path)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Ok(fs::write(path, bytes)?)
    };
    let cut = |path: &std::path::Path| -> Result<()> {
        let file = File::options().write(true).open(path)?;
        Ok(file.set_len(file.metadata()?.len() / 2)?)
    };
    let gone = |path: &std::path::Path| -> Result<()> { Ok(fs::remove_file(path)?) };
    let rows: [(&str, Change<'_>, i32); 3] = [("altered", &altered, INPUT), ("cut", &cut, INPUT), ("gone", &gone, FAILED)];
    for (what, change, code) in rows {
        let case = Case::new()?;
        case.put()?;
        change(&case.stored_layer()?)?;
        let login = case.registry.auth_file.display().to_string();
        let ran = case.known_build(&case.registry.host, &["--authfile", &login])?;
        println!("{what}: {}", ran.stderr);
        ran.exits(code).says(&case.registry.host).says("next: ");
        case.nothing_stayed();
    }
    Ok(())
}
