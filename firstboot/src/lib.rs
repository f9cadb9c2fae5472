//! The first-boot agent: finds out what a node is and reports it, over D-Bus, in a file and on the console.
//!
//! ```text
//! Files --collect--> Facts;  files, credentials --load, choose--> Goal
//! Facts, Goal --differences--> [Action] --apply--> [Step] --look again, verify--> Report --> file, console (one line), D-Bus
//! cli ──> serve: one loop ──event──> agent::next(State, Event) -> (State, [Effect]) ──effect──> apply, backend
//!                          └─ after each event: agent::Published --> dbus (translates, keeps nothing)
//! ```
//!
//! | where | what |
//! |---|---|
//! | [`cli`] | `serve`, `status`, `facts`, `plan`, `apply`, `accept`, `verify`, `explain`, `export`: each can be run by hand, under `--root DIR` |
//! | [`agent`] | the state machine: pure |
//! | [`serve`] | the one loop that runs its effects |
//! | [`facts`], [`hardware`] | what the node is: boot, machine, image, deployment; what it is made of |
//! | [`config_drive`] | what a config drive says: host name, SSH keys, network |
//! | [`desired`] | what the node should be, from all its sources, chosen by what it is made of |
//! | [`subject`], [`plan`] | what differs, and what would be done about it |
//! | [`apply`], [`journal`] | does it, remembers it through a power cut, and looks again |
//! | [`deploy`] | a new deployment with other kernel arguments, in a unit of its own |
//! | [`acceptance`] | what is measured on the node, in a unit of its own |
//! | [`explain`], [`export`] | all that is known of one action; what the node is, as desired state |
//! | [`report`], [`metrics`] | a report as one line and as one screen; as metrics for Prometheus |
//! | [`notice`] | what is told once, with fields for systemd's journal |
//! | [`status`] | asks the running agent, else reads its last report |
//! | [`dbus`] | `org.basalt.FirstBoot1` as the bus sees it |
//! | [`backend`] | the outside as traits; `backend::real` does it |
//!
//! The types that the builder shares are in `basalt-contract`.
//!
//! Architecture invariants: only `backend::real` and `dbus` touch the outside, and only `backend::real` touches files. Every path
//! starts at a root folder, never at "/": a test is a folder. `agent`, `facts`, `notice` and `report` take values and give values.
//! Something that cannot be found out is a [`Fault`](basalt_contract::Fault), never a panic and never a guess; the boot goes on.

pub mod acceptance;
pub mod agent;
pub mod apply;
pub mod backend;
pub mod cli;
pub mod config_drive;
pub mod dbus;
pub mod deploy;
pub mod desired;
pub mod explain;
pub mod export;
pub mod facts;
pub mod hardware;
pub mod journal;
pub mod metrics;
pub mod notice;
pub mod owners;
pub mod plan;
pub mod report;
pub mod serve;
pub mod status;
pub mod subject;

/// The version of this agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
