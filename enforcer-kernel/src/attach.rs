//! Attaching a program, and keeping it attached when nobody runs.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::facts;
use crate::instance::Attach;
use crate::map::{Map, c_path};
use crate::pins;
use crate::program_file::ProgramFile;
use crate::sys::{self, LinkInfo, Shape};

/// Pin of the array that keeps a perf event where the kernel has no links for those.
const EVENTS: &str = "link-events";

/// Why a program could not be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The kernel has no such place.
    #[error("this kernel has no `{0}`")]
    NoTarget(String),
    /// As many programs as one place carries are attached there already, other users' included.
    #[error("`{0}` already carries as many programs as the kernel allows")]
    TrampolineFull(String),
    /// Perf events are needed and refused.
    #[error(
        "perf events are refused (kernel.perf_event_paranoid is {paranoid}); `{target}` needs CAP_SYS_ADMIN or a lower setting"
    )]
    PerfEventsRefused {
        /// The place.
        target: String,
        /// The sysctl's value.
        paranoid: String,
    },
    /// The file is not the one that was looked at, or not there.
    #[error("`{target}`: {source}")]
    File {
        /// The place.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused for another reason.
    #[error("`{target}` cannot be attached to: {source}")]
    Refused {
        /// The place.
        target: String,
        /// Why.
        source: io::Error,
    },
}

impl AttachError {
    fn from(target: &Attach, source: io::Error) -> Self {
        let target = target.to_string();
        match source.raw_os_error() {
            Some(libc::E2BIG) => Self::TrampolineFull(target),
            Some(libc::ENOENT | libc::ESRCH) => Self::NoTarget(target),
            Some(libc::EACCES | libc::EPERM) => {
                let paranoid = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
                Self::PerfEventsRefused { target, paranoid: paranoid.trim().into() }
            }
            _ => Self::Refused { target, source },
        }
    }
}

/// Attaches `program` and pins what keeps it attached into `directory`: last of all its pins.
pub fn attach(attach: &Attach, program: BorrowedFd<'_>, directory: &Path) -> Result<(), AttachError> {
    let failed = |source| AttachError::from(attach, source);
    let link = match attach {
        Attach::Lsm(_) | Attach::Fexit(_) => sys::raw_tracepoint_open(program, None).map_err(failed)?,
        Attach::RawTracepoint(event) => {
            let event = c_string(event).map_err(failed)?;
            sys::raw_tracepoint_open(program, Some(&event)).map_err(failed)?
        }
        Attach::Kprobe(function) => {
            let function = c_string(function).map_err(failed)?;
            let event =
                facts::kprobe_type().and_then(|kind| sys::perf_kprobe(kind, &function, false)).map_err(failed)?;
            return keep_event(program, &event, directory).map_err(failed);
        }
        Attach::Uprobe { path, offset, counter, stamp, .. } => {
            let gone = |source| AttachError::File { target: attach.to_string(), source };
            let file = same_file(path, stamp).map_err(gone)?;
            let event = uprobe_event(&file, *offset, *counter).map_err(failed)?;
            return keep_event(program, &event, directory).map_err(failed);
        }
        Attach::Tracepoint { subsystem, event } => {
            let id = tracepoint_id(subsystem, event).map_err(failed)?;
            let event = sys::perf_tracepoint(id).map_err(failed)?;
            return keep_event(program, &event, directory).map_err(failed);
        }
    };
    pin(link.as_fd(), &directory.join(pins::LINK)).map_err(failed)
}

fn same_file(path: &str, stamp: &str) -> io::Result<ProgramFile> {
    let file = ProgramFile::open(path)?;
    if file.stamp == stamp { Ok(file) } else { Err(io::Error::other("the file was replaced meanwhile")) }
}

fn uprobe_event(file: &ProgramFile, offset: u64, counter: u64) -> io::Result<OwnedFd> {
    let counter = u32::try_from(counter)
        .map_err(|_| io::Error::other("a counter beyond the first 4 GiB of a file cannot be told to the kernel"))?;
    sys::perf_uprobe(facts::uprobe_type()?, &c_string(&file.path())?, offset, counter)
}

/// Attaches a program of the base set.
pub fn attach_lsm(program: BorrowedFd<'_>, pin_at: &Path) -> io::Result<()> {
    let link = sys::raw_tracepoint_open(program, None)?;
    pin(link.as_fd(), pin_at)
}

fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    sys::obj_pin(object, &c_path(path)?)
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// A perf link where the kernel has them (5.15); before, the event itself, kept in an array that keeps its elements when
/// the last descriptor is closed. Deleting the array detaches.
fn keep_event(program: BorrowedFd<'_>, event: &OwnedFd, directory: &Path) -> io::Result<()> {
    match sys::link_create_perf(program, event.as_fd()) {
        Ok(link) => {
            sys::perf_enable(event.as_fd())?;
            pin(link.as_fd(), &directory.join(pins::LINK))
        }
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            sys::perf_set_program(event.as_fd(), program)?;
            let events = Map::create("stockade_events", PRESERVING)?;
            events.set_fd(0, event.as_fd())?;
            events.pin(&directory.join(EVENTS))
        }
        Err(error) => Err(error),
    }
}

/// `BPF_MAP_TYPE_PERF_EVENT_ARRAY` with `BPF_F_PRESERVE_ELEMS`.
const PRESERVING: Shape = Shape { kind: 4, key: 4, value: 4, entries: 1, flags: 1 << 11 };

fn tracepoint_id(subsystem: &str, event: &str) -> io::Result<u64> {
    let wrong = |part: &str| part.is_empty() || part.contains(['/', '.']);
    if wrong(subsystem) || wrong(event) {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let roots = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for root in roots {
        match std::fs::read_to_string(format!("{root}/events/{subsystem}/{event}/id")) {
            Ok(text) => return text.trim().parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// How a directory of pins is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// By a link, to this program.
    Link(LinkInfo),
    /// By a kept perf event, which cannot be asked which program it runs.
    Event,
}

/// Reads back how the instance in `directory` is attached; `None` when it is not.
pub fn attached(directory: &Path) -> io::Result<Option<Attached>> {
    let open = |name: &str| match c_path(&directory.join(name)).and_then(|path| sys::obj_get(&path)) {
        Ok(fd) => Ok(Some(fd)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    if let Some(link) = open(pins::LINK)? {
        return Ok(Some(Attached::Link(sys::link_info(link.as_fd())?)));
    }
    Ok(open(EVENTS)?.map(|_| Attached::Event))
}
