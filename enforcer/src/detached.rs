//! What stays on the node after everything was detached on demand: whose answer that was. The state object that carried the
//! demand is gone with the answer, so a container that is restarted in the same pod would otherwise attach everything again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The note of an answer.
#[derive(Debug, Clone)]
pub struct Detached(PathBuf);

impl Detached {
    /// In the agent's state folder.
    #[must_use]
    pub fn in_state_dir(dir: &Path) -> Self {
        Self(dir.join("detached"))
    }

    /// Whether `pod` has answered. The note of another pod is of an installation that is gone, and is removed.
    pub fn is_of(&self, pod: &str) -> io::Result<bool> {
        match fs::read_to_string(&self.0) {
            Ok(noted) if noted == pod => Ok(true),
            Ok(_) => fs::remove_file(&self.0).map(|()| false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes that `pod` answers.
    pub fn note(&self, pod: &str) -> io::Result<()> {
        if let Some(dir) = self.0.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&self.0, pod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_that_answered_stays_detached_and_the_next_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let detached = Detached::in_state_dir(&dir.path().join("new"));
        assert!(!detached.is_of("enforcer-a").unwrap());
        detached.note("enforcer-a").unwrap();
        assert!(detached.is_of("enforcer-a").unwrap());
        assert!(!detached.is_of("enforcer-b").unwrap());
        assert!(!detached.is_of("enforcer-a").unwrap(), "the note of a pod that is gone is removed");
    }
}
