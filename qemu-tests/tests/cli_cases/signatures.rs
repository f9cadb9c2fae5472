//! Signatures: made by file, agent and command; read by libostree, skopeo and openssl with the rules that the image itself ships; what is
//! unsigned, foreign or altered is refused, each in its own words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Registry, Signer, Warm, root_file};
use serde_json::Value;

const USAGE: i32 = Kind::Usage.exit_code() as i32;
const INVALID: i32 = Kind::Invalid.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;
const BRANCH: &str = "basalt/gpu-node/amd64";

/// Lets the recipe of `warm` name the keys of `signer`, and `image` for its updates.
fn name_keys(warm: &Warm, signer: &Signer, image: &str) -> Result<()> {
    let folder = warm.recipe.parent().context("a recipe lies in a folder")?;
    let recipe = fs::read_to_string(&warm.recipe)?;
    let sign = signer.recipe(folder)?;
    fs::write(&warm.recipe, format!("{recipe}{sign}\n[update]\nimage = {image:?}\n"))?;
    Ok(())
}

fn text(warm: &Warm, name: &str) -> Result<String> {
    let path = warm.scratch.path().join("out").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

fn run(program: &str, args: &[&str]) -> Result<Output> {
    Command::new(program).args(args).output().with_context(|| program.to_owned())
}

fn must(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let done = run(program, args)?;
    ensure!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}

/// Fails when it does not fail with one of these words.
#[track_caller]
fn refused(done: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success(), "it was taken; needed {words:?}");
    assert!(words.iter().any(|word| said.contains(word)), "needed one of {words:?}, found:\n{said}");
}

/// Fails when a file below `folder` has one of `secrets`.
fn has_none(folder: &Path, secrets: &[Vec<u8>]) -> Result<usize> {
    let mut looked = 0;
    for entry in fs::read_dir(folder)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        let kind = kind?;
        if kind.is_dir() {
            looked += has_none(&path, secrets)?;
        } else if kind.is_file() {
            assert!(!has_secret(&fs::read(&path)?, secrets), "{} has a private key", path.display());
            looked += 1;
        }
    }
    Ok(looked)
}

fn has_secret(bytes: &[u8], secrets: &[Vec<u8>]) -> bool {
    secrets.iter().any(|secret| {
        let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == secret[0]);
        starts.into_iter().any(|(at, _)| bytes[at..].starts_with(secret))
    })
}

#[test]
fn cli_signatures_are_made_by_file_agent_and_command_and_keys_go_nowhere() -> Result<()> {
    let warm = Warm::new()?;
    let signer = Signer::new(&warm.scratch, "signer")?;
    let foreign = Signer::new(&warm.scratch, "foreign")?;
    name_keys(&warm, &signer, "registry.example.org/hosts/gpu-node:stable")?;
    let out = warm.scratch.path().join("out");
    let build = || warm.build("out").map(|build| build.args(["--format", "raw,qcow2,oci"]));
    let verify = |args: &[&str]| warm.basalt(["verify"]).args(args).arg(&out).run(&warm.scratch);
    let sign = || warm.basalt(["sign"]).arg(&out);

    // Without a private key: whole, and said to be unsigned.
    let built = build()?.run(&warm.scratch)?.exits(0);
    let last: Vec<_> = built.stdout.lines().rev().take(3).collect();
    assert!(last[0].contains("next: basalt sign") && last[1].contains("unsigned: the image") && last[2].contains("the commit"));
    let unsigned = warm.manifest("out")?;
    let found = verify(&[])?.exits(0).stdout;
    for line in ["gpu-node.raw: commit unsigned\n", "gpu-node.oci: commit unsigned\n", "gpu-node.oci: image unsigned\n"] {
        assert!(found.contains(line), "{found}");
    }
    let (commit, image) = (signer.commit_public.display().to_string(), signer.image_public.display().to_string());
    verify(&["--trust-commit", &commit])?.exits(VERIFICATION).says("gpu-node.raw: its commit is unsigned").says("next: sign it");
    verify(&["--trust-image", &image])?.exits(VERIFICATION).says("gpu-node.oci: its image is unsigned");
    sign().run(&warm.scratch)?.exits(USAGE).says("needed a private key").says("--commit-key");

    // A private key that is not the recipe's signs nothing.
    let ran = sign().arg("--commit-key").arg(&foreign.commit_key).run(&warm.scratch)?.exits(INPUT);
    ran.says("its signature is not one of the recipe's keys: it is of another key")
        .says("next: sign with a private key of [sign]");
    let ran = sign().arg("--image-key").arg(&foreign.image_key).run(&warm.scratch)?.exits(INPUT);
    ran.says("its signature is not one of the recipe's key: needed key SHA256:").says("next: ");
    sign().arg("--commit-key").arg(&signer.image_key).run(&warm.scratch)?.exits(INPUT).says("gpg cannot take this key");
    sign()
        .arg("--image-key")
        .arg(&signer.commit_key)
        .run(&warm.scratch)?
        .exits(INPUT)
        .says("needed an ECDSA key on the curve P-256");
    assert_eq!(warm.manifest("out")?, unsigned);

    // By file. What it says is looked through for the keys, as everything that it wrote.
    let ran = signer.by_file(sign().args(["-vv"])).run(&warm.scratch)?.exits(0);
    let wanted = format!("gpu-node.raw: commit signed by {}\n", signer.fingerprint);
    assert!(ran.stdout.contains(&wanted) && !ran.stdout.contains("unsigned"), "{}", ran.stdout);
    let secrets = signer.secrets()?;
    assert!(has_secret(&fs::read(&signer.commit_key)?, &secrets) && has_secret(&fs::read(&signer.image_key)?, &secrets));
    for said in [&ran.stdout, &ran.stderr, &built.stdout, &built.stderr] {
        assert!(!has_secret(said.as_bytes(), &secrets));
    }
    let looked = has_none(&out, &secrets)? + has_none(&warm.cache, &secrets)?;
    assert!(looked > 1000, "looked at {looked} files");
    let by_file_manifest = warm.manifest("out")?;
    assert_eq!(by_file_manifest["commit"], unsigned["commit"]);
    assert_eq!(by_file_manifest["plan"], unsigned["plan"]);
    verify(&["--trust-commit", &commit, "--trust-image", &image])?.exits(0);
    let (theirs, their_image) = (foreign.commit_public.display().to_string(), foreign.image_public.display().to_string());
    verify(&["--trust-commit", &theirs])?
        .exits(VERIFICATION)
        .says("gpu-node.raw: wrong signature of its commit: it is of another key");
    verify(&["--trust-image", &their_image])?.exits(VERIFICATION).says("gpu-node.oci: wrong signature of its image");
    let sums = Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(&out).output()?;
    ensure!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    openssl_verifies(&warm, &signer)?;
    // Signing again changes nothing; a build finds all up to date, signatures and all.
    signer.by_file(sign()).run(&warm.scratch)?.exits(0);
    build()?.run(&warm.scratch)?.exits(0);
    assert_eq!(warm.manifest("out")?, by_file_manifest);
    // The disk is what its inputs make, but for the signature.
    let rebuilt =
        warm.basalt(["verify", "--offline", "--rebuild"]).arg(&warm.recipe).arg(&out).run(&warm.scratch)?.exits(0).stdout;
    for name in ["raw", "qcow2", "oci"] {
        assert!(rebuilt.contains(&format!("gpu-node.{name} built again: good\n")), "{rebuilt}");
    }
    let shown = |name: &str| -> Result<Value> {
        let ran = warm.basalt(["inspect", "--json"]).arg(out.join(name)).run(&warm.scratch)?.exits(0);
        Ok(serde_json::from_str(&ran.stdout)?)
    };
    let key = serde_json::json!([signer.fingerprint]);
    assert_eq!(shown("gpu-node.raw")?["deployments"][0]["signed-by"], key);
    assert_eq!(shown("gpu-node.qcow2")?["deployments"][0]["signed-by"], key);
    assert_eq!(shown("gpu-node.oci")?["images"][0]["signed-by"], key);

    // By agents, while it builds. The bytes of what is not signed are the same; so are those of the commit's signature.
    fs::remove_dir_all(&out)?;
    let agent = signer.agent()?;
    let build_signed = build()?.args(["--commit-agent", &signer.fingerprint, "--image-agent"]);
    let build_signed = build_signed.env("GNUPGHOME", &signer.home).env("SSH_AUTH_SOCK", &agent.socket);
    let ran = build_signed.run(&warm.scratch)?.exits(0);
    assert!(!ran.stdout.contains("unsigned"), "{}", ran.stdout);
    assert_eq!(warm.manifest("out")?["artefacts"], by_file_manifest["artefacts"]);
    verify(&["--trust-commit", &commit, "--trust-image", &image])?.exits(0);
    openssl_verifies(&warm, &signer)?;
    let ran = sign().args(["--image-agent", "--repository", "r.example.org/x"]).run(&warm.scratch)?.exits(INPUT);
    ran.says("needed an agent, found no SSH_AUTH_SOCK").says("next: ");
    let other = foreign.agent()?;
    let ran = sign().args(["--image-agent", "--repository", "r.example.org/x"]).env("SSH_AUTH_SOCK", &other.socket);
    ran.run(&warm.scratch)?.exits(INPUT).says("the agent does not sign with the recipe's key");

    // By commands.
    fs::remove_dir_all(&out)?;
    build()?.run(&warm.scratch)?.exits(0);
    assert_eq!(warm.manifest("out")?, unsigned, "unsigned, the same inputs give the same bytes");
    let commit_command = format!("gpg --homedir {} --batch --detach-sign --armor", signer.home.display());
    let image_command = format!("openssl dgst -sha256 -sign {}", signer.image_key.display());
    let ran = sign().args(["--commit-command", &commit_command, "--image-command", &image_command]).run(&warm.scratch)?.exits(0);
    assert!(ran.stdout.contains(&wanted), "{}", ran.stdout);
    verify(&["--trust-commit", &commit, "--trust-image", &image])?.exits(0);
    openssl_verifies(&warm, &signer)?;
    sign()
        .args(["--image-command", "cat", "--repository", "r.example.org/x"])
        .run(&warm.scratch)?
        .says("needed an ECDSA signature");
    sign().args(["--image-command", "false", "--repository", "r.example.org/x"]).run(&warm.scratch)?.says("false failed");
    verify(&["--trust-commit", &commit, "--trust-image", &image])?.exits(0);
    Ok(())
}

/// openssl reads what lies beside the image.
fn openssl_verifies(warm: &Warm, signer: &Signer) -> Result<()> {
    let out = warm.scratch.path().join("out");
    let payload: Value = serde_json::from_str(&text(warm, "gpu-node.oci.payload.json")?)?;
    let image = warm.manifest("out")?["artefacts"][2]["sha256"].as_str().context("no image")?.to_owned();
    assert_eq!(payload["critical"]["image"]["docker-manifest-digest"], format!("sha256:{image}"));
    assert_eq!(payload["critical"]["identity"]["docker-reference"], "registry.example.org/hosts/gpu-node");
    let der = must("base64", &["--decode", &out.join("gpu-node.oci.sig").display().to_string()])?;
    let signature = warm.scratch.write("sig.der", der)?.display().to_string();
    let (key, payload) = (signer.image_public.display().to_string(), out.join("gpu-node.oci.payload.json").display().to_string());
    must("openssl", &["dgst", "-sha256", "-verify", &key, "-signature", &signature, &payload]).map(drop)
}

#[test]
fn cli_signatures_need_public_keys_in_the_recipe() -> Result<()> {
    let warm = Warm::new()?;
    let signer = Signer::new(&warm.scratch, "signer")?;
    let plain = fs::read_to_string(&warm.recipe)?;
    let folder = warm.recipe.parent().context("a recipe lies in a folder")?.to_owned();
    let check = || warm.basalt(["check"]).arg(&warm.recipe).run(&warm.scratch);
    let write = |sign: &str| fs::write(&warm.recipe, format!("{plain}\n[sign]\n{sign}\n"));
    fs::copy(&signer.commit_key, folder.join("commit.key"))?;
    fs::copy(&signer.image_key, folder.join("image.key"))?;
    fs::copy(&signer.image_public, folder.join("image.pub"))?;
    for (sign, words) in [
        ("commit = \"commit.key\"", "is a private key; needed no secret"),
        ("image = \"image.key\"", "is a private key; needed no secret"),
        ("commit = \"image.pub\"", "needed public OpenPGP keys, found no OpenPGP public keys"),
        ("image = \"gpu-node.toml\"", "needed an ECDSA P-256 public key in PEM"),
        ("commit = \"none\"", "needed a file, found: "),
    ] {
        write(sign)?;
        check()?.exits(INVALID).says(words);
    }
    let secret = must("gpg", &["--homedir", &signer.home.display().to_string(), "--batch", "--export-secret-keys"])?;
    fs::write(folder.join("binary"), secret)?;
    write("commit = \"binary\"")?;
    check()?.exits(INVALID).says("found a private key; needed the public one");
    fs::write(&warm.recipe, &plain)?;
    signer.by_file(warm.build("out")?).run(&warm.scratch)?.exits(USAGE).says("needed a public key for its commit").says("[sign]");
    Ok(())
}

/// The rules of the image in `out`, for this machine's skopeo: the key's path is the only thing that is another.
struct Rules {
    policy: PathBuf,
    registries: PathBuf,
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
    Ok(Rules { policy, registries: registries.parent().context("no folder")?.to_owned() })
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
        run(
            "skopeo",
            &[&["--policy", &policy, "--registries.d", &registries, "copy", "--remove-signatures"][..], &known].concat(),
        )
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
    refused(&pull(&format!("{repository}:altered"))?, &["digest"]);

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
