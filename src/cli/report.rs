//! Turns a failure into text (or JSON) and an exit code: the only place that does.

use crate::failure::{Failure, Kind, failure_in, kind_of};
use crate::host::interrupt;

/// Prints `error` and answers the exit code.
pub fn failure(error: &anyhow::Error, json: bool) -> u8 {
    // A child that was stopped by our interrupt fails in its own words; the cause is the signal.
    let kind = if interrupt::pending() { Kind::Interrupted } else { kind_of(error) };
    let hint = failure_in(error).and_then(|failure| failure.hint.clone());
    let text = causes(error);
    if json {
        let mut value = serde_json::json!({
            "version": crate::progress::VERSION, "event": "failed",
            "kind": kind.word(), "exit-code": kind.exit_code(), "message": text, "hint": hint,
        });
        if let Some((key, details)) = failure_in(error).and_then(|failure| failure.details.as_deref()) {
            value[*key] = details.clone();
        }
        println!("{value}");
    }
    eprintln!("basalt: {text}");
    if let Some(hint) = hint {
        for (index, line) in hint.lines().enumerate() {
            eprintln!("{} {line}", if index == 0 { "  next:" } else { "       " });
        }
    }
    kind.exit_code()
}

/// The chain of causes in one text; a cause that its outer error already quotes is not said twice.
fn causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
    }
    text
}

/// A failure of `kind` for code of the command line.
pub fn usage(what: impl Into<String>, hint: &str) -> anyhow::Error {
    Failure::new(Kind::Usage, what).hint(hint).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_kind_survives_context() {
        let inner: anyhow::Result<()> = Err(Failure::new(Kind::Input, "a.deb is missing").hint("fetch it").into());
        let error = inner.context("base").unwrap_err();
        assert_eq!(failure(&error, false), 4);
        assert_eq!(causes(&error), "base: a.deb is missing");
    }
}
