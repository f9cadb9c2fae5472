//! The image read by programs that are not ours: skopeo reads the folder, tar and libostree what is in its layers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::*;
use crate::artefact::Output;
use crate::commit::fixture::{base, image, info, layer, overlay, written};
use crate::commit::{self, ObjectKind};
use crate::digest::Digest;
use crate::format::oci::{Config, Manifest, parse_digest};
use crate::host::cmd::Cmd;
use crate::progress::Quiet;

/// A commit, and all that it was made from.
struct Made {
    layers: Vec<Layer>,
    tree: Tree,
    commit: Commit,
}

fn made(store: &Store, above: Layer) -> Made {
    let layers = vec![layer("base", base()), above];
    let tree = commit::assemble(&layers, &image()).unwrap();
    let commit = written(&tree, &info(), store);
    Made { layers, tree, commit }
}

impl Made {
    fn subject(&self) -> Subject<'_> {
        Subject {
            name: "node",
            version: "1.2",
            plan: PlanId(Digest::of(b"plan")),
            architecture: Architecture::Amd64,
            time: 1_780_000_000,
            commit: &self.commit,
            tree: &self.tree,
            layers: &self.layers,
            packages: &[],
        }
    }

    fn image(&self, store: &Store) -> Folder {
        let subject = self.subject();
        layout(&subject, &Layers::of(&subject, store, &Quiet).unwrap(), store).unwrap()
    }

    /// The image, copied by skopeo into a folder of blobs named by their digests.
    fn unpacked(&self, store: &Store, folder: &Path) -> (Manifest, Config) {
        let output = Output::open(folder).unwrap();
        let image = self.image(store);
        let digest = image.digest;
        let mut added = image.write(&output, "node.oci", |_| Ok(())).unwrap();
        added.keep(&output).unwrap();
        let path = folder.join("node.oci");
        assert!(folder::is_whole(&path, &digest).unwrap() && !folder::is_whole(&path, &Digest::of(b"other")).unwrap());
        let (from, to) = (format!("oci:{}", path.display()), format!("dir:{}", folder.join("dir").display()));
        Cmd::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &from, &to]).run().unwrap();
        let read = |name: &str| fs::read(folder.join("dir").join(name)).unwrap();
        let manifest: Manifest = serde_json::from_slice(&read("manifest.json")).unwrap();
        let config = serde_json::from_slice(&read(&parse_digest(&manifest.config.digest).unwrap().to_hex())).unwrap();
        (manifest, config)
    }
}

#[test]
fn skopeo_reads_it_and_every_object_is_in_one_layer() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let made = made(&store, overlay("mine", &[("/usr/lib/mine", "x"), ("/etc/empty", "")]));
    let (manifest, config) = made.unpacked(&store, &folder.path().join("a"));
    assert_eq!(config.config.labels["ostree.commit"], made.commit.checksum.to_hex());
    assert_eq!(config.config.labels["containers.bootc"], "1");
    assert_eq!(config.config.labels["ostree.final-diffid"], *config.rootfs.diff_ids.last().unwrap());
    assert_eq!((manifest.annotations["version"].as_str(), config.architecture.as_str()), ("1.2", "amd64"));
    assert_eq!(manifest.layers.len(), config.rootfs.diff_ids.len());
    assert!(manifest.layers[1..].iter().all(|layer| !layer.annotations["ostree.components"].is_empty()));

    // GNU tar lists every object once, the commit first, and unpacks what a container would see.
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    let mut seen = BTreeMap::new();
    for (index, layer) in manifest.layers.iter().enumerate() {
        let blob = folder.path().join("a/dir").join(parse_digest(&layer.digest).unwrap().to_hex());
        let listed = Cmd::new("tar").arg("-tzf").arg(&blob).run().unwrap().stdout;
        let listed = String::from_utf8(listed).unwrap();
        let objects = listed.lines().filter(|name| name.starts_with("sysroot/ostree/repo/objects/") && !name.ends_with('/'));
        for (place, name) in objects.enumerate() {
            assert!(index > 0 || place > 0 || name.ends_with(".commit"), "{name} stands before the commit");
            if !name.ends_with("xattrs") {
                assert_eq!(seen.insert(name.to_owned(), index), None, "{name} twice");
            }
        }
        // Objects of xattrs may be in several layers, and owners belong to root: who tests is not.
        Cmd::new("tar")
            .args(["--no-same-owner", "--delay-directory-restore", "-xzf"])
            .arg(&blob)
            .arg("-C")
            .arg(&root)
            .run()
            .unwrap();
    }
    let count = |extension: &str| seen.keys().filter(|name| name.ends_with(extension)).count();
    let objects: std::collections::BTreeSet<_> = made.commit.files.values().collect();
    assert_eq!((count(".commit"), count(".file")), (1, objects.len()));
    let folders = made.commit.metadata.iter().filter(|object| object.kind == ObjectKind::DirTree).count();
    assert_eq!(count(".dirtree"), folders);
    assert_eq!(fs::read_to_string(root.join("usr/lib/mine")).unwrap(), "x");
    assert_eq!(fs::read_to_string(root.join("etc/empty")).unwrap(), "");
    assert!(root.join("usr/bin").is_dir() && root.join("var/tmp").is_dir() && !root.join("usr/etc").exists());
}

#[test]
fn a_changed_file_changes_its_layer_and_the_commits_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let digests = |text: &str, store: &Store, at: &str| {
        let made = made(store, overlay("mine", &[("/usr/lib/mine", text)]));
        let (manifest, _) = made.unpacked(store, &folder.path().join(at));
        manifest.layers.into_iter().map(|layer| layer.digest).collect::<Vec<_>>()
    };
    let (one, other) = (digests("x", &store, "a"), digests("y", &store, "b"));
    let changed: Vec<_> = one.iter().zip(&other).enumerate().filter(|(_, (one, other))| one != other).collect();
    assert!(one.len() == other.len() && changed.len() == 2 && changed[0].0 == 0, "{changed:?}");
    let elsewhere = Store::open(&folder.path().join("elsewhere")).unwrap();
    assert_eq!(digests("x", &elsewhere, "c"), one, "another cache");
}

#[test]
fn what_is_there_stays_what_nobody_names_goes_and_a_failure_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let out = folder.path().join("out");
    let output = Output::open(&out).unwrap();
    let image = |text: &str| made(&store, overlay("mine", &[("/usr/lib/mine", text)])).image(&store);
    let names = || -> std::collections::BTreeSet<String> {
        let entries = fs::read_dir(out.join("node.oci/blobs/sha256")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let failed = image("one").write(&output, "node.oci", |_| Err(std::io::Error::other("stopped")));
    assert!(failed.is_err() && !out.join("node.oci").exists());
    drop(image("one").write(&output, "node.oci", |_| Ok(())).unwrap());
    assert!(!out.join("node.oci").exists(), "not kept");

    let (one, other) = (image("one"), image("two"));
    one.clone().write(&output, "node.oci", |_| Ok(())).unwrap().keep(&output).unwrap();
    let before = names();
    // A build that fails after it has written leaves the image that was there.
    drop(other.clone().write(&output, "node.oci", |_| Ok(())).unwrap());
    assert_eq!(names(), before);
    assert!(folder::is_whole(&out.join("node.oci"), &one.digest).unwrap());
    assert!(other.missing(&out.join("node.oci")) < other.allocated() / 2);
    other.clone().write(&output, "node.oci", |_| Ok(())).unwrap().keep(&output).unwrap();
    let after = names();
    // The commit's layer, the overlay's, configuration and manifest.
    assert_eq!((after.len(), after.difference(&before).count()), (before.len(), 4));
    assert!(folder::is_whole(&out.join("node.oci"), &other.digest).unwrap());

    // Damage is seen, and mended by the next build.
    let blob = out.join("node.oci/blobs/sha256").join(after.first().unwrap());
    let bytes = fs::read(&blob).unwrap();
    fs::write(&blob, vec![0; bytes.len()]).unwrap();
    assert!(!folder::is_whole(&out.join("node.oci"), &other.digest).unwrap());
    other.write(&output, "node.oci", |_| Ok(())).unwrap().keep(&output).unwrap();
    assert_eq!(fs::read(&blob).unwrap(), bytes);
}

#[test]
fn metadata_stand_behind_the_commit_and_can_be_taken_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let made = made(&store, overlay("above", &[("/usr/lib/mine", "mine")]));
    let out = folder.path().join("out");
    let (before, config) = made.unpacked(&store, &out);
    let path = out.join("node.oci");
    let output = Output::open(&out).unwrap();
    let put = |metadata: Option<&[u8]>| {
        let changed = metadata::attached(&path, metadata).unwrap();
        let digest = changed.digest;
        changed.write(&output, "node.oci", |_| Ok(())).unwrap().keep(&output).unwrap();
        assert!(folder::is_whole(&path, &digest).unwrap());
        digest
    };
    let read = || crate::sign::state::commit_layer(&path).unwrap();
    assert_eq!(read().metadata(), None);
    assert_eq!(read().checksum, made.commit.checksum);
    let first = put(Some(b"metadata"));
    assert_eq!(read().metadata(), Some(&b"metadata"[..]));
    // Others in their place, and the same ones again.
    let longer = [7; 1000];
    assert_ne!(put(Some(&longer)), first);
    assert_eq!(read().metadata(), Some(&longer[..]));
    assert_eq!(put(Some(b"metadata")), first);
    assert_ne!(put(None), first);
    assert_eq!(read().metadata(), None);
    let images = crate::format::oci::layout::Layout::open(&path).unwrap().images().unwrap();
    // Without metadata it is what was built; compressed anew, which may give other bytes.
    assert_eq!(images[0].2.rootfs.diff_ids, config.rootfs.diff_ids);
    assert_eq!(images[0].1.layers[1..], before.layers[1..]);
    assert!(metadata::CommitLayer::read(&b"no gzip"[..]).is_err());
}
