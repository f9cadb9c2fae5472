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
    let mut args = args.into_iter().skip(1).peekable();
    args.next_if(|word| word == "container");
    ["ostree".into(), "container".into()].into_iter().chain(args).collect()
}
