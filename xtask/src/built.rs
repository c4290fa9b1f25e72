//! The product's programs and every test, compiled at once.
//!
//! One call of cargo for all members: what it compiles for some of them alone it compiles with other features, and so again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{ebpf, process::Run, step::Progress, workspace};

/// It is built for another machine.
pub(crate) const NOT_HERE: &str = "stockade-enforcer-ebpf";
/// After this long without an end something hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(45 * 60);

/// A test binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tests {
    /// The package that it is of.
    pub(crate) package: String,
    /// The name of its target: the package's, or that of the file in `tests/`.
    pub(crate) target: String,
    /// Whether it is one of `tests/`, and not of the sources.
    pub(crate) integration: bool,
    /// The binary.
    pub(crate) executable: PathBuf,
    /// The package's folder, in which cargo runs it.
    pub(crate) folder: PathBuf,
}

/// Compiles everything and returns the tests, by package and target. The programs are in [`programs`].
pub(crate) fn tests() -> Result<Vec<Tests>> {
    compile("programs and tests", &["--workspace", "--all-targets", "--exclude", NOT_HERE])
}

/// Compiles the tests of one package alone, for who changes it, and returns them by target.
pub(crate) fn tests_of(package: &str) -> Result<Vec<Tests>> {
    compile(&format!("tests of {package}"), &["--package", package, "--tests"])
}

/// The eBPF programs come first, because the agent embeds them.
fn compile(title: &str, what: &[&str]) -> Result<Vec<Tests>> {
    ebpf::build()?;
    let progress = Progress::start(title);
    let messages = Run::new("cargo")
        .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
        .args(what)
        .current_dir(workspace::root())
        .log(workspace::rig().join("test/build.log"))
        .timeout(LIMIT)
        .output()?;
    let mut tests = Vec::new();
    for line in messages.lines() {
        tests.extend(parse(line)?);
    }
    tests.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    progress.done("");
    Ok(tests)
}

/// The folder of the programs that [`tests`] has compiled.
pub(crate) fn programs() -> PathBuf {
    workspace::target().join("debug")
}

/// The test binary that a line of cargo's is about, if it is about one.
fn parse(line: &str) -> Result<Option<Tests>> {
    let message: serde_json::Value = serde_json::from_str(line).context("cargo wrote something that is no JSON")?;
    let text = |pointer: &str| message.pointer(pointer).and_then(serde_json::Value::as_str);
    let is_test = message.pointer("/profile/test").and_then(serde_json::Value::as_bool) == Some(true);
    let (true, Some(executable), Some(manifest)) = (is_test, text("/executable"), text("/manifest_path")) else {
        return Ok(None);
    };
    let folder = Path::new(manifest).parent().context("a manifest in no folder")?;
    let id = text("/package_id").unwrap_or_default();
    Ok(Some(Tests {
        package: package(id).to_owned(),
        target: text("/target/name").unwrap_or_default().to_owned(),
        integration: text("/target/kind/0") == Some("test"),
        executable: executable.into(),
        folder: folder.to_owned(),
    }))
}

/// The name in a package's id: `path+file:///x/name#0.1.0`, or `path+file:///x/folder#name@0.1.0`.
fn package(id: &str) -> &str {
    let (path, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name,
        None => path.rsplit('/').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_in_its_id() {
        assert_eq!(package("path+file:///x/e2e#stockade-e2e@0.1.0"), "stockade-e2e");
        assert_eq!(package("path+file:///x/stockade-cli#0.1.0"), "stockade-cli");
    }

    #[test]
    fn only_test_binaries_are_tests() {
        let line = r#"{"reason":"compiler-artifact","package_id":"path+file:///x/e2e#stockade-e2e@0.1.0",
            "manifest_path":"/x/e2e/Cargo.toml","target":{"kind":["test"],"name":"api"},"profile":{"test":true},
            "executable":"/x/target/debug/deps/api-1"}"#;
        let tests = parse(&line.replace('\n', "")).unwrap().unwrap();
        assert_eq!((tests.package.as_str(), tests.target.as_str()), ("stockade-e2e", "api"));
        assert!(tests.integration && tests.folder == Path::new("/x/e2e"));
        assert_eq!(parse(&line.replace("\"test\":true", "\"test\":false")).unwrap(), None);
        assert_eq!(parse(r#"{"reason":"build-finished","success":true}"#).unwrap(), None);
    }
}
