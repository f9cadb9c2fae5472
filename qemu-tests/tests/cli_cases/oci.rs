//! The OCI image: built, inspected, sent to a registry with TLS and a login, and read by skopeo.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use basalt::failure::Kind;
use qemu_tests::draft::{self, Draft};
use qemu_tests::{Ran, Registry, Warm, auth_file, free_port, its_program, reference_image, root_folder, run};
use serde_json::Value;

use crate::failing::failing;

const FAILED: i32 = Kind::Failed.exit_code() as i32;
const USAGE: i32 = Kind::Usage.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;

const FILE: &str = "\n[[file]]\npath = \"/usr/lib/case/file\"\ntext = \"VERSION\"\nmode = \"0640\"\n";

/// The last line of standard output.
fn result(ran: &Ran) -> Result<Value> {
    Ok(serde_json::from_str(ran.stdout.lines().last().context("no result")?)?)
}

#[test]
fn cli_oci_goes_to_a_registry_and_a_small_change_moves_little() -> Result<()> {
    let warm = Warm::new()?;
    let registry = Registry::start(&warm.scratch)?;
    let recipe = fs::read_to_string(&warm.recipe)?;
    let build = |version: &str, out: &str| -> Result<()> {
        fs::write(&warm.recipe, recipe.clone() + &FILE.replace("VERSION", version))?;
        warm.build(out)?.args(["--format", "oci"]).run(&warm.scratch)?.exits(0);
        Ok(())
    };
    let push = |out: &str, tag: &str| -> Result<Value> {
        let image = format!("{}/hosts/gpu-node{tag}", registry.host);
        let ran = warm
            .basalt(["push", "--json", "--authfile"])
            .arg(&registry.auth_file)
            .arg("--cert-dir")
            .arg(&registry.certificates)
            .arg(warm.scratch.path().join(out))
            .arg(image)
            .run(&warm.scratch)?
            .exits(0);
        result(&ran)
    };
    build("one", "one")?;
    let first = push("one", ":1")?;
    assert_eq!(first["layers-sent"], first["layers"], "{first}");
    assert_eq!(first["bytes-sent"], first["bytes"], "{first}");
    let again = push("one", ":again")?;
    assert_eq!((again["layers-sent"].as_u64(), again["digest"].as_str()), (Some(0), first["digest"].as_str()), "{again}");

    // skopeo has the same image, whole: it reads every blob and compares its digest.
    let inspected: Value = serde_json::from_str(&registry.inspect("hosts/gpu-node:1")?)?;
    assert_eq!(inspected["Digest"], first["digest"]);
    let manifest = warm.manifest("one")?;
    assert_eq!(inspected["Labels"]["ostree.commit"], manifest["commit"]);
    assert_eq!(inspected["Labels"]["org.basalt.plan"], manifest["plan"]);
    let folder = warm.scratch.folder("pulled")?;
    let name = format!("hosts/gpu-node@{}", first["digest"].as_str().unwrap_or_default());
    registry.get(&name, &format!("oci:{}:pulled", folder.display()))?;
    let inspect = |path: &std::path::Path| -> Result<Value> {
        let ran = warm.basalt(["inspect", "--json"]).arg(path).run(&warm.scratch)?.exits(0);
        Ok(serde_json::from_str(&ran.stdout)?)
    };
    let (pulled, ours) = (inspect(&folder)?, inspect(&warm.scratch.path().join("one/gpu-node.oci"))?);
    for key in ["digest", "commit", "plan", "kernel", "layers", "size"] {
        assert_eq!(pulled["images"][0][key], ours["images"][0][key], "{key}");
    }

    build("two", "two")?;
    let update = push("two", "")?;
    println!("one changed file: {} of {} bytes sent", update["bytes-sent"], update["bytes"]);
    // The commit with its folders, the file, and what says which image it is.
    assert_eq!(update["layers-sent"], 3, "{update}");
    let (sent, all) = (update["bytes-sent"].as_u64().context("no bytes")?, update["bytes"].as_u64().context("no bytes")?);
    assert!(sent * 20 < all, "{update}");
    assert!(update["image"].as_str().is_some_and(|image| image.ends_with(":0.1.0")), "the tag is the version: {update}");

    let at = |out: &str| warm.scratch.path().join(out).join("gpu-node.oci");
    let differ = warm.basalt(["diff", "--json"]).arg(at("one")).arg(at("two")).run(&warm.scratch)?.exits(0);
    let differ: Value = serde_json::from_str(&differ.stdout)?;
    let files = differ["files"].as_array().context("no files")?;
    let paths: Vec<_> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    // The plan's identity is in the image.
    assert_eq!(paths, ["/usr/lib/basalt/image.json", "/usr/lib/case/file"], "{differ}");
    Ok(())
}

/// Each layer that ostree-ext has pulled, and the commit that it made of it.
fn pulled_layers(repo: &Path) -> Result<BTreeMap<String, String>> {
    let folder = repo.join("refs/heads/ostree/container/blob");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    entries
        .map(|entry| {
            let path = entry?.path();
            let name = path.file_name().context("no name")?.to_string_lossy().into_owned();
            Ok((name, fs::read_to_string(path)?))
        })
        .collect()
}

#[test]
fn cli_oci_a_disk_knows_the_layers_that_it_holds() -> Result<()> {
    let (image, manifest, warm) = (reference_image()?, Warm::expected()?, Warm::new()?);
    // What a node's update client makes of the same image.
    let repo = warm.scratch.path().join("repo");
    let option = format!("--repo={}", repo.display());
    run(Command::new("ostree").args([&option, "init", "--mode=bare-user"]))?;
    let source = format!("ostree-unverified-image:oci:{}", image.artefact("oci")?.display());
    let commit = manifest["commit"].as_str().context("no commit")?;
    let client = its_program(&warm, commit, "/usr/libexec/libostree/ext/ostree-container")?;
    run(Command::new(&client[0]).args(&client[1..]).args(["image", "pull", "--quiet"]).arg(&repo).arg(source))?;
    let pulled = pulled_layers(&repo)?;
    let held = root_folder(&image.artefact("raw")?, &manifest, "/ostree/repo/refs", &warm.scratch.folder("refs")?)?;
    let held = pulled_layers(held.parent().context("no parent")?)?;
    // The layer with the commit itself, which is other in each version.
    let missing: Vec<_> = pulled.keys().filter(|layer| !held.contains_key(*layer)).collect();
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(held.iter().all(|(layer, commit)| pulled.get(layer) == Some(commit)), "{held:#?}\n{pulled:#?}");
    Ok(())
}

#[test]
fn cli_oci_that_is_altered_is_named_by_its_layer() -> Result<()> {
    let warm = Warm::new()?;
    warm.build("out")?.args(["--format", "oci"]).run(&warm.scratch)?.exits(0);
    let image = warm.scratch.path().join("out/gpu-node.oci");
    let verify = || warm.basalt(["verify"]).arg(&image).run(&warm.scratch);
    assert_eq!(verify()?.exits(0).stdout, "manifest.json: good\ngpu-node.oci: good\n");
    let out = warm.scratch.path().join("out");
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(out))?;
    // Built again from the same inputs, compressed layers and all.
    fs::remove_dir_all(warm.cache.join("oci-layer"))?;
    let rebuild = || warm.basalt(["verify", "--offline", "--rebuild"]).arg(&warm.recipe).arg(&image).run(&warm.scratch);
    assert!(rebuild()?.exits(0).stdout.ends_with("gpu-node.oci built again: good\n"));

    let found: Value = serde_json::from_str(&warm.basalt(["inspect", "--json"]).arg(&image).run(&warm.scratch)?.exits(0).stdout)?;
    let layers = found["images"][0]["layers"].as_array().context("no layers")?;
    let kernel = layers.iter().find(|layer| layer["comment"] == "linux-signed-amd64").context("no layer of the kernel")?;
    let digest = kernel["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).context("no digest")?;
    let blob = File::options().read(true).write(true).open(image.join("blobs/sha256").join(digest))?;
    let mut byte = [0];
    blob.read_exact_at(&mut byte, 20 << 20)?;
    blob.write_all_at(&[byte[0] ^ 1], 20 << 20)?;
    let words = format!("layer linux-signed-amd64 (blobs/sha256/{digest}): needed ");
    assert!(verify()?.exits(VERIFICATION).stdout.contains(&words));
    assert!(rebuild()?.exits(VERIFICATION).stdout.contains(&words));
    // The next build mends it.
    warm.build("out")?.args(["--format", "oci"]).run(&warm.scratch)?.exits(0);
    verify()?.exits(0);

    let archive = warm.scratch.path().join("whole.tar");
    let (from, to) = (format!("oci:{}", image.display()), format!("oci-archive:{}", archive.display()));
    run(Command::new("skopeo").args(["--insecure-policy", "copy", &from, &to]))?;
    let from_archive: Value =
        serde_json::from_str(&warm.basalt(["inspect", "--json"]).arg(&archive).run(&warm.scratch)?.exits(0).stdout)?;
    assert_eq!(from_archive["format"], "oci-archive");
    assert_eq!(from_archive["images"][0]["layers"], found["images"][0]["layers"]);
    File::options().write(true).open(&archive)?.set_len(15 << 20)?;
    warm.basalt(["inspect"]).arg(&archive).run(&warm.scratch)?.exits(INPUT).says("whole.tar: ").says("next: ");
    Ok(())
}

#[test]
fn cli_oci_push_says_why_a_registry_refuses() -> Result<()> {
    let warm = Warm::new()?;
    let registry = Registry::start(&warm.scratch)?;
    // A small image will do: what fails does so before the first layer.
    let archive = warm.scratch.path().join("small.ociarchive");
    let folder = warm.scratch.folder("small")?;
    Draft::new(&[&draft::archive(&[])]).write(&folder)?;
    let (from, to) = (format!("oci:{}", folder.display()), format!("oci-archive:{}", archive.display()));
    run(Command::new("skopeo").args(["--insecure-policy", "copy", &from, &to]))?;
    let push = |host: &str, args: &[&str]| {
        warm.basalt(["push", "--retry", "0"]).args(args).arg(&archive).arg(format!("{host}/x:1")).run(&warm.scratch)
    };
    let certificates = registry.certificates.display().to_string();
    let known = ["--cert-dir", certificates.as_str()];
    let login = registry.auth_file.display().to_string();
    let wrong = auth_file(&warm.scratch, &registry.host, "case:wrong")?.display().to_string();

    push(&registry.host, &["--authfile", &login])?
        .exits(FAILED)
        .says("authority that this machine does not know")
        .says("--cert-dir");
    push(&registry.host, &known)?.exits(FAILED).says("it wants a login").says("--authfile");
    push(&registry.host, &[&known[..], &["--authfile", &wrong]].concat())?.exits(FAILED).says("it wants a login");
    push(&format!("localhost:{}", free_port()?), &known)?.exits(FAILED).says("it cannot be reached").says("next: ");
    for (status, words) in [(429, "it takes no more requests for now"), (500, "it failed by itself")] {
        let simulator = failing(&registry, &format!("status={status}"), &folder)?;
        push(&simulator.host, &known)?.exits(FAILED).says(words).says("next: ");
    }
    push(&registry.host, &[&known[..], &["--authfile", &login]].concat())?.exits(0);
    push("x", &[])?.exits(USAGE).says("needed a registry's host").says("next: ");
    warm.basalt(["push"]).arg(warm.scratch.path().join("none")).arg("localhost:1/x").run(&warm.scratch)?.exits(INPUT);
    warm.basalt(["push"])
        .arg(warm.scratch.folder("empty")?)
        .arg("localhost:1/x")
        .run(&warm.scratch)?
        .exits(INPUT)
        .says("--format oci");
    Ok(())
}
