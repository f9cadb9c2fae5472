//! Profiles of tuned.

use std::collections::BTreeMap;

use basalt::tuned::{Folders, Installed, Merged, evaluate};

const FILES: [(&str, &str); 3] = [
    ("/usr/lib/tuned/profiles/parent/tuned.conf", "[variables]\na=1-3\n[sysctl]\nkernel.a=1\n[bootloader]\ncmdline=+a=${a} b\n"),
    (
        "/usr/lib/tuned/profiles/with-variables/tuned.conf",
        "[variables]\ninclude=/etc/tuned/fuzz.conf\n[sysctl]\nkernel.a=${a}${b}\n",
    ),
    ("/usr/lib/tuned/profiles/fuzz/tuned.conf", "[main]\ninclude=parent\n"),
];

/// A profile, and the same bytes as a file of variables: what is told of it stands on lines that are there, and the arguments one by
/// one are the kernel's command line. Read twice, it is the same.
pub fn tuned_profile(bytes: &[u8]) -> bool {
    let mut files: BTreeMap<String, Vec<u8>> = FILES.into_iter().map(|(path, text)| (path.into(), text.into())).collect();
    for path in ["/etc/tuned/profiles/fuzz/tuned.conf", "/etc/tuned/fuzz.conf"] {
        files.insert(path.into(), bytes.to_vec());
    }
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    let mut taken = false;
    for names in ["fuzz", "fuzz parent with-variables", "with-variables"] {
        let read = || evaluate(&files, &Folders::current(), names, &Installed::default());
        let Ok(merged) = read() else { continue };
        assert_eq!(read().ok().as_ref(), Some(&merged));
        checked(&merged, lines.max(6));
        taken = true;
    }
    taken
}

fn checked(merged: &Merged, lines: usize) {
    for finding in &merged.findings {
        assert!((1..=lines).contains(&finding.origin.line) && !finding.to_string().is_empty(), "{finding}");
    }
    let arguments = &merged.kernel_arguments;
    let is_space = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    let words = |text: &str| text.split(is_space).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let each: Vec<_> = arguments.append.iter().flat_map(|argument| words(&argument.text)).collect();
    assert_eq!(each, words(&arguments.line));
    serde_json::to_string(merged).expect("texts and numbers");
}
