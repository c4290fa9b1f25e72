//! Where things are in this checkout.

use std::path::{Path, PathBuf};

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
