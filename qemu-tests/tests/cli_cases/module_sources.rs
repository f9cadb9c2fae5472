//! Kernel modules from container images and packages: whichever way they come, the layer is that of the same modules in a folder. The
//! images are umoci's, in KMM's layout; the registry is Debian's, with TLS and a login; the packages are dpkg-deb's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Ran, Registry, run};
use serde_json::Value;

use crate::kernel_modules::{Case, ENTRY};

const FAILED: i32 = Kind::Failed.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;
const INVALID: i32 = Kind::Invalid.exit_code() as i32;
const FIRMWARE: &[u8] = b"of the case\n";

/// The release as a tag has it.
fn tag(case: &Case) -> String {
    case.package.release.replace('+', "_")
}

/// ENTRY with another source.
fn entry(source: &str) -> String {
    ENTRY.replace("path = \"modules\"", source)
}

/// Beside the recipe.
fn beside(case: &Case, name: &str) -> PathBuf {
    case.warm.recipe.with_file_name(name)
}

/// Makes `modules` in KMM's layout, with firmware and what a source may have besides.
fn laid_out(case: &Case) -> Result<()> {
    let (file, bytes) = case.stock("act_sample")?;
    let release = &case.package.release;
    let files: [(&str, &[u8]); 5] = [
        (&format!("opt/lib/modules/{release}/{file}"), &bytes),
        ("opt/lib/modules/6.1.0-1-amd64/act_sample.ko", b"another kernel's"),
        ("firmware/case/one.bin", FIRMWARE),
        ("etc/hostname", b"of a container\n"),
        ("usr/bin/modprobe", b"#!/bin/true\n"),
    ];
    case.modules(&files)
}

/// An image of the folder `modules` by umoci, in the OCI folder `images`.
fn image(case: &Case, tag: &str) -> Result<()> {
    let images = beside(case, "images");
    let name = format!("{}:{tag}", images.display());
    if !images.exists() {
        run(Command::new("umoci").arg("init").arg("--layout").arg(&images))?;
    }
    run(Command::new("umoci").args(["new", "--image", &name]))?;
    let insert = ["insert", "--rootless", "--image", &name];
    run(Command::new("umoci").args(insert).arg(beside(case, "modules")).arg("/")).map(drop)
}

/// What the modules' layer is, by its digest, and the manifest's word of them.
fn built(case: &Case, ran: Ran) -> Result<(Value, Value)> {
    ran.exits(0);
    let manifest = case.warm.manifest("out")?;
    let layers = manifest["layers"].as_array().context("no layers")?;
    let layer = layers.iter().find(|layer| layer["name"] == "kernel-modules").context("no layer of modules")?;
    Ok((layer["digest"].clone(), manifest["kernel-modules"].clone()))
}

fn build(case: &Case, source: &str, args: &[String]) -> Result<Ran> {
    fs::write(&case.warm.recipe, format!("{}\n{}firmware = \"/firmware\"\n", case.recipe, entry(source)))?;
    case.warm.build("out")?.args(["--format", "raw", "--retry", "0"]).args(args).run(&case.warm.scratch)
}

fn lock(case: &Case) -> Result<String> {
    Ok(fs::read_to_string(case.warm.recipe.with_extension("lock"))?)
}

#[test]
fn cli_module_images_bring_what_a_folder_brings() -> Result<()> {
    let case = Case::new()?;
    laid_out(&case)?;
    let tag = tag(&case);
    let wanted = built(&case, build(&case, "path = \"modules\"", &[])?)?;
    let manifest = case.warm.manifest("out")?;
    let commit = manifest["commit"].as_str().context("no commit")?;
    ensure!(case.ostree(&["cat", commit, "/usr/lib/firmware/updates/case/one.bin"])?.as_bytes() == FIRMWARE);

    image(&case, &tag)?;
    let images = beside(&case, "images").display().to_string();
    let folder = "from = \"oci:images:${KERNEL_FULL_VERSION}\"";
    ensure!(built(&case, build(&case, folder, &[])?)? == wanted, "the image in a folder brings something else");
    ensure!(lock(&case)?.contains(&format!("from = \"oci:images:{tag}\"")), "{}", lock(&case)?);
    let to = format!("oci-archive:{}:{tag}", beside(&case, "image.tar").display());
    run(Command::new("skopeo").args(["--insecure-policy", "copy", &format!("oci:{images}:{tag}"), &to]))?;
    let archive = "from = \"oci-archive:image.tar:$KERNEL_VERSION\"";
    ensure!(built(&case, build(&case, archive, &[])?)? == wanted, "the image in an archive brings something else");

    let registry = Registry::start(&case.warm.scratch)?;
    registry.put(&format!("oci:{images}:{tag}"), &format!("drivers/sampler:{tag}"))?;
    let known = ["--cert-dir".to_owned(), registry.certificates.display().to_string()];
    let login = ["--authfile".to_owned(), registry.auth_file.display().to_string()];
    let all = [known.clone(), login].concat();
    let from =
        format!("namespace = \"drivers\"\nfrom = \"{}/$MOD_NAMESPACE/${{MOD_NAME}}:${{KERNEL_FULL_VERSION}}\"", registry.host);
    let ran = build(&case, &from, &known)?.exits(FAILED).says("it wants a login").says("kernel module sampler, for the kernel ");
    ensure!(ran.stderr.contains("gpu-node-stock.toml:"), "no place is told: {}", ran.stderr);
    ensure!(built(&case, build(&case, &from, &all)?)? == wanted, "the registry's image brings something else");
    let pinned = lock(&case)?;
    let digest = registry.inspect(&format!("drivers/sampler:{tag}"))?;
    let digest: Value = serde_json::from_str(&digest)?;
    let hex = digest["Digest"].as_str().and_then(|text| text.strip_prefix("sha256:")).context("skopeo names no digest")?;
    ensure!(pinned.contains(hex), "the lock does not pin {hex}");

    // What is pinned needs no registry, and stays when the tag moves.
    build(&case, &from, &["--offline".into(), "--locked".into()])?.exits(0);
    let (file, bytes) = case.stock("act_sample")?;
    case.modules(&[(&format!("opt/lib/modules/{}/{file}", case.package.release), &bytes), ("firmware/other.bin", b"other")])?;
    image(&case, &format!("{tag}-other"))?;
    registry.put(&format!("oci:{images}:{tag}-other"), &format!("drivers/sampler:{tag}"))?;
    ensure!(built(&case, build(&case, &from, &all)?)? == wanted, "the tag has moved, and the build with it");
    let update = case.warm.basalt(["lock", "--json"]).args(&all).arg(&case.warm.recipe).args(["--update", "sampler"]);
    let ran = update.run(&case.warm.scratch)?.exits(0);
    ensure!(ran.stdout.contains("kernel modules") && !ran.stdout.contains("package "), "{}", ran.stdout);
    ensure!(built(&case, build(&case, &from, &all)?)?.0 != wanted.0, "the update brought nothing");
    Ok(())
}

/// Mappings choose as KMM does, and what is not for this kernel is never asked for.
#[test]
fn cli_module_images_are_chosen_by_the_kernel() -> Result<()> {
    let case = Case::new()?;
    laid_out(&case)?;
    let tag = tag(&case);
    image(&case, &tag)?;
    let wanted = built(&case, build(&case, "path = \"modules\"", &[])?)?;
    let none = "localhost:9/never:1";
    let mappings = format!(
        "kernel-mappings = [{{ literal = \"6.1.0-1-amd64\", from = \"{none}\" }}, {{ regexp = '^6\\.', from = \"oci:images:{tag}\" }}, \
         {{ regexp = '.', from = \"{none}\" }}]"
    );
    ensure!(built(&case, build(&case, &mappings, &[])?)? == wanted, "the mapping brings something else");
    let other = "kernel-mappings = [{ literal = \"6.1.0-1-amd64\", from = \"localhost:9/never:1\" }]";
    build(&case, other, &[])?
        .exits(VERIFICATION)
        .says("kernel module sampler: no mapping is for the kernel")
        .says("gpu-node-stock.toml:");
    let ran = build(&case, "from = \"oci:images:v-${KERNEL_FULL_VERSION}\"", &[])?;
    ran.exits(INPUT).says(&format!("needed an image with the tag \"v-{tag}\", found {tag}")).says("next: ");
    // KMM's dirName.
    fs::rename(beside(&case, "modules/opt"), beside(&case, "modules/drivers"))?;
    image(&case, "elsewhere")?;
    let dir = "from = \"oci:images:elsewhere\"\ndir-name = \"/drivers\"";
    ensure!(built(&case, build(&case, dir, &[])?)? == wanted, "dir-name brings something else");
    build(&case, "from = \"oci:images:elsewhere\"", &[])?.exits(VERIFICATION).says("needed modules (*.ko").says("found none");
    for (source, words) in [
        ("from = \"localhost:9/$MOD_NAMESPACE:1\"", "needed a namespace for ${MOD_NAMESPACE}"),
        ("from = \"localhost:9/a:${KERNEL}\"", "needed one of KERNEL_FULL_VERSION"),
        ("from = \"sampler\"", "needed registry/path:tag, oci:FOLDER"),
        ("from = \"localhost:9/a:1\"\npath = \"modules\"", "found path, from"),
        ("kernel-mappings = [{ regexp = '.', deb = \"a.deb\", path = \"modules\" }]", "found path, deb"),
    ] {
        build(&case, source, &[])?.exits(INVALID).says(words).says("gpu-node-stock.toml:");
    }
    Ok(())
}

/// A package by dpkg-deb with the files of `modules`.
fn package(case: &Case, folder: &Path, to: &str) -> Result<()> {
    let control =
        "Package: case-driver\nVersion: 1\nArchitecture: amd64\nMaintainer: A Case <case@example.org>\nDescription: a case\n";
    fs::create_dir_all(folder.join("DEBIAN"))?;
    fs::set_permissions(folder.join("DEBIAN"), fs::Permissions::from_mode(0o755))?;
    fs::write(folder.join("DEBIAN/control"), control)?;
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(folder).arg(beside(case, to))).map(drop)
}

#[test]
fn cli_modules_of_a_package_are_those_of_a_folder() -> Result<()> {
    let case = Case::new()?;
    let (file, bytes) = case.stock("act_sample")?;
    let release = case.package.release.clone();
    let at = format!("usr/lib/modules/{release}/updates/dkms/{file}");
    case.modules(&[(&at, &bytes), ("firmware/case/one.bin", FIRMWARE), ("usr/share/doc/case-driver/copyright", b"a case\n")])?;
    let wanted = built(&case, build(&case, "path = \"modules\"", &[])?)?;
    package(&case, &beside(&case, "modules"), "driver.deb")?;
    ensure!(built(&case, build(&case, "deb = \"driver.deb\"", &[])?)? == wanted, "the package brings something else");
    ensure!(lock(&case)?.contains("name = \"driver.deb\""), "{}", lock(&case)?);
    build(&case, "deb = \"driver.deb\"", &["--offline".into(), "--locked".into()])?.exits(0);
    fs::write(beside(&case, "other.deb"), "text")?;
    build(&case, "deb = \"other.deb\"", &[])?.exits(INVALID).says("needed a Debian package").says("next: ");

    // The archive's packages with modules are the kernel's own: proven in the place of themselves. Its headers have none.
    let headers = build(&case, "packages = [\"linux-headers-${KERNEL_FULL_VERSION}\"]", &[])?;
    headers.exits(VERIFICATION).says("needed modules (*.ko").says("found none").says("gpu-node-stock.toml:");
    ensure!(lock(&case)?.contains("module-package]]\nname = \"linux-headers-"), "{}", lock(&case)?);
    let source = "packages = [\"linux-image-${KERNEL_FULL_VERSION}\"]\nallow = [\"firmware\"]";
    let text = entry(source).replace("in-tree-modules-to-remove = [\"act_sample\"]\n", "");
    fs::write(&case.warm.recipe, format!("{}\n{text}", case.recipe))?;
    let kernel = case.package.image.ancestors().nth(2).context("a root")?;
    let ran = case
        .warm
        .basalt(["preflight", "--json", "--kernel"])
        .arg(kernel)
        .arg(&case.warm.recipe)
        .run(&case.warm.scratch)?
        .exits(0);
    let report: Value = serde_json::from_str(ran.stdout.lines().last().context("no report")?)?;
    let modules = report["modules"].as_array().map_or(0, Vec::len);
    ensure!(modules > 3000 && report["fits"] == true, "{modules} modules");
    build(&case, "packages = [\"no-such-driver\"]", &[])?.exits(INPUT).says("there is no package \"no-such-driver\"");
    Ok(())
}

/// What a failed proof found is there for programs, too.
#[test]
fn cli_a_failed_proof_is_told_as_json() -> Result<()> {
    let case = Case::new()?;
    let (_, packed) = case.stock("act_sample")?;
    let bytes = basalt::format::module::unpack(&packed)?.into_owned();
    case.modules(&[("act_sample.ko", basalt::format::module::signature::strip(&bytes)?)])?;
    fs::write(&case.warm.recipe, format!("{}\n{ENTRY}", case.recipe))?;
    let ran = case.warm.build("out")?.arg("--json").run(&case.warm.scratch)?.exits(VERIFICATION);
    let last: Value = serde_json::from_str(ran.stdout.lines().last().context("no event")?)?;
    let row = &last["proof"]["modules"][0];
    ensure!(last["event"] == "failed" && row["name"] == "act_sample" && row["entry"] == "sampler", "{last}");
    let checks = row["checks"].as_object().context("no checks")?;
    let misfits: Vec<_> = checks.iter().filter(|(_, verdict)| **verdict != "fits").collect();
    ensure!(checks.len() == 12 && misfits == [(&"signature".to_owned(), &Value::from("misfit"))], "{checks:?}");
    ensure!(row["obstacles"][0]["finding"]["kind"] == "signature", "{row}");
    Ok(())
}
