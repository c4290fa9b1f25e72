//! The ring of events.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;

use aya::maps::{Map, MapData, RingBuf};

use crate::event::{DecodeError, Event, decode};
use crate::legend::Memory;

/// Reads the ring. One reader a node: the kernel keeps one position.
pub struct Ring(RingBuf<MapData>);

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ring")
    }
}

impl Ring {
    /// Opens the ring pinned at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let data = MapData::from_pin(path).map_err(io::Error::other)?;
        let ring = RingBuf::try_from(Map::RingBuf(data)).map_err(io::Error::other)?;
        Ok(Self(ring))
    }

    /// Becomes readable when there are events.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next event, if there is one.
    pub fn next(&mut self, memory: &Memory) -> Option<Result<Event, DecodeError>> {
        self.0.next().map(|record| decode(&record, memory))
    }
}
