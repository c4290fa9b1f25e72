//! Names and sizes of files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The most lines that a file of code may have.
const LINES: usize = 800;
/// What is code.
const CODE: &[&str] = &["rs", "go", "sh", "py"];
/// Names that say nothing about what is inside.
const DRAWERS: &[&str] = &["utils", "util", "helpers", "helper", "common", "manager", "misc"];

/// Checks all files of the tree.
pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for file in files {
        wrong.extend(name(file));
        if file.extension().is_some_and(|ending| CODE.iter().any(|code| ending == *code)) {
            let text =
                fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
            wrong.extend(size(file, text.lines().count()));
        }
    }
    Ok(wrong)
}

fn name(file: &Path) -> Option<String> {
    let drawer = file
        .components()
        .map(|part| Path::new(part.as_os_str()).file_stem().unwrap_or_default())
        .find(|stem| DRAWERS.iter().any(|drawer| stem.eq_ignore_ascii_case(drawer)))?;
    Some(format!("{}: nothing is called `{}`; say what it does", file.display(), drawer.to_string_lossy()))
}

fn size(file: &Path, lines: usize) -> Option<String> {
    (lines > LINES).then(|| format!("{}: {lines} lines; {LINES} are allowed, one idea a file", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_refused_at_any_depth_and_whole_names_only() {
        for bad in ["utils/a.rs", "a/helpers.rs", "a/Common/b.rs", "x/manager.go"] {
            assert!(name(Path::new(bad)).is_some(), "{bad}");
        }
        for good in ["enforcer-common/src/lib.rs", "a/lease_manager.rs", "utility.rs"] {
            assert!(name(Path::new(good)).is_none(), "{good}");
        }
    }

    #[test]
    fn eight_hundred_lines_are_allowed_and_one_more_is_not() {
        assert!(size(Path::new("a.rs"), LINES).is_none());
        assert!(size(Path::new("a.rs"), LINES + 1).is_some());
    }
}
