//! Profiles of tuned, as the builder reads them and as tuned's own loader does: every one that Debian's package has, this project's
//! own, and some that are made to be difficult (`tuned_profiles/`, a folder each).
//!
//! What only a node can answer is not compared, but counted: see [`LEFT`] and [`INCLUDES_LEFT`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use basalt::tuned::{Folders, Installed, Merged, MergedUnit, Options, Root, Setting, Weight, What, evaluate};
use qemu_tests::{Folder, Scratch, repository, run, tuned};
use serde_json::{Value, json};

/// Functions that are left to the node, in all profiles together.
const LEFT: [&str; 4] = ["calc_isolated_cores", "check_net_queue_count", "cpulist_invert", "exec"];
/// Profiles whose parent only a node can name.
const INCLUDES_LEFT: [&str; 3] = ["openshift", "openshift-control-plane", "openshift-node"];
/// What both refuse.
const REFUSED: [&str; 6] = ["bad/name", "basalt-cpu-isolated", "no-such", "refused-assertion", "refused-key", "refused-parent"];
/// Several at once.
const TOGETHER: [&str; 9] = [
    "merge-b merge-c",
    "merge-c merge-b",
    "cmdline-b cmdline-quoted text",
    "bad/name merge-a",
    "virtual-guest cpu-partitioning",
    "atomic-host throughput-performance",
    "basalt-gpu-training basalt-rdma-sriov",
    "no-such",
    "bad/name",
];

/// An image with tuned, our overlay and the difficult profiles.
fn image(scratch: &Scratch) -> Result<PathBuf> {
    let root = scratch.folder("root")?;
    let copy = |from: &Path, to: &Path| -> Result<()> {
        fs::create_dir_all(to)?;
        run(Command::new("cp").arg("-r").arg(from.join(".")).arg(to)).map(drop)
    };
    copy(&tuned()?, &root)?;
    copy(&repository().join("overlays/40-basalt-tuned"), &root)?;
    let difficult = repository().join("qemu-tests/tests/cli_cases/tuned_profiles");
    copy(&difficult, &root.join("etc/tuned/profiles"))?;
    scratch.write("root/sys/devices/system/cpu/online", "0-3\n")?;
    Ok(root)
}

/// What tuned itself says: its plugins, and one answer to each of `names`.
fn by_tuned(scratch: &Scratch, root: &Path, names: &[String]) -> Result<(Value, Vec<Value>)> {
    let script = repository().join("qemu-tests/tests/cli_cases/tuned_profiles.py");
    // Debian's own Python, whatever else is in PATH. Profiles make temporary files.
    let mut child = Command::new("/usr/bin/python3")
        .arg(script)
        .arg(root)
        .env("PYTHONPATH", tuned()?.join("usr/lib/python3/dist-packages"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUTF8", "1")
        .env("TMPDIR", scratch.folder("tmp")?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("python3")?;
    child.stdin.take().context("no pipe")?.write_all((names.join("\n") + "\n").as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "tuned's loader: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines().map(serde_json::from_str);
    let plugins = lines.next().context("no answer")??;
    let answers: Vec<Value> = lines.collect::<Result<_, _>>()?;
    ensure!(answers.len() == names.len(), "{} answers for {} names", answers.len(), names.len());
    Ok((plugins, answers))
}

/// What is in the image's tuned, by the names of its modules and by tuned's own word on options.
fn installed(root: &dyn Root, plugins: &Value) -> Result<Installed> {
    let mut found = Installed::of(root);
    let named = |options: &Value| match options.as_array() {
        Some(options) => Options::Named(options.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        None => Options::Any,
    };
    let plugins = plugins.as_object().context("no plugins")?;
    let told: BTreeMap<_, _> = plugins.iter().map(|(name, options)| (name.clone(), named(options))).collect();
    ensure!(found.plugins.as_ref().is_some_and(|found| found.keys().eq(told.keys())), "other plugins: {:?}", found.plugins);
    found.plugins = Some(told);
    Ok(found)
}

fn value(setting: &Option<Setting>) -> Value {
    json!(setting.as_ref().map(|setting| &setting.value))
}

/// `unit` in the words of tuned's loader; what is left to the node as `theirs` has it.
fn described(unit: &MergedUnit, theirs: &Value) -> Value {
    let options = unit.options.iter().enumerate().map(|(index, (name, setting))| {
        let known = setting.left.is_empty();
        json!([name, if known { json!(setting.value) } else { theirs["options"][index][1].clone() }])
    });
    let devices = unit.devices.as_ref().map_or("*", |devices| &devices.value);
    let mut found = json!({
        "name": unit.name, "plugin": unit.plugin, "enabled": unit.enabled, "priority": value(&unit.priority), "devices": devices,
        "devices_udev_regex": value(&unit.devices_udev_regex), "cpuinfo_regex": value(&unit.cpuinfo_regex),
        "uname_regex": value(&unit.uname_regex), "script_pre": value(&unit.script_pre), "script_post": value(&unit.script_post),
        "options": options.collect::<Vec<_>>(),
        "scripts": unit.scripts.as_ref().map(|scripts| scripts.iter().map(|script| &script.value).collect::<Vec<_>>()),
    });
    if let Some(line) = theirs.get("cmdline") {
        found["cmdline"] = line.clone();
    }
    found
}

/// Fails where `ours` and `theirs` differ; `names` is for messages.
fn assert_same(names: &str, ours: &Merged, theirs: &Value) {
    assert_eq!(theirs["name"], json!(ours.name));
    let main: Vec<_> = ours.main.iter().map(|(name, setting)| json!([name, setting.value])).collect();
    assert_eq!(theirs["main"], json!(main), "{names}: [main]");
    // The last value of a name is the one that counts.
    let variables: BTreeMap<_, _> = ours.variables.iter().map(|variable| (&variable.name, variable)).collect();
    let known: BTreeMap<_, _> = variables
        .iter()
        .map(|(name, variable)| {
            (*name, if variable.left.is_empty() { json!(variable.value) } else { theirs["variables"][*name].clone() })
        })
        .collect();
    assert_eq!(theirs["variables"], json!(known), "{names}: [variables]");
    for (index, unit) in ours.units.iter().enumerate() {
        assert_eq!(theirs["units"][index], described(unit, &theirs["units"][index]), "{names}: [{}]", unit.name);
    }
    assert_eq!(theirs["units"].as_array().map(Vec::len), Some(ours.units.len()), "{names}");

    let arguments = &ours.kernel_arguments;
    let boot = |unit: &&Value| unit["plugin"] == "bootloader" && unit["enabled"] == true && unit["uname_regex"].is_null();
    let mut lines: Vec<_> = theirs["units"].as_array().into_iter().flatten().filter(boot).collect();
    lines.sort_by_key(|unit| unit["priority"].as_str().and_then(|priority| priority.parse::<i64>().ok()).unwrap_or_default());
    let line = lines.iter().filter_map(|unit| unit["cmdline"].as_str()).rfind(|line| !line.is_empty()).unwrap_or_default();
    let left = arguments.append.iter().any(|argument| !argument.left.is_empty());
    assert!(left || arguments.line == line, "{names}: {:?}, and tuned says {line:?}", arguments.line);
    let each: Vec<_> = arguments.append.iter().flat_map(|argument| argument.text.split_whitespace()).collect();
    assert!(each.into_iter().eq(arguments.line.split_whitespace()), "{names}: {arguments:?}");
}

#[test]
fn cli_profiles_come_to_what_tuned_makes_of_them() -> Result<()> {
    let scratch = Scratch::new()?;
    let path = image(&scratch)?;
    let root = Folder(&path);
    let folders = Folders::of(&root)?;
    assert_eq!(folders, Folders::current());
    let mut names = folders.profiles(&root);
    assert!(names.len() > 60, "{names:?}");
    names.extend(TOGETHER.map(str::to_owned));
    let (plugins, answers) = by_tuned(&scratch, &path, &names)?;
    let installed = installed(&root, &plugins)?;
    let (mut refused, mut left, mut includes) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (names, theirs) in names.iter().zip(&answers) {
        let ours = evaluate(&root, &folders, names, &installed);
        let (Ok(ours), theirs) = (&ours, &theirs["loaded"]) else {
            assert!(theirs["loaded"].is_null(), "{names}: {}", ours.map_or_else(|error| error.to_string(), |_| String::new()));
            refused.insert(names.as_str());
            continue;
        };
        assert!(!theirs.is_null(), "{names}: tuned refuses it, and we do not");
        for finding in &ours.findings {
            match &finding.what {
                What::LeftToNode { function } => drop(left.insert(function.clone())),
                What::IncludeLeftToNode { .. } => drop(includes.insert(names.as_str())),
                _ => {}
            }
        }
        if !includes.contains(names.as_str()) {
            assert_same(names, ours, theirs);
        }
    }
    assert_eq!(refused, BTreeSet::from(REFUSED));
    assert_eq!(includes, BTreeSet::from(INCLUDES_LEFT));
    assert!(left.iter().eq(LEFT), "{left:?}");
    Ok(())
}

/// With processors and large pages named, the profile that demands them is taken, and nothing is told of any of ours but what its
/// comments say.
#[test]
fn cli_our_profiles_are_taken_by_tuned() -> Result<()> {
    let scratch = Scratch::new()?;
    let path = image(&scratch)?;
    let variables = "isolated_cores=2-3\nreserved_cores=0,1\nhugepages_2m=0\nhugepages_1g=4\nhugepages_default_size=1G\n";
    scratch.write("root/etc/tuned/basalt-cpu-isolated-variables.conf", variables)?;
    let root = Folder(&path);
    let folders = Folders::current();
    let ours = |name: &String| name.starts_with("basalt-");
    let mut names: Vec<_> = folders.profiles(&root).into_iter().filter(ours).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    names.push("basalt-gpu-inference basalt-cpu-isolated".into());
    let (plugins, answers) = by_tuned(&scratch, &path, &names)?;
    let installed = installed(&root, &plugins)?;
    for (names, theirs) in names.iter().zip(&answers) {
        let merged = evaluate(&root, &folders, names, &installed)?;
        assert_same(names, &merged, &theirs["loaded"]);
        let warnings: Vec<_> = merged.findings.iter().filter(|finding| finding.what.weight() >= Weight::Warning).collect();
        assert!(warnings.is_empty(), "{names}: {warnings:#?}");
        assert!(!merged.kernel_arguments.left_to_node && !merged.kernel_arguments.line.contains("mitigations"), "{names}");
    }
    let both = evaluate(&root, &folders, &names[6], &installed)?;
    assert_eq!(
        both.kernel_arguments.line.split_whitespace().collect::<Vec<_>>().join(" "),
        "init_on_alloc=0 iommu=pt pci=realloc=off isolcpus=managed_irq,2-3 irqaffinity=0-1 nohz=on nohz_full=2-3 rcu_nocbs=2-3 \
         tuned.non_isolcpus=00000003 systemd.cpu_affinity=0-1 default_hugepagesz=1G hugepagesz=1G hugepages=4"
    );
    // A processor that is in neither list is found by tuned on the node.
    let short = variables.replace("reserved_cores=0,1", "reserved_cores=0");
    scratch.write("root/etc/tuned/basalt-cpu-isolated-variables.conf", short)?;
    let (_, answers) = by_tuned(&scratch, &path, &["basalt-cpu-isolated".into()])?;
    let refused = answers[0]["refused"].as_str().context("tuned takes it")?;
    assert!(refused.contains("reserved_cores are all that are not isolated"), "{refused}");
    Ok(())
}
