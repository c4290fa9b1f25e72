//! A folder of policies: one node without a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Desired, PolicyKey, key_of};

/// The largest policy file that is read: what an API server would store, several times over.
const MAX_FILE: u64 = 8 << 20;

/// What was found in a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// The policy objects.
    pub policies: BTreeMap<PolicyKey, Value>,
    /// Files that could not be read or parsed: path → why.
    pub unreadable: BTreeMap<PathBuf, String>,
}

/// Reads every `*.yaml`, `*.yml` and `*.json` directly in `dir`.
pub fn read(dir: &Path) -> std::io::Result<Found> {
    let mut found = Found::default();
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if matches!(extension, "yaml" | "yml" | "json")
            && let Err(why) = read_file(&path, &mut found.policies)
        {
            found.unreadable.insert(path, why);
        }
    }
    Ok(found)
}

fn read_file(path: &Path, policies: &mut BTreeMap<PolicyKey, Value>) -> Result<(), String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("{size} bytes; a policy file has at most {MAX_FILE}"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| error.to_string())?;
    for (number, document) in documents.into_iter().enumerate() {
        if document.is_null() {
            continue;
        }
        let key = key_of(&document).unwrap_or_else(|| format!("{}#{}", path.display(), number + 1));
        if policies.contains_key(&key) {
            return Err(format!("document {} is {key}, which another document defines already", number + 1));
        }
        policies.insert(key, document);
    }
    Ok(())
}

/// Sends what is desired now and whenever the folder changes; ends when nobody listens.
pub async fn watch(dir: PathBuf, desired: mpsc::Sender<(Desired, BTreeMap<PathBuf, String>)>) -> anyhow::Result<()> {
    let (changed, mut changes) = mpsc::channel(16);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the folder is no change; a full queue already holds a wake-up.
        if event.is_ok_and(|event| !event.kind.is_access()) && changed.try_send(()).is_err() {
            tracing::trace!("a reload is already due");
        }
    })?;
    watcher.watch(&dir, RecursiveMode::NonRecursive)?;
    let mut last = None;
    loop {
        let found = read(&dir)?;
        if last.as_ref() != Some(&found) {
            let labels = Some(BTreeMap::new());
            let now = Desired { policies: found.policies.clone(), node_labels: labels, ..Desired::default() };
            if desired.send((now, found.unreadable.clone())).await.is_err() {
                return Ok(());
            }
            last = Some(found);
        }
        if changes.recv().await.is_none() {
            return Ok(());
        }
        // An editor writes in several steps: take them together.
        tokio::time::sleep(Duration::from_millis(100)).await;
        while changes.try_recv().is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_named_and_the_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("a.yaml"),
            "kind: TracingPolicy\nmetadata: {name: a}\n---\n---\nkind: TracingPolicy\nmetadata: {name: b}\n",
        )
        .unwrap();
        fs::write(dir.path().join("b.yaml"), "kind: [").unwrap();
        fs::write(dir.path().join("c.json"), "{\"kind\":\"TracingPolicy\",\"metadata\":{\"name\":\"a\"}}").unwrap();
        fs::write(dir.path().join("notes.txt"), "kind: [").unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!(found.policies.keys().collect::<Vec<_>>(), ["TracingPolicy//a", "TracingPolicy//b"]);
        let names: Vec<_> = found.unreadable.keys().filter_map(|path| path.file_name()).collect();
        assert_eq!(names, ["b.yaml", "c.json"]);
    }

    #[tokio::test]
    async fn a_change_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let task = tokio::spawn(watch(dir.path().to_path_buf(), sender));
        assert!(receiver.recv().await.unwrap().0.policies.is_empty());
        fs::write(dir.path().join("a.yaml"), "kind: TracingPolicy\nmetadata: {name: a}\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap().0.policies.len(), 1);
        task.abort();
    }
}
