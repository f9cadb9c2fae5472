//! `sign` and `compress` of `[[kernel-module]]`: what sign-file of Debian's kernel makes, what kmod, xz and openssl read; keys in files and in a
//! token; and a private key that is nowhere afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::digest::Digest;
use basalt::failure::Kind;
use basalt::format::module::{self, signature};
use basalt::format::packed::Packing;
use basalt::kmod::signing::{Certificate, Hash};
use basalt::sign::{ModuleKeys, ModuleSigners};
use qemu_tests::{Basalt, KEYS, ModuleKey, Scratch, SignFile, kernel_package, run};

use super::kernel_modules::Case;
use super::signatures::{has_none, has_secret};

const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const OWNER: &str = "CN=module signing,O=Example";
const MODULE: &str = "updates/sampler/act_sample.ko";

/// The entry, with more lines, and the certificate in `kernel.module-keys` where nodes trust it.
fn entry(more: &str, trusted: bool) -> String {
    let trust = if trusted { "[kernel]\nmodule-keys = [\"module.pem\"]\n" } else { "" };
    format!(
        "{trust}\n[[kernel-module]]\nname = \"sampler\"\npath = \"modules\"\nin-tree-modules-to-remove = [\"act_sample\"]\n{more}\n"
    )
}

/// The object of one of Debian's modules: without its signature.
fn object(packed: &[u8]) -> Result<Vec<u8>> {
    Ok(signature::strip(&module::unpack(packed)?)?.to_vec())
}

/// With the object beside the recipe as a module, and the certificate.
fn prepare(case: &Case, key: &ModuleKey) -> Result<Vec<u8>> {
    let object = object(&case.stock("act_sample")?.1)?;
    case.modules(&[("act_sample.ko", &object)])?;
    fs::copy(&key.certificate, case.warm.recipe.with_file_name("module.pem"))?;
    Ok(object)
}

/// The module of the last build, as it lies in its commit.
fn built(case: &Case, out: &str, ending: &str) -> Result<PathBuf> {
    let manifest = case.warm.manifest(out)?;
    let commit = manifest["commit"].as_str().context("no commit")?;
    let path = format!("/usr/lib/modules/{}/{MODULE}{ending}", case.package.release);
    let to = case.warm.scratch.path().join(format!("its-{out}"));
    let name = path.rsplit('/').next().context("a name")?.to_owned();
    case.ostree(&["checkout", "--user-mode", &format!("--subpath={path}"), commit, &to.display().to_string()])?;
    Ok(to.join(name))
}

fn modinfo(path: &Path, field: &str) -> Result<String> {
    Ok(run(Command::new("/sbin/modinfo").args(["-F", field]).arg(path))?.trim().to_owned())
}

#[test]
fn cli_module_signatures_are_those_of_sign_file() -> Result<()> {
    let scratch = Scratch::new()?;
    let (program, package) = (SignFile::new()?, kernel_package()?);
    let stock = run(Command::new("find").arg(&package.modules).args(["-name", "act_sample.ko*"]))?;
    let object = object(&fs::read(stock.trim_end())?)?;
    let path = scratch.path().join("act_sample.ko");
    fs::write(&path, &object)?;
    for (kind, _) in KEYS {
        let key = ModuleKey::new(&scratch, kind)?;
        let pem = fs::read(&key.certificate)?;
        let (certificate, file) = (Certificate::parse(&pem)?, Digest::of(&pem));
        let signers = ModuleSigners { files: vec![key.key.clone()], ..Default::default() };
        for hash in Hash::ALL {
            let theirs = program.sign(hash.word(), &key.key, &key.certificate, &path)?;
            let raw = ModuleKeys::new(&signers).sign(&certificate, &file, hash, &object)?;
            let pkcs7 = certificate.wrap(hash, &raw)?;
            let ours = [&object[..], &signature::trailer(&pkcs7)].concat();
            if kind == "rsa" {
                ensure!(ours == theirs, "{kind} {hash:?}: not what sign-file makes");
            } else {
                // ECDSA draws a number: what is around the signature is the same.
                let (_, their_pkcs7) = signature::split(&theirs)?;
                let their_pkcs7 = their_pkcs7.context("sign-file has not signed")?;
                let at = |bytes: &[u8]| openssl_structure(&scratch, bytes);
                ensure!(at(&pkcs7)? == at(their_pkcs7)?, "{kind} {hash:?}");
            }
            let signed = scratch.path().join("ours.ko");
            fs::write(&signed, &ours)?;
            ensure!(modinfo(&signed, "sig_hashalgo")? == hash.word() && modinfo(&signed, "signer")? == "module signing");
            let (der, content) = (scratch.path().join("pkcs7"), scratch.path().join("act_sample.ko"));
            fs::write(&der, &pkcs7)?;
            let mut verify = Command::new("openssl");
            verify.args(["cms", "-verify", "-binary", "-noverify", "-inform", "DER", "-out", "/dev/null", "-in"]).arg(&der);
            run(verify.arg("-content").arg(&content).arg("-certfile").arg(&key.certificate))?;
        }
    }
    Ok(())
}

/// What openssl says of the DER, without lengths and signature.
fn openssl_structure(scratch: &Scratch, der: &[u8]) -> Result<Vec<String>> {
    let path = scratch.path().join("structure");
    fs::write(&path, der)?;
    let text = run(Command::new("openssl").args(["asn1parse", "-inform", "DER", "-in"]).arg(&path))?;
    let part =
        |line: &str| line.split_once("cons: ").or_else(|| line.split_once("prim: ")).map(|(_, part)| part.trim().to_owned());
    Ok(text.lines().filter_map(part).filter(|part| !part.starts_with("OCTET STRING")).collect())
}

#[test]
fn cli_kernel_modules_are_signed_and_packed_while_an_image_is_built() -> Result<()> {
    let case = Case::new()?;
    let key = ModuleKey::new(&case.warm.scratch, "rsa")?;
    let object = prepare(&case, &key)?;
    let sign = entry("sign = { certificate = \"module.pem\" }", true);
    let by_file = |build: Basalt| build.arg("--module-key").arg(&key.key).args(["-vv"]);
    case.building(&sign, "none")?.run(&case.warm.scratch)?.exits(INPUT).says("needed the private key (RSA) of CN=module signing");
    let ran = by_file(case.building(&sign, "out")?).run(&case.warm.scratch)?.exits(0);
    let manifest = case.warm.manifest("out")?;
    let module = &manifest["kernel-modules"][0];
    ensure!(module["signed-by"] == OWNER && module["path"] == format!("{MODULE}.xz").as_str(), "{module}");

    // As sign-file would do it, packed as Debian's are.
    let theirs = SignFile::new()?;
    let plain = case.warm.scratch.path().join("act_sample.ko");
    fs::write(&plain, &object)?;
    let theirs = theirs.sign("sha256", &key.key, &key.certificate, &plain)?;
    let packed = built(&case, "out", ".xz")?;
    let unpacked = Command::new("xz").args(["--decompress", "--stdout"]).arg(&packed).output()?;
    ensure!(unpacked.status.success() && unpacked.stdout == theirs, "not what sign-file makes");
    let listed = run(Command::new("xz").args(["--robot", "--list", "-vv"]).arg(&packed))?;
    let words = |kind: &str| listed.lines().filter(|line| line.split('\t').next() == Some(kind)).collect::<Vec<_>>();
    ensure!(words("block").len() == 1 && words("block")[0].contains("\tCRC32\t"), "{listed}");
    ensure!(words("block")[0].contains("dict=1MiB"), "{listed}");
    ensure!(modinfo(&packed, "signer")? == "module signing" && modinfo(&packed, "license")? == "GPL v2", "modinfo");

    // The private key has gone nowhere.
    let secrets = key.secrets()?;
    ensure!(has_secret(&fs::read(&key.key)?, &secrets[..1]), "the case looks for the wrong thing");
    ensure!(!has_secret(ran.stdout.as_bytes(), &secrets) && !has_secret(ran.stderr.as_bytes(), &secrets), "it is told");
    let out = case.warm.scratch.path().join("out");
    let looked = has_none(&out, &secrets)? + has_none(&case.warm.cache, &secrets)?;
    ensure!(looked > 1000, "looked at {looked} files");
    ensure!(!has_secret(&fs::read(case.warm.recipe.with_extension("lock"))?, &secrets), "the lock has it");

    // Who has the signatures needs no key, and gets the same bytes.
    case.building(&sign, "again")?.run(&case.warm.scratch)?.exits(0);
    ensure!(case.warm.manifest("again")?["artefacts"] == manifest["artefacts"], "other bytes");
    // One that is signed already is signed anew.
    case.modules(&[("act_sample.ko", &theirs)])?;
    case.building(&sign, "resigned")?.run(&case.warm.scratch)?.exits(0);
    ensure!(case.warm.manifest("resigned")?["kernel-modules"] == manifest["kernel-modules"], "the old signature has stayed");
    ensure!(fs::read(built(&case, "resigned", ".xz")?)? == fs::read(&packed)?, "the old signature has stayed");
    Ok(())
}

#[test]
fn cli_kernel_modules_are_packed_as_the_recipe_says() -> Result<()> {
    let case = Case::new()?;
    let object = object(&case.stock("act_sample")?.1)?;
    case.modules(&[("act_sample.ko.gz", &Packing::Gz.pack(&object)?)])?;
    for (word, ending, program) in
        [("none", "", &["cat"][..]), ("zst", ".zst", &["zstd", "-dcq"]), ("gz", ".gz", &["gzip", "-dc"])]
    {
        let more = format!("compress = \"{word}\"\nallow = [\"signature\"]");
        case.building(&entry(&more, false), word)?.run(&case.warm.scratch)?.exits(0);
        let path = built(&case, word, ending)?;
        let unpacked = Command::new(program[0]).args(&program[1..]).arg(&path).output()?;
        ensure!(unpacked.status.success() && unpacked.stdout == object, "{word}");
        // Not of the packed one: Debian's kmod reads no gzip.
        let plain = case.warm.scratch.path().join("plain.ko");
        fs::write(&plain, unpacked.stdout)?;
        ensure!(modinfo(&plain, "license")? == "GPL v2", "{word}");
    }
    Ok(())
}

#[test]
fn cli_kernel_modules_of_a_key_that_nobody_trusts_are_refused() -> Result<()> {
    let case = Case::new()?;
    let key = ModuleKey::new(&case.warm.scratch, "p256")?;
    prepare(&case, &key)?;
    let sign = "sign = { certificate = \"module.pem\", hash = \"sha384\" }";
    let build = case.building(&entry(sign, false), "out")?.arg("--module-key").arg(&key.key);
    let ran = build.run(&case.warm.scratch)?.exits(VERIFICATION);
    ensure!(ran.stderr.contains("is signed by a key that the image does not trust: "), "{}", ran.stderr);
    ensure!(ran.stderr.contains("next: nodes trust a key of their owner's (MOK)"), "{}", ran.stderr);
    // No certificate at all: the recipe's line is told.
    fs::write(case.warm.recipe.with_file_name("module.pem"), "text")?;
    let ran = case.building(&entry(sign, false), "out")?.run(&case.warm.scratch)?;
    let ran = ran.exits(Kind::Invalid.exit_code().into());
    ensure!(ran.stderr.contains("kernel-module.sign: \"module.pem\": needed an X.509 certificate"), "{}", ran.stderr);
    Ok(())
}

#[test]
fn cli_kernel_modules_are_signed_by_a_token() -> Result<()> {
    for kind in ["rsa", "p384"] {
        let case = Case::new()?;
        let key = ModuleKey::new(&case.warm.scratch, kind)?;
        let object = prepare(&case, &key)?;
        let token = key.token()?;
        let command = if kind == "rsa" { token.by_rsa() } else { token.by_ecdsa()? };
        let entry = entry("sign = { certificate = \"module.pem\", hash = \"sha256\" }\ncompress = \"none\"", true);
        let by_token = |out: &str| -> Result<Basalt> {
            let build = case.building(&entry, out)?.args(["--module-command", &command]);
            Ok(token.env.iter().fold(build, |build, (name, value)| build.env(name, value)))
        };
        by_token("out")?.run(&case.warm.scratch)?.exits(0);
        ensure!(case.warm.manifest("out")?["kernel-modules"][0]["signed-by"] == OWNER, "{kind}");
        let signed = fs::read(built(&case, "out", "")?)?;
        // By RSA it is what the key in a file makes; by ECDSA no two are, and the one that is there is used again.
        if kind == "rsa" {
            let plain = case.warm.scratch.path().join("act_sample.ko");
            fs::write(&plain, &object)?;
            ensure!(SignFile::new()?.sign("sha256", &key.key, &key.certificate, &plain)? == signed, "not what sign-file makes");
        }
        by_token("again")?.run(&case.warm.scratch)?.exits(0);
        ensure!(fs::read(built(&case, "again", "")?)? == signed, "{kind}: other bytes");
        // Who has another cache and no token finds the signature in the manifest.
        fs::remove_dir_all(case.warm.cache.join("module-signature"))?;
        let out = case.warm.scratch.path().join("out");
        let verify = case.warm.basalt(["verify", "--offline", "--rebuild"]).arg(&case.warm.recipe).arg(&out);
        verify.run(&case.warm.scratch)?.exits(0);
        let refused = case.building(&entry.replace("sha256", "sha512"), "other")?.args(["--module-command", &command]);
        let refused = token.env.iter().fold(refused, |build, (name, value)| build.env(name, value));
        refused.run(&case.warm.scratch)?.exits(INPUT).says("needed a signature over sha512, found one over sha256");
    }
    Ok(())
}
