//! A file of lines that is rotated: when the next line has no room in it, FILE becomes FILE.1, that one FILE.2, and so on;
//! the oldest goes.
//!
//! A line is in one file, whole, or it is an error to whoever writes it. What cannot be moved stays where it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The file, open at its end.
#[derive(Debug)]
pub struct Rotated {
    path: PathBuf,
    max_bytes: u64,
    keep: usize,
    file: File,
    bytes: u64,
}

impl Rotated {
    /// Goes on with the file that is there, or begins one. Beside it at most `keep` older ones are kept.
    pub fn open(path: &Path, max_bytes: u64, keep: usize) -> io::Result<Self> {
        let (file, bytes) = at_end(path)?;
        let rotated = Self { path: path.to_owned(), max_bytes, keep, file, bytes };
        // More may have been kept before.
        for number in keep + 1.. {
            match fs::remove_file(rotated.older(number)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(rotated)
    }

    fn rotate(&mut self) -> io::Result<()> {
        // It is not there when somebody has taken it away, or when only the new one could not be begun.
        if self.path.exists() {
            self.move_away()?;
        }
        (self.file, self.bytes) = at_end(&self.path)?;
        Ok(())
    }

    fn move_away(&self) -> io::Result<()> {
        if self.keep == 0 {
            return fs::remove_file(&self.path);
        }
        // Only as far as is needed: trying again after a failure must not push one more out at the end.
        let free = (1..self.keep).find(|number| !self.older(*number).exists()).unwrap_or(self.keep);
        for number in (1..free).rev() {
            fs::rename(self.older(number), self.older(number + 1))?;
        }
        fs::rename(&self.path, self.older(1))
    }

    fn older(&self, number: usize) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

impl Write for Rotated {
    /// Writes a line: all of it or nothing.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.max_bytes {
            self.rotate()?;
        }
        if let Err(error) = self.file.write_all(line) {
            // The next line would be taken for the rest of this one. Where this fails too, nothing was written.
            drop(self.file.set_len(self.bytes));
            return Err(error);
        }
        self.bytes = self.bytes.saturating_add(length);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Opens a file, which may be new, for what follows its last line; and how many bytes it has.
fn at_end(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Arguments of programs are in it: for the owner's eyes.
    let mut file = OpenOptions::new().read(true).create(true).append(true).mode(0o600).open(path)?;
    let mut bytes = file.metadata()?.len();
    if bytes > 0 {
        // Whoever wrote it may have ended in the middle of a line.
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            bytes += 1;
        }
    }
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of differing lengths, with their numbers.
    fn line(number: usize) -> String {
        format!("{number} {}\n", "x".repeat(number * 7 % 50))
    }

    fn write(file: &mut Rotated, numbers: std::ops::Range<usize>) -> Vec<usize> {
        numbers.filter(|number| file.write_all(line(*number).as_bytes()).is_ok()).collect()
    }

    /// The files' texts, the oldest first.
    fn texts(path: &Path) -> Vec<String> {
        let older = |number| path.with_extension(format!("json.{number}"));
        let mut texts = vec![fs::read_to_string(path).unwrap()];
        texts.extend((1..).map_while(|number| fs::read_to_string(older(number)).ok()));
        texts.reverse();
        texts
    }

    /// The numbers of all lines, each of which is whole.
    fn numbers(path: &Path) -> Vec<usize> {
        let number = |text: &str| {
            let number = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(format!("{text}\n"), line(number));
            number
        };
        texts(path).concat().lines().map(number).collect()
    }

    #[test]
    fn lines_are_whole_and_in_order_over_as_many_files_as_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let mut file = Rotated::open(&path, 200, 3).unwrap();
        assert_eq!(write(&mut file, 0..100).len(), 100);
        let found = texts(&path);
        assert_eq!(found.len(), 4);
        for (at, text) in found.iter().enumerate() {
            assert!(text.len() <= 200 && text.ends_with('\n'), "{at}: {text}");
            assert!(at == 3 || text.len() > 140, "{at} is rotated with room in it: {text}");
        }
        let kept = numbers(&path);
        assert_eq!(kept, (kept[0]..100).collect::<Vec<_>>(), "one is missing, or twice there");

        // The next agent goes on where this one has ended, and keeps fewer.
        drop(file);
        let mut file = Rotated::open(&path, 200, 1).unwrap();
        assert_eq!(texts(&path).len(), 2);
        write(&mut file, 100..103);
        let kept = numbers(&path);
        assert_eq!(kept, (kept[0]..103).collect::<Vec<_>>());
        let mut file = Rotated::open(&path, 200, 0).unwrap();
        write(&mut file, 103..120);
        assert_eq!((texts(&path).len(), numbers(&path).last()), (1, Some(&119)));
    }

    #[test]
    fn what_is_longer_than_a_file_has_one_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let mut file = Rotated::open(&path, 10, 5).unwrap();
        for text in ["short\n", "much longer than ten\n", "short\n"] {
            file.write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(texts(&path), ["short\n", "much longer than ten\n", "short\n"]);
    }

    #[test]
    fn a_line_that_nobody_ended_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        fs::write(&path, "whole\nhal").unwrap();
        Rotated::open(&path, 200, 3).unwrap().write_all(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\nhal\nnext\n");
    }

    #[test]
    fn where_nothing_can_be_moved_that_is_an_error_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.json");
        let mut file = Rotated::open(&path, 200, 3).unwrap();
        write(&mut file, 0..20);
        let before = numbers(&path);
        // Nothing can be put in the place of a folder that is not empty.
        let oldest = dir.path().join("events.json.3");
        fs::rename(&oldest, dir.path().join("kept")).unwrap();
        fs::create_dir_all(oldest.join("full")).unwrap();
        let written = write(&mut file, 20..60);
        assert!(written.len() < 40, "no rotation was tried");
        fs::remove_dir_all(&oldest).unwrap();
        fs::rename(dir.path().join("kept"), &oldest).unwrap();
        let after: Vec<usize> = before.into_iter().chain(written).collect();
        assert_eq!(numbers(&path), after, "what was written is there, and nothing else");
        assert_eq!(write(&mut file, 60..62), [60, 61], "it goes on when it can");
        // Nor is what somebody takes away an end of it.
        fs::remove_file(&path).unwrap();
        assert_eq!(write(&mut file, 62..80).len(), 18);
    }

    /// Run by the test below, in a process that may not write files of more than a few hundred bytes.
    #[test]
    fn a_full_disk_leaves_no_half_of_a_line() {
        const CHILD: &str = "STOCKADE_TEST_SMALL_FILES";
        if let Some(path) = std::env::var_os(CHILD) {
            let path = PathBuf::from(path);
            let mut file = Rotated::open(&path, 1 << 20, 3).unwrap();
            let written = write(&mut file, 0..100);
            assert!(written.len() < 100, "there was room for all");
            assert_eq!(numbers(&path), written);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let limited = "trap '' XFSZ; ulimit -f 1; exec \"$0\" a_full_disk_leaves_no_half_of_a_line";
        let child = std::process::Command::new("sh")
            .args(["-c", limited])
            .arg(std::env::current_exe().unwrap())
            .env(CHILD, dir.path().join("events.json"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }
}
