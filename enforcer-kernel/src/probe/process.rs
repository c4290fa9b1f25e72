//! The process that probes: forked from the agent, it does one harmless operation whenever it is asked to, and says how that
//! ended. It is asked over a page of shared memory and a futex, because every other way is itself an operation that hooks
//! see: in the scope of probes reading a pipe is refused like everything else.
//!
//! The second file of the host side with `unsafe` in it. The agent has threads, so the child may only do what is safe in a
//! signal handler: system calls and atomics, no allocation, no lock, no panic.
#![allow(unsafe_code, reason = "fork and system calls; each use carries its argument")]

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::operations::{Operation, PAGE_LENGTH, Prepared, perform};

/// What the two processes share.
#[repr(C)]
struct Page {
    /// Raised by the agent with each request.
    asked: AtomicU32,
    /// The operation that is asked for: its number.
    operation: AtomicU32,
    /// The request that has been answered.
    answered: AtomicU32,
    /// How it ended: an errno, 0 for success.
    errno: AtomicI32,
}

/// The process, from the agent's side. It ends with this, or soon after the agent.
#[derive(Debug)]
pub(super) struct Process {
    page: NonNull<Page>,
    pid: libc::pid_t,
}

// SAFETY: the page is shared memory that is only accessed through atomics.
unsafe impl Send for Process {}
// SAFETY: as above.
unsafe impl Sync for Process {}

/// How long an answer may take: the operation takes microseconds, a machine without a free CPU seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the child waits before it looks whether the agent is still there.
const LOOK_UP: libc::timespec = libc::timespec { tv_sec: 2, tv_nsec: 0 };
/// The child is prepared.
const READY: u32 = u32::MAX;

impl Process {
    /// Forks it and waits until it is prepared.
    pub(super) fn start() -> io::Result<Self> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of one page; no address is asked for.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE_LENGTH, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let page = NonNull::new(page.cast::<Page>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let agent = std::process::id();
        // SAFETY: the child runs `serve` alone, which does only what is safe in a signal handler and never returns.
        let pid = unsafe { libc::fork() };
        match pid {
            // SAFETY: the page is mapped in the child as well, and zeros are a valid page.
            0 => serve(unsafe { page.as_ref() }, agent),
            1.. => {
                let process = Self { page, pid };
                process.wait_for(READY)?;
                Ok(process)
            }
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Its id.
    pub(super) fn id(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    fn page(&self) -> &Page {
        // SAFETY: mapped for as long as this lives; all access is atomic.
        unsafe { self.page.as_ref() }
    }

    /// Has it do an operation; the errno that it ended with, 0 for success.
    pub(super) fn ask(&self, operation: Operation) -> io::Result<i32> {
        let page = self.page();
        page.operation.store(operation as u32, Ordering::Relaxed);
        // Never 0, which is the child's first, nor the number that says that it is prepared.
        let request = (page.asked.load(Ordering::Relaxed) + 1) % (READY - 1) + 1;
        page.asked.store(request, Ordering::Release);
        futex(&page.asked, libc::FUTEX_WAKE, 1, None);
        self.wait_for(request)?;
        Ok(page.errno.load(Ordering::Relaxed))
    }

    fn wait_for(&self, request: u32) -> io::Result<()> {
        let page = self.page();
        let until = Instant::now() + PATIENCE;
        loop {
            let answered = page.answered.load(Ordering::Acquire);
            if answered == request {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            futex(
                &page.answered,
                libc::FUTEX_WAIT,
                answered,
                Some(&libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 }),
            );
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: no pointers but a null one; the process is our child and has not been waited for.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            libc::munmap(self.page.as_ptr().cast(), PAGE_LENGTH);
        }
    }
}

/// Waits for, or wakes who waits for, a change of a word that both processes see.
fn futex(word: &AtomicU32, operation: libc::c_int, value: u32, timeout: Option<&libc::timespec>) {
    let timeout = timeout.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word and the time outlive the call. What it returns does not matter: callers look at the word.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, timeout) };
}

/// The child: never returns.
fn serve(page: &Page, agent: u32) -> ! {
    let prepared = Prepared::make();
    let mut last = 0;
    page.answered.store(READY, Ordering::Release);
    futex(&page.answered, libc::FUTEX_WAKE, 1, None);
    loop {
        let asked = page.asked.load(Ordering::Acquire);
        if asked == last {
            futex(&page.asked, libc::FUTEX_WAIT, last, Some(&LOOK_UP));
            // SAFETY: no arguments; `_exit` ends the process without running anything of the agent's.
            unsafe {
                if libc::getppid().cast_unsigned() != agent {
                    libc::_exit(0);
                }
            }
            continue;
        }
        last = asked;
        page.errno.store(perform(&prepared, page.operation.load(Ordering::Relaxed)), Ordering::Relaxed);
        page.answered.store(last, Ordering::Release);
        futex(&page.answered, libc::FUTEX_WAKE, 1, None);
    }
}
