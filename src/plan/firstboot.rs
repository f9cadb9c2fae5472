//! What the nodes of an image should be, as its recipe says: part of the plan, and a file in the image.

use basalt_contract::Desired;
use basalt_contract::desired::{check, read};
use basalt_contract::placed::{Findings, Sources};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::recipe::names::Verdict;

/// Desired state. In JSON it has the keys that it has in TOML, and no places: on which line of the recipe it stands decides no byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Firstboot(pub Box<Desired>);

/// It has texts, words and numbers, and none that is not equal to itself: a check refuses those.
impl Eq for Firstboot {}

/// By way of TOML, which alone has the places that desired state knows.
impl<'de> Deserialize<'de> for Firstboot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let table = toml::Table::deserialize(deserializer)?;
        let text = toml::to_string(&table).map_err(de::Error::custom)?;
        toml::from_str(&text).map(Self).map_err(|error| de::Error::custom(format!("firstboot: {}", error.message())))
    }
}

impl Firstboot {
    /// Whether nothing is wished.
    pub fn is_empty(&self) -> bool {
        *self.0 == Desired::default()
    }

    /// As a file of desired state. Equal wishes are equal texts.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.0).expect("desired state is always TOML")
    }

    /// Whether the agent would take it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn examine(&self) -> Verdict {
        let (mut sources, mut findings) = (Sources::default(), Findings::default());
        let desired = read("", &self.to_toml(), &mut sources, &mut findings);
        check(&desired, &sources, &mut findings);
        let problem = findings.into_problems(&sources).into_iter().next();
        problem.map_or(Ok(()), |problem| Err(format!("firstboot.{}", problem.what)))
    }
}

#[cfg(test)]
mod tests {
    use super::Firstboot;
    use crate::plan::{LayerContent, Plan, Settings};

    const GOLDEN: &str = include_str!("../../image-recipes/golden/gpu-node.plan.json");
    const WISH: &str = r#"{"kubelet":{"topology-manager-policy":"best-effort"},"when":[{"name":"x","match":{"processors":{"at-least":2}},"set":{"labels":{"a":"1"}}}]}"#;

    /// The reference plan with other wishes.
    fn plan(firstboot: &str) -> String {
        let mut plan: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
        let layers = plan["layers"].as_array_mut().unwrap();
        layers.last_mut().unwrap()["content"]["firstboot"] = serde_json::from_str(firstboot).unwrap();
        plan.to_string()
    }

    #[test]
    fn it_is_part_of_a_plan_and_of_its_identity() {
        let wish: Firstboot = serde_json::from_str(WISH).unwrap();
        assert_eq!(serde_json::to_string(&wish).unwrap(), WISH);
        let with = Plan::parse(&plan(WISH)).unwrap();
        let without = Plan::parse(&plan("{}")).unwrap();
        assert_ne!(with.id(), without.id());
        let LayerContent::Settings(settings) = &with.layers.last().unwrap().content else { panic!("no settings") };
        assert_eq!(settings.firstboot, wish);
        assert_eq!(Plan::parse(&with.to_json()).unwrap(), with);
        assert!(!without.to_json().contains("firstboot\": {"), "a plan without is as it was");
        assert!(!serde_json::to_string(&Settings::default()).unwrap().contains("firstboot"));
    }

    #[test]
    fn what_no_recipe_could_have_given_is_refused() {
        for (firstboot, words) in [
            (r#"{"label":{"a":"1"}}"#, "firstboot: unknown field `label`"),
            (r#"{"labels":{"a":1}}"#, "firstboot: invalid type: integer `1`, expected a string"),
            (r#"{"identity":{"host-name":"A b"}}"#, "layer settings: firstboot.identity.host-name: needed a host name"),
        ] {
            let bad = Plan::parse(&plan(firstboot)).unwrap_err().to_string();
            assert!(bad.contains(words), "{firstboot}: {bad}");
        }
    }
}
