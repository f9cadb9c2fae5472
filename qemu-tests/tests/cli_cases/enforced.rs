//! Signatures enforced: the image's own skopeo and this machine's libostree, with the rules that the image ships, take what is signed and
//! refuse what is unsigned, foreign or altered, each in their own words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Registry, Signer, Warm, its_program, root_file};
use serde_json::Value;

use crate::signatures::{must, name_keys, run};

const BRANCH: &str = "basalt/gpu-node/amd64";

/// Fails when it does not fail with one of these words.
#[track_caller]
fn refused(done: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "it was taken; needed {words:?}");
    assert!(words.iter().any(|word| said.contains(word)), "needed one of {words:?}, found:\n{said}");
}

/// The rules of the image in `out`, with the key's path as the only thing that is another; and its skopeo with its libraries. (That of
/// Debian 12 has sigstore's signatures patched out.)
struct Rules {
    policy: PathBuf,
    registries: PathBuf,
    /// The words that run skopeo.
    skopeo: Vec<String>,
}

fn rules(warm: &Warm) -> Result<Rules> {
    let (disk, manifest) = (warm.scratch.path().join("out/gpu-node.raw"), warm.manifest("out")?);
    let deployment = format!("/ostree/deploy/gpu-node/deploy/{}.0", manifest["commit"].as_str().context("no commit")?);
    let read = |path: &str| root_file(&disk, &manifest, &format!("{deployment}{path}"));
    let shipped = "/usr/lib/basalt/keys/image.pub";
    let key = warm.scratch.write("rules/image.pub", read(shipped)?)?;
    let policy = String::from_utf8(read("/etc/containers/policy.json")?)?;
    ensure!(policy.contains(shipped), "{policy}");
    let policy = warm.scratch.write("rules/policy.json", policy.replace(shipped, &key.display().to_string()))?;
    let registries = warm.scratch.write("rules/registries.d/basalt.yaml", read("/etc/containers/registries.d/basalt.yaml")?)?;
    let skopeo = its_program(warm, manifest["commit"].as_str().context("no commit")?, "/usr/bin/skopeo")?;
    Ok(Rules { policy, registries: registries.parent().context("no folder")?.to_owned(), skopeo })
}

#[test]
fn cli_signatures_of_images_are_enforced_by_the_policy_that_the_image_ships() -> Result<()> {
    let warm = Warm::new()?;
    let registry = Registry::start(&warm.scratch)?;
    let signer = Signer::new(&warm.scratch, "signer")?;
    let foreign = Signer::new(&warm.scratch, "foreign")?;
    let repository = format!("{}/hosts/gpu-node", registry.host);
    let plain = fs::read_to_string(&warm.recipe)?;
    let out = warm.scratch.path().join("out");
    let build = |by: &Signer, version: &str| -> Result<()> {
        fs::write(&warm.recipe, plain.replacen("version = \"0.1.0\"", &format!("version = {version:?}"), 1))?;
        name_keys(&warm, by, &format!("{repository}:stable"))?;
        warm.build("out")?.args(["--format", "raw,oci"]).run(&warm.scratch)?.exits(0);
        Ok(())
    };
    let push = |image: &str| -> Result<Value> {
        let ran =
            warm.basalt(["push", "--json", "--authfile"]).arg(&registry.auth_file).arg("--cert-dir").arg(&registry.certificates);
        let ran = ran.arg(&out).arg(image).run(&warm.scratch)?.exits(0);
        Ok(serde_json::from_str(ran.stdout.lines().last().context("no result")?)?)
    };
    let certificates = registry.certificates.display().to_string();
    let login = registry.auth_file.display().to_string();
    let copy_in_registry = |from: &str, to: &str| {
        let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
        let known = ["--src-cert-dir", &certificates, "--dest-cert-dir", &certificates, "--authfile", &login];
        must("skopeo", &[&["--insecure-policy", "copy", "--preserve-digests"][..], &known, &[&from, &to]].concat())
    };
    build(&signer, "1")?;
    let rules = rules(&warm)?;
    let pull = |image: &str| -> Result<Output> {
        let folder = warm.scratch.path().join("pulled");
        let _ = fs::remove_dir_all(&folder);
        let (policy, registries) = (rules.policy.display().to_string(), rules.registries.display().to_string());
        let (from, to) = (format!("docker://{image}"), format!("dir:{}", folder.display()));
        let known = ["--src-cert-dir", &certificates, "--authfile", &login, &from, &to];
        let skopeo: Vec<_> = rules.skopeo.iter().map(String::as_str).collect();
        let copy = ["--policy", &policy, "--registries.d", &registries, "copy", "--remove-signatures"];
        run(skopeo[0], &[&skopeo[1..], &copy, &known].concat())
    };

    // Unsigned.
    let unsigned = push(&format!("{repository}:unsigned"))?;
    assert_eq!(unsigned["signature"], Value::Null);
    refused(&pull(&format!("{repository}:unsigned"))?, &["A signature was required, but no signature exists"]);

    // Signed.
    signer.by_file(warm.basalt(["sign"]).arg(&out)).run(&warm.scratch)?.exits(0);
    let signed = push(&format!("{repository}:signed"))?;
    let tag = signed["signature"].as_str().context("no signature")?.to_owned();
    let digest = signed["digest"].as_str().context("no digest")?.to_owned();
    assert_eq!(tag, format!("{repository}:{}.sig", digest.replace(':', "-")));
    let pulled = pull(&format!("{repository}:signed"))?;
    ensure!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    // By its digest, too: the signature is for the repository.
    let pulled = pull(&format!("{repository}@{digest}"))?;
    ensure!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));

    // Altered: another image under the signature of this one.
    build(&signer, "2")?;
    let altered = push(&format!("{repository}:altered"))?;
    let other = altered["digest"].as_str().context("no digest")?.replace(':', "-");
    copy_in_registry(&tag, &format!("{repository}:{other}.sig"))?;
    refused(&pull(&format!("{repository}:altered"))?, &["does not match"]);

    // Signed by somebody else, rightly in that one's eyes.
    build(&foreign, "3")?;
    foreign.by_file(warm.basalt(["sign"]).arg(&out)).run(&warm.scratch)?.exits(0);
    push(&format!("{repository}:foreign"))?;
    refused(&pull(&format!("{repository}:foreign"))?, &["signature verification failed", "invalid signature"]);

    // In a repository of which the recipe does not speak.
    let elsewhere = format!("{}/elsewhere/gpu-node", registry.host);
    copy_in_registry(&tag, &tag.replace(&repository, &elsewhere))?;
    copy_in_registry(&format!("{repository}:signed"), &format!("{elsewhere}:signed"))?;
    refused(&pull(&format!("{elsewhere}:signed"))?, &["is rejected by policy"]);
    Ok(())
}

#[test]
fn cli_signatures_of_commits_are_enforced_by_the_remote_that_the_image_ships() -> Result<()> {
    let warm = Warm::new()?;
    let signer = Signer::new(&warm.scratch, "signer")?;
    let foreign = Signer::new(&warm.scratch, "foreign")?;
    name_keys(&warm, &signer, "registry.example.org/hosts/gpu-node:stable")?;
    let build = || warm.build("out").map(|build| build.args(["--format", "raw,oci"]));
    let commit = || -> Result<String> { Ok(warm.manifest("out")?["commit"].as_str().context("no commit")?.to_owned()) };
    let disk = warm.scratch.path().join("out/gpu-node.raw");
    let metadata = |commit: &str| {
        root_file(&disk, &warm.manifest("out")?, &format!("/ostree/repo/objects/{}/{}.commitmeta", &commit[..2], &commit[2..]))
    };
    build()?.run(&warm.scratch)?.exits(0);
    let first = commit()?;
    let unsigned = metadata(&first)?;
    let manifest = warm.manifest("out")?;
    let read = |path: &str| root_file(&disk, &manifest, &format!("/ostree/deploy/gpu-node/deploy/{first}.0{path}"));
    let remote = String::from_utf8(read("/etc/ostree/remotes.d/basalt.conf")?)?;
    let shipped = "/usr/lib/basalt/keys/commit.gpg";
    let key = warm.scratch.write("rules/commit.gpg", read(shipped)?)?;
    ensure!(remote.contains(shipped), "{remote}");
    let remote = remote.replace(shipped, &key.display().to_string());
    let origin = root_file(&disk, &manifest, &format!("/ostree/deploy/gpu-node/deploy/{first}.0.origin"))?;
    assert_eq!(
        String::from_utf8(origin)?,
        "[origin]\ncontainer-image-reference=ostree-remote-registry:basalt:registry.example.org/hosts/gpu-node:stable\n"
    );
    signer.by_file(warm.basalt(["sign"]).arg(warm.scratch.path().join("out"))).run(&warm.scratch)?.exits(0);
    let signed = metadata(&first)?;
    assert!(unsigned.len() == signed.len() && unsigned != signed);
    in_the_layer(&warm, &first, &signed)?;

    // Another version, whose commit is not signed.
    let recipe = fs::read_to_string(&warm.recipe)?;
    fs::write(&warm.recipe, recipe.replacen("version = \"0.1.0\"", "version = \"0.2.0\"", 1))?;
    build()?.run(&warm.scratch)?.exits(0);
    let second = commit()?;
    assert_ne!(first, second);

    // The node's libostree takes commits from a repository.
    let from = warm.scratch.path().join("from").display().to_string();
    let store = warm.cache.join("ostree/repo").display().to_string();
    let repo = format!("--repo={from}");
    must("ostree", &[&repo, "init", "--mode=archive"])?;
    for commit in [&first, &second] {
        must("ostree", &[&repo, "pull-local", "--commit-metadata-only", &store, commit])?;
    }
    let put = |commit: &str, bytes: Option<&[u8]>| -> Result<()> {
        let path = Path::new(&from).join("objects").join(&commit[..2]).join(format!("{}.commitmeta", &commit[2..]));
        match bytes {
            Some(bytes) => fs::write(&path, bytes)?,
            None => drop(fs::remove_file(&path)),
        }
        must("ostree", &[&repo, "refs", "--force", &format!("--create={BRANCH}"), commit]).map(drop)
    };
    let pull = || -> Result<(PathBuf, Output)> {
        let node = warm.scratch.path().join("node");
        let _ = fs::remove_dir_all(&node);
        let repo = format!("--repo={}", node.display());
        must("ostree", &[&repo, "init", "--mode=bare-user"])?;
        let config = fs::read_to_string(node.join("config"))?;
        fs::write(node.join("config"), format!("{config}\n{remote}"))?;
        let url = format!("--url=file://{from}");
        let done = run("ostree", &[&repo, "pull", "--commit-metadata-only", &url, "basalt", BRANCH])?;
        Ok((node, done))
    };
    put(&first, Some(&signed))?;
    let (node, done) = pull()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let shown = must("ostree", &[&format!("--repo={}", node.display()), "show", "--gpg-verify-remote=basalt", &first])?;
    let shown = String::from_utf8(shown)?;
    assert!(shown.contains("Good signature from \"signer <signer@example.org>\""), "{shown}");

    let no_signature = ["no signatures found"];
    put(&first, None)?;
    refused(&pull()?.1, &no_signature);
    put(&first, Some(&unsigned))?;
    refused(&pull()?.1, &no_signature);
    // Another commit with this one's signature.
    put(&second, Some(&signed))?;
    refused(&pull()?.1, &["BAD signature"]);
    // By somebody else, with ostree's own program.
    put(&second, None)?;
    let home = format!("--gpg-homedir={}", foreign.home.display());
    must("ostree", &[&repo, "gpg-sign", &home, &second, &foreign.fingerprint])?;
    refused(&pull()?.1, &["public key not found"]);
    Ok(())
}

/// The image has the same metadata, right behind the commit: there ostree-ext reads it.
fn in_the_layer(warm: &Warm, commit: &str, signed: &[u8]) -> Result<()> {
    let image = warm.scratch.path().join("out/gpu-node.oci");
    let blob =
        |digest: &Value| image.join("blobs/sha256").join(digest.as_str().unwrap_or_default().trim_start_matches("sha256:"));
    let index: Value = serde_json::from_slice(&fs::read(image.join("index.json"))?)?;
    let manifest: Value = serde_json::from_slice(&fs::read(blob(&index["manifests"][0]["digest"]))?)?;
    let layer = blob(&manifest["layers"][0]["digest"]).display().to_string();
    let names = String::from_utf8(must("tar", &["-tzf", &layer])?)?;
    let object = format!("sysroot/ostree/repo/objects/{}/{}", &commit[..2], &commit[2..]);
    let mut objects = names.lines().filter(|name| name.contains("/objects/") && !name.ends_with('/'));
    assert_eq!(objects.next(), Some(format!("{object}.commit").as_str()));
    assert_eq!(objects.next(), Some(format!("{object}.commitmeta").as_str()));
    assert_eq!(must("tar", &["-xzOf", &layer, &format!("{object}.commitmeta")])?, signed);
    Ok(())
}
