//! Kernel modules that are named by the kernel: pinned for the base's, kept, and asked for again when it changes.

use super::*;
use crate::failure::failure_in;
use crate::plan::{self, ModuleSource};

/// The recipe with these entries, and a kernel.
fn desk(entries: &str) -> Desk {
    let desk = Desk::new();
    desk.write("web.toml", &format!("{RECIPE}{entries}"));
    desk.archive.borrow_mut().push(package("linux-image-6.12.1+deb13-amd64", "1"));
    desk
}

const IMAGES: &str = r#"
[[kernel-module]]
name = "a"
namespace = "gpu"
from = "r.example.org/$MOD_NAMESPACE/$MOD_NAME:${KERNEL_FULL_VERSION}"
[[kernel-module]]
name = "b"
kernel-mappings = [
    { literal = "6.1.0-1-amd64", from = "r.example.org/never:1" },
    { regexp = '^6\.', from = "r.example.org/b:1" },
    { regexp = ".", from = "r.example.org/behind:1" },
]
"#;

fn section(lock: &Lock) -> &Section {
    &lock.architecture[&Architecture::Amd64]
}

fn images(lock: &Lock) -> Vec<(&str, Digest)> {
    section(lock).module_images.iter().map(|image| (image.from.as_str(), image.manifest.sha256)).collect()
}

#[test]
fn images_are_pinned_for_the_kernel_and_kept() {
    let desk = desk(IMAGES);
    let (lock, changes) = desk.refresh(None, Mode::Build).unwrap();
    assert_eq!(section(&lock).kernel.as_deref(), Some("6.12.1+deb13-amd64"));
    let of_a = "r.example.org/gpu/a:6.12.1_deb13-amd64";
    assert_eq!(*desk.images.borrow(), [of_a, "r.example.org/b:1"]);
    let pinned = [("r.example.org/b:1", image("r.example.org/b:1", 2).manifest.sha256), (of_a, image(of_a, 1).manifest.sha256)];
    assert_eq!(images(&lock), pinned);
    assert!(changes.to_string().contains(&format!("kernel modules {of_a}: added 1 layers\n")), "{changes}");
    assert_eq!(Lock::parse(&lock.to_text()).unwrap(), lock);
    for mode in [Mode::Build, Mode::Locked] {
        assert_eq!(desk.refresh(Some(&lock), mode).unwrap().0, lock);
    }
    assert_eq!(desk.images.borrow().len(), 2);
    let recipe = recipe::load(&desk.folder.path().join("web.toml")).unwrap();
    let sources = |module: usize| -> Vec<ModuleSource> {
        let mappings = plan::mappings(&recipe.kernel_modules[module], section(&lock)).unwrap();
        mappings.into_iter().map(|mapping| mapping.source).collect()
    };
    assert_eq!(sources(0), [ModuleSource::Image(image(of_a, 1))]);
    assert_eq!(sources(1), [ModuleSource::Image(image("r.example.org/b:1", 2))], "the one that counts");
    let plan = plan::resolve(&recipe, section(&lock), Architecture::Amd64).unwrap();
    assert_eq!(plan::Plan::parse(&plan.to_json()).unwrap(), plan);
    let mut moved = section(&lock).clone();
    moved.module_images.clear();
    let stale = plan::resolve(&recipe, &moved, Architecture::Amd64).unwrap_err();
    assert!(stale.to_string().ends_with(&format!("needed kernel modules {of_a}, found none")), "{stale}");
}

#[test]
fn images_change_with_the_kernel_or_when_a_person_asks() {
    let desk = desk(IMAGES);
    let (lock, _) = desk.refresh(None, Mode::Build).unwrap();
    let (one, _) = desk.refresh(Some(&lock), Mode::Update(vec!["b".into()])).unwrap();
    assert_eq!((images(&one)[1], versions(&one)), (images(&lock)[1], versions(&lock)));
    assert_ne!(images(&one)[0], images(&lock)[0]);
    assert_eq!(*desk.asked.borrow(), 1, "packages stay");
    desk.archive.borrow_mut().pop();
    desk.archive.borrow_mut().push(package("linux-image-6.12.2+deb13-amd64", "2"));
    let (other, _) = desk.refresh(Some(&one), Mode::Update(vec![])).unwrap();
    assert_eq!(section(&other).kernel.as_deref(), Some("6.12.2+deb13-amd64"));
    assert_eq!(images(&other)[1].0, "r.example.org/gpu/a:6.12.2_deb13-amd64");
    let mut renamed = section(&lock).clone();
    renamed.module_images.remove(0);
    let asked = desk.images.borrow().len();
    let error = desk.refresh(Some(&super::lock(renamed)), Mode::Locked).unwrap_err();
    let failure = failure_in(&error).unwrap();
    assert!(failure.kind == Kind::Input && failure.what.contains("needed r.example.org/b:1, found none"), "{failure}");
    assert_eq!(failure.about.as_ref().unwrap().value, "b");
    assert_eq!(desk.images.borrow().len(), asked, "nobody was asked");
}

#[test]
fn packages_with_modules_are_pinned_by_themselves() {
    let desk = desk("[[kernel-module]]\nname = \"c\"\npackages = [\"driver-${KERNEL_FULL_VERSION}\", \"driver-common\"]\n");
    let (lock, _) = desk.refresh(None, Mode::Build).unwrap();
    let names: Vec<_> = section(&lock).module_packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["driver-6.12.1+deb13-amd64", "driver-common"]);
    assert_eq!(*desk.asked.borrow(), 2);
    assert_eq!(desk.refresh(Some(&lock), Mode::Locked).unwrap().0, lock);
    assert_eq!(*desk.asked.borrow(), 2);
    let recipe = recipe::load(&desk.folder.path().join("web.toml")).unwrap();
    let mappings = plan::mappings(&recipe.kernel_modules[0], section(&lock)).unwrap();
    assert_eq!(mappings[0].source, ModuleSource::Packages(section(&lock).module_packages.clone()));
}
