//! The files of `docs/ci` as CI systems read them: which scripts run, in which order, with which variables, in which image. Nothing is
//! run here. What a file uses and nobody provides is an error, as it is in CI.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{repository, run_program, venv};

/// Knows the published schemas of CI systems, and YAML 1.2.
const CHECKER: &str = "check-jsonschema==0.39.0";
const TO_JSON: &str =
    "import json, sys; from ruamel.yaml import YAML; print(json.dumps(list(YAML(typ='safe').load_all(open(sys.argv[1])))))";

/// A CI system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// GitHub Actions.
    GitHub,
    /// GitLab CI.
    GitLab,
    /// Tekton.
    Tekton,
}

/// What a CI system and its users' settings provide, by name as the file says it: `vars.REGISTRY`, `CI_PROJECT_DIR`, `params.image`.
pub type Provided = BTreeMap<&'static str, String>;

/// One script of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What the file calls it.
    pub name: String,
    /// Its lines, for `sh -e`.
    pub text: String,
    /// The variables that the file declares for it.
    pub env: BTreeMap<String, String>,
    /// Where it runs; none for the machine itself.
    pub image: Option<String>,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::GitHub, Self::GitLab, Self::Tekton];

    /// Its file.
    pub fn file(self) -> PathBuf {
        repository().join("docs/ci").join(match self {
            Self::GitHub => "github-actions.yml",
            Self::GitLab => "gitlab-ci.yml",
            Self::Tekton => "tekton.yaml",
        })
    }

    /// Fails unless the file is valid by the schema that its system publishes. Tekton publishes none that comes as a package.
    pub fn check_schema(self) -> Result<()> {
        let schema: &[&str] = match self {
            Self::GitHub => &["vendor.github-workflows"],
            Self::GitLab => &["vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
            Self::Tekton => return Ok(()),
        };
        let file = self.file().display().to_string();
        run_program(&venv(&[CHECKER])?.join("check-jsonschema"), &[&["--builtin-schema"], schema, &[&file]].concat())?;
        Ok(())
    }

    /// The file's documents.
    pub fn documents(self) -> Result<Vec<Value>> {
        let json = run_program(&venv(&[CHECKER])?.join("python"), &["-c", TO_JSON, &self.file().display().to_string()])?;
        Ok(serde_json::from_str(&json)?)
    }

    /// The scripts in their order, for a push to the main branch.
    pub fn scripts(self, provided: &Provided) -> Result<Vec<Script>> {
        let documents = self.documents()?;
        match (self, documents.as_slice()) {
            (Self::GitHub, [workflow]) => github(workflow, provided),
            (Self::GitLab, [file]) => gitlab(file, provided),
            (Self::Tekton, all) => tekton(all, provided),
            _ => bail!("{}: needed one document, found {}", self.file().display(), documents.len()),
        }
    }

    /// The folders and files that stay after a run, as the file says it.
    pub fn kept(self) -> Result<Vec<String>> {
        let documents = self.documents()?;
        let paths = match self {
            Self::GitHub => {
                let mut steps = list(&documents[0]["jobs"]["image"]["steps"]).iter();
                let upload = steps.find(|step| word(&step["uses"]).starts_with("actions/upload-artifact@"));
                vec![word(&upload.context("nothing is kept")?["with"]["path"])]
            }
            Self::GitLab => list(&documents[0]["build"]["artifacts"]["paths"]).iter().map(word).collect(),
            // The workspace stays.
            Self::Tekton => vec!["out"],
        };
        Ok(paths.into_iter().map(str::to_owned).collect())
    }
}

fn github(workflow: &Value, provided: &Provided) -> Result<Vec<Script>> {
    let job = &workflow["jobs"]["image"];
    let mut scripts = Vec::new();
    for step in list(&job["steps"]).iter().filter(|step| step["run"].is_string()) {
        let condition = &step["if"];
        ensure!(condition.is_null() || condition == "github.ref == 'refs/heads/main'", "no branch is known for {condition}");
        let fill = |text: &str| fill(text, ("${{", "}}"), provided);
        let mut env = BTreeMap::new();
        for (name, value) in [&job["env"], &step["env"]].into_iter().filter_map(Value::as_object).flatten() {
            env.insert(name.clone(), fill(word(value))?);
        }
        scripts.push(Script { name: word(&step["name"]).to_owned(), text: fill(word(&step["run"]))?, env, image: None });
    }
    Ok(scripts)
}

fn gitlab(file: &Value, provided: &Provided) -> Result<Vec<Script>> {
    let jobs = file.as_object().context("a mapping")?;
    let mut scripts = Vec::new();
    for stage in list(&file["stages"]) {
        for (name, job) in jobs.iter().filter(|(_, job)| job["stage"] == *stage) {
            let rule = &job["rules"][0]["if"];
            ensure!(rule.is_null() || rule == "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH", "no branch is known for {rule}");
            let lines: Vec<_> = list(&job["script"]).iter().map(word).collect();
            let mut env: BTreeMap<_, _> = provided.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            for (name, value) in file["variables"].as_object().into_iter().flatten() {
                let known = |text: String, (name, value): (&&str, &String)| text.replace(&format!("${name}"), value);
                env.insert(name.clone(), provided.iter().fold(word(value).to_owned(), known));
            }
            let image = Some(word(&file["image"]).to_owned());
            scripts.push(Script { name: name.clone(), text: lines.join("\n"), env, image });
        }
    }
    Ok(scripts)
}

fn tekton(documents: &[Value], provided: &Provided) -> Result<Vec<Script>> {
    let find = |kind: &str, name: &Value| {
        let mut found = documents.iter().filter(|document| document["kind"] == kind);
        let found = found.find(|document| name.is_null() || document["metadata"]["name"] == *name);
        found.map(|found| &found["spec"]).with_context(|| format!("no {kind} {name}"))
    };
    let pipeline = find("Pipeline", &Value::Null)?;
    let mut scripts = Vec::new();
    for call in list(&pipeline["tasks"]) {
        for when in list(&call["when"]) {
            ensure!(list(&when["values"]).contains(&provided["params.branch"].clone().into()), "no branch is known for {when}");
        }
        let task = find("Task", &call["taskRef"]["name"])?;
        let names = |of: &Value| list(of).iter().map(|item| word(&item["name"]).to_owned()).collect::<Vec<_>>();
        for key in ["workspaces", "params"] {
            ensure!(names(&call[key]) == names(&task[key]), "{key} of {}: needed {:?}", call["name"], names(&task[key]));
            let has = names(&pipeline[key]);
            ensure!(names(&call[key]).iter().all(|name| has.contains(name)), "the pipeline has {key} {has:?}");
        }
        // A task sees what it declares, and nothing else.
        let declared = |name: &str| {
            let mut all = names(&task["workspaces"]).into_iter().map(|name| format!("workspaces.{name}.path"));
            all.any(|known| known == name) || names(&task["params"]).iter().any(|param| format!("params.{param}") == name)
        };
        let seen: Provided =
            provided.iter().filter(|(name, _)| declared(name)).map(|(name, value)| (*name, value.clone())).collect();
        for step in list(&task["steps"]) {
            let text = word(&step["script"]).strip_prefix("#!/bin/sh -e\n").context("needed a script for sh -e")?;
            let mut env = BTreeMap::new();
            for variable in list(&step["env"]) {
                env.insert(word(&variable["name"]).to_owned(), fill(word(&variable["value"]), ("$(", ")"), &seen)?);
            }
            let folder = fill(word(&step["workingDir"]), ("$(", ")"), &seen)?;
            ensure!(Some(&folder) == provided.get("workspaces.source.path"), "works in {folder}");
            let image = Some(word(&step["image"]).to_owned());
            scripts.push(Script { name: word(&step["name"]).to_owned(), text: text.to_owned(), env, image });
        }
    }
    Ok(scripts)
}

/// `text` with what is provided in place of each expression.
fn fill(text: &str, (open, close): (&str, &str), provided: &Provided) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(open) {
        let (name, behind) = after.split_once(close).with_context(|| format!("{text:?}: no {close}"))?;
        let value = provided.get(name.trim()).with_context(|| format!("{text:?}: nobody provides {}", name.trim()))?;
        filled += before;
        filled += value;
        rest = behind;
    }
    Ok(filled + rest)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
