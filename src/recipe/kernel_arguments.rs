//! The kernel arguments that a recipe asks for, and in whose name.

use basalt_contract::kernel_arguments::{Declaration, Source};

use super::{Recipe, defaults};
use crate::layer::kernel_modules::blacklist_argument;

impl Recipe {
    /// All of them: consoles where the recipe names none, what it lists, what its kernel modules need.
    pub fn kernel_arguments(&self) -> Vec<Declaration> {
        let told = self.base.minimal || self.kernel_args.iter().any(|arg| arg.text.starts_with("console="));
        let by_itself = Source::new("basalt").at("the console of a recipe that names none");
        let consoles = defaults::CONSOLES.iter().filter(|_| !told);
        let consoles = consoles.map(|text| Declaration { text: (*text).to_owned(), source: by_itself.clone() });
        let modules = self.kernel_modules.iter().filter_map(|module| {
            let source = Source::new(format!("kernel-module {}", module.name)).at("blacklist");
            Some(Declaration { text: blacklist_argument(&module.set.blacklist)?, source })
        });
        consoles.chain(self.kernel_args.iter().cloned()).chain(modules).collect()
    }
}
