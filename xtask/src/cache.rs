//! What is dear to build, kept in the user's cache folder and shared by all checkouts, keyed by what it was built from.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::step::Progress;

/// What an artifact is built from. Two artifacts with the same inputs are the same artifact.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    hash: Sha256,
}

impl Inputs {
    /// No inputs yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A named text: a version, an option, a script.
    pub(crate) fn text(mut self, name: &str, text: impl AsRef<[u8]>) -> Self {
        // Lengths first, so that no two lists of inputs run into the same bytes.
        for part in [name.as_bytes(), text.as_ref()] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
        self
    }

    /// The contents of one file.
    pub(crate) fn file(self, path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(self.text(&name, bytes))
    }

    /// Names and contents of all files below a folder, in the order of their names.
    pub(crate) fn folder(mut self, folder: &Path) -> Result<Self> {
        let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut entries = entries.collect::<std::io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            if path.is_dir() {
                self = self.text("folder", entry.file_name().to_string_lossy().as_bytes()).folder(&path)?;
            } else {
                self = self.file(&path)?;
            }
        }
        Ok(self)
    }

    /// A short name for these inputs.
    pub(crate) fn key(self) -> String {
        let digest = self.hash.finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The cache folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// What the builder of an artifact is given.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// An empty folder that becomes the artifact when the builder succeeds.
    pub(crate) folder: &'a Path,
    /// Where the output of programs goes.
    pub(crate) log: &'a Path,
    /// Tells the user what is going on.
    pub(crate) progress: &'a Progress,
}

impl Cache {
    /// `STOCKADE_CACHE`, or `stockade` in the user's cache folder.
    pub(crate) fn open() -> Result<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let Some(root) = set("STOCKADE_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("stockade")))
            .or_else(|| set("HOME").map(|folder| folder.join(".cache/stockade")))
        else {
            bail!("none of STOCKADE_CACHE, XDG_CACHE_HOME and HOME says where to keep what is built");
        };
        Self::at(std::path::absolute(root)?)
    }

    fn at(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        Ok(Self { root })
    }

    /// Where everything that is kept lies.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A folder that is kept and changed in place, such as another builder's own cache. Nothing is keyed or locked.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.root.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// The folder of the artifact `name` made from `inputs`: the one that is there, or the one that `build` makes now.
    ///
    /// `title` is what the user reads meanwhile. Of several runs that want the same artifact one builds it while the others wait.
    /// A build that fails or is interrupted leaves nothing that could be taken for the artifact.
    pub(crate) fn artifact(
        &self,
        name: &str,
        title: &str,
        inputs: Inputs,
        build: impl FnOnce(&Build<'_>) -> Result<()>,
    ) -> Result<PathBuf> {
        let key = inputs.key();
        let parent = self.folder(name)?;
        let done = parent.join(&key);
        if done.is_dir() {
            return Ok(done);
        }
        let progress = Progress::start(title);
        let _lock = lock(&parent.join(format!("{key}.lock")), &progress)?;
        if done.is_dir() {
            progress.done("built by another run");
            return Ok(done);
        }
        let part = parent.join(format!("{key}.part"));
        if part.exists() {
            fs::remove_dir_all(&part).with_context(|| format!("cannot remove {}", part.display()))?;
        }
        fs::create_dir_all(&part)?;
        let log = self.folder("logs")?.join(format!("{name}-{key}.log").replace('/', "-"));
        if log.exists() {
            fs::remove_file(&log)?;
        }
        build(&Build { folder: &part, log: &log, progress: &progress })?;
        fs::rename(&part, &done).with_context(|| format!("cannot finish {}", done.display()))?;
        progress.done("");
        Ok(done)
    }
}

/// Waits for the lock on `path`, telling the user if that takes time. It is released when dropped, or with the process.
pub(crate) fn lock(path: &Path, progress: &Progress) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            progress.say("waiting for another run");
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    #[test]
    fn keys_differ_when_any_input_does_and_are_stable_otherwise() {
        let key = |parts: &[(&str, &str)]| {
            parts.iter().fold(Inputs::new(), |inputs, (name, text)| inputs.text(name, text)).key()
        };
        assert_eq!(key(&[("a", "b")]), key(&[("a", "b")]));
        assert_eq!(key(&[]).len(), 16);
        let others =
            [key(&[("a", "c")]), key(&[("ab", "")]), key(&[("", "ab")]), key(&[("a", "b"), ("", "")]), key(&[])];
        for (at, one) in others.iter().enumerate() {
            assert_ne!(*one, key(&[("a", "b")]));
            assert!(others.iter().skip(at + 1).all(|other| other != one));
        }
    }

    #[test]
    fn a_folder_counts_with_its_names_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let key = || Inputs::new().folder(folder.path()).unwrap().key();
        write("a", "1");
        write("b/c", "2");
        let first = key();
        assert_eq!(first, key());
        write("b/c", "3");
        let second = key();
        assert_ne!(first, second);
        fs::rename(folder.path().join("b/c"), folder.path().join("b/d")).unwrap();
        assert_ne!(second, key());
    }

    #[test]
    fn an_artifact_is_built_once_and_a_failed_build_leaves_none() {
        let (_folder, cache) = cache();
        let inputs = || Inputs::new().text("version", "1");
        let failed = cache.artifact("thing", "thing", inputs(), |build| {
            fs::write(build.folder.join("half"), "").unwrap();
            bail!("no")
        });
        assert!(failed.is_err() && !cache.root.join("thing").join(inputs().key()).exists());
        let built = AtomicU32::new(0);
        for _ in 0..2 {
            let folder = cache.artifact("thing", "thing", inputs(), |build| {
                built.fetch_add(1, Ordering::SeqCst);
                assert!(!build.folder.join("half").exists());
                fs::write(build.folder.join("whole"), "")?;
                Ok(())
            });
            assert!(folder.unwrap().join("whole").exists());
        }
        assert_eq!(built.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn two_runs_at_once_build_one_artifact() {
        let (_folder, cache) = cache();
        let built = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let folder = cache.artifact("thing", "thing", Inputs::new(), |build| {
                        built.fetch_add(1, Ordering::SeqCst);
                        fs::write(build.folder.join("whole"), "")?;
                        Ok(())
                    });
                    assert!(folder.unwrap().join("whole").exists());
                });
            }
        });
        assert_eq!(built.load(Ordering::SeqCst), 1);
    }
}
