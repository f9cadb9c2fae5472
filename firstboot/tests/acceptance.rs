//! An acceptance run for real, but for systemd: what the agent plans, its unit's program measures, and the agent judges.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Commands that are measured, `OWN` being the agent and `ROOT` the node's root folder.
const DESIRED: &str = r#"
[[acceptance]]
name = "disk"
command = ["OWN", "--root", "ROOT", "measure", "disk-write"]
unit = "MB/s"
at-least = 0.1

[[acceptance]]
name = "slow"
command = ["sh", "-c", "echo x >>ROOT/times; echo '{\"end\": [{\"sum\": 12.5}]}'"]
figure = "/end/0/sum"
at-least = 500

[[acceptance]]
name = "broken"
command = ["sh", "-c", "cat ROOT/figure"]
at-most = 7
"#;

fn agent(root: &Path, verb: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_basalt-firstboot")).arg("--root").arg(root).args(verb).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn what_is_planned_is_measured_and_judged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let desired = DESIRED.replace("OWN", env!("CARGO_BIN_EXE_basalt-firstboot")).replace("ROOT", root.to_str().unwrap());
    write("proc/cmdline", "quiet\n");
    write("etc/basalt/firstboot.d/50-site.toml", &desired);
    let nothing = agent(root, &["acceptance-run"]);
    assert_eq!(
        (nothing.status.code(), String::from_utf8_lossy(&nothing.stderr).contains("wants nothing measured")),
        (Some(1), true)
    );

    let effect = json(&agent(root, &["plan", "--json"]))["actions"][0]["effects"][0].clone();
    write(&effect["path"].as_str().unwrap()[1..], effect["text"].as_str().unwrap());
    let ran = agent(root, &["acceptance-run"]);
    let why = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code() == Some(1) && why.contains("no figure: broken: sh: exit status: 1: cat: "), "{why}");
    assert!(String::from_utf8_lossy(&ran.stdout).ends_with("slow: 12.5\n"), "{ran:?}");
    let verified = json(&agent(root, &["verify", "--json"]));
    let words: Vec<_> = verified["faults"].as_array().unwrap().iter().map(|fault| fault["what"].as_str().unwrap()).collect();
    assert!(words[0].starts_with("it differs: an acceptance run: broken; broken failed: sh: exit status: 1"), "{words:?}");
    assert_eq!(words[1..], ["slow: 12.5, needed at least 500"]);

    // What has a figure is not measured again.
    write("figure", "7\n");
    let ran = agent(root, &["acceptance-run"]);
    assert!(ran.status.success() && ran.stdout == b"broken: 7\n", "{ran:?}");
    assert_eq!(fs::read_to_string(root.join("times")).unwrap(), "x\n");
    let verified = json(&agent(root, &["verify", "--json"]));
    let figures: Vec<_> =
        verified["figures"].as_array().unwrap().iter().map(|figure| (&figure["name"], &figure["passed"])).collect();
    assert_eq!(figures, [(&"disk".into(), &true.into()), (&"slow".into(), &false.into()), (&"broken".into(), &true.into())]);
    assert!(verified["figures"][0]["value"].as_f64().unwrap() > 0.1, "{verified}");
    let left: Vec<_> = fs::read_dir(root.join("var/lib/basalt")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["firstboot"]);
}
