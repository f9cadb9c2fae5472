//! Signatures: made by file, agent and command, verified by openssl and by us; where the private keys are not.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Signer, Warm, demanding};
use serde_json::Value;

const USAGE: i32 = Kind::Usage.exit_code() as i32;
const INVALID: i32 = Kind::Invalid.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;

/// Lets the recipe of `warm` name the keys of `signer`, and `image` for its updates.
pub fn name_keys(warm: &Warm, signer: &Signer, image: &str) -> Result<()> {
    let folder = warm.recipe.parent().context("a recipe lies in a folder")?;
    let recipe = fs::read_to_string(&warm.recipe)?;
    fs::write(&warm.recipe, demanding(&recipe, folder, image, signer, signer)?)?;
    Ok(())
}

fn text(warm: &Warm, name: &str) -> Result<String> {
    let path = warm.scratch.path().join("out").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

pub fn run(program: &str, args: &[&str]) -> Result<Output> {
    Command::new(program).args(args).output().with_context(|| program.to_owned())
}

pub fn must(program: &str, args: &[&str]) -> Result<Vec<u8>> {
    let done = run(program, args)?;
    ensure!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(done.stdout)
}

/// Fails when a file below `folder` has one of `secrets`.
pub fn has_none(folder: &Path, secrets: &[Vec<u8>]) -> Result<usize> {
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

pub fn has_secret(bytes: &[u8], secrets: &[Vec<u8>]) -> bool {
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
