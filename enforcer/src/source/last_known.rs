//! What was last desired, on the node's disk: an agent that starts while the API server is away goes on from it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::PolicyKey;

/// The file that holds it.
#[derive(Debug, Clone)]
pub struct LastKnown {
    path: PathBuf,
}

impl LastKnown {
    /// In the agent's state folder.
    #[must_use]
    pub fn in_state_dir(dir: &Path) -> Self {
        Self { path: dir.join("policies.json") }
    }

    /// What was last desired; empty when nothing was kept or what was kept cannot be read (which is logged).
    #[must_use]
    pub fn load(&self) -> BTreeMap<PolicyKey, Value> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return BTreeMap::new(),
            Err(error) => {
                tracing::error!(%error, path = %self.path.display(), "the last known policies cannot be read");
                return BTreeMap::new();
            }
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::error!(%error, path = %self.path.display(), "the last known policies are damaged and left out");
            BTreeMap::new()
        })
    }

    /// Keeps `policies`: whole or not at all, also when the power fails.
    pub fn save(&self, policies: &BTreeMap<PolicyKey, Value>) -> std::io::Result<()> {
        let part = self.path.with_extension("json.part");
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = fs::File::create(&part)?;
        file.write_all(&serde_json::to_vec(policies)?)?;
        file.sync_all()?;
        fs::rename(part, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let kept = LastKnown::in_state_dir(&dir.path().join("new"));
        assert!(kept.load().is_empty());
        let policies = BTreeMap::from([("TracingPolicy//a".to_owned(), serde_json::json!({"kind": "TracingPolicy"}))]);
        kept.save(&policies).unwrap();
        assert_eq!(kept.load(), policies);
        fs::write(dir.path().join("new/policies.json"), "{").unwrap();
        assert!(kept.load().is_empty());
    }
}
