//! A plan for people: what will be in the image, in lines of less than 100 columns. Pure.

use std::fmt::Write as _;

use super::{Base, FileContent, KernelMatch, KernelModules, Layer, LayerContent, ModuleSource, Plan, Settings, Tuned};
use crate::kmod::signing::Hash;

/// The widest line.
const WIDTH: usize = 96;
/// Where values begin.
const INDENT: usize = 14;

/// What `plan` will build, and in which order.
pub fn explain(plan: &Plan) -> String {
    let mut out = Lines::default();
    out.row("image", &format!("{} {} for {}", plan.name, plan.image_version, plan.architecture));
    out.row("plan", &plan.id().to_string());
    out.row("time", &time(plan.time));
    base_lines(&plan.base, &mut out);
    for (index, layer) in plan.layers.iter().enumerate() {
        out.row(if index == 0 { "layers" } else { "" }, &format!("{}. {}", index + 1, layer_line(layer)));
        if !layer.replaces.is_empty() {
            let paths: Vec<_> = layer.replaces.iter().map(ToString::to_string).collect();
            out.row("", &format!("   wins over the layers below at {}", paths.join(", ")));
        }
        match &layer.content {
            LayerContent::Files { files } => files.iter().for_each(|(path, file)| {
                let what = match &file.content {
                    FileContent::Text(text) => format!("{:04o} {} bytes of text", file.mode, text.len()),
                    FileContent::Blob { size: bytes, .. } => format!("{:04o} {}", file.mode, size(*bytes)),
                    FileContent::Symlink(target) => format!("-> {target}"),
                };
                out.row("", &format!("   {path} {what}"));
            }),
            LayerContent::Settings(settings) => settings_lines(settings, &mut out),
            LayerContent::Trust(trust) => {
                for (what, key) in trust.keys() {
                    out.row("", &format!("   each {what} is signed by the key {}", short(&key.sha256)));
                }
                if trust.image.is_some() {
                    out.row("", &format!("   images come from {}", trust.repository.as_deref().unwrap_or("any registry")));
                }
            }
            LayerContent::KernelModules(modules) => module_lines(modules, &mut out),
            LayerContent::Tuned(tuned) => tuned_lines(tuned, &mut out),
            LayerContent::Overlay { .. } | LayerContent::Agent { .. } | LayerContent::UpdateClient { .. } => {}
        }
    }
    argument_lines(plan, &mut out);
    let part = |bytes: Option<u64>| bytes.map_or_else(|| "as small as fits".to_owned(), size);
    let disk = &plan.disk;
    let (esp, boot, root) = (part(disk.esp_size), part(disk.boot_size), part(disk.root_size));
    out.row("disk", &format!("sectors of {} bytes; ESP {esp}, boot {boot}, root {root}", disk.sector_size));
    out.row("updates", plan.update.as_deref().unwrap_or("none named"));
    out.row("checks", &plan.checks.len().to_string());
    let outputs: Vec<_> = plan.outputs.iter().map(super::diff::word).collect();
    out.row("outputs", &outputs.join(", "));
    out.text
}

fn base_lines(base: &Base, out: &mut Lines) {
    match base {
        Base::Debian { suite, packages, mirror, .. } => {
            let bytes: u64 = packages.iter().map(|package| package.size).sum();
            out.row("base", &format!("Debian {suite}: {} packages, {} to fetch at most", packages.len(), size(bytes)));
            for kernel in packages.iter().filter(|package| package.name.starts_with("linux-image-")) {
                out.row("", &format!("{} {}", kernel.name, kernel.version));
            }
            if let Some(mirror) = mirror {
                out.row("", &format!("from {mirror}"));
            }
        }
        Base::Oci(image) => {
            let bytes: u64 = image.blobs().map(|blob| blob.size).sum();
            out.row("base", &format!("image {}: {} layers, {} to fetch at most", image.from, image.layers.len(), size(bytes)));
            out.row("", &format!("manifest sha256 {}", image.manifest.sha256));
        }
        Base::Tree { digest } => out.row("base", &format!("tree {digest}")),
    }
}

fn layer_line(layer: &Layer) -> String {
    match &layer.content {
        LayerContent::Overlay { digest } => format!("{} ({})", layer.name, short(digest)),
        LayerContent::Agent { sha256, size: bytes } | LayerContent::UpdateClient { sha256, size: bytes } => {
            format!("{} ({}, {})", layer.name, size(*bytes), short(sha256))
        }
        LayerContent::Files { .. }
        | LayerContent::KernelModules(_)
        | LayerContent::Tuned(_)
        | LayerContent::Trust(_)
        | LayerContent::Settings(_) => layer.name.clone(),
    }
}

/// Every kernel argument, and who asks for it.
fn argument_lines(plan: &Plan, out: &mut Lines) {
    for (index, argument) in plan.kernel_args.iter().enumerate() {
        let sources: Vec<_> = argument.asked_by.iter().map(ToString::to_string).collect();
        out.row(if index == 0 { "kernel" } else { "" }, &format!("{} ({})", argument.text, sources.join(", ")));
    }
    let active = plan.layers.iter().find_map(|layer| match &layer.content {
        LayerContent::Tuned(tuned) => tuned.active.as_ref(),
        _ => None,
    });
    let label = if plan.kernel_args.is_empty() { "kernel" } else { "" };
    match active {
        Some(active) => out.row(label, &format!("and what tuned's {active} asks for: the build reads it")),
        None if plan.kernel_args.is_empty() => out.row(label, "no arguments of its own"),
        None => {}
    }
}

fn tuned_lines(tuned: &Tuned, out: &mut Lines) {
    for source in &tuned.sources {
        out.row("", &format!("   profiles of {} ({})", source.name, short(&source.digest)));
    }
    if let Some(active) = &tuned.active {
        out.row("", &format!("   active {active}"));
    }
    for (profile, values) in &tuned.variables {
        let values: Vec<_> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
        out.row("", &format!("   for {profile} {}", values.join(", ")));
    }
}

fn module_lines(modules: &KernelModules, out: &mut Lines) {
    for set in &modules.sets {
        for mapping in &set.mappings {
            let kernel = match &mapping.kernel {
                KernelMatch::Any => "each kernel".to_owned(),
                KernelMatch::Literal(release) => release.clone(),
                KernelMatch::Regexp(pattern) => format!("kernels like {pattern}"),
            };
            let source = match &mapping.source {
                ModuleSource::Tree(digest) => short(digest),
                ModuleSource::Image(image) => format!("image {}, {}", image.from, short(&image.manifest.sha256)),
                ModuleSource::Deb(deb) => format!("package {}", short(&deb.sha256)),
                ModuleSource::Packages(packages) => {
                    packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect::<Vec<_>>().join(", ")
                }
            };
            out.row("", &format!("   {} for {kernel} ({source})", set.name));
        }
        let mut list = |what: &str, words: &[String]| {
            if !words.is_empty() {
                out.row("", &format!("   {what} {}", words.join(", ")));
            }
        };
        list("load", &set.load);
        list("load in the initramfs", &set.load_early);
        if let Some(sign) = &set.sign {
            let hash = sign.hash.map_or("the kernel's own hash", Hash::word);
            list("signed by the key of the certificate", &[format!("{} over {hash}", short(&sign.certificate.sha256))]);
        }
        if let Some(packing) = set.compress {
            list("compressed:", &[packing.word().to_owned()]);
        }
        list("blacklist", &set.blacklist);
        list("instead of the kernel's", &set.remove);
        list("allowed:", &set.allow);
    }
    let exports = modules.headers.iter().map(|package| format!("{} {}", package.name, package.version));
    let exports: Vec<_> = exports.chain(modules.symvers.iter().map(|file| format!("symvers {}", short(&file.sha256)))).collect();
    out.row(
        "",
        &format!("   proven against {}", if exports.is_empty() { "what the base says".into() } else { exports.join(", ") }),
    );
    let signed = if modules.secure_boot { "signed, or the kernel refuses them" } else { "signed or not: no Secure Boot" };
    out.row("", &format!("   {signed}"));
}

fn settings_lines(settings: &Settings, out: &mut Lines) {
    let mut list = |what: &str, words: Vec<String>| {
        if !words.is_empty() {
            out.row("", &format!("   {what} {}", words.join(", ")));
        }
    };
    list("enable", settings.enable.clone());
    list("disable", settings.disable.clone());
    list("mask", settings.mask.clone());
    let users = settings.users.iter();
    list("users", users.map(|(name, user)| format!("{name} ({}, {} keys)", user.uid, user.ssh_keys.len())).collect());
    let keys = settings.root_ssh_keys.len();
    list("root", (keys > 0).then(|| format!("{keys} keys")).into_iter().collect());
    list("host name", settings.host_name.clone().into_iter().collect());
    list("network", settings.network.keys().cloned().collect());
    if !settings.firstboot.is_empty() {
        out.row("", "   desired state of its nodes");
        let text = settings.firstboot.to_toml();
        text.lines().filter(|line| !line.is_empty()).for_each(|line| out.row("", &format!("     {line}")));
    }
}

/// Rows of a label and a value; long values go on in the next line.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn row(&mut self, label: &str, value: &str) {
        let mut line = format!("{label:INDENT$}");
        let mut used = INDENT;
        let inner = value.len() - value.trim_start().len();
        line.push_str(&value[..inner]);
        used += inner;
        for (index, word) in value.split_whitespace().enumerate() {
            let len = word.chars().count();
            if index > 0 && used + 1 + len > WIDTH {
                let _ = writeln!(self.text, "{}", line.trim_end());
                line = " ".repeat(INDENT + inner + 2);
                used = INDENT + inner + 2;
            } else if index > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += len;
        }
        let _ = writeln!(self.text, "{}", line.trim_end());
    }
}

fn short(digest: &crate::digest::Digest) -> String {
    digest.to_hex().chars().take(12).collect()
}

/// Bytes for people, with the powers of 1024.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        _ => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use basalt_contract::KernelArgument;
    use basalt_contract::kernel_arguments::Source;

    use super::*;

    #[test]
    fn the_reference_plan_is_explained_in_narrow_lines() {
        let mut plan = Plan::parse(include_str!("../../image-recipes/golden/gpu-node.plan.json")).unwrap();
        let source = |n| Source::new(format!("kernel-module m{n}"));
        let many = |n| KernelArgument { text: format!("m.parameter{n}=1"), asked_by: (0..n).map(source).collect() };
        plan.kernel_args.extend((1..40).map(many));
        let text = explain(&plan);
        assert!(text.lines().all(|line| line.chars().count() < 100), "{text}");
        for part in [
            "image         gpu-node 0.1.0 for amd64\n",
            "time          2026-05-28T20:26:40Z\n",
            "layers        1. overlay 10-basalt-node (",
            "                 enable systemd-networkd.service, ssh.service, basalt-firstboot.service,\n                   tuned.service\n",
            "kernel        console=tty0 (recipe: fragments/serial-console.toml:3)\n",
            "              m.parameter2=1 (kernel-module m0, kernel-module m1)\n",
            "outputs       raw, qcow2, oci\n",
            "disk          sectors of 512 bytes; ESP as small as fits, boot as small as fits, root",
        ] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
    }
}
