//! Files below a root folder. The kernel resolves every path inside it (`openat2(2)` with `RESOLVE_IN_ROOT`), so that an absolute
//! link in a test's folder, or on a mounted disk, cannot lead out of it. Out of "/" nothing leads: there plain `openat(2)` does,
//! and must, because systemd's `RestrictSUIDSGID=` in the agent's unit answers `openat2` with "Function not implemented".

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{self, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{self, Mode};
use nix::unistd::{self, UnlinkatFlags};

use crate::backend::{Doing, FileError, Files, READ_LIMIT};

/// A root folder, held open.
pub struct Root {
    folder: OwnedFd,
    lookup: Lookup,
}

/// How paths are resolved.
enum Lookup {
    /// The root is that of the process.
    Plain,
    /// The root is a folder that nothing may lead out of.
    Confined,
}

/// How often a path is looked up again when somebody renames a folder meanwhile (`EAGAIN`).
const LOOKUPS: u32 = 16;

impl Root {
    /// Opens `path` as the root.
    ///
    /// # Errors
    /// When it is no folder that can be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let lookup = if path == Path::new("/") { Lookup::Plain } else { Lookup::Confined };
        Ok(Self { folder: fcntl::open(path, flags, Mode::empty())?, lookup })
    }

    fn lookup(&self, path: &str, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlag::O_CLOEXEC;
        if matches!(self.lookup, Lookup::Plain) {
            return fcntl::openat(&self.folder, path, flags, Mode::empty());
        }
        let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let mut result = Err(Errno::EAGAIN);
        for _ in 0..LOOKUPS {
            result = fcntl::openat2(&self.folder, path, how);
            if !matches!(result, Err(Errno::EAGAIN | Errno::EINTR)) {
                break;
            }
        }
        result
    }

    /// Opens the folder `path`, and makes it and those above it where they are missing (0755).
    fn make_folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        match self.lookup(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY) {
            Err(Errno::ENOENT) if path.len() > 1 => {}
            result => return result,
        }
        let (above, name) = split(path)?;
        let above = self.make_folder(above)?;
        match stat::mkdirat(&above, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) => unistd::fsync(&above)?,
            Err(Errno::EEXIST) => {}
            Err(error) => return Err(error),
        }
        self.lookup(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }
}

impl Files for Root {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let failed = |cause| FileError { path: path.to_owned(), doing: Doing::Read, cause };
        // Non-blocking: something that is a named pipe by mistake must not hang the agent.
        let file = File::from(self.lookup(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map_err(|e| failed(e.into()))?);
        let mut bytes = Vec::new();
        file.take(READ_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > READ_LIMIT {
            let what = format!("it is larger than {READ_LIMIT} bytes");
            return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, what)));
        }
        Ok(bytes)
    }

    fn is_there(&self, path: &str) -> Result<bool, FileError> {
        match self.lookup(path, OFlag::O_PATH) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(cause) => Err(FileError { path: path.to_owned(), doing: Doing::Read, cause: cause.into() }),
        }
    }

    fn read_link(&self, path: &str) -> Result<String, FileError> {
        let read = || -> Result<String, io::Error> {
            let (above, name) = split(path)?;
            let above = self.lookup(above, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
            let target = fcntl::readlinkat(&above, name)?;
            target.into_string().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "its target is not UTF-8"))
        };
        read().map_err(|cause| FileError { path: path.to_owned(), doing: Doing::ReadLink, cause })
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let read = || -> Result<Vec<String>, Errno> {
            let folder = self.lookup(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            let mut names = Vec::new();
            for entry in Dir::from_fd(folder)?.iter() {
                // What is not UTF-8 is nothing that the agent knows.
                match entry?.file_name().to_str() {
                    Ok("." | "..") | Err(_) => {}
                    Ok(name) => names.push(name.to_owned()),
                }
            }
            names.sort_unstable();
            Ok(names)
        };
        read().map_err(|cause| FileError { path: path.to_owned(), doing: Doing::List, cause: cause.into() })
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        let remove = || -> Result<(), Errno> {
            let (above, name) = split(path)?;
            let above = self.lookup(above, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
            unistd::unlinkat(&above, name, UnlinkatFlags::NoRemoveDir)?;
            unistd::fsync(&above)
        };
        match remove() {
            Err(Errno::ENOENT) => Ok(()),
            result => result.map_err(|cause| FileError { path: path.to_owned(), doing: Doing::Remove, cause: cause.into() }),
        }
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), FileError> {
        let failed = |doing| move |cause: io::Error| FileError { path: path.to_owned(), doing, cause };
        let (above, name) = split(path).map_err(|e| failed(Doing::Write)(e.into()))?;
        let folder = self.make_folder(above).map_err(|e| failed(Doing::MakeFolder)(e.into()))?;
        // One name for all times: what a power cut leaves behind is overwritten, not collected.
        let temporary = format!(".{name}.new");
        let write = || -> io::Result<()> {
            let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut file = File::from(fcntl::openat(&folder, temporary.as_str(), flags, Mode::from_bits_truncate(0o644))?);
            file.write_all(bytes)?;
            file.sync_all()?;
            fcntl::renameat(&folder, temporary.as_str(), &folder, name)?;
            unistd::fsync(&folder)?;
            Ok(())
        };
        write().map_err(|cause| {
            // Nothing more can be done about a temporary file that cannot be removed; the first cause counts.
            let _ = unistd::unlinkat(&folder, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
            failed(Doing::Write)(cause)
        })
    }
}

/// The folder and the name of an absolute path.
fn split(path: &str) -> Result<(&str, &str), Errno> {
    match path.rsplit_once('/') {
        Some((_, "" | "." | "..")) | None => Err(Errno::EINVAL),
        Some(("", name)) => Ok(("/", name)),
        Some(parts) => Ok(parts),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::Root;
    use crate::backend::{Doing, Files, READ_LIMIT};

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn replace_makes_folders_and_leaves_one_file() {
        let (folder, root) = root();
        root.replace("/var/lib/x/report.json", b"old").unwrap();
        root.replace("/var/lib/x/report.json", b"new").unwrap();
        assert_eq!(root.read("/var/lib/x/report.json").unwrap(), b"new");
        let names: Vec<_> = fs::read_dir(folder.path().join("var/lib/x")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["report.json"]);
        let mode = fs::metadata(folder.path().join("var/lib/x/report.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644 & !umask(folder.path()));
    }

    /// The bits that this process's umask takes, found out without changing it for other threads.
    fn umask(folder: &std::path::Path) -> u32 {
        let probe = folder.join("probe");
        fs::write(&probe, "").unwrap();
        0o666 & !fs::metadata(&probe).unwrap().permissions().mode()
    }

    #[test]
    fn what_a_power_cut_left_is_overwritten() {
        let (folder, root) = root();
        fs::write(folder.path().join(".report.json.new"), "half a rep, and longer than what comes").unwrap();
        fs::write(folder.path().join("report.json"), "old").unwrap();
        root.replace("/report.json", b"new").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("report.json")).unwrap(), "new");
        assert!(!folder.path().join(".report.json.new").exists());
    }

    #[test]
    fn a_failed_replace_keeps_the_old_file_and_no_temporary_one() {
        let (folder, root) = root();
        fs::create_dir_all(folder.path().join("report.json/in the way")).unwrap();
        let error = root.replace("/report.json", b"new").unwrap_err();
        assert_eq!((error.doing, error.path.as_str()), (Doing::Write, "/report.json"));
        assert!(folder.path().join("report.json/in the way").exists() && !folder.path().join(".report.json.new").exists());

        fs::write(folder.path().join("file"), "").unwrap();
        let error = root.replace("/file/x/report.json", b"new").unwrap_err();
        assert!(error.to_string().starts_with("/file/x/report.json: cannot make its folder: "), "{error}");
    }

    #[test]
    fn what_is_there_is_what_a_link_leads_to() {
        let (folder, root) = root();
        fs::create_dir_all(folder.path().join("sys/module")).unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        symlink("/sys", folder.path().join("absolute")).unwrap();
        symlink("nowhere", folder.path().join("dangling")).unwrap();
        for (path, there) in [
            ("/sys/module", true),
            ("/file", true),
            ("/absolute/module", true),
            ("/dangling", false),
            ("/no/x", false),
            ("/file/x", false),
        ] {
            assert_eq!(root.is_there(path).unwrap(), there, "{path}");
        }
        symlink("circle", folder.path().join("circle")).unwrap();
        assert!(root.is_there("/circle").is_err(), "cannot tell");
    }

    #[test]
    fn links_stay_below_the_root() {
        let (folder, root) = root();
        fs::create_dir(folder.path().join("etc")).unwrap();
        fs::write(folder.path().join("etc/os-release"), "mine").unwrap();
        symlink("/etc/os-release", folder.path().join("absolute")).unwrap();
        symlink("../../../../../etc/os-release", folder.path().join("climbing")).unwrap();
        assert_eq!(root.read("/absolute").unwrap(), b"mine");
        assert_eq!(root.read("/climbing").unwrap(), b"mine");
        assert_eq!(root.read_link("/absolute").unwrap(), "/etc/os-release");
        assert!(root.read_link("/etc/os-release").is_err());
    }

    #[test]
    fn a_file_is_taken_away_once_and_a_folder_is_not() {
        let (folder, root) = root();
        root.replace("/a/b", b"").unwrap();
        root.remove("/a/b").unwrap();
        root.remove("/a/b").unwrap();
        root.remove("/none/b").unwrap();
        assert!(root.remove("/a").unwrap_err().to_string().starts_with("/a: cannot take it away: "));
        assert!(folder.path().join("a").exists());
    }

    #[test]
    fn a_folder_is_read_in_order() {
        let (folder, root) = root();
        for name in ["b", ".hidden", "a"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(root.list("/").unwrap(), [".hidden", "a", "b"]);
    }

    #[test]
    fn the_root_of_the_process_is_a_root_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        symlink(path("to"), path("link")).unwrap();
        let root = Root::open(std::path::Path::new("/")).unwrap();
        root.replace(&path("a/to"), b"new").unwrap();
        assert_eq!(root.read(&path("a/to")).unwrap(), b"new");
        assert_eq!(root.read_link(&path("link")).unwrap(), path("to"));
        assert!(root.read("/proc/self/mountinfo").is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (folder, root) = root();
        assert!(root.read("/none").unwrap_err().to_string().starts_with("/none: cannot read it: "));
        assert!(root.read("/").is_err());
        assert!(root.list("/none").unwrap_err().to_string().starts_with("/none: cannot read the folder: "));
        fs::File::create(folder.path().join("big")).unwrap().set_len(READ_LIMIT + 1).unwrap();
        assert!(root.read("/big").unwrap_err().to_string().contains("larger than 1048576 bytes"));
        for path in ["", "/", "x/", "/..", "relative"] {
            assert!(root.replace(path, b"").is_err(), "{path:?}");
        }
    }
}
