//! A recording while it runs: the host's own stream beside the plugins' tapes, and its end in words.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use krsi_plugin_schema::latest::{Hook, RecordRef, SCHEMA};

use super::RunError;
use super::clock;
use super::mailbox::{Mailbox, ReaderChange};
use super::shared::Shared;
use crate::config::Config;
use crate::kernel::survey::probe;
use crate::record::{Head, Options, Recorded, Recorder};
use crate::route::batch::private;
use crate::route::queue::{Delivery, Queue};
use crate::route::scope::Scope;
use crate::route::subscription::{PluginSlot, Subscription};

/// Slot of the stream's reader: one that no plugin has, and no rule.
const SLOT: PluginSlot = PluginSlot(u8::MAX);
/// Events that wait for the recorder's reader.
const QUEUE_RECORDS: usize = 1 << 16;

/// A recording that runs.
pub(super) struct Recording {
    options: Options,
    recorder: Recorder,
    queue: Arc<Queue>,
    thread: JoinHandle<()>,
}

impl Recording {
    /// Begins the one that the command line asks for, if it does.
    pub(super) fn at_start(
        config: &Config,
        shared: &Arc<Shared>,
        mailbox: &Mailbox,
    ) -> Result<Option<Self>, RunError> {
        let options = config.record.as_ref();
        options.map(|options| Self::begin(options, shared, mailbox)).transpose()
    }

    /// Begins one. Plugins that are started from here on are recorded; those that run already have to be told.
    pub(super) fn begin(
        options: &Options,
        shared: &Arc<Shared>,
        mailbox: &Mailbox,
    ) -> Result<Self, RunError> {
        let head = Head {
            krsi_host: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: probe::release(),
            boot_id: boot_id(),
            boot_ns: clock::boot_ns(),
            unix_offset_ns: clock::unix_offset_ns(),
            schema: SCHEMA.number(),
            hooks: shared.hooks(),
            redacted: options.redacted,
        };
        let notes = Arc::clone(shared);
        let recorder = Recorder::start(options, head, move |text| notes.note(text))?;
        let queue = Arc::new(Queue::new(QUEUE_RECORDS));
        let thread = {
            let (queue, recorder) = (Arc::clone(&queue), recorder.clone());
            std::thread::Builder::new()
                .name("record-stream".into())
                .spawn(move || stream(&queue, &recorder))
                .map_err(RunError::Thread)?
        };
        let all = Hook::all().collect();
        mailbox.post(ReaderChange::Subscribe(Subscription {
            slot: SLOT,
            schema: SCHEMA,
            hooks: all,
            denied: all,
            scope: Scope::System,
            filters: Arc::default(),
            queue: Arc::clone(&queue),
        }));
        let _none = shared.recorder.set(Some(recorder.clone()));
        let redacted = if options.redacted {
            "names and texts are tokens"
        } else {
            "with paths and arguments as they are"
        };
        shared.note(format!("recording to {}, {redacted}", options.file.display()));
        Ok(Self { options: options.clone(), recorder, queue, thread })
    }

    /// The file.
    pub(super) fn file(&self) -> &Path {
        &self.options.file
    }

    /// Whether it has ended by itself.
    pub(super) fn is_over(&self) -> bool {
        self.recorder.is_over()
    }

    /// Ends it; what became of it, in words.
    pub(super) fn end(self, shared: &Shared, mailbox: &Mailbox) -> String {
        mailbox.post(ReaderChange::Unsubscribe(SLOT));
        self.queue.push(Delivery::Stop);
        // A thread that panicked leaves what it has written.
        let _ended = self.thread.join();
        let _out = shared.recorder.set(None);
        let file = self.options.file.display().to_string();
        words(&file, &self.recorder.stop())
    }
}

fn words(file: &str, recorded: &Recorded) -> String {
    let Recorded { entries, bytes, lost, cut_short } = recorded;
    let mut text = format!("recorded {entries} entries to {file}, {} KiB", bytes.div_ceil(1024));
    if *lost > 0 {
        text.push_str(&format!(", {lost} lost, as the recorder was too slow"));
    }
    if let Some(why) = cut_short {
        text.push_str(&format!("; {why}"));
    }
    text
}

/// Hands the stream on until the stop; what did not fit the queue is told in it.
fn stream(queue: &Queue, recorder: &Recorder) {
    loop {
        let delivery = queue.pop(None);
        let owed = queue.take_owed();
        if !owed.is_empty() {
            let mut batch = private((clock::boot_ns(), clock::unix_offset_ns()));
            for lost in owed {
                // A loss is a few bytes.
                let _fits = RecordRef::Lost(lost).push(&mut batch);
            }
            recorder.stream(0, &batch);
        }
        match delivery {
            Delivery::Batch(batch) => recorder.stream(batch.records(), batch.bytes()),
            Delivery::Stop => return,
            Delivery::Order | Delivery::Tick => {}
        }
    }
}

/// Which boot times are of; empty where the kernel does not say.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map(|id| id.trim().to_owned()).unwrap_or_default()
}
