//! Kernel arguments of a plan, and those that come to it when its layers are there. Pure.

use basalt_contract::KernelArgument;
use basalt_contract::kernel_arguments::{self, Contradictions, Source};

use super::Plan;
use crate::failure::{Failure, Kind};

/// Two who want one argument to have two values.
pub fn contradictory(contradictions: &Contradictions) -> Failure {
    Failure::new(Kind::Invalid, contradictions.to_string()).hint(Contradictions::NEXT)
}

impl Plan {
    /// The arguments of this plan and those of the active `profiles` of tuned, one list: what boot entries, commit and manifest say. Places
    /// in the recipe are left out, because they decide no byte of the image.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: two values of one argument, with all who ask for them, and where.
    pub fn all_kernel_arguments(&self, profiles: &[KernelArgument]) -> Result<Vec<KernelArgument>, Failure> {
        let of = |own: &[KernelArgument]| {
            let all = own.iter().chain(profiles).flat_map(KernelArgument::declarations);
            kernel_arguments::resolve(all.collect::<Vec<_>>()).map_err(|found| contradictory(&found))
        };
        of(&self.kernel_args)?;
        of(&self.placeless_kernel_args())
    }

    /// The arguments, with who asks for each, but not where.
    pub(super) fn placeless_kernel_args(&self) -> Vec<KernelArgument> {
        let placeless = |argument: &KernelArgument| {
            let mut asked_by: Vec<Source> = Vec::new();
            for source in &argument.asked_by {
                let source = Source::new(source.by.clone());
                if !asked_by.contains(&source) {
                    asked_by.push(source);
                }
            }
            KernelArgument { text: argument.text.clone(), asked_by }
        };
        self.kernel_args.iter().map(placeless).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argument(text: &str, by: &str, at: &str) -> KernelArgument {
        KernelArgument { text: text.into(), asked_by: vec![Source::new(by).at(at)] }
    }

    #[test]
    fn profiles_add_to_the_plan_and_contradictions_name_both_with_their_places() {
        let mut plan = Plan::parse(include_str!("../../image-recipes/golden/gpu-node.plan.json")).unwrap();
        let id = plan.id();
        let (profile, place) = ("tuned profile basalt-gpu-training", "/usr/lib/tuned/profiles/basalt-gpu-training/tuned.conf:26");
        let all = plan.all_kernel_arguments(&[argument("iommu=pt", profile, place), argument("nosmt", profile, place)]).unwrap();
        let pt = all.iter().find(|argument| argument.text == "iommu=pt").unwrap();
        assert_eq!(pt.to_string(), format!("\"iommu=pt\" (recipe, {profile}: {place})"));
        assert_eq!(all.last().unwrap().text, "nosmt");
        let failure = plan.all_kernel_arguments(&[argument("pci=realloc=off", profile, place)]).unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid);
        let both = [&format!("\"pci=realloc=off\" ({profile}: {place})"), "\"pci=realloc\" (recipe: fragments/gpu-host.toml:"];
        assert!(both.iter().all(|part| failure.what.contains(*part)), "{failure}");
        // A line more in the recipe is no other image.
        plan.kernel_args[3].asked_by[0].at = Some("gpu-node.toml:99".into());
        assert_eq!(plan.id(), id);
        plan.kernel_args[3].asked_by[0].by = "somebody else".into();
        assert_ne!(plan.id(), id, "the commit says who asked");
    }
}
