//! What `/proc` says of a process whose exec was not seen: it is older than the agent, or events were lost.

use std::fs;
use std::path::Path;

use stockade_enforcer_common::process::ProcessId;

use super::processes::join_arguments;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The executable's path.
    pub binary: String,
    /// Its arguments as a person would type them.
    pub arguments: String,
    /// The effective user.
    pub uid: u32,
}

/// Ticks of `/proc/PID/stat` a second, on every architecture that Linux has.
const TICKS: u64 = 100;

/// Looks `id` up below `proc`; `None` when it is gone, or its number is another process's by now.
#[must_use]
pub fn look_up(proc: &Path, id: ProcessId) -> Option<Found> {
    let folder = proc.join(id.tgid.to_string());
    // The image is never older than its process.
    let started = start_ticks(&fs::read_to_string(folder.join("stat")).ok()?)?;
    if started > id.start_ns / (1_000_000_000 / TICKS) + 1 {
        return None;
    }
    let cmdline = fs::read(folder.join("cmdline")).ok()?;
    let binary = fs::read_link(folder.join("exe")).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    Some(Found {
        binary: binary.strip_suffix(" (deleted)").unwrap_or(&binary).to_owned(),
        arguments: join_arguments(&cmdline, false),
        uid: uids.split_whitespace().nth(1)?.parse().ok()?,
    })
}

/// Field 22; the name before it may hold anything, blanks and parentheses included.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_and_one_that_began_earlier_is_not_it() {
        let id = |start_ns| ProcessId { start_ns, tgid: std::process::id(), reserved: 0 };
        let found = look_up(Path::new("/proc"), id(u64::MAX)).unwrap();
        assert_eq!(found.binary, std::env::current_exe().unwrap().to_string_lossy());
        assert_eq!(look_up(Path::new("/proc"), id(1)), None, "its number was another process's then");
    }

    #[test]
    fn a_name_may_hold_anything() {
        let fields: Vec<String> = (3..=30).map(|n| n.to_string()).collect();
        assert_eq!(start_ticks(&format!("7 (a) b (c)) {}", fields.join(" "))), Some(22));
    }
}
