//! Where things are pinned, and how a directory of pins is taken away.
//!
//! Below the root: `maps-DIGEST` (what all programs share), `base-DIGEST` (the programs that track processes) and
//! `hook-NAME-DIGEST` (a hook instance). The digest in a name covers what the directory was made from, so that the next
//! agent knows by the name alone whether it can adopt it. A directory counts only once it has its last pin ([`LINK`] in a
//! hook instance, [`READY`] elsewhere): what a killed agent left half made is removed. (Names on bpffs cannot contain a dot.)

use std::io;
use std::path::{Path, PathBuf};

/// The default root.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/stockade";

/// The pin that is made last in a hook instance and that attaches it.
pub const LINK: &str = "link";
/// Where a hook instance's program is pinned.
pub const PROGRAM: &str = "program";
/// The pin that is made last in the other kinds of directory.
pub const READY: &str = "ready";

/// The pins of one node.
#[derive(Debug, Clone)]
pub struct Pins {
    root: PathBuf,
}

/// What a directory below the root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Shared maps.
    Maps,
    /// Programs that track processes.
    Base,
    /// A hook instance.
    Hook,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Maps, Self::Base, Self::Hook];

    fn prefix(self) -> &'static str {
        match self {
            Self::Maps => "maps-",
            Self::Base => "base-",
            Self::Hook => "hook-",
        }
    }
}

impl Pins {
    /// Makes sure that the root is there; it must be on bpffs.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
        if !crate::sys::file_system_is(&crate::map::c_path(root)?, BPF_FS_MAGIC) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{} is not on a BPF file system", root.display()),
            ));
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A directory of this kind; `name` ends with its digest.
    #[must_use]
    pub fn directory(&self, kind: Kind, name: &str) -> PathBuf {
        self.root.join(format!("{}{name}", kind.prefix()))
    }

    /// The directories of a kind, by name without the prefix.
    pub fn list(&self, kind: Kind) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_prefix(kind.prefix())) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Takes everything below the root away, hooks first: what is pinned nowhere else is detached and freed by it.
    pub fn empty(&self) -> io::Result<()> {
        for kind in Kind::ALL.into_iter().rev() {
            for name in self.list(kind)? {
                remove_directory(&self.directory(kind, &name))?;
            }
        }
        Ok(())
    }

    /// As [`Self::empty`], and the root itself.
    pub fn remove_all(&self) -> io::Result<()> {
        self.empty()?;
        std::fs::remove_dir(&self.root)
    }
}

/// Removes a directory of pins, links first, so that no program runs whose maps are going.
pub fn remove_directory(directory: &Path) -> io::Result<()> {
    let mut entries: Vec<PathBuf> = match std::fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_link = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(LINK));
    entries.sort_by_key(|path| !is_link(path));
    for path in entries {
        std::fs::remove_file(path)?;
    }
    std::fs::remove_dir(directory)
}

/// Makes an empty directory, in place of what an agent that was killed may have left there.
pub fn fresh_directory(directory: &Path) -> io::Result<()> {
    remove_directory(directory)?;
    std::fs::create_dir(directory)
}

/// Replaces a pin; bpffs can rename over an existing one, so that the name never points to nothing.
pub fn replace_pin(path: &Path, pin: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    pin(&beside)?;
    std::fs::rename(&beside, path)
}
