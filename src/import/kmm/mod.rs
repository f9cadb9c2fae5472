//! A `Module` of the Kernel Module Management operator becomes `[[kernel-module]]`.
//!
//! ```text
//! YAML or JSON --serde-saphyr--> documents --module--> Entry, what is left --text--> TOML
//! ```
//!
//! The format: KMM's API kmm.sigs.x-k8s.io/v1beta1, kind Module; of a hub (hub.kmm.sigs.x-k8s.io/v1beta1) kind ManagedClusterModule; kind List
//! of these. What describes the object in its cluster (`status`, `metadata` but for name and namespace) is no setting and is passed over.

mod container;
mod take;
mod text;

use serde_json::Value;

use super::{Imported, Left};
use crate::failure::{Failure, Kind};
use crate::recipe::names;
use container::Container;
use take::{Notes, Table};

/// A document of more bytes is a mistake.
const LARGEST: usize = 4 << 20;
/// The only version of the API so far.
const VERSION: &str = "v1beta1";

/// A module as a recipe has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Of the Module.
    name: String,
    /// What `${MOD_NAMESPACE}` stands for.
    namespace: Option<String>,
    /// The rest.
    container: Container,
}

/// Reads the Modules of `text`; `name` is its file's for messages.
///
/// # Errors
/// [`Kind::Invalid`]: no YAML, or no Module in it.
pub fn read(name: &str, text: &str) -> Result<Imported, Failure> {
    let invalid = |what: String| Failure::new(Kind::Invalid, format!("{name}: {what}"));
    let hint = "give it one with `kind: Module`: kubectl get modules.kmm.sigs.x-k8s.io NAME --output yaml";
    if text.len() > LARGEST {
        return Err(invalid(format!("needed at most {LARGEST} bytes, found {}", text.len())));
    }
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let place = error.location().map(|at| format!("{}:{}: ", at.line(), at.column())).unwrap_or_default();
        let why = error.without_snippet().to_string();
        invalid(format!("{place}no YAML: {}", why.lines().next().unwrap_or_default()))
    })?;
    let mut left = Notes::new();
    let mut entries = Vec::new();
    let several = documents.len() > 1;
    for (place, document) in documents.into_iter().enumerate() {
        let at = if several { format!("document {}", place + 1) } else { String::new() };
        one(document, &at, &mut entries, &mut left).map_err(|why| invalid(why).hint(hint))?;
    }
    if entries.is_empty() {
        let found = left.first().map_or_else(|| "none".to_owned(), |first| format!("{}: {}", first.path, first.why));
        return Err(invalid(format!("needed a Module of KMM, found {found}")).hint(hint));
    }
    Ok(Imported { recipe: text::of(&entries), left })
}

/// Takes one document, or an item of a list.
fn one(document: Value, at: &str, entries: &mut Vec<Entry>, left: &mut Notes) -> Result<(), String> {
    let at_or = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let Some(mut table) = Table::of(document, at) else {
        left.push(Left { path: at_or("kind"), why: "no object of Kubernetes".to_owned() });
        return Ok(());
    };
    let (api, kind) = (table.text("apiVersion", left).unwrap_or_default(), table.text("kind", left).unwrap_or_default());
    let (group, version) = api.split_once('/').unwrap_or(("", api.as_str()));
    let is_hub = match (group, kind.as_str()) {
        (_, "List") => {
            let items = table.value("items");
            for (place, item) in items.as_ref().and_then(Value::as_array).into_iter().flatten().enumerate() {
                one(item.clone(), &at_or(&format!("items[{place}]")), entries, left)?;
            }
            return Ok(());
        }
        ("kmm.sigs.x-k8s.io", "Module") => false,
        ("hub.kmm.sigs.x-k8s.io", "ManagedClusterModule") => true,
        _ => {
            let why = format!("{kind:?} of {api:?} is no Module: put what it does into the recipe by hand");
            left.push(Left { path: at_or("kind"), why });
            return Ok(());
        }
    };
    if version != VERSION {
        return Err(format!("{}: needed {group}/{VERSION}, found {api:?}", at_or("apiVersion")));
    }
    let mut metadata = table.table("metadata", left).ok_or_else(|| format!("{}: needed, found none", at_or("metadata.name")))?;
    let name = metadata.text("name", left).ok_or_else(|| format!("{}: needed, found none", at_or("metadata.name")))?;
    names::image(&name).map_err(|why| format!("{}: {why}", at_or("metadata.name")))?;
    if entries.iter().any(|entry| entry.name == name) {
        return Err(format!("{}: {name:?} is another Module's name, too; needed names of their own", at_or("metadata.name")));
    }
    let mut namespace = metadata.text("namespace", left);
    let mut spec = table.table("spec", left).ok_or_else(|| format!("{}: needed, found none", at_or("spec")))?;
    if is_hub {
        namespace = spec.text("spokeNamespace", left);
        spec.leave("selector", CLUSTERS, left);
        let inner = spec.table("moduleSpec", left);
        spec.rest(left);
        spec = inner.ok_or_else(|| format!("{}: needed, found none", at_or("spec.moduleSpec")))?;
    }
    for (key, why) in OF_THE_CLUSTER {
        spec.leave(key, why, left);
    }
    let mut loader = spec
        .table("moduleLoader", left)
        .ok_or_else(|| format!("{}: needed, found none: this Module loads nothing", spec.path("moduleLoader")))?;
    spec.rest(left);
    loader.leave("serviceAccountName", "a node loads its own modules, no pod does", left);
    let container = loader.table("container", left).ok_or_else(|| format!("{}: needed, found none", loader.path("container")))?;
    loader.rest(left);
    let container = Container::take(container, left);
    if let Some(text) = namespace.take_if(|text| names::image(text).is_err()) {
        left.push(Left { path: at_or("metadata.namespace"), why: format!("needed a namespace's name, found {text:?}") });
    }
    if container.needs_namespace() && namespace.is_none() {
        let why = "the image's name has it, and the document none: the recipe says \"default\"; correct it";
        left.push(Left { path: at_or("metadata.namespace"), why: why.to_owned() });
        namespace = Some("default".to_owned());
    }
    // Elsewhere it says nothing.
    let namespace = namespace.filter(|_| container.needs_namespace());
    entries.push(Entry { name, namespace, container });
    Ok(())
}

const CLUSTERS: &str = "a recipe is one image: build it for the machines that need it";
/// What of a Module's spec only a cluster knows.
const OF_THE_CLUSTER: [(&str, &str); 6] = [
    ("selector", CLUSTERS),
    ("tolerations", CLUSTERS),
    ("devicePlugin", "pods of the cluster: deploy it there, its nodes have the module from the start"),
    ("dra", "pods of the cluster: deploy it there, its nodes have the module from the start"),
    ("imageRepoSecret", "no secret belongs into a recipe: skopeo login, or --authfile at lock and build"),
    ("imageRebuildTriggerGeneration", "basalt lock --update NAME asks the registry again"),
];

#[cfg(test)]
mod tests;
