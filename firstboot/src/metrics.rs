//! A report as metrics, for Prometheus' node exporter. Pure.
//!
//! Format: the text exposition format 0.0.4, as the exporter's textfile collector reads it: a file that ends in `.prom`, put in place whole.

use std::fmt::Write as _;

use basalt_contract::{Report, State, StepState};

/// Where Debian's exporter looks. Not there: nobody exports.
pub const FOLDER: &str = "/var/lib/prometheus/node-exporter";
/// The file's name.
pub const NAME: &str = "basalt.prom";

/// The file.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    let mut metric = |name: &str, help: &str, rows: Vec<(String, f64)>| {
        if !rows.is_empty() {
            let _ = writeln!(text, "# HELP basalt_firstboot_{name} {help}\n# TYPE basalt_firstboot_{name} gauge");
        }
        for (labels, value) in rows {
            let _ = writeln!(text, "basalt_firstboot_{name}{labels} {value}");
        }
    };
    let image = report.image.as_ref();
    let info = [
        ("agent", Some(report.agent_version.as_str())),
        ("image", image.map(|image| image.name.as_str())),
        ("version", image.map(|image| image.version.as_str())),
        ("plan", image.map(|image| image.plan_id.as_str())),
        ("deployment", report.deployment.as_ref().map(|deployment| deployment.checksum.as_str())),
    ];
    metric(
        "info",
        "What this node runs.",
        vec![(labels(info.into_iter().filter_map(|(name, value)| Some((name, value?)))), 1.0)],
    );
    let states = State::ALL.map(|state| (labels([("state", state.word())]), f64::from(state == report.state)));
    metric("state", "In which state the first-boot agent ended.", states.to_vec());
    metric("faults", "What is not as it should be.", vec![(String::new(), report.faults.len() as f64)]);
    let steps = report.steps.iter().map(|step| {
        let done = f64::from(step.state == StepState::Done);
        (labels([("step", step.name.as_str()), ("state", step.state.word())]), done)
    });
    metric("step_done", "Whether what differed is done.", steps.collect());
    let figures = report
        .figures
        .iter()
        .map(|figure| (labels([("name", figure.name.as_str()), ("unit", figure.unit.as_str())]), figure.value));
    metric("figure", "What was measured on this node.", figures.collect());
    let passed =
        report.figures.iter().filter_map(|figure| Some((labels([("name", figure.name.as_str())]), f64::from(figure.passed?))));
    metric("figure_passed", "Whether a figure is inside of its thresholds.", passed.collect());
    metric("finished_timestamp_seconds", "When the agent was done.", vec![(String::new(), report.finished as f64)]);
    text
}

/// `{name="value"}`
fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pair = |(name, value): (&str, &str)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        format!("{name}=\"{value}\"")
    };
    format!("{{{}}}", pairs.into_iter().map(pair).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use basalt_contract::Report;

    use super::text;

    #[test]
    fn a_report_and_what_must_be_quoted() {
        let mut report = Report::from_json(include_bytes!("../contract/fixtures/report-1.json")).unwrap();
        report.agent_version = "a\"b\\c\nd".to_owned();
        let text = text(&report);
        assert!(
            text.contains("\nbasalt_firstboot_info{agent=\"a\\\"b\\\\c\\nd\",image=\"gpu-node\",version=\"1.2.0\""),
            "{text}"
        );
        assert!(text.contains("\nbasalt_firstboot_state{state=\"configured\"} 1\n"), "{text}");
        assert!(text.contains("\nbasalt_firstboot_state{state=\"degraded\"} 0\n"), "{text}");
        assert!(!text.contains("step_done") && !text.contains("_figure"), "nothing differed, nothing was measured: {text}");
    }

    #[test]
    fn figures_have_a_row_each() {
        let report = Report::from_json(include_bytes!("../contract/fixtures/report-1-figures.json")).unwrap();
        let text = text(&report);
        for row in [
            "basalt_firstboot_figure{name=\"disk-write\",unit=\"MB/s\"} 12.5",
            "basalt_firstboot_figure{name=\"memory\",unit=\"MB/s\"} 9000",
            "basalt_firstboot_figure_passed{name=\"disk-write\"} 0",
        ] {
            assert!(text.lines().any(|line| line == row), "{row}: {text}");
        }
        assert!(!text.contains("figure_passed{name=\"memory\"}"), "nothing was needed: {text}");
    }
}
