//! The ring of events.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use aya::maps::{Map, MapData, RingBuf};

use crate::event::{DecodeError, Event, decode};
use crate::legend::Memory;

/// Bytes of records that are kept here while nobody takes events: sixteen times what is in the ring by default.
const KEPT_BYTES: usize = 16 << 20;

/// Reads the ring. One reader a node: the kernel keeps one position.
pub struct Ring {
    records: RingBuf<MapData>,
    /// Records that were taken out of the ring to make room in it, oldest first.
    kept: VecDeque<Vec<u8>>,
    kept_bytes: usize,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    /// Opens the ring pinned at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let data = MapData::from_pin(path).map_err(io::Error::other)?;
        let records = RingBuf::try_from(Map::RingBuf(data)).map_err(io::Error::other)?;
        Ok(Self { records, kept: VecDeque::new(), kept_bytes: 0 })
    }

    /// Becomes readable when there are events.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.records.as_raw_fd()
    }

    /// Makes room in the ring, for as long as there is some here: what is being done takes a while, and nobody takes events
    /// meanwhile. What stays in a full ring the kernel counts as lost.
    pub fn make_room(&mut self) {
        while self.kept_bytes < KEPT_BYTES
            && let Some(record) = self.records.next()
        {
            self.kept_bytes += record.len();
            self.kept.push_back(record.to_vec());
        }
    }

    /// The next event, if there is one.
    pub fn next(&mut self, memory: &Memory) -> Option<Result<Event, DecodeError>> {
        if let Some(record) = self.kept.pop_front() {
            self.kept_bytes -= record.len();
            return Some(decode(&record, memory));
        }
        self.records.next().map(|record| decode(&record, memory))
    }
}
