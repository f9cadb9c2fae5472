//! `ostree container` on a node: libostree runs this program as its external command. It is the command line of ostree-ext in a mount
//! namespace of its own, because `/sysroot` is read-only on a node. It is no daemon, has no verbs of its own and decides nothing.

mod namespace;

use std::ffi::OsString;

use anyhow::Result;

fn main() -> Result<()> {
    // Before there is a second thread.
    namespace::enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ostree_ext::cli::run_from_iter(words(std::env::args_os())))
}

/// The words of ostree-ext's command line. libostree passes on its own, `container` among them; a person who runs the program leaves
/// that out.
fn words(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["ostree".into(), "container".into()];
    words.extend(
        args.into_iter().skip(1).enumerate().filter(|(index, word)| *index > 0 || word != "container").map(|(_, word)| word),
    );
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libostree_and_people_say_the_same() {
        let words = |line: &str| words(line.split(' ').map(OsString::from)).join(" ".as_ref());
        for line in ["/usr/libexec/libostree/ext/ostree-container container image list", "ostree-container image list"] {
            assert_eq!(words(line), "ostree container image list");
        }
        assert_eq!(words("x container container"), "ostree container container");
    }
}
