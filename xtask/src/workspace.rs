//! Where things are in this checkout.

use std::{
    ffi::OsStr,
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
