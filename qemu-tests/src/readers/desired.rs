//! What people wish of a node.

use basalt_contract::desired::{Desired, check, choose, read};
use basalt_contract::hardware::Hardware;
use basalt_contract::placed::{Findings, Sources};

/// What a file wishes, and what is wrong with it.
fn taken(text: &str) -> (Desired, Vec<String>) {
    let (mut sources, mut findings) = (Sources::default(), Findings::default());
    let desired = read("case", text, &mut sources, &mut findings);
    check(&desired, &sources, &mut findings);
    (desired, findings.into_problems(&sources).iter().map(ToString::to_string).collect())
}

/// A file of desired state. What of a wrong one is read can be chosen from as well.
pub fn desired_state(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (desired, problems) = taken(text);
    choose([desired.clone()], &Hardware::default());
    if !problems.is_empty() {
        return false;
    }
    let written = toml::to_string(&desired).expect("what was read can be written");
    assert_eq!(taken(&written), (desired, problems), "{written}");
    true
}
