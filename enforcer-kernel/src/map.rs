//! A map whose elements are read and written as bytes of checked length.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::sys::{self, MapInfo, Shape};

/// `ENOTSUPP`, which the kernel leaks to user space where a map has no such operation.
const NOT_SUPPORTED: i32 = 524;

/// A map, with what the kernel says it is made of.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    info: MapInfo,
    /// Bytes of a value as user space sees it: for per-CPU maps that of all CPUs.
    value: usize,
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The C string of a path; an inner NUL is an error as any other wrong path.
pub(crate) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

impl Map {
    /// Creates a map.
    pub fn create(name: &str, shape: Shape) -> io::Result<Self> {
        Self::from_fd(sys::map_create(name, shape, None)?)
    }

    /// Creates a map of maps like `inner`.
    pub fn create_outer(name: &str, shape: Shape, inner: &Self) -> io::Result<Self> {
        Self::from_fd(sys::map_create(name, shape, Some(inner.as_fd()))?)
    }

    /// Opens a pinned map.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_fd(sys::obj_get(&c_path(path)?)?)
    }

    /// Asks the kernel what `fd` is.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        const PER_CPU: [u32; 3] = [5, 6, 10];
        let info = sys::map_info(fd.as_fd())?;
        let one = info.shape.value as usize;
        let value = if PER_CPU.contains(&info.shape.kind) { one.next_multiple_of(8) * possible_cpus()? } else { one };
        Ok(Self { fd, info, value })
    }

    /// Pins it.
    pub fn pin(&self, path: &Path) -> io::Result<()> {
        sys::obj_pin(self.as_fd(), &c_path(path)?)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.info.id
    }

    /// What it is made of.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.info.shape
    }

    fn checked<'k>(&self, key: &'k [u8]) -> io::Result<&'k [u8]> {
        if key.len() == self.info.shape.key as usize { Ok(key) } else { Err(wrong_size()) }
    }

    /// Reads an element; `None` when there is none.
    pub fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let mut value = vec![0; self.value];
        match sys::map_lookup(self.as_fd(), self.checked(key)?, &mut value) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an element.
    pub fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if value.len() != self.value {
            return Err(wrong_size());
        }
        sys::map_update(self.as_fd(), self.checked(key)?, value, 0)
    }

    /// Writes an element only where there is none; `false` when there is.
    pub fn add(&self, key: &[u8], value: &[u8]) -> io::Result<bool> {
        const BPF_NOEXIST: u64 = 1;
        if value.len() != self.value {
            return Err(wrong_size());
        }
        match sys::map_update(self.as_fd(), self.checked(key)?, value, BPF_NOEXIST) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Puts the descriptor of an object into a map of maps, programs or perf events.
    pub fn set_fd(&self, index: u32, object: BorrowedFd<'_>) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        if self.value != 4 {
            return Err(wrong_size());
        }
        sys::map_update(self.as_fd(), self.checked(&index.to_ne_bytes())?, &object.as_raw_fd().to_ne_bytes(), 0)
    }

    /// Deletes an element; `false` when there was none.
    pub fn delete(&self, key: &[u8]) -> io::Result<bool> {
        match sys::map_delete(self.as_fd(), self.checked(key)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes many elements in as few calls as the kernel allows.
    pub fn set_all<'r>(&self, rows: impl IntoIterator<Item = (&'r [u8], &'r [u8])>) -> io::Result<()> {
        let rows: Vec<_> = rows.into_iter().collect();
        let (Some((first_key, first_value)), more) = (rows.first(), rows.len()) else { return Ok(()) };
        if more == 1 {
            return self.set(first_key, first_value);
        }
        let mut keys = Vec::with_capacity(more * self.info.shape.key as usize);
        let mut values = Vec::with_capacity(more * self.value);
        for (key, value) in &rows {
            if value.len() != self.value {
                return Err(wrong_size());
            }
            keys.extend_from_slice(self.checked(key)?);
            values.extend_from_slice(value);
        }
        let count = u32::try_from(more).map_err(|_| wrong_size())?;
        match sys::map_update_batch(self.as_fd(), &keys, &values, count) {
            Ok(written) if written == count => Ok(()),
            Ok(_) => Err(io::Error::from(io::ErrorKind::WriteZero)),
            // LPM tries have batches from 5.11 on.
            Err(error) if matches!(error.raw_os_error(), Some(NOT_SUPPORTED | libc::EINVAL | libc::EOPNOTSUPP)) => {
                rows.iter().try_for_each(|(key, value)| self.set(key, value))
            }
            Err(error) => Err(error),
        }
    }

    /// Every key, as far as a map that is being written can be listed.
    pub fn keys(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        let limit = self.info.shape.entries as usize;
        loop {
            let mut next = vec![0; self.info.shape.key as usize];
            match sys::map_next_key(self.as_fd(), keys.last().map(Vec::as_slice), &mut next) {
                Ok(()) => keys.push(next),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
                Err(error) => return Err(error),
            }
            if keys.len() > limit {
                // A deletion beside us made the kernel start over.
                return Err(io::Error::from(io::ErrorKind::ResourceBusy));
            }
        }
    }

    /// The sum of a per-CPU element of 64-bit counters, counter by counter.
    pub fn sum(&self, key: &[u8]) -> io::Result<Vec<u64>> {
        let Some(bytes) = self.get(key)? else { return Ok(Vec::new()) };
        let one = (self.info.shape.value as usize).next_multiple_of(8).max(8);
        let mut sums = vec![0_u64; one / 8];
        for cpu in bytes.chunks_exact(one) {
            for (sum, word) in sums.iter_mut().zip(cpu.as_chunks::<8>().0) {
                *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
            }
        }
        Ok(sums)
    }
}

fn wrong_size() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "key or value has not the map's size")
}

/// The CPUs that per-CPU maps have room for (`/sys/devices/system/cpu/possible`: `0`, `0-3`, `0-1,4-7`).
pub fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    text.trim()
        .rsplit(['-', ','])
        .next()
        .and_then(|last| last.parse::<usize>().ok())
        .map(|last| last + 1)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}
