//! The files that modprobe reads, with the new modules in them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::Found;
use super::target::Target;
use crate::failure::{Failure, Kind};
use crate::format::module;
use crate::format::modules_index::{ExtendError, Index, Module, ModulePath, SearchOrder};
use crate::tree::{Node, TreePath};

/// Where depmod's rules lie; of two files with one name the first folder's counts.
const RULES: [&str; 2] = ["/etc/depmod.d", "/usr/lib/depmod.d"];

/// The index of the image.
///
/// # Errors
/// As [`with`].
pub fn extended(target: &Target<'_>, found: &[Found], removed: &[ModulePath]) -> Result<Index> {
    let modules = found.iter().map(|found| described(&found.path, &found.content.bytes()?)).collect::<Result<Vec<_>>>()?;
    with(target, &target.index, removed, modules)
}

/// `index` with `removed` gone and `modules` there. Those that it has lie in the layers below.
///
/// # Errors
/// [`Kind::Invalid`]: rules of depmod that are not understood; modules of which depmod would not know which one counts.
pub fn with(target: &Target<'_>, index: &Index, removed: &[ModulePath], mut modules: Vec<Module>) -> Result<Index> {
    let search = search_order(target)?;
    loop {
        match index.with(removed, &modules, &search) {
            Ok(extended) => return Ok(extended.index),
            // Their files say it.
            Err(ExtendError::Unknown(unknown)) => {
                for path in unknown.into_iter().map(|unknown| unknown.module) {
                    anyhow::ensure!(!modules.iter().any(|module| module.path == path), "{path}: its file does not say enough");
                    let content = target.file(path.as_str())?.with_context(|| format!("{path}: in the index, and not there"))?;
                    modules.push(described(&path, &content.bytes()?)?);
                }
            }
            Err(error) => return Err(Failure::new(Kind::Invalid, format!("kernel modules: {error}")).into()),
        }
    }
}

fn search_order(target: &Target<'_>) -> Result<SearchOrder> {
    let mut files = BTreeMap::new();
    for folder in RULES {
        for (name, node) in target.below.directory(&TreePath::parse(folder)?).into_iter().flat_map(|folder| &folder.children) {
            if let (Node::Leaf(_), true) = (node, name.ends_with(".conf"))
                && let Some(content) = target.below.file(&TreePath::parse(folder)?.join(name))
            {
                files.entry(name.as_str()).or_insert(String::from_utf8_lossy(&content.bytes()?).into_owned());
            }
        }
    }
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let order = SearchOrder::parse(&files, target.release.as_str());
    Ok(order.map_err(|bad| Failure::new(Kind::Invalid, format!("depmod.d: {bad}")))?)
}

/// What depmod would read of a module.
pub fn described(path: &ModulePath, bytes: &[u8]) -> Result<Module> {
    let bytes = module::unpack(bytes)?;
    let parsed = module::Module::parse(&bytes).with_context(|| path.to_string())?;
    let all = |key: &str| parsed.info.all(key).map(str::to_owned).collect();
    Ok(Module {
        path: path.clone(),
        aliases: all("alias"),
        softdeps: all("softdep"),
        weakdeps: all("weakdep"),
        exports: parsed.exports.iter().map(|export| export.name.to_owned()).collect(),
        imports: parsed.imports.iter().map(|import| import.name.to_owned()).collect(),
    })
}
