//! Which image this is, written into the image: a file for the agent, and two lines of os-release(5).

use anyhow::Result;
use basalt_contract::{ImageInfo, names};

use super::Image;
use crate::failure::{Failure, Kind};
use crate::tree::{Content, Meta, Tree, TreePath};

const OS_RELEASE: &str = "/usr/lib/os-release";

/// Writes `image.json`, and `IMAGE_ID` and `IMAGE_VERSION` into os-release.
///
/// # Errors
/// [`Kind::Invalid`]: no os-release, or a time before 1970.
pub fn write(tree: &mut Tree, image: &Image) -> Result<()> {
    let time = u64::try_from(image.time)
        .map_err(|_| Failure::new(Kind::Invalid, format!("the image's time lies before 1970: {}", image.time)))?;
    let info = ImageInfo {
        format: ImageInfo::FORMAT,
        name: image.name.clone(),
        version: image.version.clone(),
        plan_id: image.plan_id.to_string(),
        architecture: image.architecture.to_string(),
        image_time: time,
    };
    let content = Content::from_bytes(info.to_json().into_bytes());
    tree.put_file(&TreePath::parse(names::IMAGE_FILE)?, Meta::root(0o644), content)?;

    let path = TreePath::parse(OS_RELEASE)?;
    let Some(content) = tree.file(&path) else {
        return Err(Failure::new(Kind::Invalid, format!("{OS_RELEASE} is missing: the boot menu takes its title from there"))
            .hint("the base needs the package base-files")
            .into());
    };
    let text = os_release(&String::from_utf8_lossy(&content.bytes()?), image);
    tree.put_file(&path, Meta::root(0o644), Content::from_bytes(text.into_bytes()))?;
    Ok(())
}

fn os_release(text: &str, image: &Image) -> String {
    let ours = |line: &&str| line.starts_with("IMAGE_ID=") || line.starts_with("IMAGE_VERSION=");
    let mut text: String = text.lines().filter(|line| !ours(line)).flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!("IMAGE_ID={}\nIMAGE_VERSION={}\n", quoted(&image.name), quoted(&image.version)));
    text
}

/// A value as a shell would read it back: double quotes, with what they would expand escaped.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
    text
}
