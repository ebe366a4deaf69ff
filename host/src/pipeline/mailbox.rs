//! Changes that the reader is told from outside: who wants what from now on, and when to stop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};

use krsi_plugin_schema::latest::ProcessKey;
use rustix::event::{EventfdFlags, eventfd};

use crate::route::subscription::{PluginSlot, Subscription};

/// A change of what the reader does, from the next drain on.
#[derive(Clone, Debug)]
pub(super) enum ReaderChange {
    /// A plugin comes, or wants something else than before.
    Subscribe(Subscription),
    /// A plugin goes.
    Unsubscribe(PluginSlot),
    /// Processes were described to a plugin on another way: it is to be told when they are gone.
    Described(PluginSlot, Vec<ProcessKey>),
    /// Answer once all changes before are made.
    Answer(Sender<()>),
    /// Read what is left and end.
    Stop,
}

/// Changes in order, and a descriptor that is readable while there are any.
#[derive(Debug)]
pub(super) struct Mailbox {
    changes: Mutex<Vec<ReaderChange>>,
    rung: AtomicBool,
    bell: OwnedFd,
}

impl Mailbox {
    pub(super) fn new() -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { changes: Mutex::default(), rung: AtomicBool::new(false), bell })
    }

    pub(super) fn post(&self, change: ReaderChange) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        self.rung.store(true, Ordering::Release);
        // The eventfd takes 8 bytes; only a counter at its end, which would be readable, refuses.
        let _rung = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    pub(super) fn take(&self) -> Vec<ReaderChange> {
        let mut count = [0; 8];
        // Nothing to read means that nothing was written.
        let _read = rustix::io::read(&self.bell, &mut count);
        self.rung.store(false, Ordering::Release);
        std::mem::take(&mut *self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether changes wait for the reader.
    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    /// Readable while changes wait.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
