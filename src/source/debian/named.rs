//! Single packages of Debian's archives, without what they need: their files are read, and not installed.

use anyhow::Result;

use super::mirror::{Mirrors, unreachable};
use super::resolve::{Request, archives, check, describe, known, lists, of_suite, read_uri};
use super::root::Root;
use crate::failure::{Failure, Kind};
use crate::lock::LockedPackage;
use crate::progress::{Sink, Stage, Unit};
use crate::store::Store;

/// The packages that `request` names, each in the version that apt would take today, by name.
///
/// # Errors
/// As [`super::resolve()`].
pub fn named(request: &Request, store: &Store, sink: &dyn Sink) -> Result<Vec<LockedPackage>> {
    check(request)?;
    let stage = Stage::start(sink, "resolve", request.packages.join(", "), None, Unit::None);
    let root = Root::make(&store.root().join("tmp"), request.architecture)?;
    let mirrors = Mirrors::find(request.mirror.as_deref())?;
    let archives = archives(request, &root, &mirrors)?;
    root.set_archives(&archives, &request.components, request.keyring.as_deref())?;
    root.cmd("apt-get").args(["-qq", "update"]).run().map_err(|failure| unreachable(&mirrors.main, &failure))?;
    let lists = lists(&root)?;
    known(&request.packages, &lists)?;
    let output = root.cmd("apt-get").args(["-qq", "--print-uris", "download", "--"]).args(&request.packages).run();
    let text = output.map_err(|failure| match failure.kind {
        Kind::Failed => Failure::new(Kind::Input, format!("the packages cannot be had: {}", failure.what))
            .hint("name packages, not what they provide"),
        _ => failure,
    })?;
    let text = String::from_utf8_lossy(&text.stdout);
    let chosen: Vec<_> = text.lines().filter(|line| line.starts_with('\'')).filter_map(read_uri).collect();
    let packages = describe(&chosen, &lists)?;
    if let Some(missing) =
        request.packages.iter().map(|name| of_suite(name).0).find(|name| !packages.iter().any(|package| package.name == **name))
    {
        return Err(Failure::new(Kind::Input, format!("apt has no file of the package {missing}")).into());
    }
    stage.finish(false);
    Ok(packages)
}
