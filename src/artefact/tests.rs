//! Rendering, the manifest, and what stays after a failure.

use std::fs;
use std::path::Path;

use super::disk::tests::{identity, lay_out, trees};
use super::*;
use crate::architecture::Architecture;
use crate::host::cmd::Cmd;
use crate::plan;
use crate::progress::Quiet;

const FORMATS: [Format; 2] = [Format::Raw, Format::Qcow2];

fn disk() -> Disk {
    lay_out(&trees(), &plan::Disk { sector_size: 512, ..plan::Disk::default() }, b"plan").unwrap()
}

fn of(disk: &Disk) -> Source<'_> {
    Source { disk, oci: None }
}

fn manifest(disk: &Disk, rendered: &[Rendered]) -> Manifest {
    Manifest {
        version: manifest::VERSION,
        builder: manifest::BUILDER.to_owned(),
        name: "node".into(),
        image_version: "1".into(),
        plan: identity(b"plan").plan,
        commit: Digest::of(b"commit"),
        architecture: Architecture::Amd64,
        time: 0,
        packages: 3,
        kernel_args: vec!["quiet".into()],
        layers: vec![manifest::Layer { name: "base".into(), digest: Digest::of(b"base") }],
        sector_size: 512,
        partitions: disk.partitions.clone(),
        artefacts: manifest::Artefact::list("node", rendered),
        documents: Vec::new(),
        kernel_arguments: Vec::new(),
        kernel_modules: Vec::new(),
        tuned: None,
        repository: None,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn both_files_hold_one_disk_and_two_writes_are_equal() {
    let disk = disk();
    let folder = tempfile::tempdir().unwrap();
    let build = |name: &str| {
        let output = Output::open(&folder.path().join(name)).unwrap();
        let rendered = render(&of(&disk), &FORMATS, "node", &output, &Quiet).unwrap().keep(&output).unwrap().finish().unwrap();
        manifest::write(&output, &manifest(&disk, &rendered)).unwrap();
        rendered
    };
    let (first, second) = (build("a"), build("b"));
    let run = |program: &str, args: &[&str]| Cmd::new(program).args(args).folder(&folder.path().join("a")).run().unwrap();
    run("sha256sum", &["--check", "--strict", "SHA256SUMS"]);
    run("qemu-img", &["check", "node.qcow2"]);
    run("qemu-img", &["compare", "-f", "raw", "-F", "qcow2", "node.raw", "node.qcow2"]);
    for name in names(&folder.path().join("a")) {
        run("cmp", &[&name, &format!("../b/{name}")]);
    }
    assert_eq!(names(&folder.path().join("b")), ["SHA256SUMS", "manifest.json", "node.qcow2", "node.raw"]);
    for (one, two) in first.iter().zip(&second) {
        assert_eq!((one.sha256, one.size, one.allocated), (two.sha256, two.size, two.allocated));
        let stored = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&one.path).unwrap()) * 512;
        assert!(one.allocated <= stored + 4096 && stored <= one.allocated + (1 << 20), "{stored} {one:?}");
    }
    assert_eq!(first[0].sha256, disk.extents.digest().unwrap());
}

#[test]
fn a_folder_is_up_to_date_only_when_every_byte_is() {
    let disk = disk();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let plan = identity(b"plan").plan;
    assert_eq!(up_to_date(folder.path(), plan, &FORMATS).unwrap(), None);
    let output = Output::open(folder.path()).unwrap();
    let rendered = render(&of(&disk), &[Format::Raw], "node", &output, &Quiet).unwrap().keep(&output).unwrap().finish().unwrap();
    assert_eq!(up_to_date(folder.path(), plan, &[Format::Raw]).unwrap(), None, "no manifest yet");
    let manifest = manifest(&disk, &rendered);
    manifest::write(&output, &manifest).unwrap();
    let fresh = || up_to_date(folder.path(), plan, &[Format::Raw]).unwrap();
    assert_eq!(fresh(), Some(manifest.clone()));
    assert_eq!(up_to_date(folder.path(), plan, &FORMATS).unwrap(), None, "a format is missing");
    assert_eq!(up_to_date(folder.path(), identity(b"other").plan, &[Format::Raw]).unwrap(), None);
    manifest::write(&output, &Manifest { builder: "basalt 0.0.1 00".into(), ..manifest.clone() }).unwrap();
    assert_eq!(fresh(), None, "another Basalt may make other bytes");
    manifest::write(&output, &manifest).unwrap();
    let raw = fs::File::options().write(true).open(at("node.raw")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&raw, b"x", 100 << 20).unwrap();
    assert_eq!(fresh(), None, "a byte differs");
    raw.set_len(1).unwrap();
    assert_eq!(fresh(), None, "shorter");
    fs::remove_file(at("node.raw")).unwrap();
    assert_eq!(fresh(), None, "gone");
    fs::create_dir(at("node.raw")).unwrap();
    assert_eq!(fresh(), None, "no file");
    fs::write(at("manifest.json"), "{}").unwrap();
    assert_eq!(fresh(), None, "no manifest of ours");
}

#[test]
fn a_new_render_takes_the_old_manifest_away() {
    let disk = disk();
    let folder = tempfile::tempdir().unwrap();
    let output = Output::open(folder.path()).unwrap();
    let rendered = render(&of(&disk), &[Format::Raw], "node", &output, &Quiet).unwrap().keep(&output).unwrap().finish().unwrap();
    manifest::write(&output, &manifest(&disk, &rendered)).unwrap();
    render(&of(&disk), &[Format::Raw], "node", &output, &Quiet).unwrap().keep(&output).unwrap().finish().unwrap();
    assert_eq!(names(folder.path()), ["node.raw"]);
}

#[test]
fn nothing_stays_after_a_failure() {
    let mut disk = disk();
    // A pack that lost its end, as a damaged cache would have it.
    let pack = tempfile::NamedTempFile::new().unwrap();
    let content = crate::tree::Content::packed(crate::tree::Pack::open(pack.path()).unwrap(), 0, 10, Digest::of(b""));
    let end = disk.extents.pieces().iter().rev().nth(1).unwrap().end();
    disk.extents.put_content(end, &content);
    let folder = tempfile::tempdir().unwrap();
    let output = Output::open(folder.path()).unwrap();
    fs::write(folder.path().join("manifest.json"), "{}").unwrap();
    let error = render(&of(&disk), &FORMATS, "node", &output, &Quiet).err().unwrap();
    assert!(error.to_string().contains(&pack.path().display().to_string()), "{error:#}");
    assert_eq!(names(folder.path()), ["manifest.json"], "what was there before is untouched");
}

#[test]
fn space_is_asked_for_before_anything_is_written() {
    let content =
        crate::tree::Content::packed(crate::tree::Pack::open(Path::new("/dev/null")).unwrap(), 0, 1 << 50, Digest::of(b""));
    let mut extents = Extents::new(1 << 50);
    extents.put_content(0, &content);
    let disk = Disk { extents, partitions: Vec::new() };
    let folder = tempfile::tempdir().unwrap();
    let output = Output::open(folder.path()).unwrap();
    let error = render(&of(&disk), &[Format::Raw], "node", &output, &Quiet).err().unwrap();
    assert!(error.to_string().contains("node.raw needs 1073741824 MiB of free space"), "{error:#}");
    assert_eq!(names(folder.path()), [""; 0]);
}
