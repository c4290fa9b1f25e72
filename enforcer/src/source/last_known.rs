//! What was last desired, on the node's disk: an agent that starts while the API server is away goes on from it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::PolicyKey;
use crate::pods::PodInfo;

/// Where it is kept.
#[derive(Debug, Clone)]
pub struct LastKnown {
    policies: PathBuf,
    population: PathBuf,
}

/// Whom the policies were about. Without it every pod would be a pod not known yet, and held to the strictest set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LastPopulation {
    /// The node's pods, by uid.
    pub pods: BTreeMap<String, PodInfo>,
    /// The node's labels, when somebody had told them.
    pub node_labels: Option<BTreeMap<String, String>>,
}

impl LastKnown {
    /// In the agent's state folder.
    #[must_use]
    pub fn in_state_dir(dir: &Path) -> Self {
        Self { policies: dir.join("policies.json"), population: dir.join("population.json") }
    }

    /// What was last desired; `None` when nothing was kept or what was kept cannot be read (which is logged). That is not
    /// the same as no policies: nothing may be taken out of force because of it.
    #[must_use]
    pub fn policies(&self) -> Option<BTreeMap<PolicyKey, Value>> {
        load(&self.policies)
    }

    /// Who was last on the node.
    #[must_use]
    pub fn population(&self) -> Option<LastPopulation> {
        load(&self.population)
    }

    /// Keeps `policies`: whole or not at all, also when the power fails.
    pub fn save(&self, policies: &BTreeMap<PolicyKey, Value>) -> io::Result<()> {
        store(&self.policies, policies)
    }

    /// Keeps who is on the node.
    pub fn save_population(&self, population: &LastPopulation) -> io::Result<()> {
        store(&self.population, population)
    }

    /// Forgets everything: what was detached on demand is not to come back.
    pub fn forget(&self) -> io::Result<()> {
        for path in [&self.policies, &self.population] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::error!(%error, path = %path.display(), "what was last known cannot be read");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .map_err(|error| tracing::error!(%error, path = %path.display(), "what was last known is damaged and left out"))
        .ok()
}

fn store(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let part = path.with_extension("json.part");
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = fs::File::create(&part)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(part, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let kept = LastKnown::in_state_dir(&dir.path().join("new"));
        assert_eq!(kept.policies(), None, "nothing kept is not the same as no policies");
        let policies = BTreeMap::from([("TracingPolicy//a".to_owned(), serde_json::json!({"kind": "TracingPolicy"}))]);
        kept.save(&policies).unwrap();
        assert_eq!(kept.policies(), Some(policies));
        let pod = PodInfo { uid: "u".into(), namespace: "shop".into(), ..PodInfo::default() };
        let population = LastPopulation { pods: BTreeMap::from([("u".into(), pod)]), node_labels: None };
        kept.save_population(&population).unwrap();
        assert_eq!(kept.population(), Some(population));
        fs::write(dir.path().join("new/policies.json"), "{").unwrap();
        assert_eq!(kept.policies(), None);
        kept.forget().unwrap();
        kept.forget().unwrap();
        assert_eq!(kept.population(), None);
    }
}
