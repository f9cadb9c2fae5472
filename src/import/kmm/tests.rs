//! Modules as people have them, and what becomes of them. The recipes are read by the reader of recipes.

use super::*;
use crate::recipe::{self, ModuleOrigin, Recipe};

/// Everything that a recipe can say, and much that it cannot.
const FULL: &str = r"
apiVersion: kmm.sigs.x-k8s.io/v1beta1
kind: Module
metadata:
  name: case-driver
  namespace: drivers
  uid: 3d6c0f7e
spec:
  moduleLoader:
    serviceAccountName: loader
    container:
      version: '2'
      imagePullPolicy: Always
      containerImage: registry.example.org/$MOD_NAMESPACE/${MOD_NAME}:${KERNEL_FULL_VERSION}
      modprobe:
        moduleName: case-a
        modulesLoadingOrder: [case-a, case_b]
        parameters: [debug=1, mode=fast]
        dirName: /modules
        firmwarePath: /firmware
        args: {load: [--force]}
      inTreeModulesToRemove: [old_a]
      kernelMappings:
        - literal: 6.12.1-amd64
          containerImage: registry.example.org/case:special
        - regexp: '^6\.12\.'
          build: {dockerfileConfigMap: {name: x}}
          sign: {certSecret: {name: mok}, keySecret: {name: key}, filesToSign: [/opt/a.ko]}
  devicePlugin: {container: {image: x}}
  imageRepoSecret: {name: login}
  selector: {kubernetes.io/arch: amd64}
  surprise: 1
status: {moduleLoader: {availableNumber: 1}}
";

/// A recipe with the imported part.
fn recipe(imported: &Imported) -> Recipe {
    let text = format!("name = \"case\"\nversion = \"1\"\n{}", imported.recipe);
    recipe::parse("case.toml", &text).unwrap_or_else(|problems| panic!("{problems}\n{text}"))
}

fn paths(imported: &Imported) -> Vec<&str> {
    imported.left.iter().map(|left| left.path.as_str()).collect()
}

#[test]
fn a_module_becomes_an_entry_and_the_rest_is_told() {
    let imported = read("m.yaml", FULL).unwrap();
    let recipe = recipe(&imported);
    let [module] = &recipe.kernel_modules[..] else { panic!("{:?}", recipe.kernel_modules) };
    assert_eq!((module.name.as_str(), module.namespace.as_deref()), ("case-driver", Some("drivers")));
    let mappings: Vec<_> = module.mappings.iter().map(|(kernel, origin)| format!("{kernel}: {origin}")).collect();
    assert_eq!(
        mappings,
        [
            "the kernel 6.12.1-amd64: registry.example.org/case:special",
            "kernels like ^6\\.12\\.: registry.example.org/$MOD_NAMESPACE/${MOD_NAME}:${KERNEL_FULL_VERSION}"
        ]
    );
    let set = &module.set;
    assert_eq!((set.load.as_slice(), set.remove.as_slice()), (&["case_b".into(), "case_a".into()][..], &["old_a".into()][..]));
    assert_eq!((set.parameters["case_a"].as_str(), set.parameters.len()), ("debug=1 mode=fast", 1));
    let path = |path: &Option<crate::tree::TreePath>| path.as_ref().map(ToString::to_string);
    assert_eq!((path(&set.dir).as_deref(), path(&set.firmware).as_deref()), (Some("/modules"), Some("/firmware")));
    let container = |key: &str| format!("spec.moduleLoader.container.{key}");
    assert_eq!(
        paths(&imported),
        [
            "spec.selector",
            "spec.devicePlugin",
            "spec.imageRepoSecret",
            "spec.surprise",
            "spec.moduleLoader.serviceAccountName",
            &container("version"),
            &container("imagePullPolicy"),
            &container("modprobe.args"),
            &container("kernelMappings[1].build"),
            &container("kernelMappings[1].sign"),
        ]
    );
    assert!(imported.left.iter().all(|left| left.why.len() > 20), "{:?}", imported.left);
    assert!(imported.recipe.ends_with("# module-keys = [\"mok.der\"]\n"), "{}", imported.recipe);
}

#[test]
fn one_image_for_all_kernels_needs_no_mapping() {
    let text = "apiVersion: kmm.sigs.x-k8s.io/v1beta1\nkind: Module\nmetadata: {name: a}\nspec:\n  selector: {}\n  moduleLoader:\n    \
                container:\n      modprobe: {moduleName: a}\n      kernelMappings:\n      - regexp: ^.+$\n        containerImage: \
                r.example.org/$MOD_NAMESPACE/a:$KERNEL_FULL_VERSION\n";
    let imported = read("m.yaml", text).unwrap();
    let read_back = recipe(&imported);
    let (kernel, origin) = &read_back.kernel_modules[0].mappings[0];
    assert_eq!(*kernel, crate::plan::KernelMatch::Any);
    assert!(
        matches!(origin, ModuleOrigin::Image(image) if image.to_string() == "r.example.org/$MOD_NAMESPACE/a:$KERNEL_FULL_VERSION")
    );
    assert_eq!(
        (paths(&imported), read_back.kernel_modules[0].namespace.as_deref()),
        (vec!["metadata.namespace"], Some("default"))
    );
    // The same as JSON, in a list, and beside what is no Module.
    let json = serde_json::json!({
        "apiVersion": "v1", "kind": "List",
        "items": [serde_saphyr::from_str::<Value>(text).unwrap(), { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } }],
    });
    let listed = read("m.json", &json.to_string()).unwrap();
    assert_eq!((listed.recipe, &listed.left[1].path), (imported.recipe.clone(), &"items[1].kind".to_owned()));
    // A hub's.
    let hub = text.replace("apiVersion: kmm", "apiVersion: hub.kmm").replace("kind: Module", "kind: ManagedClusterModule");
    let (head, spec) = hub.split_once("spec:\n").unwrap();
    let inner: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    let hub = read("m.yaml", &format!("{head}spec:\n  spokeNamespace: default\n  moduleSpec:\n{inner}")).unwrap();
    assert_eq!((hub.recipe, hub.left), (imported.recipe, vec![]));
}

#[test]
fn what_cannot_be_taken_is_told() {
    let changed = |from: &str, to: &str| {
        let text = FULL.replacen(from, to, 1);
        assert_ne!(text, FULL, "{from}");
        text
    };
    for (from, to, expected) in [
        ("kind: Module", "kind: [", "m.yaml:"),
        ("kind: Module", "kind: Pod", "needed a Module of KMM, found kind: \"Pod\""),
        ("/v1beta1", "/v2", "apiVersion: needed kmm.sigs.x-k8s.io/v1beta1, found \"kmm.sigs.x-k8s.io/v2\""),
        ("  name: case-driver", "  name: Case", "metadata.name: needed up to 63 lower-case letters"),
        ("  name: case-driver", "  names: x", "metadata.name: needed, found none"),
        ("moduleLoader:", "loader:", "spec.moduleLoader: needed, found none"),
    ] {
        let failure = read("m.yaml", &changed(from, to)).unwrap_err();
        assert!(failure.kind == Kind::Invalid && failure.what.contains(expected), "{to}: {failure}");
    }
    for (from, to, path, why) in [
        ("regexp: '^6\\.12\\.'", "regexp: '('", "kernelMappings[1].regexp", "needed a regular expression"),
        ("literal: 6.12.1-amd64", "literal: 6.12", "kernelMappings[0].literal", "needed text, found 6.12"),
        ("case:special", "case:${OTHER}", "kernelMappings[0].containerImage", "needed one of"),
        (
            "case:special",
            "case:special\n          inTreeModulesToRemove: [b]",
            "kernelMappings[].inTreeModulesToRemove",
            "mappings differ",
        ),
        ("moduleName: case-a", "moduleName: a b", "modprobe.moduleName", "needed a kernel module's name"),
        ("firmwarePath: /firmware", "firmwarePath: firmware", "modprobe.firmwarePath", "needed an absolute path"),
        ("[debug=1, mode=fast]", "debug=1", "modprobe.parameters", "needed a list, found \"debug=1\""),
    ] {
        let imported = read("m.yaml", &changed(from, to)).unwrap();
        let found = imported.left.iter().any(|left| left.path.ends_with(path) && left.why.contains(why));
        assert!(found, "{path} {why}: {:#?}", imported.left);
        recipe(&imported);
    }
}
