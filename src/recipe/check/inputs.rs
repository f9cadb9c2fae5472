//! Looks at the local files and folders that a recipe names: are they there, and fit for an image? Reads names, not contents.

use std::fs;
use std::io::Read as _;

use super::super::{Findings, Placed};
use super::super::{ImageSource, Origin, Recipe, secrets, written::Written};
use crate::kmod::signing::Certificate;
use crate::layer::overlay;
use crate::sign::{ecdsa, openpgp};
use crate::tree::TreePath;

/// Notes every local input that is missing or unfit.
pub(super) fn examine(written: &Written, recipe: &Recipe, findings: &mut Findings) {
    for entry in &written.overlays {
        // An absolute path has been refused already.
        let Some(path) = entry.path.as_ref().filter(|path| !path.starts_with('/')) else { continue };
        match overlay::names(&recipe.local(path)) {
            Ok(found) => {
                for (target, mode) in &entry.modes {
                    if TreePath::parse(target).is_ok_and(|target| !found.contains(&target)) {
                        findings.add(mode.place, format!("overlay.modes: {target:?} is not in {:?}", path.value));
                    }
                }
            }
            Err(overlay::Unfit { list }) => {
                for why in list {
                    findings.add(path.place, format!("overlay {:?}: {why}", path.value));
                }
            }
        }
    }
    let sources = written.files.iter().filter_map(|file| file.source.as_ref());
    let networks = written.networks.iter().filter_map(|network| network.source.as_ref());
    for path in sources.chain(networks).filter(|path| !path.starts_with('/')) {
        file(path, recipe, findings, true);
    }
    let modules = || written.kernel_modules.iter();
    let debs = modules()
        .flat_map(|module| module.deb.iter().chain(module.kernel_mappings.iter().filter_map(|mapping| mapping.deb.as_ref())));
    for path in debs.filter(|path| !path.starts_with('/')) {
        file(path, recipe, findings, false);
    }
    let modules = modules()
        .flat_map(|module| module.path.iter().chain(module.kernel_mappings.iter().filter_map(|mapping| mapping.path.as_ref())));
    for path in modules.filter(|path| !path.starts_with('/')) {
        if let Err(overlay::Unfit { list }) = overlay::names(&recipe.local(path)) {
            for why in list {
                findings.add(path.place, format!("kernel-module {:?}: {why}", path.value));
            }
        }
    }
    certificates(written, recipe, findings);
    for path in written.kernel.symvers.iter().chain(&written.kernel.module_keys).filter(|path| !path.starts_with('/')) {
        file(path, recipe, findings, true);
    }
    super::tuned::examine(written, recipe, findings);
    local_base(written, recipe, findings);
    keys(written, recipe, findings);
    for path in written.agent.path.iter().filter(|path| !path.starts_with('/')).chain(&written.base.keyring) {
        file(path, recipe, findings, false);
    }
}

/// What a base that lies here must be at least: its content is looked at when it is locked.
fn local_base(written: &Written, recipe: &Recipe, findings: &mut Findings) {
    let (place, path, needed) = match (&recipe.base.origin, &written.base.from, &written.base.path) {
        (Origin::Tree(path), _, Some(written)) => (written.place, path, "a folder or tar archive"),
        (Origin::Image(ImageSource::Folder(image)), Some(written), _) => {
            (written.place, &image.path, "a folder with an OCI layout")
        }
        (Origin::Image(ImageSource::Archive(image)), Some(written), _) => {
            (written.place, &image.path, "a tar archive of an OCI layout")
        }
        _ => return,
    };
    let found = match fs::metadata(recipe.local(path)) {
        Ok(meta) if meta.is_dir() && !needed.starts_with("a tar") => return,
        Ok(meta) if meta.is_file() && needed.contains("archive") => return,
        Ok(meta) if meta.is_dir() => "a folder".to_owned(),
        Ok(meta) if meta.is_file() => "a file".to_owned(),
        Ok(_) => "neither file nor folder".to_owned(),
        Err(error) => error.to_string(),
    };
    let what = format!("{path:?}: needed {needed}, found: {found}");
    findings.add_with_hint(place, what, "paths are relative to the file that names them");
}

/// Whether the files of `[sign]` are public keys of their kinds.
fn keys(written: &Written, recipe: &Recipe, findings: &mut Findings) {
    let given = |path: &Option<Placed<String>>| path.clone().filter(|path| !path.starts_with('/'));
    if let Some(path) = given(&written.sign.commit)
        && file(&path, recipe, findings, true)
        && let Ok(bytes) = fs::read(recipe.local(&path))
        && let Err(bad) = openpgp::public_keys(&bytes)
    {
        let what = format!("sign.commit: {:?}: needed public OpenPGP keys, found {bad}", path.value);
        findings.add_with_hint(path.place, what, "write it anew: gpg --export KEY > FILE");
    }
    if let Some(path) = given(&written.sign.image)
        && file(&path, recipe, findings, true)
        && let Ok(bytes) = fs::read(recipe.local(&path))
        && ecdsa::PublicKey::parse(&bytes).is_none()
    {
        let what = format!("sign.image: {:?}: needed an ECDSA P-256 public key in PEM, found something else", path.value);
        findings.add_with_hint(
            path.place,
            what,
            "write it anew: openssl pkey -in PRIVATE -pubout > FILE, or cosign generate-key-pair",
        );
    }
}

/// Whether who signs kernel modules has a certificate.
fn certificates(written: &Written, recipe: &Recipe, findings: &mut Findings) {
    let signers = written.kernel_modules.iter().filter_map(|module| Some(&module.sign.as_ref()?.certificate));
    for path in signers.filter(|path| !path.starts_with('/')) {
        if file(path, recipe, findings, true)
            && let Ok(bytes) = fs::read(recipe.local(path))
            && let Err(bad) = Certificate::parse(&bytes)
        {
            let what = format!("kernel-module.sign: {:?}: needed an X.509 certificate, found {bad}", path.value);
            findings.add_with_hint(path.place, what, "its key must be RSA, or ECDSA on P-256 or P-384");
        }
    }
}

/// Notes what is wrong with a local file; whether nothing is.
fn file(path: &Placed<String>, recipe: &Recipe, findings: &mut Findings, into_image: bool) -> bool {
    let found = match fs::metadata(recipe.local(path)) {
        Ok(meta) if meta.is_file() => None,
        Ok(meta) if meta.is_dir() => Some("a folder".to_owned()),
        Ok(_) => Some("neither file nor folder".to_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let Some(found) = found {
        let what = format!("{:?}: needed a file, found: {found}", path.value);
        findings.add_with_hint(path.place, what, "paths are relative to the file that names them");
        return false;
    }
    let mut beginning = Vec::new();
    let opened = fs::File::open(recipe.local(path)).and_then(|file| file.take(128).read_to_end(&mut beginning));
    match opened {
        Err(error) => findings.add(path.place, format!("{:?}: cannot be read: {error}", path.value)),
        Ok(_) if into_image && secrets::begins_with_private_key(&beginning) => {
            findings.add_with_hint(path.place, format!("{:?} is a private key; needed no secret", path.value), secrets::HINT);
        }
        Ok(_) => return true,
    }
    false
}
