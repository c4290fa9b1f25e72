//! Links in Markdown that lead nowhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Checks every Markdown file of the tree.
pub(super) fn check(root: &Path, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "md")) {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {}", file.display()))?;
        let folder = root.join(file).parent().unwrap_or(root).to_path_buf();
        for target in targets(&text) {
            if !folder.join(&target).exists() {
                wrong.push(format!("{}: the link to {target} leads nowhere", file.display()));
            }
        }
    }
    Ok(wrong)
}

/// The files of the same tree that a text links to, outside of blocks of code.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        // Every second piece between backquotes is code.
        for piece in line.split('`').step_by(2) {
            let links = piece.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
            let files = links.map(|target| target.split('#').next().unwrap_or_default());
            targets.extend(files.filter(|file| !file.is_empty() && !file.contains(':')).map(str::to_owned));
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_files_are_followed() {
        let text = "[a](docs/a.md#part), [web](https://example.com), [here](#there) and `[code](none)`\n\
                    ```\n[block](none)\n```\n[`b`](b/)\n";
        assert_eq!(targets(text), ["docs/a.md", "b/"]);
    }
}
