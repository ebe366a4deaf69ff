//! The recorder: a bounded queue that nobody waits for, and the thread that compresses and writes it.

mod memory;
mod writer;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, panicking};
use std::time::{Duration, Instant};

use self::memory::FlightMemory;
use self::writer::{BlockPlace, BlockWriter};
use super::block::PLAIN_MAX;
use super::entry::{Gap, Head, Opened, RecordEntry, Streamed};
use super::file::{self, RecordError};
use super::redact::Redactor;
use super::tape::{Tape, time_of};
use crate::thread::{self, Task};

/// Bytes that wait for the recorder's thread; what does not fit is a gap.
const QUEUE_BYTES: usize = 32 << 20;
/// How long a block stays open for more: what a crash of the machine costs at most.
const OPEN_MOST: Duration = Duration::from_secs(1);

/// What waits for the recorder's thread.
enum Item {
    /// An encoded entry, with its time where it has one.
    Entry(Vec<u8>, Option<u64>),
    /// An encoded gap: entries that were lost, and were counted then.
    Gap(Vec<u8>),
    /// The start of a segment: what follows can be played without what came before.
    Segment,
    /// An order to write the flight recorder's content to a file.
    Dump(File, SyncSender<io::Result<Recorded>>),
}

/// How something is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Path of the file that is made.
    pub file: PathBuf,
    /// Longest file, bytes; the recording ends before it.
    pub bytes_max: u64,
    /// Whether names, arguments and texts are replaced by tokens, and contents left out.
    pub redacted: bool,
}

/// How a flight recorder records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlightOptions {
    /// Memory of the flight recorder, bytes.
    pub bytes_max: usize,
    /// Whether names, arguments and texts are replaced by tokens, and contents left out.
    pub redacted: bool,
}

/// What became of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Entries in the file.
    pub entries: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Entries that did not reach it.
    pub lost: u64,
    /// Why it ended before it was stopped, if it did.
    pub cut_short: Option<String>,
}

/// The way to the recorder's thread; cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<RecorderState>);

struct RecorderState {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    tapes: AtomicU32,
    boot_ns: u64,
    queue_bytes: usize,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    gap: Gap,
    /// Nothing more is taken.
    over: bool,
    recorded: Recorded,
}

impl Waiting {
    /// Puts what was lost up to now before what comes next.
    fn write_gap(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if gap.entries > 0 {
            let mut told = Vec::new();
            RecordEntry::Gap(gap).push(&mut told);
            self.recorded.lost += gap.entries;
            self.bytes += told.len();
            self.items.push_back(Item::Gap(told));
        }
    }
}

impl Recorder {
    /// Makes the file and starts the thread that writes it. `tell` is told once if it ends by itself.
    ///
    /// # Errors
    /// When the file cannot be made or there is no thread.
    pub fn start(
        options: &Options,
        head: Head,
        tell: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, RecordError> {
        let made = file::create(&options.file)?;
        let failed = |source| RecordError::Create { file: options.file.clone(), source };
        let redactor = options.redacted.then(Redactor::new).transpose().map_err(failed)?;
        let place = BlockPlace::File(made, options.file.clone(), options.bytes_max);
        let writer = BlockWriter::new(place, redactor);
        let started = Self::with(writer, head.boot_ns, QUEUE_BYTES, tell);
        // Without a thread there is no recording, and its place is wanted.
        let recorder = started.inspect_err(|_| _ = std::fs::remove_file(&options.file))?;
        recorder.write(&RecordEntry::Head(Head { redacted: options.redacted, ..head }));
        Ok(recorder)
    }

    /// Starts a thread that keeps the last of what is recorded, in so much memory.
    ///
    /// # Errors
    /// When there is no thread, or no key for tokens.
    pub(crate) fn flight(
        bytes_max: usize,
        head: Head,
        tell: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, RecordError> {
        let redactor =
            head.redacted.then(Redactor::new).transpose().map_err(RecordError::Thread)?;
        // What waits, and what is being compressed, may be as long as the queue; the rest are segments.
        let queue = bytes_max / 4;
        let boot_ns = head.boot_ns;
        let memory = FlightMemory::new(head, bytes_max - 2 * queue);
        Self::with(BlockWriter::new(BlockPlace::Memory(memory), redactor), boot_ns, queue, tell)
    }

    fn with(
        writer: BlockWriter,
        boot_ns: u64,
        queue_bytes: usize,
        tell: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self, RecordError> {
        let recorder = Self::without_thread(boot_ns, queue_bytes);
        let shared = Arc::clone(&recorder.0);
        let body = move || run(&shared, writer, tell);
        let thread =
            thread::spawn("recorder", Task::Optional, body).map_err(RecordError::Thread)?;
        *lock(&recorder.0.thread) = Some(thread);
        Ok(recorder)
    }

    fn without_thread(boot_ns: u64, queue_bytes: usize) -> Self {
        Self(Arc::new(RecorderState {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            tapes: AtomicU32::new(0),
            boot_ns,
            queue_bytes,
            thread: Mutex::default(),
        }))
    }

    /// Marks where a flight recorder's file may begin: whoever is recorded begins anew after it.
    pub(crate) fn segment(&self) {
        self.hand(Item::Segment);
    }

    /// Writes what a flight recorder holds to a file that is made for it.
    ///
    /// # Errors
    /// When the file cannot be made or written, or the recorder has ended.
    pub(crate) fn dump(&self, file: &Path) -> Result<Recorded, RecordError> {
        let made = file::create(file)?;
        let failed = |source| RecordError::Create { file: file.to_owned(), source };
        let (reply, answer) = sync_channel(1);
        self.hand(Item::Dump(made, reply));
        let ended = || io::Error::other("the flight recorder has ended");
        let dumped = answer.recv().unwrap_or_else(|_| Err(ended()));
        if dumped.is_err() {
            // Half a recording is of no use, and its place is wanted.
            let _removed = std::fs::remove_file(file);
        }
        dumped.map_err(failed)
    }

    fn hand(&self, item: Item) {
        let mut waiting = lock(&self.0.waiting);
        if !waiting.over {
            waiting.write_gap();
            waiting.items.push_back(item);
        }
        drop(waiting);
        self.0.arrived.notify_one();
    }

    /// Begins the tape of an instance.
    #[must_use]
    pub fn tape(&self, opened: Opened) -> Tape {
        let tape = self.0.tapes.fetch_add(1, Ordering::Relaxed);
        self.write(&RecordEntry::Opened(Opened { tape, ..opened }));
        Tape::new(self.clone(), tape, self.0.boot_ns)
    }

    /// Writes a batch of the host's stream.
    pub fn stream(&self, records: u32, batch: &[u8]) {
        let boot_ns = time_of(batch);
        self.write(&RecordEntry::Streamed(Streamed { boot_ns, records, batch: batch.into() }));
    }

    /// Whether nothing more is taken.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        lock(&self.0.waiting).over
    }

    /// Ends the recording; what became of it.
    #[must_use]
    pub fn stop(&self) -> Recorded {
        lock(&self.0.waiting).over = true;
        self.0.arrived.notify_one();
        let thread = lock(&self.0.thread).take();
        if let Some(thread) = thread {
            // A thread that panicked leaves what it has written.
            let _ended = thread.join();
        }
        lock(&self.0.waiting).recorded.clone()
    }

    /// Hands an entry to the thread; one that finds no room is counted.
    pub(super) fn write(&self, entry: &RecordEntry<'_>) {
        if self.is_over() {
            return;
        }
        let mut bytes = Vec::new();
        entry.push(&mut bytes);
        let mut waiting = lock(&self.0.waiting);
        if waiting.over {
            return;
        }
        // An entry that alone is longer than the queue still passes through an empty one.
        let fits = waiting.bytes + bytes.len() <= self.0.queue_bytes || waiting.items.is_empty();
        if !fits || bytes.len() > PLAIN_MAX {
            waiting.gap.entries += 1;
            waiting.gap.bytes += bytes.len() as u64;
            return;
        }
        waiting.write_gap();
        waiting.bytes += bytes.len();
        waiting.items.push_back(Item::Entry(bytes, entry.boot_ns()));
        drop(waiting);
        self.0.arrived.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes until the recording is stopped or cannot go on.
fn run(shared: &RecorderState, writer: BlockWriter, tell: impl FnOnce(String)) {
    let mut ending = RecordingEnd { shared, writer, cut_short: None };
    let cut = ending.writer.run(shared).err();
    let cut_short = cut.map(|cut| ending.writer.words(&cut));
    ending.cut_short.clone_from(&cut_short);
    drop(ending);
    if let Some(why) = cut_short {
        tell(why);
    }
}

/// Ends the recording when the thread does, by a panic too: nobody waits for an answer of it any more, and what did
/// not reach the file is counted.
struct RecordingEnd<'s> {
    shared: &'s RecorderState,
    writer: BlockWriter,
    cut_short: Option<String>,
}

impl Drop for RecordingEnd<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.shared.waiting);
        waiting.over = true;
        // Whoever waits for the answer to one of them learns that there is none, as it is dropped.
        let left = std::mem::take(&mut waiting.items);
        let lost = waiting.recorded.lost + std::mem::take(&mut waiting.gap).entries;
        let lost = lost + entries(&left) + self.writer.lost();
        let panicked = || panicking().then(|| "the recorder's thread panicked".to_owned());
        let cut_short = self.cut_short.take().or_else(panicked);
        waiting.recorded = Recorded { lost, cut_short, ..self.writer.recorded.clone() };
    }
}

/// How many of some items are entries that nobody has counted.
fn entries(items: &VecDeque<Item>) -> u64 {
    items.iter().filter(|item| matches!(item, Item::Entry(..))).count() as u64
}

/// Takes what waits, in order, as soon as something does, or nothing from `until` on; whether that is all.
fn next(shared: &RecorderState, until: Option<Instant>) -> (VecDeque<Item>, bool) {
    let mut waiting = lock(&shared.waiting);
    while waiting.items.is_empty() && !waiting.over {
        waiting = match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(Duration::ZERO) => break,
            Some(left) => {
                let woken = shared.arrived.wait_timeout(waiting, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
    }
    waiting.bytes = 0;
    (std::mem::take(&mut waiting.items), waiting.over)
}

#[cfg(test)]
mod tests;
