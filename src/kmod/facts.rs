//! What of a module decides whether a kernel loads it, read once from its bytes, which may then be forgotten.

use super::keyring::{Keyring, Signed};
use crate::format::module::{self, BadModule, Machine, Module, signature};

/// A symbol that a module needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// `kmalloc_noprof`
    pub name: Box<str>,
    /// It does without.
    pub weak: bool,
    /// The checksum that it was built against; none where it says none.
    pub crc: Option<u32>,
}

/// A symbol that a module gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gift {
    /// `mdev_register_parent`
    pub name: Box<str>,
    /// Of its type.
    pub crc: Option<u32>,
    /// For modules under the GPL only.
    pub gpl: bool,
    /// Empty: for anybody.
    pub namespace: Box<str>,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// As modprobe knows it: from its file's name.
    pub name: String,
    /// As it calls itself, and the kernel it once it is loaded: `name`; else as its file. Debian's NVIDIA modules are `nvidia` in
    /// `nvidia-current-open.ko`.
    pub own: String,
    /// Where it lies, below the folder of its kernel's modules.
    pub path: String,
    /// For which processor.
    pub machine: Machine,
    /// `vermagic`.
    pub vermagic: Option<String>,
    /// `license`.
    pub license: Option<String>,
    /// Whether it may use symbols for the GPL only.
    pub gpl: bool,
    /// Modules that it says it needs.
    pub depends: Vec<String>,
    /// Namespaces that it imports.
    pub namespaces: Vec<String>,
    /// Firmware that it may ask for.
    pub firmware: Vec<String>,
    /// Devices and words that it is loaded for.
    pub aliases: Vec<String>,
    /// Modules that want to be loaded before or after it (`pre: a b post: c`).
    pub softdeps: Vec<String>,
    /// Whether it has checksums of what it needs.
    pub versioned: bool,
    /// What it was built against of the loader's own structures: the checksum of `module_layout`.
    pub layout: Option<u32>,
    /// What others must give it.
    pub needs: Vec<Need>,
    /// What it gives.
    pub gives: Vec<Gift>,
    /// Whose signature it bears.
    pub signed: Signed,
}

/// The symbol that stands for the layout of the loader's structures.
pub const LAYOUT: &str = "module_layout";

impl Facts {
    /// Reads a module as it lies on a disk, perhaps compressed. `path` is below the folder of its kernel's modules. With no `keyring`
    /// nobody asks whose signature it has.
    ///
    /// # Errors
    /// No module by its name or its bytes.
    pub fn read(path: &str, bytes: &[u8], keyring: Option<&Keyring>) -> Result<Self, BadModule> {
        let bytes = module::unpack(bytes)?;
        let signed = match (keyring, signature::split(&bytes)) {
            (None, _) => Signed::NotAsked,
            (Some(_), Err(bad)) => Signed::Broken(bad.to_string()),
            (Some(_), Ok((_, None))) => Signed::Nobody,
            (Some(keyring), Ok((object, Some(signature)))) => keyring.verify(object, signature),
        };
        Self::of(path, &Module::parse(&bytes)?, signed)
    }

    fn of(path: &str, module: &Module<'_>, signed: Signed) -> Result<Self, BadModule> {
        let name = module::name_of(path).ok_or_else(|| BadModule::Elf(format!("{path}, which does not end in .ko")))?;
        let (info, owned) = (&module.info, |text: &str| text.to_owned());
        let checksums = module.versions.as_ref().map(module::Versions::by_name);
        let crc = |name: &str| checksums.as_ref().and_then(|known| known.get(name).copied());
        Ok(Self {
            own: info.first("name").map_or_else(|| name.clone(), module::canonical),
            name,
            path: path.to_owned(),
            machine: module.machine,
            vermagic: info.vermagic().map(owned),
            license: info.first("license").map(owned),
            gpl: info.is_gpl_compatible(),
            depends: info.depends().map(module::canonical).collect(),
            namespaces: info.all("import_ns").map(owned).collect(),
            firmware: info.all("firmware").map(owned).collect(),
            aliases: info.all("alias").map(owned).collect(),
            softdeps: info.all("softdep").map(owned).collect(),
            versioned: checksums.is_some(),
            layout: crc(LAYOUT),
            needs: module
                .imports
                .iter()
                .map(|found| Need { name: found.name.into(), weak: found.weak, crc: crc(found.name) })
                .collect(),
            gives: gifts(module),
            signed,
        })
    }
}

fn gifts(module: &Module<'_>) -> Vec<Gift> {
    let gift = |found: &module::Export<'_>| Gift {
        name: found.name.into(),
        crc: found.crc,
        gpl: found.gpl,
        namespace: found.namespace.into(),
    };
    module.exports.iter().map(gift).collect()
}
