//! A report for people: as one line for the console, as one screen for `status`. Pure.

use std::fmt::Write as _;

use basalt_contract::{Figure, Hardware, Holds, ModulesInfo, Report, Step, StepState};

use crate::facts::Facts;
use crate::journal::FAILURES;

/// So many lines are shown above a login prompt: a screen has 24.
const ROOM: usize = 16;
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

/// What is above the login prompt: the line, what holds, what was done, what to do. No more than leaves room for the prompt.
///
/// Format: `issue(5)`, in which a backslash begins an escape.
pub fn issue(report: &Report) -> String {
    let holds = report.holds.iter().map(|Holds { subject, what }| format!("  {subject:<20} {what}"));
    let steps = report.steps.iter().map(|it| format!("  {}", step(it)));
    let faults =
        report.faults.iter().flat_map(|fault| fault.to_string().lines().map(|line| format!("  {line}")).collect::<Vec<_>>());
    let mut lines: Vec<_> = faults.chain(holds).chain(steps).collect();
    if lines.len() > ROOM {
        let more = lines.len() - ROOM;
        lines.truncate(ROOM);
        lines.push(format!("  and {more} lines more: see `basalt-firstboot status`"));
    }
    let text = [summary(report)].into_iter().chain(lines).collect::<Vec<_>>().join("\n");
    let plain: String = text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    format!("{}\n\n", plain.replace('\\', "\\\\"))
}

/// Why the state is what it is: the first fault, and how many more. Empty without faults.
pub fn reason(report: &Report) -> String {
    match report.faults.as_slice() {
        [] => String::new(),
        [fault] => format!("{}: {}", fault.subject, fault.what),
        [fault, more @ ..] => format!("{}: {} (and {} more)", fault.subject, fault.what, more.len()),
    }
}

/// One screen: what was found, what holds, what was done, what did not work and what to do.
pub fn screen(report: &Report) -> String {
    let Report { image, boot_id, machine_id, deployment, faults, holds, figures, steps, .. } = report.clone();
    let facts = Facts { image, boot_id, machine_id, deployment, ..Facts::default() };
    let mut text = format!("{:<11} {}\n{:<11} {}\n{}", "State", report.state, "Agent", report.agent_version, of_facts(&facts));
    let rows = holds.into_iter().map(|Holds { subject, what }| format!("{subject:<20} {what}"));
    paragraph(&mut text, "Holds", rows);
    paragraph(&mut text, "Figures", figures.iter().map(figure));
    paragraph(&mut text, "Steps", steps.iter().map(step));
    for fault in faults {
        let _ = writeln!(text, "\n{fault}");
    }
    text
}

/// What a step is, in a line.
pub fn step(step: &Step) -> String {
    let Step { name, what, state, reason, attempts, next_attempt, .. } = step;
    let word =
        if matches!(state, StepState::Failed | StepState::Waiting) { state.word().to_uppercase() } else { state.to_string() };
    let mut line = format!("{name:<20} {word:<8} {what}");
    if !reason.is_empty() {
        let _ = write!(line, ": {reason}");
    }
    if *attempts > 0 {
        let _ = write!(
            line,
            " (tried {} times{})",
            // Interruptions are counted, too, and end nothing so soon.
            if *attempts > FAILURES { attempts.to_string() } else { format!("{attempts} of {FAILURES}") },
            if next_attempt.is_some() { ", and again soon" } else { "" }
        );
    }
    line
}

/// What a figure is, in a line.
pub fn figure(figure: &Figure) -> String {
    let word = match figure.passed {
        Some(true) => "good",
        Some(false) => "BAD",
        None => "told",
    };
    format!("{:<20} {word:<8} {}", figure.name, figure.words())
}

/// Lines under one word.
fn paragraph(text: &mut String, word: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        let _ = writeln!(text, "{:<11} {line}", if index == 0 { word } else { "" });
    }
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
    let modules = facts.modules.iter().map(|info| ("Modules", modules(info)));
    let hardware = Some(hardware(&facts.hardware)).filter(|words| !words.is_empty()).map(|words| ("Hardware", words));
    let mut text = String::new();
    for (name, value) in rows.into_iter().chain(tuned).chain(modules).chain(hardware) {
        let _ = writeln!(text, "{name:<11} {value}");
    }
    for fault in &facts.faults {
        let _ = writeln!(text, "\n{fault}");
    }
    text
}

/// What the image promises of its kernel modules.
fn modules(info: &ModulesInfo) -> String {
    let load: Vec<_> = info.load.iter().map(|module| module.name.as_str()).collect();
    let words = [("loads", load.join(" ")), ("never loads", info.blacklist.join(" "))];
    let words = words.into_iter().filter(|(_, names)| !names.is_empty()).map(|(word, names)| format!("{word} {names}"));
    [format!("for {}", info.kernel)].into_iter().chain(words).collect::<Vec<_>>().join(", ")
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
    use basalt_contract::{Holds, ModulesInfo, Report, Step, StepState};

    use super::{issue, of_facts, screen, summary};
    use crate::facts::Facts;

    fn report(json: &str) -> Report {
        Report::from_json(json.as_bytes()).unwrap()
    }

    fn a_step(next: u64) -> Step {
        let (name, what, reason) = ("tuned/profile".to_owned(), "the profile a, now b".to_owned(), "no such profile".to_owned());
        Step { name, what, state: StepState::Failed, reason, attempts: 1, next_attempt: Some(next), since: 1 }
    }

    const CONFIGURED: &str = include_str!("../contract/fixtures/report-1.json");
    const FIGURES: &str = include_str!("../contract/fixtures/report-1-figures.json");
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
    fn above_the_prompt() {
        let mut bad = report(DEGRADED);
        bad.faults[0].what = "a\\b\x1b[2J".to_owned();
        bad.steps = (0..20).map(a_step).collect();
        let text = issue(&bad);
        assert!(
            text.starts_with(
                "Basalt: degraded: image: a\\\\b [2J; see `basalt-firstboot status`\n  image: a\\\\b [2J\n    next: boot"
            ),
            "{text}"
        );
        assert!(text.ends_with("\n  and 6 lines more: see `basalt-firstboot status`\n\n"), "{text}");
    }

    #[test]
    fn facts_on_one_screen() {
        let modules = ModulesInfo::from_json(include_bytes!("../contract/fixtures/modules-1.json")).unwrap();
        let facts = Facts { modules: Some(modules), tuned: Some("a".to_owned()), ..Facts::default() };
        let wanted = "\nTuned       a\nModules     for 6.12.117+deb13-amd64, loads nvidia nvidia_uvm mtty, never loads nouveau\n";
        assert!(of_facts(&facts).ends_with(wanted), "{}", of_facts(&facts));
    }

    #[test]
    fn one_screen() {
        let text = screen(&report(CONFIGURED));
        assert!(text.starts_with("State       configured\nAgent       0.1.0\nImage       gpu-node 1.2.0 (amd64)\n"), "{text}");
        let mut more = report(CONFIGURED);
        more.holds = vec![Holds { subject: "labels".to_owned(), what: "2 labels".to_owned() }];
        more.steps = vec![a_step(9)];
        more.figures = report(FIGURES).figures;
        let wanted = "
Holds       labels               2 labels
Figures     disk-write           BAD      12.5 MB/s, needed at least 500
            memory               told     9000 MB/s
Steps       tuned/profile        FAILED   the profile a, now b: no such profile (tried 1 of 3 times, and again soon)
";
        assert!(screen(&more).ends_with(wanted), "{}", screen(&more));
        let text = screen(&report(DEGRADED));
        assert!(text.contains("Deployment  unknown\n"), "{text}");
        assert!(text.ends_with("\n  next: boot an image that Basalt built\n"), "{text}");
    }
}
