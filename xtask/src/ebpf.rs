//! `cargo xtask ebpf`: the eBPF programs, built for the kernel's own target by Debian's compiler and linked with LLVM.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    cache::{Cache, Inputs},
    process::Run,
    setup, step,
    versions::{Ebpf, Versions},
    workspace,
};

/// Debian's compiler: the one that comes with a `core` for this target.
const RUSTC: &str = "/usr/bin/rustc";
const TARGET: &str = "bpfel-unknown-none";

/// Builds the programs and returns the object, which is only written when it differs from the one that is there.
pub(crate) fn build() -> Result<PathBuf> {
    let object = workspace::ebpf_object();
    if std::env::var_os("STOCKADE_EBPF_OBJECT").is_some() {
        ensure!(object.is_file(), "STOCKADE_EBPF_OBJECT names {}, which is no file", object.display());
        eprintln!("✓ eBPF programs: {} (prebuilt)", object.display());
        return Ok(object);
    }
    setup::packages(&["build", "ebpf"])?;
    let linker = linker(&Cache::open()?)?;
    step::step("eBPF programs", |_| compile(&linker))?;
    let built = workspace::target().join("ebpf-build").join(TARGET).join("ebpf/stockade-ebpf");
    copy_if_changed(&built, &object)?;
    Ok(object)
}

/// bpf-linker, built against Debian's LLVM once for all checkouts.
fn linker(cache: &Cache) -> Result<PathBuf> {
    let Ebpf { llvm, bpf_linker } = Versions::pinned()?.ebpf;
    let inputs = Inputs::new().text("version", &bpf_linker).text("llvm", llvm.to_string());
    let title = format!("bpf-linker {bpf_linker} for LLVM {llvm}");
    let folder = cache.artifact("bpf-linker", &title, inputs, |build| {
        let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
        let scratch = build.folder.join("build");
        Run::new("cargo")
            .args(["install", "--locked", "bpf-linker", "--version", &bpf_linker])
            .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"])
            .arg(build.folder)
            .arg("--target-dir")
            .arg(&scratch)
            .path_first(&prefix.join("bin"))
            .env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix)
            .env_remove("CARGO_TARGET_DIR")
            .log(build.log)
            .run()?;
        fs::remove_dir_all(&scratch).context("cannot remove the linker's build folder")
    })?;
    Ok(folder.join("bin/bpf-linker"))
}

/// Only this package, in a target folder of its own: its flags and its compiler would invalidate everybody else's.
fn compile(linker: &Path) -> Result<()> {
    let root = workspace::root();
    let flags = format!(
        "-C debuginfo=2 -C panic=abort -C linker={} -C link-arg=--btf --remap-path-prefix={}=.",
        linker.display(),
        root.display()
    );
    Run::new("cargo")
        .args(["build", "--quiet", "--package", "stockade-enforcer-ebpf", "--profile", "ebpf", "--target", TARGET])
        .arg("--target-dir")
        .arg(workspace::target().join("ebpf-build"))
        .env("RUSTC", RUSTC)
        // The target is not a stable one; Debian's stable compiler builds it all the same when it is told to.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN")
        .current_dir(root)
        .run()
}

/// Keeps the old file's time when nothing changed, so that what embeds the object is not built again.
fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("the build left no {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let folder = to.parent().context("the object has no folder")?;
    fs::create_dir_all(folder)?;
    // Two runs at once each have their own.
    let part = to.with_extension(format!("part-{}", std::process::id()));
    fs::write(&part, new)?;
    fs::rename(&part, to).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_did_not_change_keeps_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("built"), folder.path().join("ebpf/object"));
        fs::write(&from, "one").unwrap();
        copy_if_changed(&from, &to).unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        fs::File::options().write(true).open(&to).unwrap().set_modified(old).unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), old);
        fs::write(&from, "two").unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "two");
    }
}
