//! Where things are in this checkout.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The checkout's folder.
pub(crate) fn root() -> PathBuf {
    // What cargo says at run time first: a binary may be shared by several checkouts through one target folder.
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().map_or_else(|| package.clone(), Path::to_path_buf)
}

/// What belongs to this checkout and is not kept in Git.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// What belongs to one run of the rig.
pub(crate) fn rig() -> PathBuf {
    target().join("rig")
}

/// A folder of this run's own below the rig's `kind`: two may run at once. Those of runs that have ended are removed, so the last
/// run's logs are there until the next.
pub(crate) fn run_folder(kind: &str, name: &str) -> Result<PathBuf> {
    let parent = rig().join(kind);
    fs::create_dir_all(&parent)?;
    for entry in fs::read_dir(&parent)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let owner = name.rsplit_once('-').and_then(|(_, pid)| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // Another run may be removing it too.
            fs::remove_dir_all(parent.join(name)).ok();
        }
    }
    Ok(parent.join(format!("{name}-{}", std::process::id())))
}

/// The eBPF programs, as `cargo xtask ebpf` leaves them.
pub(crate) fn ebpf_object() -> PathBuf {
    std::env::var_os("STOCKADE_EBPF_OBJECT").map_or_else(|| target().join("ebpf/stockade.bpf.o"), PathBuf::from)
}

/// This program's file. Compiling the workspace replaces it: the kernel calls the file that runs deleted then, and what has its
/// name is the same program.
pub(crate) fn this_program() -> Result<PathBuf> {
    std::env::current_exe().map(|path| without_mark(&path)).context("where is this program?")
}

fn without_mark(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    OsStr::from_bytes(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_has_its_name() {
        assert_eq!(without_mark(Path::new("/x/xtask (deleted)")), Path::new("/x/xtask"));
        assert_eq!(without_mark(Path::new("/x/xtask")), Path::new("/x/xtask"));
    }
}
