//! The agent's metrics, read by Prometheus' own parser of its format.

use anyhow::{Result, ensure};
use basalt_contract::{Report, Step, StepState};
use basalt_firstboot::metrics;
use qemu_tests::{Scratch, run_program, venv};

const PARSER: &str = "prometheus-client==0.23.1";
const READ: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(open(sys.argv[1]).read()):
    for sample in family.samples:
        print(family.type, sample.name, sorted(sample.labels.items()), sample.value)
";

#[test]
fn cli_the_agents_metrics_are_those_of_prometheus() -> Result<()> {
    let scratch = Scratch::new()?;
    let mut report = Report::from_json(include_bytes!("../../../firstboot/contract/fixtures/report-1.json"))?;
    let (what, reason) = ("x".to_owned(), "y".to_owned());
    let name = "odd\"\\name".to_owned();
    report.steps = vec![Step { name, what, state: StepState::Failed, reason, attempts: 1, next_attempt: None, since: 1 }];
    report.figures = Report::from_json(include_bytes!("../../../firstboot/contract/fixtures/report-1-figures.json"))?.figures;
    let file = scratch.write(metrics::NAME, metrics::text(&report))?;
    let read = run_program(&venv(&[PARSER])?.join("python"), &["-c", READ, &file.display().to_string()])?;
    for line in [
        "gauge basalt_firstboot_state [('state', 'configured')] 1",
        "gauge basalt_firstboot_state [('state', 'degraded')] 0",
        "gauge basalt_firstboot_faults [] 0",
        "gauge basalt_firstboot_step_done [('state', 'failed'), ('step', 'odd\"\\\\name')] 0",
        "gauge basalt_firstboot_figure [('name', 'disk-write'), ('unit', 'MB/s')] 12.5",
        "gauge basalt_firstboot_figure_passed [('name', 'disk-write')] 0",
        "gauge basalt_firstboot_finished_timestamp_seconds [] 1780000101",
    ] {
        ensure!(read.lines().any(|found| found == line), "{line}:\n{read}");
    }
    Ok(())
}
