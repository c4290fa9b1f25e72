//! Where events go: JSON lines to stdout or to a rotated file. What cannot be written is counted.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::Value;

use crate::args::Args;
use crate::rotation::Rotated;

/// The open end of the event stream.
pub struct Sink {
    out: Box<dyn Write + Send>,
    line: Vec<u8>,
    written: u64,
    failed: u64,
}

impl Sink {
    /// Opens what the arguments name.
    pub fn open(args: &Args) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = if args.events == "-" {
            Box::new(BufWriter::new(io::stdout()))
        } else {
            let max_bytes = u64::try_from(args.events_max_mib.max(1)).unwrap_or(u64::MAX).saturating_mul(1 << 20);
            Box::new(Rotated::open(Path::new(&args.events), max_bytes, args.events_max_files)?)
        };
        Ok(Self::to(out))
    }

    /// Writes to `out`.
    #[must_use]
    pub fn to(out: Box<dyn Write + Send>) -> Self {
        Self { out, line: Vec::with_capacity(4096), written: 0, failed: 0 }
    }

    /// Writes one event as one line: in one write, so that a rotation never splits it.
    pub fn write(&mut self, event: &Value) {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, event).map_err(io::Error::from).and_then(|()| {
            self.line.push(b'\n');
            self.out.write_all(&self.line)
        });
        match written {
            Ok(()) => self.written += 1,
            Err(error) => {
                if self.failed == 0 {
                    tracing::error!(%error, "an event could not be written; further ones are counted only");
                }
                self.failed += 1;
            }
        }
    }

    /// Hands on what is buffered; called when no event waits.
    pub fn flush(&mut self) {
        if self.out.flush().is_err() {
            self.failed += 1;
        }
    }

    /// Events written, and events that could not be written, since the start.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.written, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_that_cannot_be_written_is_counted() {
        let mut sink = Sink::to(Box::new(Full));
        sink.write(&serde_json::json!({"process_exec": {}}));
        assert_eq!(sink.counts(), (0, 1));
    }

    #[test]
    fn an_event_file_is_the_owners_and_one_that_cannot_be_made_is_an_error() {
        use std::os::unix::fs::PermissionsExt;

        use clap::Parser;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/events.json");
        let args = |path: &Path| Args::parse_from(["stockade-enforcer", "--events", path.to_str().unwrap()]);
        let mut sink = Sink::open(&args(&path)).unwrap();
        sink.write(&serde_json::json!({"a": 1}));
        sink.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":1}\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Sink::open(&args(&path.join("below-a-file"))).is_err());
    }

    #[test]
    fn events_are_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.log");
        let file = std::fs::File::create(&path).unwrap();
        let mut sink = Sink::to(Box::new(file));
        sink.write(&serde_json::json!({"a": 1}));
        sink.write(&serde_json::json!({"b": "x\ny"}));
        sink.flush();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"a\":1}\n{\"b\":\"x\\ny\"}\n");
    }
}
