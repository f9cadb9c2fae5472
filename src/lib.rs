//! Basalt: a recipe becomes a bootable OSTree image, as an ordinary user, with the same bytes every time.
//!
//! ```text
//! *.toml --recipe::load--> Recipe    sources --lock::refresh--> Lock    (Recipe, Lock) --plan::resolve--> Plan (PlanId)
//! Plan --layer::produce--> [Layer{digest, Tree}] --commit::assemble--> Tree --commit::write--> OSTree commit
//! commit --sysroot::stage--> named trees --artefact::disk--> Disk --artefact::render--> files + digests --> manifest.json
//! ```
//!
//! [`pipeline::build`] is the table of contents: one line a stage. Store and progress are passed in; every stage is a function
//! from one named type to the next.
//!
//! | module | what it is |
//! |---|---|
//! | [`cli`] | one verb a file; the only place where a [`failure`] becomes text and an exit code |
//! | [`recipe`] | the TOML that a person writes: loaded, merged, checked |
//! | [`source`] | where inputs come from: the only code that fetches |
//! | [`lock`] | every input pinned by digest |
//! | [`plan`] | recipe and lock, fully resolved |
//! | [`layer`] | named contributions to the tree: base, settings, overlays, files, agent, update client, kernel modules, profiles of tuned |
//! | [`commit`] | layers become one tree, and the tree an OSTree commit |
//! | [`sysroot`] | the trees of a disk with one deployment |
//! | [`artefact`] | what is shipped: raw disk, qcow2, OCI image, manifest |
//! | [`prebuild`] | kernel modules built from source, for the kernel of a recipe |
//! | [`registry`] | sends OCI images and their signatures to a registry |
//! | [`sign`] | signs commits, OCI images and kernel modules, and verifies signatures |
//! | [`inspect`] | what an artefact says of itself, read from its bytes |
//! | [`import`] | documents of other programs as parts of a recipe |
//! | [`preflight`] | whether a recipe's kernel modules fit another kernel |
//! | [`vm`] | runs images in QEMU, for `boot`, `test` and the cases in `qemu-tests/` |
//! | **leaves** | **know nothing of recipes** |
//! | [`architecture`], [`digest`], [`failure`] | words that everything speaks |
//! | [`tree`] | files in memory, as an image has them; tar and text in and out |
//! | [`format`](mod@format) | byte formats: ext4, FAT, GPT, qcow2, boot entries, OCI documents, kernel modules and their index, initramfs |
//! | [`store`] | the cache: blobs by digest, folders by the hash of what they are made from |
//! | [`host`] | the machine that builds: programs, interrupts, space |
//! | [`progress`] | what happens, as typed events to one sink |
//! | [`kmod`] | kernel modules that others built, and the proof that a kernel loads them |
//! | [`tuned`] | tuned's profiles: what the tuned of an image makes of them |
//!
//! Beside this crate: `firstboot/` (the agent on the node), `firstboot/contract/` (the types that both sides share),
//! `firstboot/container/` (the node's update client, a workspace of its own), `overlays/` (trees that become part of this program),
//! `image-recipes/`, `qemu-tests/` (cases that run programs and boot machines), `docs/ci/` (the container image, files for CI systems).
//!
//! # Invariants
//!
//! - [`plan::resolve`] touches no network, clock or disk. Only [`source`] fetches. Only [`lock`] changes a digest.
//! - [`format`](mod@format) and [`tree`] never import [`plan`] or [`recipe`]. An artefact reads a sysroot, never a recipe.
//! - Only [`host`] starts programs ([`vm`] starts QEMU through it). Where a machine format exists, no text for people is parsed.
//! - Nothing needs root, a loop device, a mount, KVM or a privileged container to build an image.
//! - The same PlanId gives the same bytes, whatever the time zone, umask, host name, path, user or number of processors.
//! - No program of the host decides a byte of an artefact unless its version is part of the plan.
//! - Nothing of the target's architecture is executed once its base (initramfs included) is cached, but by [`prebuild`].
//! - What is written is found by label or PARTLABEL, never by a device name.
//! - Every stage's cache key is the hash of its input value.
//! - "Differs", "cannot tell" and "failed" are three answers. Cannot tell is never taken for either of the others.
//! - A secret never enters a recipe, a plan, a commit, an artefact or a log.

pub mod cli;

// The pipeline, in order.
pub mod recipe;
pub mod source;
pub mod lock;
pub mod plan;
pub mod layer;
pub mod commit;
pub mod sysroot;
pub mod artefact;
pub mod pipeline;
pub mod prebuild;
pub mod registry;
pub mod sign;
pub mod inspect;
pub mod preflight;
pub mod import;
pub mod vm;

// Leaves.
pub mod architecture;
pub mod digest;
pub mod failure;
pub mod format;
pub mod host;
pub mod kmod;
pub mod progress;
pub mod store;
pub mod tree;
pub mod tuned;
