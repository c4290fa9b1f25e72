//! What must be undone however this program ends: normally, by an error, by a panic or by Ctrl-C.
//!
//! A [`Cleanup`] runs its action when it is dropped, which covers returning, errors and panics. A signal does not unwind,
//! so the same actions are kept in one registry, and a thread that waits for signals runs what is left of them, newest first.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, Result, bail};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// What undoes something.
pub(crate) type Action = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Registry {
    next: u64,
    closing: bool,
    actions: Vec<(u64, Action)>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry { next: 0, closing: false, actions: Vec::new() });

fn registry() -> MutexGuard<'static, Registry> {
    // A panic while the lock was held leaves a list that is still whole: pushing and removing cannot stop half-way.
    REGISTRY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An action that runs once: when this is dropped, or when a signal ends the program.
#[must_use = "dropping it runs the action at once"]
#[derive(Debug)]
pub(crate) struct Cleanup {
    id: u64,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // The registry is unlocked again before the action runs, so that an action may end other things.
        if let Some(action) = take(self.id) {
            action();
        }
    }
}

fn take(id: u64) -> Option<Action> {
    let mut registry = registry();
    let at = registry.actions.iter().position(|(known, _)| *known == id)?;
    Some(registry.actions.remove(at).1)
}

/// Starts something and registers how it is ended, with no moment in between at which a signal would miss it.
pub(crate) fn start<T>(start: impl FnOnce() -> Result<(T, Action)>) -> Result<(T, Cleanup)> {
    let mut registry = registry();
    if registry.closing {
        bail!("interrupted");
    }
    let (started, action) = start()?;
    let id = registry.next;
    registry.next += 1;
    registry.actions.push((id, action));
    Ok((started, Cleanup { id }))
}

/// Runs the registered actions and ends the program when it is told to stop.
pub(crate) fn handle_signals() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot listen for signals")?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                close();
                std::process::exit(128 + signal);
            }
        })
        .context("cannot start the thread that listens for signals")?;
    Ok(())
}

fn close() {
    let actions = {
        let mut registry = registry();
        registry.closing = true;
        std::mem::take(&mut registry.actions)
    };
    for (_, action) in actions.into_iter().rev() {
        action();
    }
}

/// Called by `main` before it returns: if a signal is being handled, that thread ends the program when all is undone.
pub(crate) fn leave() {
    if registry().closing {
        loop {
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[test]
    fn a_cleanup_runs_once_when_dropped_and_when_a_panic_unwinds() {
        let ran = Arc::new(AtomicU32::new(0));
        let count = |by: u32| {
            let ran = Arc::clone(&ran);
            let action: Action = Box::new(move || {
                ran.fetch_add(by, Ordering::SeqCst);
            });
            start(|| Ok(((), action))).unwrap().1
        };
        drop(count(1));
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        let panicking = std::panic::catch_unwind(|| {
            let _kept = count(100);
            panic!("the action runs while unwinding");
        });
        assert!(panicking.is_err());
        assert_eq!(ran.load(Ordering::SeqCst), 101);
        let failed = start(|| -> Result<((), Action)> { bail!("it did not start") });
        assert!(failed.is_err());
    }
}
