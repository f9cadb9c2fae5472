//! Modules that are altered in one respect each, and signed again with a key that the machine trusts, so that nothing else is wrong.

use std::fs;

use anyhow::{Result, ensure};
use basalt::format::module::signature;
use qemu_tests::{ModuleKey, Mutation, Scratch, SignFile, StockModules, mutations};

/// One of them.
pub struct Altered {
    /// `crc`, `unsigned`; `sound` is not altered.
    pub name: &'static str,
    pub bytes: Vec<u8>,
    /// What `insmod` says when the kernel refuses it; empty: it does not.
    pub error: &'static str,
    /// What the kernel logs then; empty: nothing that is known.
    pub log: &'static str,
    /// What the builder finds ([`basalt::kmod::Finding::kind`]); empty: nothing.
    pub finding: &'static str,
}

/// Name, `insmod`'s words for the kernel's errno, the kernel's own words, the builder's finding.
const TABLE: [(&str, &str, &str, &str); 9] = [
    ("sound", "", "", ""),
    // EINVAL
    ("crc", "Invalid parameters", "disagrees about version of symbol", "checksum"),
    // ENOEXEC
    ("vermagic", "Invalid module format", "version magic", "vermagic"),
    // ENOENT
    ("license", "Unknown symbol in module", "Unknown symbol", "gpl"),
    ("symbol", "Unknown symbol in module", "Unknown symbol", "symbol"),
    // EINVAL
    ("namespace", "Invalid parameters", "but does not import it", "namespace"),
    // EKEYREJECTED
    ("signature", "Key was rejected by service", "", "signature"),
    ("stranger", "Key was rejected by service", "module with unavailable key is rejected", "signature"),
    ("unsigned", "Key was rejected by service", "unsigned module is rejected", "signature"),
];

/// All of [`TABLE`]. The kernel's own program signs them.
pub fn altered(stock: &StockModules, key: &ModuleKey, scratch: &Scratch) -> Result<Vec<Altered>> {
    let program = SignFile::new()?;
    let file = scratch.folder("altered")?.join("module.ko");
    let signed = |object: &[u8], key: &ModuleKey| -> Result<Vec<u8>> {
        fs::write(&file, object)?;
        program.sign("sha256", &key.key, &key.certificate, &file)
    };
    let mutations = mutations(stock)?;
    let mut all = Vec::new();
    for (name, error, log, finding) in TABLE {
        let mutation = mutations.iter().find(|mutation| mutation.name == name);
        // The one that has a CRC, a licence and a vermagic to alter.
        let Mutation { path, .. } = &mutations[0];
        let packed = fs::read(path)?;
        let plain = basalt::format::module::unpack(&packed)?;
        let plain = signature::strip(&plain)?;
        let bytes = match (name, mutation) {
            ("sound", _) => signed(plain, key)?,
            ("unsigned", _) => plain.to_vec(),
            ("stranger", _) => signed(plain, &ModuleKey::new(scratch, "p256")?)?,
            ("signature", _) => {
                let mut bytes = signed(plain, key)?;
                bytes[0x40] ^= 1;
                bytes
            }
            (_, Some(mutation)) => signed(signature::strip(&mutation.bytes)?, key)?,
            (_, None) => anyhow::bail!("nobody makes {name}"),
        };
        all.push(Altered { name, bytes, error, log, finding });
    }
    ensure!(mutations.iter().all(|mutation| all.iter().any(|one| one.name == mutation.name)), "a mutation is not in the table");
    Ok(all)
}
