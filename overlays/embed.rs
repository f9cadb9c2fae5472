//! Build script of `basalt`: puts the overlays beside this file into the program, so that an installed Basalt needs no folder.
//!
//! Writes `builtin.rs`: a table that `src/layer/builtin.rs` includes. Every folder here is an overlay; names are its only order.

use std::error::Error;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let overlays = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("overlays");
    println!("cargo::rerun-if-changed={}", overlays.display());
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
