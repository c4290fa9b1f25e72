//! A folder of policies: one node without a cluster.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{Desired, PolicyKey, key_of};

/// The largest policy file that is read: what an API server would store, several times over.
const MAX_FILE: u64 = 8 << 20;

/// The folder is read again this often even when no change was reported: a mount or a link may have been exchanged.
const REREAD: Duration = Duration::from_secs(5);

/// What is in a folder, and what its files held when they could last be read.
pub struct Folder {
    dir: PathBuf,
    held: BTreeMap<PathBuf, Vec<Value>>,
    /// What an earlier run held: a file that cannot be read at the start must not take it out of force.
    last_known: BTreeMap<PolicyKey, Value>,
}

impl Folder {
    /// A folder that nobody has read yet in this run.
    #[must_use]
    pub fn new(dir: PathBuf, last_known: BTreeMap<PolicyKey, Value>) -> Self {
        Self { dir, held: BTreeMap::new(), last_known }
    }

    /// Reads every `*.yaml`, `*.yml` and `*.json` directly in the folder.
    pub fn read(&mut self) -> io::Result<Desired> {
        let mut paths: Vec<PathBuf> = fs::read_dir(&self.dir)?.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| {
            matches!(path.extension().and_then(|e| e.to_str()).unwrap_or_default(), "yaml" | "yml" | "json")
        });
        paths.sort();
        self.held.retain(|path, _| paths.contains(path));
        let mut desired = Desired { node_labels: Some(BTreeMap::new()), ..Desired::default() };
        for path in &paths {
            match documents(path) {
                Ok(documents) => drop(self.held.insert(path.clone(), documents)),
                Err(why) => drop(desired.unreadable.insert(file_name(path), why)),
            }
            let documents = self.held.get(path).map(Vec::as_slice).unwrap_or_default();
            if let Err(why) = add(&mut desired.policies, path, documents) {
                desired.unreadable.entry(file_name(path)).or_insert(why);
            }
        }
        if paths.iter().any(|path| !self.held.contains_key(path)) {
            for (key, document) in &self.last_known {
                desired.policies.entry(key.clone()).or_insert_with(|| document.clone());
            }
        }
        Ok(desired)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

fn documents(path: &Path) -> Result<Vec<Value>, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("{size} bytes; a policy file has at most {MAX_FILE}"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_saphyr::from_multiple(&text).map_err(|error| error.to_string())
}

fn add(policies: &mut BTreeMap<PolicyKey, Value>, path: &Path, documents: &[Value]) -> Result<(), String> {
    for (number, document) in documents.iter().enumerate().filter(|(_, document)| !document.is_null()) {
        let key = key_of(document).unwrap_or_else(|| format!("{}#{}", path.display(), number + 1));
        if policies.contains_key(&key) {
            return Err(format!("document {} is {key}, which another document defines already", number + 1));
        }
        policies.insert(key, document.clone());
    }
    Ok(())
}

/// Sends what is desired now and whenever the folder changes; ends when nobody listens.
pub async fn watch(mut folder: Folder, desired: mpsc::Sender<Desired>) {
    let (changed, mut changes) = mpsc::channel(16);
    // Without a watch, or when it breaks, the folder is read every few seconds.
    let _watcher = watcher(&folder.dir, changed.clone())
        .map_err(|error| tracing::warn!(%error, "the policy folder cannot be watched; it is read every few seconds"));
    let mut last = None;
    loop {
        match folder.read() {
            Ok(now) if last.as_ref() == Some(&now) => {}
            Ok(now) => {
                for (file, why) in &now.unreadable {
                    tracing::error!("{file}: {why}; what it held before stays in force");
                }
                if desired.send(now.clone()).await.is_err() {
                    return;
                }
                last = Some(now);
            }
            Err(error) => {
                tracing::error!(%error, folder = %folder.dir.display(), "the policy folder cannot be read; everything stays as it is");
            }
        }
        tokio::select! {
            _ = changes.recv() => {
                // An editor writes in several steps: take them together.
                tokio::time::sleep(Duration::from_millis(100)).await;
                while changes.try_recv().is_ok() {}
            }
            () = tokio::time::sleep(REREAD) => {}
            () = desired.closed() => return,
        }
    }
}

fn watcher(dir: &Path, changed: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the folder is no change; a full queue already holds a wake-up.
        if event.is_ok_and(|event| !event.kind.is_access()) && changed.try_send(()).is_err() {
            tracing::trace!("a reload is already due");
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(dir: &tempfile::TempDir) -> Folder {
        Folder::new(dir.path().to_path_buf(), BTreeMap::new())
    }

    fn write(dir: &tempfile::TempDir, file: &str, text: &str) {
        fs::write(dir.path().join(file), text).unwrap();
    }

    #[test]
    fn a_damaged_file_is_named_and_the_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        write(
            &dir,
            "a.yaml",
            "kind: TracingPolicy\nmetadata: {name: a}\n---\n---\nkind: TracingPolicy\nmetadata: {name: b}\n",
        );
        write(&dir, "b.yaml", "kind: [");
        write(&dir, "c.json", "{\"kind\":\"TracingPolicy\",\"metadata\":{\"name\":\"a\"}}");
        write(&dir, "notes.txt", "kind: [");
        let found = folder(&dir).read().unwrap();
        assert_eq!(found.policies.keys().collect::<Vec<_>>(), ["TracingPolicy//a", "TracingPolicy//b"]);
        assert_eq!(found.unreadable.keys().collect::<Vec<_>>(), ["b.yaml", "c.json"]);
    }

    #[test]
    fn what_a_damaged_file_held_stays_desired_and_a_deleted_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, "a.yaml", "kind: TracingPolicy\nmetadata: {name: a}\n");
        let mut folder = folder(&dir);
        folder.read().unwrap();
        write(&dir, "a.yaml", "kind: TracingPolicy\nmetadata: {nam");
        let found = folder.read().unwrap();
        assert_eq!(found.policies.len(), 1);
        assert_eq!(found.unreadable.len(), 1);
        fs::remove_file(dir.path().join("a.yaml")).unwrap();
        let found = folder.read().unwrap();
        assert!(found.policies.is_empty() && found.unreadable.is_empty());
    }

    #[test]
    fn a_file_that_is_damaged_at_the_start_takes_nothing_out_of_force() {
        let dir = tempfile::tempdir().unwrap();
        let last_known = BTreeMap::from([("TracingPolicy//a".to_owned(), Value::Null)]);
        let mut folder = Folder::new(dir.path().to_path_buf(), last_known);
        write(&dir, "a.yaml", "kind: [");
        assert_eq!(folder.read().unwrap().policies.len(), 1);
        write(&dir, "a.yaml", "");
        assert!(folder.read().unwrap().policies.is_empty());
    }

    #[tokio::test]
    async fn a_change_is_sent_also_after_the_folder_was_away() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("policies");
        fs::create_dir(&dir).unwrap();
        let (sender, mut receiver) = mpsc::channel(4);
        let task = tokio::spawn(watch(Folder::new(dir.clone(), BTreeMap::new()), sender));
        assert!(receiver.recv().await.unwrap().policies.is_empty());
        fs::write(dir.join("a.yaml"), "kind: TracingPolicy\nmetadata: {name: a}\n").unwrap();
        assert_eq!(receiver.recv().await.unwrap().policies.len(), 1);
        fs::rename(&dir, parent.path().join("old")).unwrap();
        fs::create_dir(&dir).unwrap();
        assert!(receiver.recv().await.unwrap().policies.is_empty());
        task.abort();
    }
}
