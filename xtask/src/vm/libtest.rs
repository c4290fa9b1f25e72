//! What a Rust test binary printed, read back: how many passed, which failed, and whether it came to its end.

/// The result of one test binary.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// How many passed.
    pub(crate) passed: usize,
    /// The names of those that failed, the one that was running when the binary ended early included.
    pub(crate) failed: Vec<String>,
    /// How many were not run because they say so themselves.
    pub(crate) ignored: usize,
}

impl Report {
    /// Adds another binary's result.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { passed, failed, ignored } = other;
        self.passed += passed;
        self.failed.extend(failed);
        self.ignored += ignored;
    }
}

/// Reads the output of all test binaries that a run has started, one after the other.
///
/// The summary counts: between a test's name and its result there may be anything that a forked child has written.
pub(crate) fn parse(output: &str) -> Report {
    let mut all = Report::default();
    let mut one = Binary::default();
    for line in output.lines() {
        if let Some(rest) = line.strip_prefix("test result: ") {
            all.add(std::mem::take(&mut one).summary(rest));
        } else if line.starts_with("running ") && (line.ends_with(" test") || line.ends_with(" tests")) {
            all.add(std::mem::take(&mut one).cut_off());
            one.running = true;
        } else {
            one.line(line);
        }
    }
    all.add(one.cut_off());
    all
}

#[derive(Default)]
struct Binary {
    running: bool,
    listing: bool,
    current: Option<String>,
    passed: usize,
    ignored: usize,
    failed: Vec<String>,
    listed: Vec<String>,
}

impl Binary {
    fn line(&mut self, line: &str) {
        if line == "failures:" {
            // Printed twice: before the outputs and before the names. Only the last list has the names.
            self.listing = true;
            self.listed.clear();
            return;
        }
        if self.listing {
            if let Some(name) = line.strip_prefix("    ").filter(|name| !name.contains(' ')) {
                self.listed.push(name.to_owned());
            }
            return;
        }
        let started = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        let end = match started {
            Some((name, end)) => {
                self.current = Some(name.trim_end_matches(" - should panic").to_owned());
                end
            }
            None => line,
        };
        let word = end.split([',', ' ']).next().unwrap_or_default();
        // After other output the word stands at the end of a line, or alone.
        let word =
            if started.is_some() && word != "ignored" { end.rsplit(' ').next().unwrap_or_default() } else { word };
        self.end(word, started.is_some() || line == word);
    }

    fn end(&mut self, word: &str, whole: bool) {
        if !whole || !matches!(word, "ok" | "FAILED" | "ignored") {
            return;
        }
        let Some(name) = self.current.take() else { return };
        match word {
            "ok" => self.passed += 1,
            "ignored" => self.ignored += 1,
            _ => self.failed.push(name),
        }
    }

    /// `ok. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s`
    fn summary(self, rest: &str) -> Report {
        let count = |what: &str| {
            let part = rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(what)?.trim().parse().ok());
            part.unwrap_or(0)
        };
        let mut failed = if self.listed.is_empty() { self.failed } else { self.listed };
        while failed.len() < count("failed") {
            failed.push("a test without a name".to_owned());
        }
        Report { passed: count("passed"), failed, ignored: count("ignored") }
    }

    /// There was no summary: what ran last did not come to its end.
    fn cut_off(mut self) -> Report {
        if self.running || self.current.is_some() {
            let name = self.current.take().unwrap_or_else(|| "what follows the last test".to_owned());
            self.failed.push(format!("{name} (did not end)"));
        }
        Report { passed: self.passed, failed: self.failed, ignored: self.ignored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_come_from_the_summary_and_names_from_the_last_list() {
        let output = "\nrunning 3 tests\ntest a ... ok\ntest b::c ... FAILED\ntest d ... ignored, slow\n\nfailures:\n\n\
                      ---- b::c stdout ----\n    looks like a name\nat x\n\n\nfailures:\n    b::c\n\n\
                      test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(parse(output), Report { passed: 1, failed: vec!["b::c".to_owned()], ignored: 1 });
    }

    #[test]
    fn several_binaries_add_up() {
        let one = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(parse(&one.repeat(3)).passed, 3);
        assert_eq!(parse(""), Report::default());
    }

    #[test]
    fn a_binary_that_dies_fails_the_test_that_ran() {
        let output = "running 3 tests\ntest a ... ok\ntest b ... Killed\n";
        assert_eq!(parse(output), Report { passed: 1, failed: vec!["b (did not end)".to_owned()], ignored: 0 });
        let before_any = parse("running 3 tests\nrunning 1 test\ntest a ... ok\ntest result: ok. 1 passed; 0 failed\n");
        assert_eq!((before_any.passed, before_any.failed.len()), (1, 1));
    }

    #[test]
    fn what_a_child_writes_between_name_and_result_does_not_matter() {
        let output = "running 2 tests\ntest a ... child says\nok\ntest b ... more ok\n";
        assert_eq!(parse(output).passed, 2);
    }
}
