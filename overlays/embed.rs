//! Build script of `basalt`: puts the overlays beside this file into the program, so that an installed Basalt needs no folder.
//!
//! Writes `builtin.rs`: a table that `src/layer/builtin.rs` includes. Every folder here is an overlay; names are its only order.
//!
//! Sets `BASALT_SOURCES`, the digest of all that the program is made from: what another Basalt made is not up to date.

use std::error::Error;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use sha2::{Digest, Sha256};

/// Where the program's sources are.
const SOURCES: [&str; 4] = ["src", "overlays", "firstboot/contract/src", "Cargo.lock"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let overlays = root.join("overlays");
    let mut table = String::from("&[\n");
    for name in sorted(&overlays)? {
        let folder = overlays.join(&name);
        if folder.is_dir() {
            writeln!(table, "({name:?}, &[")?;
            embed(&folder, "", &mut table)?;
            table.push_str("]),\n");
        }
    }
    table.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("builtin.rs"), table)?;
    let mut hasher = Sha256::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
        hash(&root, source, &mut hasher)?;
    }
    let digest = hasher.finalize();
    println!(
        "cargo::rustc-env=BASALT_SOURCES={:016x}",
        digest.iter().take(8).fold(0u64, |sum, &byte| sum << 8 | u64::from(byte))
    );
    Ok(())
}

/// Names and contents of all files, wherever they lie on this machine.
fn hash(root: &Path, path: &str, hasher: &mut Sha256) -> Result<(), Box<dyn Error>> {
    let local = root.join(path);
    if local.is_dir() && !local.is_symlink() {
        return sorted(&local)?.iter().try_for_each(|name| hash(root, &format!("{path}/{name}"), hasher));
    }
    let bytes = if local.is_symlink() { fs::read_link(&local)?.into_os_string().into_encoded_bytes() } else { fs::read(&local)? };
    hasher.update(format!("{} {path} {} ", path.len(), bytes.len()));
    hasher.update(bytes);
    Ok(())
}

fn embed(folder: &Path, inside: &str, table: &mut String) -> Result<(), Box<dyn Error>> {
    for name in sorted(folder)? {
        let (local, path) = (folder.join(&name), format!("{inside}/{name}"));
        let meta = local.symlink_metadata()?;
        if meta.is_dir() {
            writeln!(table, "({path:?}, Entry::Folder),")?;
            embed(&local, &path, table)?;
        } else if meta.is_symlink() {
            let target = fs::read_link(&local)?;
            let target = target.to_str().ok_or_else(|| format!("{}: its target is not UTF-8", local.display()))?;
            writeln!(table, "({path:?}, Entry::Link({target:?})),")?;
        } else {
            let executable = meta.permissions().mode() & 0o100 != 0;
            writeln!(table, "({path:?}, Entry::File {{ executable: {executable}, bytes: include_bytes!({local:?}) }}),")?;
        }
    }
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        names.push(name.into_string().map_err(|name| format!("{}: {name:?} is not UTF-8", folder.display()))?);
    }
    names.sort_unstable();
    Ok(names)
}
