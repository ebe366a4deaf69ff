//! What runs already, told to a reader that has just come: by a thread of its own that nothing waits for.
//!
//! The processes are those that the table holds once the reader is subscribed: whoever forks or executes later is an
//! event. Each is read from `/proc`, and is told once or, if it ended meanwhile, counted. The thread waits for room in
//! the reader's queue, so that a large machine costs no events. docs/adr/0030-what-runs-already-is-told-to-each-plugin.md

use std::io;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};

use krsi_plugin_schema::latest::{ProcessKey, RecordRef, Running, RunningEnd};

use super::grant_cell::GrantCell;
use super::hand_over::{Gone, Handed, hand_over};
use super::mailbox::{Mailbox, ReaderChange};
use super::roster::Roster;
use super::shared::Shared;
use super::version::Version;
use crate::enrich::{self, Around, MachineRoot};
use crate::route::queue::Queue;
use crate::route::scope::Scope;
use crate::route::subscription::PluginSlot;
use crate::thread::{self, Task};

/// Where processes are described.
const PROC: &str = "/proc";
/// Processes of a batch.
const BATCH: usize = 64;
/// Bytes of a batch, after which no process is added.
const BATCH_BYTES: usize = 256 << 10;

/// A look at all processes for one reader.
pub(super) struct RunningSurvey {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    slot: PluginSlot,
    /// Queue of the plugin; dead when the plugin is unloaded.
    queue: Weak<Queue>,
    /// Scope of the reader: the processes that it may know of.
    scope: Scope,
    end: RunningEnd,
}

impl Roster {
    /// Begins to tell a version of what runs already, if it asks for that and may; whether it does. A version runs
    /// without, if there is no thread.
    pub(super) fn survey(
        &self,
        version: &Version,
        words: &GrantCell,
        (slot, queue): (u8, &Arc<Queue>),
    ) -> bool {
        let spec = words.spec();
        let scope = spec.scope.clone();
        if !version.grant(spec).may().running {
            return false;
        }
        let (shared, mailbox) = (Arc::clone(&self.shared), Arc::clone(&self.mailbox));
        let survey = RunningSurvey::new(shared, mailbox, (PluginSlot(slot), queue), scope);
        let started = survey.start(&version.name);
        if let Err(error) = &started {
            let name = &version.name;
            self.shared
                .note(format!("{name} is not told of what runs already: no thread: {error}"));
        }
        started.is_ok()
    }
}

impl RunningSurvey {
    /// For the reader of a queue, in a slot that is subscribed.
    fn new(
        shared: Arc<Shared>,
        mailbox: Arc<Mailbox>,
        (slot, queue): (PluginSlot, &Arc<Queue>),
        scope: Scope,
    ) -> Self {
        let queue = Arc::downgrade(queue);
        Self { shared, mailbox, slot, queue, scope, end: RunningEnd::default() }
    }

    /// Starts the thread.
    fn start(mut self, name: &str) -> io::Result<()> {
        let body = move || {
            // A reader that is gone needs to know nothing.
            let _told = self.run();
        };
        thread::spawn(&format!("survey-{name}"), Task::Optional, body).map(drop)
    }

    fn run(&mut self) -> Result<(), Gone> {
        // Who starts before the subscription is made is in the table then, and who starts later is an event.
        let (answer, subscribed) = channel();
        self.mailbox.post(ReaderChange::Answer(answer));
        subscribed.recv().map_err(|_| Gone)?;
        let keys: Vec<ProcessKey> = {
            let table = self.shared.processes();
            self.end.outside = table.counts().outside;
            table.running().filter(|known| self.scope.holds(known)).map(|known| known.key).collect()
        };
        let machine = MachineRoot::read(Path::new(PROC));
        let mut around = Around { machine, ..Around::default() };
        let mut batch = OpenBatch::default();
        for key in keys {
            match self.read(key, &mut around) {
                Some(running) => batch.add(&running),
                None => self.end.ended += 1,
            }
            if batch.is_full() {
                self.hand_over(std::mem::take(&mut batch))?;
            }
        }
        self.hand_over(batch)?;
        let mut last = OpenBatch::default();
        // It is a few bytes.
        let _fits = RecordRef::RunningEnd(self.end).push(&mut last.frames);
        self.hand_over(last)
    }

    fn read(&self, key: ProcessKey, around: &mut Around) -> Option<Running<'static>> {
        let known = self.shared.processes().get(key)?.clone();
        enrich::running(Path::new(PROC), known, around)
    }

    fn hand_over(&mut self, batch: OpenBatch) -> Result<(), Gone> {
        match hand_over(&self.queue, &batch.frames, batch.told())? {
            Handed::Queued => self.end.told += batch.told(),
            Handed::Lost => {
                self.end.lost += batch.told();
                return Ok(());
            }
        }
        // After the batch, so that nobody is gone before he was there.
        self.mailbox.post(ReaderChange::Described(self.slot, batch.keys));
        Ok(())
    }
}

/// Records that were not handed over yet.
#[derive(Default)]
struct OpenBatch {
    frames: Vec<u8>,
    keys: Vec<ProcessKey>,
}

impl OpenBatch {
    fn add(&mut self, running: &Running<'_>) {
        // 64 KiB of arguments, three texts that the process table bounds and 1024 connections are far from a frame's
        // limit, each byte of them being escaped.
        if RecordRef::Running(running).push(&mut self.frames).is_ok() {
            self.keys.push(running.process.key);
        }
    }

    fn told(&self) -> u32 {
        u32::try_from(self.keys.len()).unwrap_or(u32::MAX)
    }

    fn is_full(&self) -> bool {
        self.keys.len() >= BATCH || self.frames.len() >= BATCH_BYTES
    }
}
