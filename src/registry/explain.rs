//! What skopeo's words mean, and what to do: it has no other way to tell. Pure.

use super::Way;
use crate::failure::{Failure, Kind};

/// A cause: how it is recognised, and what is said of it.
struct Cause {
    /// One of these in skopeo's words.
    words: &'static [&'static str],
    /// Or one of these statuses of HTTP, by their beginning.
    statuses: &'static [&'static str],
    /// What the registry did. `VERB` is what was tried.
    what: &'static str,
    /// The next step.
    next: &'static str,
    /// Of which kind it is.
    kind: Kind,
    /// Whether the same may work a little later.
    passes: bool,
}

const fn cause(
    words: &'static [&'static str],
    statuses: &'static [&'static str],
    what: &'static str,
    next: &'static str,
) -> Cause {
    Cause { words, statuses, what, next, kind: Kind::Failed, passes: false }
}

/// What is said of an image that a registry does not have.
pub(super) const NO_IMAGE: &str = "it has no such image";

/// The first that is recognised, is it.
const CAUSES: [Cause; 9] = [
    cause(
        &["x509", "certificate"],
        &[],
        "its certificate is of an authority that this machine does not know",
        "put the authority's certificate into a folder as ca.crt and name the folder with --cert-dir",
    ),
    cause(
        &["unauthorized", "authentication required", "denied"],
        &["401", "403"],
        "it wants a login that may VERB there",
        "run `skopeo login REGISTRY`, or name a login with --authfile",
    ),
    Cause {
        kind: Kind::Input,
        ..cause(
            &["digest did not match", "size mismatch"],
            &[],
            "it sent other bytes than the image has",
            "do not use this copy: push the image again, or name another registry",
        )
    },
    Cause {
        kind: Kind::Input,
        ..cause(&["unexpected eof"], &[], "what it sent is cut off", "try again; if it stays so, push the image again")
    },
    cause(
        &["manifest unknown", "name unknown", "not found", "blob unknown"],
        &["404"],
        NO_IMAGE,
        "check name and tag: skopeo list-tags docker://REGISTRY/PATH",
    ),
    Cause {
        passes: true,
        ..cause(
            &["toomanyrequests", "too many requests"],
            &["429"],
            "it takes no more requests for now",
            "try again later, or with more --retry",
        )
    },
    cause(
        &["connection refused", "no such host", "no route to host", "timeout", "timed out", "network is unreachable"],
        &[],
        "it cannot be reached",
        "check its name and port, and that it runs",
    ),
    cause(&["server gave http response"], &[], "it speaks no TLS", "name a registry that does"),
    Cause {
        passes: true,
        ..cause(
            &["internal server error", "bad gateway", "service unavailable"],
            &["5"],
            "it failed by itself",
            "look at its log, then try again",
        )
    },
];

/// What stands before a status of HTTP. Ports and digests have such numbers, too.
const BEFORE_STATUS: [&str; 4] = ["status: ", "status ", "status code ", "statuscode: "];

/// What skopeo's `failure` with the image `name` means, and whether it may pass.
pub(super) fn explain(way: Way, name: &str, failure: Failure) -> (Failure, bool) {
    // What we say ourselves needs no explanation.
    if failure.kind != Kind::Failed || failure.hint.is_some() {
        return (failure, false);
    }
    // The log is for nobody's eyes.
    let lines = failure.what.lines().filter(|line| !line.contains("level=debug"));
    let words = lines.map(str::trim).collect::<Vec<_>>().join("\n  ");
    let short = name.strip_prefix("docker://").unwrap_or(name);
    let said = words.replace(short, "").to_lowercase();
    // skopeo writes \"invalid status code from registry 503\".
    let said = said.replace("status code from registry ", "status code ");
    let status = |code: &str| BEFORE_STATUS.iter().any(|before| said.contains(&format!("{before}{code}")));
    let is_it =
        |cause: &&Cause| cause.words.iter().any(|word| said.contains(word)) || cause.statuses.iter().any(|code| status(code));
    let verb = way.verb();
    let (what, next, kind, passes) = match CAUSES.iter().find(is_it) {
        Some(cause) => (cause.what.replace("VERB", verb), cause.next, cause.kind, cause.passes),
        None => (format!("the image cannot be {verb}ed"), "try again", Kind::Failed, false),
    };
    (Failure::new(kind, format!("{short}: {what}\n  {words}")).hint(next), passes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_failures() {
        for (said, what, next, passes) in [
            ("x509: certificate signed by unknown authority", "authority", "--cert-dir", false),
            ("unauthorized: authentication required", "login that may push", "--authfile", false),
            ("dial tcp 127.0.0.1:1: connect: connection refused", "cannot be reached", "port", false),
            ("toomanyrequests: slow down", "no more requests", "--retry", true),
            ("received unexpected HTTP status: 500 Internal Server Error", "by itself", "log", true),
            (
                "pinging container registry r: invalid status code from registry 503 (Service Unavailable)",
                "by itself",
                "log",
                true,
            ),
            ("happened during read: unexpected EOF", "cut off", "again", false),
            ("Digest did not match, expected sha256:5, got sha256:6", "other bytes", "do not use", false),
            ("manifest unknown: manifest unknown", "no such image", "list-tags", false),
            ("something else at 127.0.0.1:40123 of sha256:401429500", "the image cannot be pushed", "again", false),
        ] {
            let failure = Failure::new(Kind::Failed, format!("time=1 level=debug msg=x\n{said}"));
            let (failure, may_pass) = explain(Way::Push, "docker://r/x:1", failure);
            assert!(failure.what.starts_with("r/x:1: ") && failure.what.contains(what), "{failure}");
            assert!(failure.hint.as_deref().unwrap_or_default().contains(next), "{failure:?}");
            assert!(!failure.what.contains("level=debug") && passes == may_pass, "{failure}");
        }
    }
}
