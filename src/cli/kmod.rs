//! `basalt kmod`: kernel modules are built from source, for the kernel that a recipe's lock pins.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::{Context, input};
use crate::architecture::Architecture;
use crate::artefact::Output;
use crate::failure::{Failure, Kind};
use crate::lock::{self, Lock, LockedDebian, LockedPackage, Mode, Section};
use crate::prebuild::{self, Image, Kernel, Request, Source, Wanted, environment};
use crate::progress::Event;
use crate::recipe::{self, Recipe};
use crate::source::debian;
use crate::store::Store;

/// Builds kernel modules from source, for the kernel of a recipe.
#[derive(Debug, Args)]
pub struct KmodArgs {
    #[command(subcommand)]
    verb: KmodVerb,
}

#[derive(Debug, Subcommand)]
enum KmodVerb {
    /// Build modules and write an OCI image with them
    Build(BuildArgs),
}

/// Builds a module tree (kbuild or dkms) against the headers of the kernel that a recipe's lock pins, in a root of locked packages
/// that nobody keeps, and writes an OCI image in KMM's layout. What is installed there is pinned in RECIPE.kmod.lock.
#[derive(Debug, Args)]
struct BuildArgs {
    /// A folder or tar with a Makefile or dkms.conf, or a package: a .deb file,
    /// or the name of one in the base's archive (linux-source-6.12)
    #[arg(long, value_name = "DIR|DEB|PACKAGE")]
    source: PathBuf,
    /// Build this folder of the source, such as drivers/net/netdevsim
    #[arg(long, value_name = "FOLDER")]
    folder: Option<String>,
    /// Look for the package in this component of the archive, too (contrib)
    #[arg(long, value_name = "NAME")]
    component: Vec<String>,
    #[command(flatten)]
    input: KernelArgs,
    /// What the modules are called together [default: as dkms.conf or the
    /// folder is]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Change the source first, as patch -p1 does; in this order
    #[arg(long, value_name = "FILE")]
    patch: Vec<PathBuf>,
    /// Give make a variable, such as CONFIG_NETDEVSIM=m
    #[arg(long, value_name = "VARIABLE=VALUE")]
    make: Vec<String>,
    /// Keep debug data, which are most of a module
    #[arg(long)]
    keep_debug: bool,
    /// Ask the archive again for compiler and tools
    #[arg(long, conflicts_with = "locked")]
    update: bool,
    /// Where the image goes
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    /// Tell progress and result as JSON lines
    #[arg(long)]
    json: bool,
}

/// For which kernel.
#[derive(Debug, Args)]
struct KernelArgs {
    /// The recipe whose lock pins the kernel
    #[arg(long = "kernel", value_name = "RECIPE")]
    recipe: PathBuf,
    /// For which machines, when the recipe names several
    #[arg(long, value_name = "ARCH", value_parser = input::architecture)]
    arch: Option<Architecture>,
    /// Use no network: everything must be in the cache
    #[arg(long)]
    offline: bool,
    /// Fail when a lock is missing or would change
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    network: super::network::NetworkArgs,
}

impl KmodArgs {
    /// Whether JSON is wanted.
    pub fn json(&self) -> bool {
        let KmodVerb::Build(args) = &self.verb;
        args.json
    }
}

/// Runs the verb.
pub fn run(args: &KmodArgs, context: &Context) -> Result<()> {
    let KmodVerb::Build(args) = &args.verb;
    build(args, context)
}

fn build(args: &BuildArgs, context: &Context) -> Result<()> {
    for argument in &args.make {
        if !argument.split_once('=').is_some_and(|(name, _)| is_variable(name)) || argument.contains('\n') {
            return Err(super::report::usage(
                format!("--make: needed VARIABLE=VALUE, found {argument:?}"),
                "as in --make CONFIG_NETDEVSIM=m",
            ));
        }
    }
    let patches = args.patch.iter().map(|path| patch(path)).collect::<Result<Vec<_>>>()?;
    let store = context.store()?;
    let is_package = is_package(&args.source);
    // What lies here is looked at before the archive is asked.
    let here = if is_package { None } else { Some(read(args, &args.source, &store)?) };
    let recipe = recipe::load(&args.input.recipe)?;
    let inputs = args.input.of_recipe();
    let architecture = input::chosen(&inputs, &recipe)?;
    let lock = base(&inputs, &recipe, architecture, context, &store)?;
    let section = lock.architecture.get(&architecture).context("the lock has no section for this architecture")?;
    let kernel = Kernel::of(&recipe, section)?;
    let question = kernel.question(&recipe, architecture).context("a base of kind debian")?;
    let environment = pin(args, &recipe.name, &kernel, &question, context, &store)?;
    let mirror = question.mirror.as_deref();
    debian::fetch(&environment.packages, mirror, &store, &*context.sink, args.input.offline)?;
    let source = match here {
        Some(source) => source,
        None => {
            let package = pin_source(args, &question, context, &store)?;
            debian::fetch(std::slice::from_ref(&package), mirror, &store, &*context.sink, args.input.offline)?;
            read(args, &store.blob_path(&package.sha256), &store)?
        }
    };
    let request = Request {
        source: &source,
        patches: &patches,
        make: &args.make,
        keep_debug: args.keep_debug,
        kernel: &kernel,
        architecture,
        packages: &environment.packages,
        requested: &question.packages,
        time: environment.date,
    };
    let name = format!("{}.oci", source.name);
    let output = Output::open(&args.out)?;
    let log = output.path().join(format!("{}.log", source.name));
    let built = prebuild::build(&request, &log, &store, &*context.sink)?;
    output.remove(&format!("{}.log", source.name))?;
    let image = Image::of(&request, &built)?;
    let digest = image.folder.digest;
    image.folder.write(&output, &name, |_| Ok(()))?.keep(&output)?;
    let path = output.path().join(&name);
    if args.json {
        let modules: Vec<_> =
            built.modules.iter().map(|(name, size)| serde_json::json!({ "name": name, "size": size })).collect();
        let value = serde_json::json!({
            "version": crate::progress::VERSION, "event": "modules-built", "name": source.name, "source-version": source.version,
            "kernel": kernel.release, "image": path, "digest": digest.to_hex(), "tag": image.tag, "modules": modules,
            "cached": built.cached,
        });
        return super::print(&format!("{value}\n"));
    }
    let mut text = format!("{} {} for {}\n", source.name, source.version, kernel.release);
    for (name, size) in &built.modules {
        text += &format!("  {name}  {} KiB\n", size.div_ceil(1024));
    }
    text += &format!(
        "  digest  {digest}\n{}: send it with basalt push {} REGISTRY/PATH:{}\n",
        path.display(),
        path.display(),
        image.tag
    );
    super::print(&text)
}

/// The lock, as it is when its base is the recipe's. Else it is brought up to date but for kernel modules: those may be what is to be built.
fn base(
    inputs: &input::InputArgs,
    recipe: &Recipe,
    architecture: Architecture,
    context: &Context,
    store: &Store,
) -> Result<Lock> {
    let lock = lock::read(&lock::path_for(&inputs.path))?;
    let of_lock = |lock: &Lock| lock.architecture.get(&architecture)?.base.debian().cloned();
    let asked = LockedDebian::of(recipe, architecture);
    if let Some(lock) = lock.filter(|lock| asked.is_some() && of_lock(lock) == asked) {
        return Ok(lock);
    }
    let recipe = Recipe { kernel_modules: Vec::new(), ..recipe.clone() };
    let mode = if inputs.locked { Mode::Locked } else { Mode::Build };
    Ok(input::refresh(inputs, &recipe, &mode, context, store)?.0)
}

/// Whether it is the name of a package, and of nothing that lies here.
fn is_package(source: &Path) -> bool {
    !source.exists()
        && source.to_str().is_some_and(|name| !name.ends_with(".deb") && recipe::names::package_of_suite(name).is_ok())
}

fn read(args: &BuildArgs, path: &Path, store: &Store) -> Result<Source> {
    let shown = args.source.display().to_string();
    let package = path != args.source || path.extension().is_some_and(|extension| extension == "deb");
    Source::read(Wanted { path, package, shown: &shown, folder: args.folder.as_deref(), name: args.name.as_deref() }, store)
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn patch(path: &Path) -> Result<(String, Vec<u8>)> {
    let text = fs::read(path).map_err(|error| {
        Failure::new(Kind::Input, format!("{}: cannot be read: {error}", path.display())).hint("name a file that diff -u made")
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, text))
}

/// What is installed: as the lock of the recipe's builds has it, or as the archive does today.
fn pin(
    args: &BuildArgs,
    name: &str,
    kernel: &Kernel,
    question: &debian::Request,
    context: &Context,
    store: &Store,
) -> Result<Section> {
    let path = environment::lock_path(&args.input.recipe);
    let previous = lock::read(&path)?;
    let old = previous.as_ref().and_then(|lock| lock.architecture.get(&question.architecture));
    if let Some(section) = kernel.pinned(question, old).filter(|_| !args.update) {
        return Ok(section.clone());
    }
    may_ask(args, &path)?;
    let mut section = kernel.section(question, debian::resolve(question, store, &*context.sink)?)?;
    section.module_packages = old.filter(|_| !args.update).map(|old| old.module_packages.clone()).unwrap_or_default();
    let mut lock = previous.unwrap_or_else(|| Lock { version: lock::VERSION, recipe: name.to_owned(), architecture: [].into() });
    lock.recipe = name.to_owned();
    lock.architecture.insert(question.architecture, section.clone());
    lock::write(&path, &lock)?;
    context
        .sink
        .event(Event::Note { message: format!("{}: written, headers, compiler and tools are pinned there", path.display()) });
    Ok(section)
}

/// Refuses to ask the archive where that is forbidden.
fn may_ask(args: &BuildArgs, path: &Path) -> Result<()> {
    let Some(flag) = [("--locked", args.input.locked), ("--offline", args.input.offline)].into_iter().find(|(_, given)| *given)
    else {
        return Ok(());
    };
    let what = format!("{}: needs the archive's list of packages, and {} forbids it", path.display(), flag.0);
    let hint = "run it once where there is a network, and keep this file beside the recipe's lock";
    Err(Failure::new(Kind::Input, what).hint(hint).into())
}

/// The package with the source: as the lock has it, which [`pin`] has written, or as the archive does today.
fn pin_source(args: &BuildArgs, question: &debian::Request, context: &Context, store: &Store) -> Result<LockedPackage> {
    let wanted = args.source.display().to_string();
    let name = wanted.split('/').next().unwrap_or(&wanted);
    let path = environment::lock_path(&args.input.recipe);
    let mut lock = lock::read(&path)?.with_context(|| format!("{} is gone", path.display()))?;
    let section = lock.architecture.get_mut(&question.architecture).context("the lock has no section for this architecture")?;
    if let Some(package) = section.module_packages.iter().find(|package| package.name == name) {
        return Ok(package.clone());
    }
    may_ask(args, &path)?;
    let mut components = question.components.clone();
    components.extend(args.component.iter().filter(|name| !question.components.contains(name)).cloned());
    let request = debian::Request { packages: vec![wanted.clone()], components, ..question.clone() };
    let found = debian::named(&request, store, &*context.sink).map_err(|error| unknown(error, &wanted))?;
    let package = found.into_iter().find(|package| package.name == name).context("another package came")?;
    section.module_packages.push(package.clone());
    section.sort();
    lock::write(&path, &lock)?;
    let message = format!("{}: {} {} is pinned there", path.display(), package.name, package.version);
    context.sink.event(Event::Note { message });
    Ok(package)
}

/// A name that nothing here has was looked for in the archive: perhaps a folder was meant.
fn unknown(error: anyhow::Error, wanted: &str) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(failure) if failure.kind == Kind::Invalid || failure.kind == Kind::Input => {
            let what = format!("--source: nothing here is called {wanted}, and as a package: {}", failure.what);
            Failure::new(failure.kind, what).hint("name a folder, a tar, a .deb, or a package; --component looks further").into()
        }
        Ok(failure) => failure.into(),
        Err(error) => error,
    }
}

impl KernelArgs {
    /// As other verbs have it.
    fn of_recipe(&self) -> input::InputArgs {
        input::InputArgs {
            path: self.recipe.clone(),
            arch: self.arch,
            offline: self.offline,
            locked: self.locked,
            network: self.network.clone(),
        }
    }
}
