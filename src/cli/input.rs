//! What most verbs begin with: a recipe, or a saved plan, becomes a [`Plan`] whose local inputs are in the store.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use super::Context;
use super::network::NetworkArgs;
use crate::architecture::Architecture;
use crate::failure::{Failure, Kind, failure_in};
use crate::layer::foreign;
use crate::lock::{self, Changes, Lock, LockedImage, LockedPackage, Mode};
use crate::pipeline;
use crate::plan::{self, Plan};
use crate::progress::{Event, Sink};
use crate::recipe::{self, ImageSource, Recipe};
use crate::registry::Access;
use crate::source::{Network, debian, oci};
use crate::store::{Store, sync_folder};
use crate::tree::Tree;

/// Where a build comes from.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// A recipe (.toml), or a plan that `plan --json` saved (.json)
    #[arg(value_name = "RECIPE|PLAN")]
    pub path: PathBuf,
    /// For which machines, when the recipe names several
    #[arg(long, value_name = "ARCH", value_parser = architecture)]
    pub arch: Option<Architecture>,
    /// Use no network: everything must be in the cache
    #[arg(long)]
    pub offline: bool,
    /// Fail when the lock is missing or would change
    #[arg(long)]
    pub locked: bool,
    #[command(flatten)]
    pub network: NetworkArgs,
}

impl InputArgs {
    /// Which network may be used.
    pub fn network<'a>(&self, access: &'a Access) -> Network<'a> {
        Network { offline: self.offline, access }
    }
}

/// Reads `--arch`.
pub fn architecture(text: &str) -> Result<Architecture, String> {
    [Architecture::Amd64, Architecture::Arm64]
        .into_iter()
        .find(|architecture| architecture.debian() == text)
        .ok_or_else(|| format!("needed amd64 or arm64, found {text:?}"))
}

/// The plan of `args`, and its local inputs in `store`. A recipe's lock is written when it is missing or a local input changed.
pub fn plan(args: &InputArgs, context: &Context, store: &Store) -> Result<Plan> {
    if is_plan(&args.path) {
        return saved_plan(&args.path, store);
    }
    let recipe = recipe::load(&args.path)?;
    let mode = if args.locked { Mode::Locked } else { Mode::Build };
    let (lock, _) = refresh(args, &recipe, &mode, context, store).map_err(|error| placed(error, args))?;
    let architecture = chosen(args, &recipe)?;
    let section = lock.architecture.get(&architecture).context("the lock has no section for this architecture")?;
    Ok(plan::resolve(&recipe, section, architecture).map_err(Failure::from)?)
}

/// `error` of a build, with the place in the recipe that it is about, where there is a recipe and it says so.
pub fn placed(error: anyhow::Error, args: &InputArgs) -> anyhow::Error {
    let mention = failure_in(&error).and_then(|failure| failure.about.as_ref()).filter(|_| !is_plan(&args.path));
    match mention.and_then(|mention| recipe::locate(&args.path, mention)) {
        Some(position) => error.context(position.to_string()),
        None => error,
    }
}

/// Brings the lock of a recipe up to date as far as `mode` allows, and says what changed.
pub fn refresh(args: &InputArgs, recipe: &Recipe, mode: &Mode, context: &Context, store: &Store) -> Result<(Lock, Changes)> {
    let path = lock::path_for(&args.path);
    let previous = lock::read(&path)?;
    let resolver = Sources::new(&path, args, context, store);
    let (agent, client) = (shipped("basalt-firstboot"), shipped("ostree-container"));
    let architecture = chosen(args, recipe)?;
    let (agent, update_client) = (agent.as_deref(), client.as_deref());
    let inputs = lock::Inputs { recipe, architecture, store, agent, update_client, resolver: &resolver };
    let (lock, changes) = lock::refresh(inputs, previous.as_ref(), mode)?;
    if *mode != Mode::Locked && previous.as_ref() != Some(&lock) {
        lock::write(&path, &lock)?;
        let message = match previous {
            None => format!("{}: written, every input is pinned there", path.display()),
            Some(_) => format!("{}: updated\n{changes}", path.display()),
        };
        context.sink.event(Event::Note { message });
    }
    Ok((lock, changes))
}

/// Asks what is current.
pub struct Sources<'a> {
    /// The file that the answers go to.
    lock: &'a Path,
    offline: bool,
    access: Access,
    store: &'a Store,
    sink: &'a dyn Sink,
}

impl<'a> Sources<'a> {
    /// For the lock at `lock`, as `args` allow it.
    pub fn new(lock: &'a Path, args: &InputArgs, context: &'a Context, store: &'a Store) -> Self {
        Self { lock, offline: args.offline, access: args.network.access(), store, sink: &*context.sink }
    }

    fn need_network(&self, what: &str) -> Result<()> {
        if !self.offline {
            return Ok(());
        }
        let what = format!("{}: needs {what}, and --offline allows no network", self.lock.display());
        Err(Failure::new(Kind::Input, what).hint("run `basalt lock RECIPE` where there is a network").into())
    }
}

impl lock::Resolver for Sources<'_> {
    fn packages(&self, question: &lock::Question) -> Result<lock::Answer> {
        self.need_network("the archive's list of packages")?;
        let request = request(question, question.base.requested.clone());
        let resolved = debian::resolve(&request, self.store, self.sink)?;
        Ok(lock::Answer { date: resolved.date, packages: resolved.packages, headers: resolved.headers })
    }

    fn image(&self, from: &ImageSource, folder: &Path, architecture: Architecture) -> Result<(LockedImage, i64)> {
        if from.local().is_none() {
            self.need_network(&format!("the digest of {from}"))?;
        }
        oci::pin(from, folder, architecture, &self.access, self.store, self.sink)
    }

    fn named(&self, question: &lock::Question, names: &[String]) -> Result<Vec<LockedPackage>> {
        self.need_network("the archive's list of packages")?;
        debian::named(&request(question, names.to_vec()), self.store, self.sink)
    }

    fn base(&self, image: &LockedImage, date: i64) -> Result<Tree> {
        if !foreign::image::is_cached(image, date, self.store) {
            oci::fetch(image, Network { offline: self.offline, access: &self.access }, self.store, self.sink)?;
        }
        Ok(foreign::image::produce(image, date, self.store, self.sink)?.tree)
    }
}

/// What is asked of apt for these packages.
fn request(question: &lock::Question, packages: Vec<String>) -> debian::Request {
    debian::Request {
        suite: question.base.suite.clone(),
        components: question.base.components.clone(),
        architecture: question.architecture,
        packages,
        mirror: question.mirror.clone(),
        keyring: question.keyring.clone(),
        headers: question.headers,
        prefer: question.prefer.clone(),
    }
}

/// For which machines: the one asked for, else the only one.
pub fn chosen(args: &InputArgs, recipe: &Recipe) -> Result<Architecture> {
    match (args.arch, recipe.architectures.as_slice()) {
        (Some(architecture), _) | (None, &[architecture]) => Ok(architecture),
        (None, several) => {
            let names: Vec<_> = several.iter().map(ToString::to_string).collect();
            let what = format!("recipe {} is for {}", recipe.name, names.join(" and "));
            Err(super::report::usage(what, "choose one with --arch"))
        }
    }
}

/// A program that images carry, beside this one or where a package puts it.
fn shipped(name: &str) -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.to_owned();
    [folder.join(name), folder.join("../libexec/basalt").join(name)].into_iter().find(|path| path.is_file())
}

pub fn is_plan(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// Reads a saved plan. What a vendored folder has beside it is taken into the store, checked.
fn saved_plan(path: &Path, store: &Store) -> Result<Plan> {
    let plan = read_plan(path)?;
    let folder = path.parent().unwrap_or(Path::new("")).join("store");
    if folder.is_dir() {
        let vendored = Store::open(&folder)?;
        let inputs = pipeline::inputs(&plan);
        for blob in &inputs.blobs {
            store.import_blob(&vendored, blob)?;
        }
        for (kind, key) in &inputs.entries {
            store.import_entry(&vendored, kind, key)?;
        }
    }
    Ok(plan)
}

/// Reads a saved plan and nothing else.
pub fn read_plan(path: &Path) -> Result<Plan> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::new(Kind::Input, format!("{}: cannot be read: {error}", path.display()))
            .hint("name a plan that `basalt plan --json` saved")
    })?;
    let plan = Plan::parse(&text).map_err(|bad| {
        Failure::new(Kind::Invalid, format!("{}:{bad}", path.display()))
            .hint("save it again: basalt plan --json RECIPE > PLAN.json")
    })?;
    Ok(plan)
}

/// Copies the lock of a recipe into `folder`. A saved plan has none.
pub fn write_lock_copy(args: &InputArgs, folder: &Path) -> Result<()> {
    if is_plan(&args.path) {
        return Ok(());
    }
    let lock = lock::path_for(&args.path);
    let name = lock.file_name().context("a lock has a name")?;
    write_whole(&folder.join(name), &fs::read(&lock)?)
}

/// Writes a file so that it is there whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let cannot = || format!("{}: cannot be written", path.display());
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    sync_folder(folder)
}
