//! Kernel arguments of a plan, and those that come to it when its layers are there. Pure.

use basalt_contract::KernelArgument;
use basalt_contract::desired::Desired;
use basalt_contract::kernel_arguments::{self, Contradictions, Declaration, Source};

use super::{LayerContent, Plan};
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

    /// That what nodes are wished (`[firstboot]`) contradicts none of `arguments`, all those of the image, and so what wished profiles of tuned
    /// take, as `taken` tells it of each: the agent would refuse it on each node. That it agrees with the recipe's own was told when the recipe
    /// was checked, with its line.
    ///
    /// # Errors
    /// [`Kind::Invalid`]: two values of one argument, with all who ask for them. And those of `taken`.
    pub fn wishes_agree_with(&self, arguments: &[KernelArgument], taken: &Taken<'_>) -> anyhow::Result<()> {
        let image: Vec<_> = arguments.iter().flat_map(KernelArgument::declarations).collect();
        self.layers.iter().try_for_each(|layer| match &layer.content {
            LayerContent::Settings(settings) => agree(&settings.firstboot.0, "firstboot", &image, &[], taken),
            _ => Ok(()),
        })
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

/// The kernel arguments that profiles of tuned take, by their names with spaces between them.
pub type Taken<'a> = dyn Fn(&str) -> anyhow::Result<Vec<KernelArgument>> + 'a;

/// With what every machine has that `desired` is for: `outer`, and what the wished `profile` takes. Two `[[when]]` side by side may be for two
/// machines.
fn agree(desired: &Desired, by: &str, outer: &[Declaration], profile: &[Declaration], taken: &Taken<'_>) -> anyhow::Result<()> {
    let own = || desired.kernel.arguments.iter().map(|argument| argument.value.as_str());
    let all = [outer, &Declaration::list(own().map(|word| (word.to_owned(), Source::new(by))))].concat();
    let wished = desired.tuned.profile.as_ref();
    // One profile takes the place of another.
    let profile = match wished {
        Some(wished) => &taken(wished)?.iter().flat_map(KernelArgument::declarations).collect::<Vec<_>>(),
        None => profile,
    };
    if let Err(found) = kernel_arguments::resolve([&all, profile].concat()) {
        let disputed = |word: &&str| found.0.iter().flat_map(|one| &one.values).any(|value| value.has(word));
        let failure = contradictory(&found);
        return Err(match (own().rfind(disputed), wished) {
            (None, Some(wished)) => failure.about("firstboot.tuned.profile", &wished.value),
            (word, _) => failure.about("firstboot.kernel.arguments", word.unwrap_or_default()),
        }
        .into());
    }
    let inner = |name: &str| format!("firstboot when {name:?}");
    desired.when.iter().try_for_each(|when| agree(&when.set, &inner(&when.name), &all, profile, taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::failure_in;

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
        let failure = plan.all_kernel_arguments(&[argument("iommu=nopt", profile, place)]).unwrap_err();
        assert_eq!(failure.kind, Kind::Invalid);
        let both = [&format!("\"iommu=nopt\" ({profile}: {place})"), "\"iommu=pt\" (recipe: fragments/gpu-host.toml:"];
        assert!(both.iter().all(|part| failure.what.contains(*part)), "{failure}");
        // A line more in the recipe is no other image.
        plan.kernel_args[3].asked_by[0].at = Some("gpu-node.toml:99".into());
        assert_eq!(plan.id(), id);
        plan.kernel_args[3].asked_by[0].by = "somebody else".into();
        assert_ne!(plan.id(), id, "the commit says who asked");
    }

    #[test]
    fn what_nodes_are_wished_agrees_with_the_profile() {
        let agree = |wishes: &str, active: &str| {
            let mut plan = Plan::parse(include_str!("../../image-recipes/golden/gpu-node.plan.json")).unwrap();
            for layer in &mut plan.layers {
                if let LayerContent::Settings(settings) = &mut layer.content {
                    settings.firstboot.0 = toml::from_str(wishes).unwrap();
                }
            }
            let profile = argument(active, "tuned profile active", "tuned.conf:9");
            // The name of a profile here is what it takes.
            let taken = |name: &str| Ok(vec![argument(&name.replace('-', "="), "tuned profile wished", "tuned.conf:7")]);
            plan.wishes_agree_with(&plan.all_kernel_arguments(&[profile]).unwrap(), &taken)
        };
        let fails = |wishes: &str, active: &str, needed: &str, about: (&str, &str)| {
            let error = agree(wishes, active).unwrap_err();
            let failure = failure_in(&error).unwrap();
            let found = format!("the kernel argument isolcpus can have one value, and is asked for as {needed}");
            assert_eq!((failure.kind, failure.what.as_str()), (Kind::Invalid, found.as_str()));
            let place = failure.about.as_ref().unwrap();
            assert_eq!((place.key, place.value.as_str()), about);
        };
        let when = "[[when]]\nname = \"big\"\nmatch.processors.at-least = 8\n";
        let two = format!("kernel.arguments = [\"nosmt\", \"iommu=pt\"]\n{when}set.kernel.arguments = [\"isolcpus=2\"]\n");
        agree(&two, "nohz_full=1").unwrap();
        let needed = "\"isolcpus=1\" (tuned profile active: tuned.conf:9) and \"isolcpus=2\" (firstboot when \"big\")";
        fails(&two, "isolcpus=1", needed, ("firstboot.kernel.arguments", "isolcpus=2"));

        // So with what a wished profile takes: it stays the wished one where no other takes its place.
        let profile = "tuned.profile = \"isolcpus-3\"\n";
        agree(profile, "isolcpus=3").unwrap();
        let needed =
            "\"isolcpus=1\" (tuned profile active: tuned.conf:9) and \"isolcpus=3\" (tuned profile wished: tuned.conf:7)";
        fails(profile, "isolcpus=1", needed, ("firstboot.tuned.profile", "isolcpus-3"));
        let needed = "\"isolcpus=2\" (firstboot when \"big\") and \"isolcpus=3\" (tuned profile wished: tuned.conf:7)";
        let argument = "set.kernel.arguments = [\"isolcpus=2\"]\n";
        fails(&format!("{profile}{when}{argument}"), "nosmt", needed, ("firstboot.kernel.arguments", "isolcpus=2"));
        agree(&format!("{profile}{when}{argument}set.tuned.profile = \"isolcpus-2\"\n"), "nosmt").unwrap();
    }
}
