//! `basalt inspect`: what an artefact says of itself.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use crate::inspect::image::{Image, ImageLayer, Images};
use crate::inspect::{self, Deployment, Format, Inspected, Inspection, Partition};

const MIB: u64 = 1 << 20;

/// Shows what is in an artefact, read from its bytes. Of a disk: partitions, filesystems, deployments with commit, kernel, arguments,
/// layers and packages. Of OCI images (an archive or a folder): digest, commit, kernel and layers. Or prints a file from inside it: DISK:/usr/lib/os-release is one of the deployment, DISK:boot:/grub/grub.cfg one of the
/// partition with that label.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A disk (raw or qcow2) or OCI images, and which file in a disk
    #[arg(value_name = "ARTEFACT[:[LABEL:]/PATH]")]
    what: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Name every package
    #[arg(long)]
    packages: bool,
}

/// Runs the verb.
pub fn run(args: &InspectArgs) -> Result<()> {
    if let (path, Some(inside)) = split(&args.what) {
        let bytes = inspect::file(&path, inside)?;
        return match std::io::stdout().lock().write_all(&bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        };
    }
    let found = inspect::inspect_any(Path::new(&args.what))?;
    if args.json {
        return super::print(&(serde_json::to_string_pretty(&found)? + "\n"));
    }
    super::print(&match &found {
        Inspected::Disk(found) => text(&args.what, found, args.packages),
        Inspected::Images(found) => images_text(&args.what, found),
    })
}

/// The disk, and the path inside it. A file whose own name has a colon is one.
fn split(what: &str) -> (PathBuf, Option<&str>) {
    let inside = what.find(":/").filter(|_| !Path::new(what).exists());
    let Some(mut at) = inside else { return (what.into(), None) };
    // The label of a partition stands between two colons.
    if let Some((disk, label)) = what[..at].rsplit_once(':')
        && !label.contains('/')
        && Path::new(disk).exists()
    {
        at = disk.len();
    }
    (what[..at].into(), Some(&what[at + 1..]))
}

fn text(what: &str, found: &Inspection, every_package: bool) -> String {
    let format = match found.format {
        Format::Raw => "raw",
        Format::Qcow2 => "qcow2",
    };
    let mut text = format!("{what}: {format} disk of {} MiB, sectors of {} bytes\n", found.size / MIB, found.sector_size);
    let _ = writeln!(text, "  id  {}", found.id);
    for partition in &found.partitions {
        partition_text(&mut text, partition);
    }
    for deployment in &found.deployments {
        deployment_text(&mut text, deployment, every_package);
    }
    if found.deployments.is_empty() {
        text.push_str("\nno OSTree deployment\n");
    }
    text
}

fn images_text(what: &str, found: &Images) -> String {
    let mut text = format!("{what}: {} of {} image(s)\n", found.format, found.images.len());
    for image in &found.images {
        let Image { digest, tag, architecture, created, image_version, commit, plan, kernel, signed_by, size, layers } = image;
        let _ = writeln!(text, "\nimage {digest}");
        let mut row = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<9} {value}");
        };
        let fields = [
            ("tag", tag),
            ("version", image_version),
            ("plan", plan),
            ("commit", commit),
            ("kernel", kernel),
            ("created", created),
        ];
        row("for", architecture);
        for (name, value) in fields {
            row(name, value.as_deref().unwrap_or("unknown"));
        }
        signed_row(&mut row, signed_by);
        row("size", &format!("{} MiB in {} layers", size / MIB, layers.len()));
        for ImageLayer { digest, size, comment, components } in layers {
            let name = comment.as_deref().unwrap_or("layer");
            let many = if components.len() > 1 { format!(", {} components", components.len()) } else { String::new() };
            row("", &format!("{:>6} KiB  {name}{many}  {}", size / 1024, digest.get(..19).unwrap_or(digest)));
        }
    }
    text
}

/// Whose signatures of the commit are there. They are not verified here: `basalt verify` does.
fn signed_row(row: &mut impl FnMut(&str, &str), signed_by: &[String]) {
    if !signed_by.is_empty() {
        row("signed by", &format!("{} (as it says)", signed_by.join(", ")));
    }
}

fn partition_text(text: &mut String, partition: &Partition) {
    let Partition { number, label, size, filesystem, .. } = partition;
    let _ = write!(text, "  {number}   {label:<12} {:>6} MiB", size / MIB);
    match filesystem {
        Some(found) => {
            let unclean = if found.needs_recovery { ", was not unmounted" } else { "" };
            let _ = writeln!(text, "  {:<5}  {}{unclean}", found.kind, found.id);
        }
        None => text.push_str("  unknown\n"),
    }
}

fn deployment_text(text: &mut String, deployment: &Deployment, every_package: bool) {
    let Deployment { stateroot, commit, serial, .. } = deployment;
    let _ = writeln!(text, "\ndeployment {stateroot} {commit}.{serial}");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<9} {value}");
    };
    let fields = [
        ("version", &deployment.version),
        ("plan", &deployment.plan),
        ("for", &deployment.architecture),
        ("system", &deployment.os),
        ("kernel", &deployment.kernel),
    ];
    for (name, value) in fields {
        row(name, value.as_deref().unwrap_or("unknown"));
    }
    signed_row(&mut row, &deployment.signed_by);
    let arguments = deployment.kernel_args.join(" ");
    row("arguments", if arguments.is_empty() { "no boot entry leads to it" } else { &arguments });
    let layers: Vec<_> = deployment.layers.iter().map(|layer| layer.name.as_str()).collect();
    row("layers", &layers.join(", "));
    row("packages", &deployment.packages.len().to_string());
    if every_package {
        for package in &deployment.packages {
            row("", &format!("{} {}", package.name, package.version));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_disk_ends_and_the_path_begins() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("a.raw");
        std::fs::write(&disk, "").unwrap();
        let disk = disk.display().to_string();
        for (what, path, inside) in [
            (disk.clone(), disk.clone(), None),
            (format!("{disk}:/etc/x"), disk.clone(), Some("/etc/x")),
            (format!("{disk}:boot:/grub/grub.cfg"), disk.clone(), Some("boot:/grub/grub.cfg")),
            (format!("{disk}:/etc/a:/b"), disk.clone(), Some("/etc/a:/b")),
            ("none.raw:/etc/x".into(), "none.raw".into(), Some("/etc/x")),
            ("none.raw".into(), "none.raw".into(), None),
        ] {
            assert_eq!(split(&what), (PathBuf::from(path), inside), "{what}");
        }
    }
}
