//! `basalt preflight`: whether kernel modules fit a kernel before it comes. The kernels are Debian's: the image's own, and the one for
//! real-time, which has other checksums.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use basalt::architecture::Architecture;
use basalt::failure::Kind;
use basalt::format::module;
use basalt::progress::Quiet;
use basalt::source::debian::{self, Request};
use basalt::store::Store;
use qemu_tests::{ModuleKey, Ran, Registry};
use serde_json::Value;

use crate::kernel_modules::{Case, ENTRY};

const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;
const USAGE: i32 = Kind::Usage.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
/// Of the same suite, with another configuration.
const OTHER: &str = "linux-image-rt-amd64";

/// Writes the recipe with these entries, and asks.
fn ask(case: &Case, entries: &str, args: &[&str]) -> Result<Ran> {
    fs::write(&case.warm.recipe, format!("{}\n{entries}", case.recipe))?;
    case.warm.basalt(["preflight", "--retry", "0"]).arg(&case.warm.recipe).args(args).run(&case.warm.scratch)
}

/// The report among the lines of JSON.
fn report(ran: &Ran) -> Result<Value> {
    let lines = ran.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.into_iter().find(|line| line["event"] == "preflight").with_context(|| ran.stdout.clone())
}

/// The root of the unpacked packages of a kernel and its headers.
fn root(case: &Case) -> Result<&Path> {
    case.package.image.ancestors().nth(2).context("a root")
}

#[test]
fn cli_preflight_finds_that_modules_fit_the_same_kernel() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("act_sample")?;
    case.modules(&[(&format!("opt/lib/modules/{}/{file}", case.package.release), &bytes)])?;
    let kernel = root(&case)?.display().to_string();
    let before = fs::read_to_string(case.warm.recipe.with_extension("lock"))?;
    let ran = ask(&case, ENTRY, &["--kernel", &kernel])?.exits(0);
    ensure!(ran.stdout.contains("every module fits") && ran.stdout.contains("vermagic"), "{}", ran.stdout);
    ensure!(
        ran.stdout.lines().any(|line| line.starts_with("updates/sampler/act_sample") && line.ends_with("fits")),
        "{}",
        ran.stdout
    );
    let found = report(&ask(&case, ENTRY, &["--kernel", &kernel, "--json"])?.exits(0))?;
    ensure!(
        found["fits"] == true && found["kernel"] == case.package.release.as_str() && found["missing"] == serde_json::json!([]),
        "{found}"
    );
    let row = &found["modules"][0];
    ensure!(row["signed-by"].as_str().is_some_and(|owner| owner.contains("kernel key")), "{row}");
    let checks = row["checks"].as_object().context("no checks")?;
    ensure!(checks.len() == 12 && checks.values().all(|verdict| verdict == "fits"), "{checks:?}");

    // A build will sign it; nobody asks for the key here.
    let key = ModuleKey::new(&case.warm.scratch, "p256")?;
    fs::copy(&key.certificate, case.warm.recipe.with_file_name("module.pem"))?;
    case.modules(&[("act_sample.ko", module::signature::strip(&module::unpack(&bytes)?)?)])?;
    let signed = format!("{ENTRY}sign = {{ certificate = \"module.pem\" }}\n");
    let found = report(&ask(&case, &signed, &["--kernel", &kernel, "--json"])?.exits(0))?;
    ensure!(found["modules"][0]["checks"]["signature"] == "not-asked", "{found}");
    let unsigned = ask(&case, ENTRY, &["--kernel", &kernel])?.exits(VERIFICATION);
    ensure!(unsigned.stdout.contains("is not signed, and the kernel loads signed modules only"), "{}", unsigned.stdout);
    case.modules(&[(&format!("opt/lib/modules/{}/{file}", case.package.release), &bytes)])?;

    // The same as files of packages, made of what the archive has.
    let store = Store::open(&case.warm.scratch.folder("debs")?)?;
    let names = ["linux-image", "linux-headers"].map(|name| format!("{name}-{}", case.package.release));
    let request = Request {
        suite: "trixie".into(),
        components: vec!["main".into()],
        architecture: Architecture::Amd64,
        packages: names.to_vec(),
        mirror: None,
        keyring: None,
        headers: false,
        prefer: None,
    };
    let packages = debian::named(&request, &store, &Quiet)?;
    debian::fetch(&packages, None, &store, &Quiet, false)?;
    let mut files = Vec::new();
    for package in &packages {
        let to = case.warm.scratch.path().join(format!("{}.deb", package.name));
        fs::copy(store.blob_path(&package.sha256), &to)?;
        files.push(to.display().to_string());
    }
    let [headers, image] = &files[..] else { anyhow::bail!("needed two packages, found {files:?}") };
    ask(&case, ENTRY, &["--kernel", image, "--kernel", headers])?.exits(0);
    ask(&case, ENTRY, &["--kernel", image, "--symvers", headers])?.exits(0);
    ask(&case, ENTRY, &["--kernel", image, "--symvers", &case.package.symvers.display().to_string()])?.exits(0);
    ask(&case, ENTRY, &["--kernel", image])?
        .exits(INPUT)
        .says("exports (Module.symvers), found it nowhere")
        .says("--symvers FILE");
    // The lock got what the recipe asks for, and nothing of the other kernel.
    let after = fs::read_to_string(case.warm.recipe.with_extension("lock"))?;
    ensure!(before.matches("linux-image-").count() == after.matches("linux-image-").count(), "{after}");
    Ok(())
}

#[test]
fn cli_preflight_names_what_does_not_fit_another_kernel() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("act_sample")?;
    case.modules(&[(&file, &bytes)])?;
    // No mapping by release: the proof has the word.
    let ran = ask(&case, ENTRY, &["--kernel", OTHER, "--json"])?.exits(VERIFICATION);
    let found = report(&ran)?;
    let kernel = found["kernel"].as_str().context("no kernel")?;
    ensure!(kernel.contains("-rt-") && found["from"].as_str().is_some_and(|from| from.starts_with(OTHER)), "{found}");
    let row = &found["modules"][0];
    ensure!(found["fits"] == false && row["checks"]["checksum"] == "misfit" && row["checks"]["machine"] == "fits", "{row}");
    let last: Value = serde_json::from_str(ran.stdout.lines().last().context("no event")?)?;
    ensure!(last["event"] == "failed" && last["exit-code"] == VERIFICATION, "{last}");
    let text = ask(&case, ENTRY, &["--kernel", OTHER])?.exits(VERIFICATION).says("would not load 1 of");
    ensure!(text.stdout.contains("MISFIT") && text.stdout.contains("vmlinux exports it with CRC 0x"), "{}", text.stdout);

    // One entry has modules for this kernel alone, one a mapping for the present one, one an image that nobody has pushed.
    case.modules(&[(&format!("opt/lib/modules/{}/{file}", case.package.release), &bytes)])?;
    let registry = Registry::start(&case.warm.scratch)?;
    let images = case.warm.scratch.path().join("images");
    qemu_tests::draft::Draft::new(&[&qemu_tests::draft::archive(&[qemu_tests::draft::Member::file(
        &format!("opt/lib/modules/{}/{file}", case.package.release),
        &bytes,
    )])])
    .write(&images)?;
    registry.put(&format!("oci:{}", images.display()), &format!("drivers/pushed:{}", case.package.release.replace('+', "_")))?;
    let entries = format!(
        "{ENTRY}\n[[kernel-module]]\nname = \"mapped\"\nkernel-mappings = [{{ literal = \"{}\", path = \"modules\" }}]\nallow = \
         [\"twice\"]\n[[kernel-module]]\nname = \"pushed\"\nfrom = \"{}/drivers/pushed:${{KERNEL_FULL_VERSION}}\"\nallow = [\"twice\"]\n",
        case.package.release, registry.host
    );
    let (certificates, login) = (registry.certificates.display().to_string(), registry.auth_file.display().to_string());
    let access = ["--cert-dir", &certificates, "--authfile", &login];
    let ran = ask(&case, &entries, &[&["--kernel", OTHER, "--json"], &access[..]].concat())?.exits(VERIFICATION);
    let found = report(&ran)?;
    let missing = found["missing"].as_array().context("no list")?;
    let why = |name: &str| {
        let one = missing.iter().find(|one| one["entry"] == name).with_context(|| format!("{name}: {found}"))?;
        ensure!(one["next"].is_string(), "{one}");
        Ok((one["why"].as_str().unwrap_or_default().to_owned(), one["mapping"].clone()))
    };
    ensure!(why("sampler")?.0.contains("found in /opt/lib/modules those for"), "{found}");
    ensure!(why("mapped")? == (format!("kernel module mapped: no mapping is for the kernel {kernel}"), Value::Null), "{found}");
    let (pushed, mapping) = why("pushed")?;
    ensure!(pushed.contains("it has no such image") && pushed.contains(&kernel.replace('+', "_")), "{pushed}");
    ensure!(mapping.as_str().is_some_and(|text| text.starts_with("for each kernel: ")), "{mapping}");
    // A registry that does not answer is no answer.
    ask(&case, &entries, &["--kernel", OTHER])?
        .exits(Kind::Failed.exit_code().into())
        .says("authority that this machine does not know");
    Ok(())
}

#[test]
fn cli_preflight_says_what_it_needs() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("act_sample")?;
    case.modules(&[(&file, &bytes)])?;
    for (args, code, words) in [
        (&["--kernel", "no-such-folder"][..], USAGE, "--kernel: needed a folder or archive that is there"),
        (&["--kernel", "a.deb", "--kernel", "b"], USAGE, "--kernel: needed one kernel, or .deb files"),
        (&["--kernel", "linux-image-nobody"], INPUT, "there is no package \"linux-image-nobody\""),
        (&["--kernel", OTHER, "--offline"], INPUT, "--offline allows no network"),
        (&["--kernel", "linux-image-amd64/no-such-suite"], INPUT, "this mirror has no suite no-such-suite"),
    ] {
        ask(&case, ENTRY, args)?.exits(code).says(words).says("next: ");
    }
    // Nothing to prove is nothing that does not fit.
    let kernel = root(&case)?.display().to_string();
    ask(&case, "", &["--kernel", &kernel])?.exits(0);
    Ok(())
}
