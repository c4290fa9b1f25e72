//! Puts the compiled eBPF object into the binary: from `STOCKADE_EBPF_OBJECT`, or from where `cargo xtask ebpf` leaves it.

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-env-changed=STOCKADE_EBPF_OBJECT");
    // Asked when it runs: checkouts that share a target folder share this program.
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let workspace = package.parent().unwrap_or_else(|| Path::new("."));
    let object = std::env::var_os("STOCKADE_EBPF_OBJECT")
        .map_or_else(|| workspace.join("target/ebpf/stockade.bpf.o"), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    // A copy of its own: whoever builds the object anew meanwhile does not change what this build embeds.
    let copy = std::env::var_os("OUT_DIR").map(|dir| Path::new(&dir).join("stockade.bpf.o"));
    let copied = copy.is_some_and(|copy| std::fs::copy(&object, copy).is_ok());
    if !copied {
        println!(
            "cargo::error=no eBPF object at {}: build it with `cargo xtask ebpf`, or name one in STOCKADE_EBPF_OBJECT",
            object.display()
        );
    }
}
