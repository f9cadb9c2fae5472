//! A report for people: as one line for the console, as one screen for `status`. Pure.

use std::fmt::Write as _;

use basalt_contract::{Hardware, Report};

use crate::facts::Facts;

/// How many digits of a digest a person compares.
const SHORT: usize = 12;

/// The one line about this boot.
pub fn summary(report: &Report) -> String {
    let image = report.image.as_ref();
    let mut line = match image {
        Some(image) => format!("Basalt {} {}: {}", image.name, image.version, report.state),
        None => format!("Basalt: {}", report.state),
    };
    if report.faults.is_empty() {
        let known = [
            ("plan", image.map(|image| image.plan_id.as_str())),
            ("deployment", report.deployment.as_ref().map(|deployment| deployment.checksum.as_str())),
        ];
        for (word, value) in known {
            if let Some(value) = value {
                let _ = write!(line, ", {word} {}", short(value));
            }
        }
    } else {
        let _ = write!(line, ": {}; see `basalt-firstboot status`", reason(report));
    }
    line
}

/// Why the state is what it is: the first fault, and how many more. Empty without faults.
pub fn reason(report: &Report) -> String {
    match report.faults.as_slice() {
        [] => String::new(),
        [fault] => format!("{}: {}", fault.subject, fault.what),
        [fault, more @ ..] => format!("{}: {} (and {} more)", fault.subject, fault.what, more.len()),
    }
}

/// One screen: what was found, what did not work and what to do.
pub fn screen(report: &Report) -> String {
    let Report { image, boot_id, machine_id, deployment, faults, tuned, .. } = report.clone();
    let tuned = tuned.map(|tuned| {
        let was = tuned.was.map(|was| format!(", instead of {was}")).unwrap_or_default();
        format!("{} ({}verified{was})", tuned.profile, if tuned.verified { "" } else { "not " })
    });
    let facts = Facts { image, boot_id, machine_id, deployment, tuned, hardware: Hardware::default(), faults };
    format!("{:<11} {}\n{:<11} {}\n{}", "State", report.state, "Agent", report.agent_version, of_facts(&facts))
}

/// The facts alone.
pub fn of_facts(facts: &Facts) -> String {
    let unknown = || "unknown".to_owned();
    let image = facts.image.as_ref();
    let rows = [
        ("Image", image.map_or_else(unknown, |image| format!("{} {} ({})", image.name, image.version, image.architecture))),
        ("Plan", image.map_or_else(unknown, |image| image.plan_id.clone())),
        ("Deployment", facts.deployment.as_ref().map_or_else(unknown, |d| format!("{} {}.{}", d.os_name, d.checksum, d.serial))),
        ("Boot", facts.boot_id.clone().unwrap_or_else(unknown)),
        ("Machine", facts.machine_id.clone().unwrap_or_else(unknown)),
    ];
    let tuned = facts.tuned.iter().map(|tuned| ("Tuned", tuned.clone()));
    let hardware = Some(hardware(&facts.hardware)).filter(|words| !words.is_empty()).map(|words| ("Hardware", words));
    let mut text = String::new();
    for (name, value) in rows.into_iter().chain(tuned).chain(hardware) {
        let _ = writeln!(text, "{name:<11} {value}");
    }
    for fault in &facts.faults {
        let _ = writeln!(text, "\n{fault}");
    }
    text
}

/// What a technician looks for first: model, processors, memory, how many devices.
fn hardware(hardware: &Hardware) -> String {
    let Hardware { dmi, pci, processors, memory_mib, interfaces } = hardware;
    let model =
        ["sys_vendor", "product_name"].into_iter().filter_map(|name| dmi.get(name).cloned()).collect::<Vec<_>>().join(" ");
    let counts = [
        processors.map(|count| format!("{count} processors")),
        memory_mib.map(|mib| format!("{mib} MiB")),
        pci.as_ref().map(|list| format!("{} PCI devices", list.len())),
        interfaces.as_ref().map(|list| format!("{} network interfaces", list.len())),
    ];
    let words: Vec<_> = [Some(model).filter(|model| !model.is_empty())].into_iter().chain(counts).flatten().collect();
    words.join(", ")
}

fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

#[cfg(test)]
mod tests {
    use basalt_contract::{Report, Tuned};

    use super::{screen, summary};

    fn report(json: &str) -> Report {
        Report::from_json(json.as_bytes()).unwrap()
    }

    const CONFIGURED: &str = include_str!("../contract/fixtures/report-1.json");
    const DEGRADED: &str = include_str!("../contract/fixtures/report-1-degraded.json");

    #[test]
    fn one_line() {
        assert_eq!(summary(&report(CONFIGURED)), "Basalt gpu-node 1.2.0: configured, plan 0f1e2d3c4b5a, deployment 9a0b1c2d3e4f");
        assert_eq!(
            summary(&report(DEGRADED)),
            "Basalt: degraded: image: /usr/lib/basalt/image.json does not exist; see `basalt-firstboot status`"
        );
        let mut two = report(DEGRADED);
        two.faults.push(two.faults[0].clone());
        assert!(summary(&two).contains("does not exist (and 1 more); see"));
    }

    #[test]
    fn one_screen() {
        let text = screen(&report(CONFIGURED));
        assert!(text.starts_with("State       configured\nAgent       0.1.0\nImage       gpu-node 1.2.0 (amd64)\n"), "{text}");
        let mut tuned = report(CONFIGURED);
        tuned.tuned = Some(Tuned { profile: "a".to_owned(), was: Some("b".to_owned()), verified: false });
        assert!(screen(&tuned).ends_with("\nTuned       a (not verified, instead of b)\n"), "{}", screen(&tuned));
        let text = screen(&report(DEGRADED));
        assert!(text.contains("Deployment  unknown\n"), "{text}");
        assert!(text.ends_with("\n  next: boot an image that Basalt built\n"), "{text}");
    }
}
