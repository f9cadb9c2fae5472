//! What went wrong first, out of all that compiler, make and patch tell.
//!
//! The words are those of GCC, Clang, modpost, GNU make and GNU patch in the locale C.

/// The first mistake in `log`, on one line: an error of the compiler or the linker with file and line, else of modpost, of patch, of make, of dkms, else the last line.
/// Paths below one of `folders` are told as they are in the source.
pub fn first(log: &str, folders: &[&str]) -> String {
    let tellers: [fn(&str) -> bool; 5] = [of_compiler, of_modpost, of_patch, of_make, of_dkms];
    let line = tellers.iter().find_map(|is_mistake| log.lines().find(|line| is_mistake(line)));
    let line = line.or_else(|| log.lines().rev().find(|line| !line.trim().is_empty())).unwrap_or("it failed and told nothing");
    let mut told = match line.strip_prefix("Hunk ") {
        // patch names the file before.
        Some(_) => match log[..offset(log, line)].lines().rev().find_map(|line| line.strip_prefix("patching file ")) {
            Some(file) => format!("{file}: the patch does not apply: {line}"),
            None => line.to_owned(),
        },
        None => line.trim().to_owned(),
    };
    for folder in folders {
        told = told.replace(folder, "");
    }
    told
}

fn offset(log: &str, line: &str) -> usize {
    line.as_ptr() as usize - log.as_ptr() as usize
}

/// `FILE:LINE:COLUMN: error: ...`
fn of_compiler(line: &str) -> bool {
    let place = [": error: ", ": fatal error: "].iter().find_map(|word| line.split_once(word));
    place.is_some_and(|(place, _)| place.rsplit(':').take_while(|part| part.parse::<u32>().is_ok()).count() > 0)
}

fn of_modpost(line: &str) -> bool {
    line.starts_with("ERROR: modpost: ")
}

fn of_patch(line: &str) -> bool {
    line.starts_with("Hunk #") && line.contains("FAILED")
        || line.starts_with("patch: ****")
        || line.starts_with("can't find file to patch")
}

/// `make[2]: *** [Makefile:7: all] Error 2`
fn of_make(line: &str) -> bool {
    line.starts_with("make") && line.split_once(": ").is_some_and(|(_, rest)| rest.starts_with("*** "))
}

fn of_dkms(line: &str) -> bool {
    line.starts_with("Error! ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_heard_before_make() {
        let log = "make: Entering directory '/usr/src/linux-headers-6.12'\n  CC [M]  /usr/src/nvidia-1/nvidia/nv-pci.o\n\
                   /usr/src/nvidia-1/nvidia/nv-pci.c: In function 'resize':\n\
                   /usr/src/nvidia-1/nvidia/nv-pci.c:217:9: error: too few arguments to function 'pci_resize_resource'\n  217 |  r = p(\n\
                   /usr/src/nvidia-1/other.c:1:1: error: second\n\
                   make[3]: *** [/usr/src/linux-headers-6.12/scripts/Makefile.build:229: nvidia/nv-pci.o] Error 1\n";
        let told = first(log, &["/usr/src/nvidia-1/"]);
        assert_eq!(told, "nvidia/nv-pci.c:217:9: error: too few arguments to function 'pci_resize_resource'");
    }

    #[test]
    fn each_program_has_its_words() {
        for (log, told) in [
            (
                "a.c:1:10: fatal error: no.h: No such file or directory\n",
                "a.c:1:10: fatal error: no.h: No such file or directory",
            ),
            ("ok\nERROR: modpost: \"f\" [a.ko] undefined!\nmake: *** [x] Error 1\n", "ERROR: modpost: \"f\" [a.ko] undefined!"),
            (
                "patching file a.c\nHunk #1 FAILED at 7.\n1 out of 1 hunk FAILED -- saving rejects\n",
                "a.c: the patch does not apply: Hunk #1 FAILED at 7.",
            ),
            ("make: *** No rule to make target 'modules'.  Stop.\n", "make: *** No rule to make target 'modules'.  Stop."),
            ("dkms: x\nError! Could not find module source directory.\n", "Error! Could not find module source directory."),
            ("note: error: none\nthe end\n\n", "the end"),
            ("", "it failed and told nothing"),
        ] {
            assert_eq!(first(log, &[]), told, "{log:?}");
        }
    }
}
