//! The lowest layer of a plan, whatever it is made from. To add a kind: a variant of [`Base`], and a row in each function here.

use anyhow::Result;

use super::{Layer, debian, foreign};
use crate::failure::{Failure, Kind};
use crate::lock::TREE_KIND;
use crate::plan::{Base, Plan};
use crate::progress::Sink;
use crate::source::{self, Network};
use crate::store::Store;

/// The base of `plan`: from the store, else made now from what [`fetch`] brought.
///
/// # Errors
/// Those of its kind.
pub fn produce(plan: &Plan, store: &Store, sink: &dyn Sink) -> Result<Layer> {
    match &plan.base {
        Base::Debian { .. } => debian::produce(&of_packages(plan), store, sink),
        Base::Oci(image) => foreign::image::produce(image, plan.time, store, sink),
        Base::Tree { digest } => foreign::rootfs::produce(digest, plan.time, store),
    }
}

/// Whether the store has what [`produce`] would answer, so that nothing has to be fetched.
pub fn is_cached(plan: &Plan, store: &Store) -> bool {
    match &plan.base {
        Base::Debian { .. } => debian::is_cached(&of_packages(plan), store),
        Base::Oci(image) => foreign::image::is_cached(image, plan.time, store),
        Base::Tree { .. } => true,
    }
}

/// Brings what the store lacks of the base's inputs.
///
/// # Errors
/// What cannot be had.
pub fn fetch(plan: &Plan, store: &Store, network: Network<'_>, sink: &dyn Sink) -> Result<()> {
    match &plan.base {
        Base::Debian { packages, mirror, .. } => source::debian::fetch(packages, mirror.as_deref(), store, sink, network.offline),
        Base::Oci(image) => source::oci::fetch(image, network, store, sink),
        Base::Tree { digest } if store.entry(TREE_KIND, digest).is_some() => Ok(()),
        Base::Tree { digest } => Err(Failure::new(Kind::Input, format!("the base's tree {digest} is not in the cache"))
            .hint("build from the recipe, or from the folder that `basalt vendor` made")
            .into()),
    }
}

/// # Panics
/// When the base is not made of packages.
fn of_packages(plan: &Plan) -> debian::Inputs<'_> {
    let Base::Debian { suite, packages, users, groups, mirror: _ } = &plan.base else { unreachable!("asked by kind") };
    debian::Inputs { suite, packages, users, groups, architecture: plan.architecture, time: plan.time }
}
