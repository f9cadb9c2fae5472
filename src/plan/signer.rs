//! Who signs kernel modules, as a plan has it: by certificate.

use serde::{Deserialize, Serialize};

use super::{KernelModules, Key};
use crate::kmod::signing::Hash;

/// Who signs kernel modules. Who has the private key is no part of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModuleSigner {
    /// Its certificate: a blob of the store.
    pub certificate: Key,
    /// None: that of the kernel's own modules.
    pub hash: Option<Hash>,
}

impl KernelModules {
    /// The files that its making looks at, beside modules: exports and certificates.
    pub fn files(&self) -> impl Iterator<Item = &Key> {
        let signers = self.sets.iter().filter_map(|set| Some(&set.sign.as_ref()?.certificate));
        self.symvers.iter().chain(&self.keys).chain(signers)
    }
}
