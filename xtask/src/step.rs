//! Telling the user what is going on: each step by name, with progress and elapsed time.

use std::{io::IsTerminal, sync::Mutex, time::Duration, time::Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// One step that is going on. On a terminal it is a line that moves; in a log it is a line when it ends.
#[derive(Debug)]
pub(crate) struct Progress {
    title: String,
    started: Instant,
    bar: Option<ProgressBar>,
    last: Mutex<String>,
    ended: Mutex<bool>,
}

impl Progress {
    /// Starts a step.
    pub(crate) fn start(title: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}") {
                bar.set_style(style);
            }
            bar.set_prefix(title.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            eprintln!("… {title}");
        }
        Self {
            title: title.to_owned(),
            started: Instant::now(),
            bar,
            last: Mutex::new(String::new()),
            ended: Mutex::new(false),
        }
    }

    /// Says which part of the step is going on.
    pub(crate) fn say(&self, what: impl AsRef<str>) {
        let what = what.as_ref();
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
            return;
        }
        let Ok(mut last) = self.last.lock() else { return };
        if *last != what {
            what.clone_into(&mut last);
            eprintln!("    {}: {what} ({})", self.title, seconds(self.started.elapsed()));
        }
    }

    /// Ends the step as a success; `remark` may be empty.
    pub(crate) fn done(&self, remark: &str) {
        let remark = if remark.is_empty() { String::new() } else { format!(", {remark}") };
        self.end(&format!("✓ {} ({}{remark})", self.title, seconds(self.started.elapsed())));
    }

    fn end(&self, line: &str) {
        let Ok(mut ended) = self.ended.lock() else { return };
        if *ended {
            return;
        }
        *ended = true;
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end(&format!("✗ {} ({})", self.title, seconds(self.started.elapsed())));
    }
}

/// Runs one named step that leaves nothing in the cache.
pub(crate) fn step<T>(title: &str, work: impl FnOnce(&Progress) -> Result<T>) -> Result<T> {
    let progress = Progress::start(title);
    let result = work(&progress)?;
    progress.done("");
    Ok(result)
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f32())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_durations() {
        assert_eq!(seconds(Duration::from_millis(1234)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(61)), "1 min 1 s");
    }
}
