//! `basalt diff` of saved plans and locks: every input that differs is named, and what is of two kinds is refused.

use std::fs;

use anyhow::Result;
use basalt::failure::Kind;
use qemu_tests::Warm;
use serde_json::Value;

const USAGE: i32 = Kind::Usage.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;

#[test]
fn cli_diff_of_plans_and_locks_names_every_input_that_differs() -> Result<()> {
    let warm = Warm::new()?;
    let at = |name: &str| warm.scratch.path().join(name);
    let save = |name: &str| -> Result<()> {
        let plan = warm.basalt(["plan", "--json"]).arg(&warm.recipe).run(&warm.scratch)?.exits(0).stdout;
        fs::write(at(&format!("{name}.json")), plan)?;
        fs::copy(warm.recipe.with_extension("lock"), at(&format!("{name}.lock")))?;
        Ok(())
    };
    let recipe = fs::read_to_string(&warm.recipe)?;
    save("old")?;
    warm.scratch.write("image-recipes/mine/usr/lib/mine/a", "1")?;
    fs::write(&warm.recipe, format!("{recipe}\n[[overlay]]\npath = \"mine\"\n[kernel]\nargs = [\"quiet\"]\n"))?;
    save("new")?;
    let diff =
        |args: &[&str], old: &str, new: &str| warm.basalt(["diff"]).args(args).arg(at(old)).arg(at(new)).run(&warm.scratch);
    assert_eq!(diff(&[], "old.json", "old.json")?.exits(0).stdout, "no difference\n");
    assert_eq!(diff(&[], "new.lock", "new.lock")?.exits(0).stdout, "no difference\n");
    let plans = diff(&[], "old.json", "new.json")?.exits(0).stdout;
    assert!(plans.contains("kernel-args: ") && plans.contains("layers.overlay mine: added"), "{plans}");
    let locks = diff(&[], "old.lock", "new.lock")?.exits(0).stdout;
    assert!(locks.starts_with("amd64\n") && locks.contains("overlay mine: added"), "{locks}");
    let found: Value = serde_json::from_str(&diff(&["--json"], "old.lock", "new.lock")?.exits(0).stdout)?;
    assert_eq!(found["architectures"]["amd64"]["list"].as_array().map(Vec::len), Some(1), "{found}");
    diff(&[], "old.json", "old.lock")?.exits(USAGE).says("needed two of one kind, found a plan and a lock").says("next: ");
    diff(&[], "old.lock", "none.lock")?.exits(INPUT).says("none.lock: no such lock");
    diff(&[], "none.json", "old.json")?.exits(INPUT).says("none.json: cannot be read");
    Ok(())
}
