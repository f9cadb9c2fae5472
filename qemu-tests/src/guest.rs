//! What is asked of a running machine.

use std::time::Duration;

use anyhow::{Result, ensure};
use basalt::vm::Running;

/// Runs each script, which must print what stands beside it, within `limit` each.
pub fn holds(vm: &mut Running, limit: Duration, rows: &[(&str, &str)]) -> Result<()> {
    for (script, wanted) in rows {
        let found = vm.must(script, limit)?;
        ensure!(found == *wanted, "{script}\n  needed {wanted:?}\n  found  {found:?}");
    }
    Ok(())
}
