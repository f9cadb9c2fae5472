//! What a recipe says of tuned.

use std::collections::BTreeMap;

use basalt_contract::Desired;
use basalt_contract::placed::Placed;

use super::{OverlaySource, Recipe};

/// The overlay with the profiles that come with Basalt, and with what keeps tuned away from the boot loader.
pub const OVERLAY: &str = "40-basalt-tuned";
/// Debian's package.
pub const PACKAGE: &str = "tuned";

/// Profiles of tuned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuned {
    /// Folders or tar archives with profiles, relative to the recipe's folder.
    pub profiles: Vec<String>,
    /// The active ones, with one space between two.
    pub active: Option<String>,
    /// By profile, then by name.
    pub variables: BTreeMap<String, BTreeMap<String, String>>,
}

/// What `desired` wishes to be the active profiles, also where it is for some machines only.
pub fn wished_profiles(desired: &Desired) -> Vec<&Placed<String>> {
    let mut list: Vec<_> = desired.tuned.profile.iter().collect();
    list.extend(desired.when.iter().flat_map(|when| wished_profiles(&when.set)));
    list
}

impl Recipe {
    /// Everything with profiles that becomes part of the image, lowest first: what comes with Basalt, then the recipe's own.
    pub fn tuned_sources(&self) -> Vec<OverlaySource> {
        let Some(tuned) = &self.tuned else { return Vec::new() };
        let own = tuned.profiles.iter().map(|path| OverlaySource::Local(path.clone()));
        [OverlaySource::Builtin(OVERLAY.to_owned())].into_iter().chain(own).collect()
    }
}
