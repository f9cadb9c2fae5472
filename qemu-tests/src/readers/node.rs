//! Files of a node: what the agent wrote before the power went, and what the kernel says of the machine.

use std::io;

use basalt_contract::ModulesInfo;
use basalt_firstboot::acceptance::{RESULTS, Run, figure};
use basalt_firstboot::backend::{Doing, FileError, Files};
use basalt_firstboot::facts::collect;
use basalt_firstboot::journal::Journal;
use basalt_firstboot::subject::Wanted;

/// What the agent remembers: its journal, the kernel arguments that it wanted, what was measured; what the image promises; and the figure in what a command
/// printed.
pub fn journal(bytes: &[u8]) -> bool {
    let files = Same(bytes);
    if let Ok(run) = Run::read(&files, RESULTS) {
        assert_eq!(Run::read(&Same(run.to_json().as_bytes()), RESULTS).unwrap(), run);
    }
    let figures = [None, Some("/end/sum_received/bits_per_second"), Some("")].map(|pointer| figure(bytes, pointer));
    assert!(figures.iter().flatten().all(|figure| figure.is_finite()), "{figures:?}");
    let known = figures.iter().any(Result::is_ok)
        | Wanted::read(&files).is_ok()
        | Run::read(&files, RESULTS).is_ok()
        | ModulesInfo::from_json(bytes).is_ok();
    let Ok(journal) = Journal::from_json(bytes) else { return known };
    assert_eq!(Journal::from_json(journal.to_json().as_bytes()).unwrap(), journal);
    true
}

/// Lists, numbers and lines of `/sys` and `/proc`: the same bytes wherever the agent looks. What cannot be told is a fault with a reason.
pub fn node_facts(bytes: &[u8]) -> bool {
    let facts = collect(&Same(bytes));
    for fault in &facts.faults {
        assert!(!fault.what.is_empty() && !fault.next_step.is_empty(), "{fault}");
    }
    let hardware = &facts.hardware;
    facts.boot_id.is_some()
        || facts.machine_id.is_some()
        || facts.deployment.is_some()
        || hardware.processors.is_some()
        || hardware.memory_mib.is_some()
        || hardware.pci.as_ref().is_some_and(|pci| !pci.is_empty())
        || hardware.interfaces.as_ref().is_some_and(|interfaces| !interfaces.is_empty())
}

/// A node all of whose files are one.
struct Same<'a>(&'a [u8]);

impl Files for Same<'_> {
    fn read(&self, _: &str) -> Result<Vec<u8>, FileError> {
        Ok(self.0.to_vec())
    }

    fn read_link(&self, path: &str) -> Result<String, FileError> {
        let failed = |_| FileError { path: path.to_owned(), doing: Doing::ReadLink, cause: io::ErrorKind::InvalidData.into() };
        String::from_utf8(self.0.to_vec()).map_err(failed)
    }

    fn list(&self, _: &str) -> Result<Vec<String>, FileError> {
        Ok(vec!["0000:01:00.0".to_owned(), "eth0".to_owned()])
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        unreachable!("a reader takes {path} away")
    }

    fn replace(&self, path: &str, _: &[u8]) -> Result<(), FileError> {
        unreachable!("a reader writes {path}")
    }
}
