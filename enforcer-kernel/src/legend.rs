//! What numbers in events and counters mean: kept beside the pins, because tables hold only numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::scope::Classes;

/// Which hook of a document, for people: what the document names and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// `kprobes`
    Kprobe,
    /// `lsmhooks`
    Lsm,
    /// `tracepoints`
    Tracepoint,
    /// `uprobes`
    Uprobe,
}

/// What a rule is: one selector of one hook of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The policy's kind: true for `TracingPolicyNamespaced`.
    pub namespaced: bool,
    /// Its namespace, empty for the cluster's kind.
    pub namespace: String,
    /// Its name.
    pub policy: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.generation`.
    pub generation: i64,
    /// The list in the document that the hook is in.
    pub family: Family,
    /// The function, hook or `subsystem/event`, as the document spells it; of a uprobe the file and the place in it
    /// (`/bin/bash:readline`).
    pub function: String,
    /// Position of the hook in its list.
    pub hook_index: u32,
    /// Position of the selector in the hook.
    pub selector: u32,
    /// `message`.
    pub message: String,
    /// `tags`.
    pub tags: Vec<String>,
    /// The policy only counts and reports.
    pub monitor: bool,
    /// The errno it refuses with.
    pub deny: Option<u16>,
    /// The signal it sends.
    pub signal: Option<u8>,
    /// It posts events.
    pub post: bool,
    /// The arguments, in the document's order.
    pub args: Vec<RuleArg>,
    /// What the function returned, where the rule reports that.
    #[serde(default)]
    pub returned: Option<RuleArg>,
}

/// An argument of a rule's hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleArg {
    /// Its position in the program's plan, by which events carry it.
    pub position: u8,
    /// Its type, as the document spells it.
    pub ty: String,
    /// `label`.
    pub label: String,
}

/// A generation of a hook: its rules by number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Legend {
    /// The hook instance's number.
    pub hook: u32,
    /// The generation.
    pub generation: u64,
    /// Where it is attached (`lsm/file_open`).
    pub attach: String,
    /// By number.
    pub rules: BTreeMap<u32, Rule>,
    /// The rule of the agent's own probes.
    #[serde(default)]
    pub probe: Option<u32>,
}

/// What is kept of the engine across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Numbers of classes.
    pub classes: Classes,
    /// What the bits of marks stand for, in the words of the planner.
    pub marks: BTreeMap<String, u32>,
    /// The latest generations of each hook instance, by its name; newest last.
    pub legends: BTreeMap<String, Vec<Legend>>,
    /// The highest generation used.
    pub generation: u64,
}

/// Generations whose legend is kept: events of the one before are still in the ring after a flip.
const KEPT: usize = 4;

impl Memory {
    fn path(directory: &Path) -> PathBuf {
        directory.join("engine.json")
    }

    /// Reads what an earlier agent left. What cannot be read is as if it were not there: pins alone say what is enforced.
    #[must_use]
    pub fn read(directory: &Path) -> Self {
        let path = Self::path(directory);
        let parse = |bytes: Vec<u8>| serde_json::from_slice(&bytes).map_err(io::Error::other);
        match std::fs::read(&path).and_then(parse) {
            Ok(memory) => memory,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(path = %path.display(), %error, "the engine's memory is lost");
                }
                Self::default()
            }
        }
    }

    /// Writes it; a reader finds the old or the new, never half.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let path = Self::path(directory);
        let beside = path.with_extension("json.new");
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        let file = std::fs::File::create(&beside)?;
        io::Write::write_all(&mut &file, &bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)
    }

    /// Keeps the slots of marks that processes have and nothing remembers from being given to others: they are freed like
    /// those of a policy that has gone.
    pub fn know_marks(&mut self, [low, high]: [u64; 2]) {
        let known: BTreeSet<u32> = self.marks.values().copied().collect();
        for slot in (0..128_u32).filter(|slot| !known.contains(slot)) {
            if (if slot < 64 { low } else { high }) >> (slot % 64) & 1 == 1 {
                self.marks.insert(format!("unknown {slot}"), slot);
            }
        }
    }

    /// Takes in a generation's legend.
    pub fn add(&mut self, hook: &str, legend: Legend) {
        let legends = self.legends.entry(hook.to_owned()).or_default();
        legends.retain(|known| known.generation != legend.generation);
        legends.push(legend);
        let surplus = legends.len().saturating_sub(KEPT);
        legends.drain(..surplus);
    }

    /// The legend that an event needs.
    #[must_use]
    pub fn legend(&self, hook: u32, generation: u64) -> Option<&Legend> {
        self.legends.values().flatten().find(|legend| legend.hook == hook && legend.generation == generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_generations_are_kept_and_read_again() {
        let mut memory = Memory::default();
        for generation in 1..=6 {
            memory.add("open", Legend { hook: 7, generation, ..Legend::default() });
        }
        memory.add("open", Legend { hook: 7, generation: 6, attach: "again".into(), ..Legend::default() });
        assert!(memory.legend(7, 2).is_none() && memory.legend(7, 3).is_some() && memory.legend(8, 6).is_none());
        assert_eq!(memory.legend(7, 6).unwrap().attach, "again");
        let directory = std::env::temp_dir().join(format!("stockade-legend-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        memory.write(&directory).unwrap();
        assert_eq!(Memory::read(&directory), memory);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(Memory::read(&directory), Memory::default());
    }
}
