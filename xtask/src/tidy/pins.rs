//! What `versions.toml` pins is what is built: Go has its versions from its own files.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::versions::Versions;

/// Compares the pinned versions with the `go.mod` files of the fixture.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let Versions { kubernetes, helm, .. } = Versions::pinned()?;
    let pins = [
        ("e2e/controlplane/go.mod", "k8s.io/kubernetes", kubernetes.version),
        ("e2e/tools/go.mod", "helm.sh/helm/v4", helm.version),
    ];
    let mut wrong = Vec::new();
    for (file, module, version) in pins {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))?;
        wrong.extend(compare(file, &text, module, &version));
    }
    Ok(wrong)
}

fn compare(file: &str, text: &str, module: &str, version: &str) -> Option<String> {
    let mut words = text.lines().map(|line| line.trim().trim_start_matches("require ").split_whitespace());
    let required = words.find_map(|mut words| (words.next()? == module).then(|| words.next())?);
    let pinned = format!("v{version}");
    (required != Some(&pinned)).then(|| {
        format!("{file} requires {module} {}, xtask/versions.toml pins {pinned}", required.unwrap_or("in no version"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_and_none_are_wrong() {
        let text = "module x\n\nrequire (\n\tk8s.io/kubernetes v1.2.3\n\tk8s.io/api v0.2.3 // indirect\n)\n";
        assert_eq!(compare("go.mod", text, "k8s.io/kubernetes", "1.2.3"), None);
        assert!(compare("go.mod", text, "k8s.io/kubernetes", "1.2.4").is_some());
        assert!(compare("go.mod", text, "helm.sh/helm/v4", "1.2.3").is_some());
        assert_eq!(compare("go.mod", "require k8s.io/kubernetes v1.2.3\n", "k8s.io/kubernetes", "1.2.3"), None);
    }
}
