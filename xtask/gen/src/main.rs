//! Writes the generated files: CRDs, webhook manifests, RBAC, docs.
//!
//! `stockade-gen` writes what differs and names it; `stockade-gen --check` writes nothing and fails if something would be
//! written. What is generated is a pure function of the code ([`outputs`]), so that a test can compare it with the tree.

mod crds;
mod faults;
mod hooks;
mod language;
mod webhooks;
mod yaml;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// A generated file.
struct Output {
    /// Relative to the root of the tree.
    path: PathBuf,
    text: String,
}

/// Everything that is generated.
fn outputs() -> Result<Vec<Output>> {
    let mut outputs = crds::outputs()?;
    outputs.extend(webhooks::outputs());
    outputs.push(faults::output());
    outputs.push(language::output());
    outputs.push(hooks::output());
    Ok(outputs)
}

/// The root of the tree that this program was built from.
fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("no workspace above xtask/gen")
}

/// The outputs that differ from what is in the tree.
fn stale(root: &Path) -> Result<Vec<Output>> {
    let mut outputs = outputs()?;
    outputs.retain(|o| std::fs::read_to_string(root.join(&o.path)).ok().as_ref() != Some(&o.text));
    Ok(outputs)
}

fn main() -> Result<ExitCode> {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => bail!("unknown argument {other}; there is only --check"),
    };
    let root = root()?;
    let stale = stale(root)?;
    for Output { path, text } in &stale {
        if check {
            println!("stale: {}", path.display());
            continue;
        }
        let target = root.join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        }
        std::fs::write(&target, text).with_context(|| format!("writing {}", target.display()))?;
        println!("wrote {}", path.display());
    }
    if check && !stale.is_empty() {
        println!("run `cargo xtask gen`");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_current() {
        let stale: Vec<_> = stale(root().unwrap()).unwrap().into_iter().map(|o| o.path).collect();
        assert_eq!(stale, Vec::<PathBuf>::new(), "run `cargo xtask gen`");
    }

    #[test]
    fn what_is_generated_reads_back_as_what_it_was_made_from() {
        for crd in stockade_crds::Crd::ALL {
            let manifest = crd.manifest();
            let read: serde_json::Value = serde_saphyr::from_str(&yaml::text(&manifest).unwrap()).unwrap();
            assert_eq!(read, manifest, "{}", crd.name());
        }
    }

    #[test]
    fn nothing_in_a_chart_template_is_taken_for_a_template_action_by_accident() {
        for output in outputs().unwrap().iter().filter(|o| o.path.starts_with("charts/stockade-crds")) {
            assert!(!output.text.contains("{{"), "{}", output.path.display());
        }
    }
}
