//! Puts the compiled eBPF object into the binary: from `STOCKADE_EBPF_OBJECT`, or from where `cargo xtask ebpf` leaves it.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=STOCKADE_EBPF_OBJECT");
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."));
    let object = std::env::var_os("STOCKADE_EBPF_OBJECT")
        .map_or_else(|| workspace.join("target/ebpf/stockade.bpf.o"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    if object.is_file() {
        println!("cargo::rustc-env=STOCKADE_EBPF_OBJECT={}", object.display());
    } else {
        println!(
            "cargo::error=no eBPF object at {}: build it with `cargo xtask ebpf`, or name one in STOCKADE_EBPF_OBJECT",
            object.display()
        );
    }
}
