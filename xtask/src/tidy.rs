//! `cargo xtask tidy`: what no compiler checks. Which crate may use which, names, sizes, licences, links, generated files.

mod arrows;
mod documents;
mod files;
mod manifests;
mod pins;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{process::Run, workspace};

/// Checks everything, prints what is wrong and returns it. `compiled`: the folder of this checkout's programs, if they are
/// compiled.
pub(crate) fn run(compiled: Option<&Path>) -> Result<Vec<String>> {
    let root = workspace::root();
    let files = tracked()?;
    let mut wrong = Vec::new();
    wrong.extend(arrows::check(&metadata()?)?);
    wrong.extend(arrows::check_reach()?);
    wrong.extend(manifests::check(&root)?);
    wrong.extend(pins::check(&root)?);
    wrong.extend(files::check(&root, &files)?);
    wrong.extend(documents::check(&root, &files)?);
    wrong.extend(generated(compiled)?);
    for one in &wrong {
        eprintln!("tidy: {one}");
    }
    Ok(wrong)
}

/// What Git knows or would add, without what is deleted.
fn tracked() -> Result<Vec<PathBuf>> {
    let args = ["ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", "-z"];
    let list = Run::new("git").args(args).current_dir(workspace::root()).output()?;
    let files = list.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(files.filter(|file| workspace::root().join(file).exists()).collect())
}

fn metadata() -> Result<serde_json::Value> {
    let args = ["metadata", "--format-version", "1", "--no-deps"];
    let text = Run::new("cargo").args(args).current_dir(workspace::root()).output()?;
    Ok(serde_json::from_str(&text)?)
}

/// The generator compares by itself, without writing. `compiled`: where its program is, if it has just been compiled.
fn generated(compiled: Option<&Path>) -> Result<Vec<String>> {
    let run = match compiled {
        Some(programs) => Run::new(programs.join("stockade-gen")).arg("--check"),
        None => Run::new("cargo").args(["run", "--quiet", "--package", "stockade-gen", "--", "--check"]),
    };
    let log = workspace::run_folder("tidy", "run")?.join("gen.log");
    let end = run.current_dir(workspace::root()).log(&log).status()?;
    if end.status.success() {
        return Ok(Vec::new());
    }
    let said = std::fs::read_to_string(&log)?;
    let stale: Vec<String> = said.lines().filter(|line| line.starts_with("stale: ")).map(str::to_owned).collect();
    Ok(if stale.is_empty() { vec![format!("the generator failed: {}", said.trim())] } else { stale })
}
