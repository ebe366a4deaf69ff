//! A recording while it runs: the host's own stream beside the plugins' tapes, and its end in words.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use krsi_plugin_schema::latest::{Hook, RecordRef, SCHEMA};

use super::RunError;
use super::clock;
use super::mailbox::{Mailbox, ReaderChange};
use super::shared::Shared;
use crate::config::Config;
use crate::kernel::survey::probe;
use crate::record::{FlightOptions, Head, Options, RecordError, Recorded, Recorder};
use crate::route::batch::private;
use crate::route::queue::{Delivery, Queue};
use crate::route::scope::Scope;
use crate::route::subscription::{PluginSlot, Subscription};
use crate::thread::{self, Task};

/// Slot of the stream's reader: one that no plugin has, and no rule.
const SLOT: PluginSlot = PluginSlot(u8::MAX);
/// Events that wait for the recorder's reader.
const QUEUE_RECORDS: usize = 1 << 16;

/// What can be asked of a host that may record.
pub(super) enum Recordable {
    /// A recording of what happens from here on.
    From(Options),
    /// The content of the flight recorder, for a file.
    Held(PathBuf),
    /// The end of what is recorded.
    End,
}

/// A recording that runs.
pub(super) struct Recording {
    /// File of the recording; `None` for a flight recorder.
    file: Option<PathBuf>,
    redacted: bool,
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
        match &config.record {
            Some(options) => Self::begin(options, shared, mailbox).map(Some),
            None => Self::flight(config, shared, mailbox),
        }
    }

    /// Begins one. Plugins that are started from here on are recorded; those that run already have to be told.
    pub(super) fn begin(
        options: &Options,
        shared: &Arc<Shared>,
        mailbox: &Mailbox,
    ) -> Result<Self, RunError> {
        let notes = Arc::clone(shared);
        let head = head(shared, options.redacted);
        let recorder = Recorder::start(options, head, move |text| notes.note(text))?;
        let how = contents(options.redacted);
        shared.note(format!("recording to {}, {how}", options.file.display()));
        Self::run((Some(options.file.clone()), options.redacted), recorder, shared, mailbox)
    }

    /// Begins what the host holds in memory, if it is to.
    pub(super) fn flight(
        config: &Config,
        shared: &Arc<Shared>,
        mailbox: &Mailbox,
    ) -> Result<Option<Self>, RunError> {
        let Some(FlightOptions { bytes_max, redacted }) = config.flight else { return Ok(None) };
        let notes = Arc::clone(shared);
        let head = head(shared, redacted);
        let recorder = Recorder::flight(bytes_max, head, move |text| notes.note(text))?;
        Self::run((None, redacted), recorder, shared, mailbox).map(Some)
    }

    fn run(
        (file, redacted): (Option<PathBuf>, bool),
        recorder: Recorder,
        shared: &Shared,
        mailbox: &Mailbox,
    ) -> Result<Self, RunError> {
        let queue = Arc::new(Queue::new(QUEUE_RECORDS));
        let thread = {
            let (queue, to) = (Arc::clone(&queue), recorder.clone());
            let spawned =
                thread::spawn("record-stream", Task::Optional, move || stream(&queue, &to));
            // Without a stream there is no recording, and its place is wanted.
            spawned
                .inspect_err(|_| {
                    drop(recorder.stop());
                    file.as_ref().map(std::fs::remove_file);
                })
                .map_err(RunError::Thread)?
        };
        let _before = shared.recorder.set(Some(recorder.clone()));
        let recording = Self { file, redacted, recorder, queue, thread };
        recording.subscribe(mailbox);
        Ok(recording)
    }

    /// Has the stream sent from here on, with all processes described anew.
    fn subscribe(&self, mailbox: &Mailbox) {
        let all = Hook::all().collect();
        mailbox.post(ReaderChange::Subscribe(Subscription {
            slot: SLOT,
            schema: SCHEMA,
            hooks: all,
            denied: all,
            scope: Scope::System,
            filters: Arc::default(),
            queue: Arc::clone(&self.queue),
        }));
    }

    /// Whether it is what the host holds in memory.
    pub(super) const fn is_flight(&self) -> bool {
        self.file.is_none()
    }

    /// The file; of a flight recorder, none.
    pub(super) fn file(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(""))
    }

    /// Whether it has ended by itself.
    pub(super) fn is_over(&self) -> bool {
        self.recorder.is_over()
    }

    /// Begins a segment of a flight recorder; its plugins have to be told.
    pub(super) fn begin_segment(&self, mailbox: &Mailbox) {
        self.recorder.segment();
        self.subscribe(mailbox);
    }

    /// Writes what a flight recorder holds to a file; what that came to, in words.
    pub(super) fn dump(&self, file: &Path) -> Result<String, RunError> {
        if !self.is_flight() {
            return Err(RunError::Record(RecordError::NoFlight));
        }
        let Recorded { bytes, .. } = self.recorder.dump(file)?;
        let (kib, how) = (bytes.div_ceil(1024), contents(self.redacted));
        Ok(format!("wrote what happened last to {}, {kib} KiB, {how}", file.display()))
    }

    /// Ends one whose place another has taken.
    pub(super) fn end(self) -> Recorded {
        self.queue.push(Delivery::Stop);
        // A thread that panicked leaves what it has written.
        let _ended = self.thread.join();
        self.recorder.stop()
    }

    /// Ends it; what became of it, in words.
    pub(super) fn end_of(self, shared: &Shared, mailbox: &Mailbox) -> String {
        mailbox.post(ReaderChange::Unsubscribe(SLOT));
        let _out = shared.recorder.set(None);
        let file = self.file().display().to_string();
        words(&file, &self.end())
    }
}

/// What a recording holds of names and texts, in words.
const fn contents(redacted: bool) -> &'static str {
    if redacted { "names and texts are tokens" } else { "with paths and arguments as they are" }
}

/// What a recording of this host says of itself.
fn head(shared: &Shared, redacted: bool) -> Head {
    Head {
        krsi_host: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: probe::release(),
        boot_id: boot_id(),
        boot_ns: clock::boot_ns(),
        unix_offset_ns: clock::unix_offset_ns(),
        schema: SCHEMA.number(),
        hooks: shared.hooks(),
        redacted,
    }
}

fn words(file: &str, recorded: &Recorded) -> String {
    let Recorded { entries, bytes, lost, cut_short } = recorded;
    let mut text = format!("recorded {entries} entries to {file}, {} KiB", bytes.div_ceil(1024));
    if *lost > 0 {
        // Of one that ended by itself the reason follows.
        let why = if cut_short.is_some() { "" } else { ", as the recorder was too slow" };
        text.push_str(&format!(", {lost} lost{why}"));
    }
    if let Some(why) = cut_short {
        text.push_str(&format!("; {why}"));
    }
    text
}

/// Hands the stream on until the stop; what did not fit the queue is told in it.
fn stream(queue: &Queue, recorder: &Recorder) {
    let _ends = EndsWithStream(recorder);
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

/// Ends a recording whose stream ends by a panic: it would lack what happens from then on.
struct EndsWithStream<'r>(&'r Recorder);

impl Drop for EndsWithStream<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _recorded = self.0.stop();
        }
    }
}

/// Which boot times are of; empty where the kernel does not say.
fn boot_id() -> String {
    let read = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map(|id| id.trim().to_owned()).unwrap_or_default()
}
