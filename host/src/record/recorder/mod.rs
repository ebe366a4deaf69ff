//! The recorder: a bounded queue that nobody waits for, and the thread that compresses and writes it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::block::{self, PLAIN_AIM, PLAIN_MAX};
use super::entry::{Closing, Gap, Head, Opened, RecordEntry, Streamed, ended};
use super::file::{self, RecordError};
use super::redact::Redactor;
use super::tape::{Tape, time_of};

/// Bytes that wait for the recorder's thread; what does not fit is a gap.
const QUEUE_BYTES: usize = 32 << 20;
/// How long a block stays open for more: what a crash of the machine costs at most.
const OPEN_MOST: Duration = Duration::from_secs(1);

/// An encoded entry, with its time where it has one.
type Encoded = (Vec<u8>, Option<u64>);

/// How something is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file.
    pub file: PathBuf,
    /// Longest file, bytes; the recording ends before it.
    pub bytes_max: u64,
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
#[derive(Clone, Debug)]
pub struct Recorder(Arc<RecorderState>);

#[derive(Debug)]
struct RecorderState {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    tapes: AtomicU32,
    boot_ns: u64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Encoded>,
    bytes: usize,
    gap: Gap,
    /// Nothing more is taken.
    over: bool,
    recorded: Recorded,
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
        let boot_ns = head.boot_ns;
        let recorder = Self(Arc::new(RecorderState {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            tapes: AtomicU32::new(0),
            boot_ns,
            thread: Mutex::default(),
        }));
        let writer = BlockWriter {
            file: made,
            path: options.file.clone(),
            bytes_max: options.bytes_max,
            redactor: options
                .redacted
                .then(Redactor::new)
                .transpose()
                .map_err(|source| RecordError::Create { file: options.file.clone(), source })?,
            open: Vec::new(),
            since: None,
            times: None,
            sequence: 0,
            recorded: Recorded::default(),
        };
        recorder.write(&RecordEntry::Head(Head { redacted: options.redacted, ..head }));
        let shared = Arc::clone(&recorder.0);
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || run(&shared, writer, tell))
            .map_err(RecordError::Thread)?;
        *lock(&recorder.0.thread) = Some(thread);
        Ok(recorder)
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
        let fits = waiting.bytes + bytes.len() <= QUEUE_BYTES || waiting.entries.is_empty();
        if !fits || bytes.len() > PLAIN_MAX {
            waiting.gap.entries += 1;
            waiting.gap.bytes += bytes.len() as u64;
            return;
        }
        let gap = std::mem::take(&mut waiting.gap);
        if gap.entries > 0 {
            let mut told = Vec::new();
            RecordEntry::Gap(gap).push(&mut told);
            waiting.recorded.lost += gap.entries;
            waiting.bytes += told.len();
            waiting.entries.push_back((told, None));
        }
        waiting.bytes += bytes.len();
        waiting.entries.push_back((bytes, entry.boot_ns()));
        drop(waiting);
        self.0.arrived.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why writing ended before it was stopped.
enum Cut {
    /// The file is as long as it may be.
    Full,
    /// The file system takes no more.
    Failed(io::Error),
}

struct BlockWriter {
    file: File,
    path: PathBuf,
    bytes_max: u64,
    redactor: Option<Redactor>,
    /// The block that is not ended.
    open: Vec<u8>,
    /// When its first entry came.
    since: Option<Instant>,
    times: Option<(u64, u64)>,
    sequence: u64,
    recorded: Recorded,
}

/// Writes until the recording is stopped or cannot go on.
fn run(shared: &RecorderState, mut writer: BlockWriter, tell: impl FnOnce(String)) {
    let cut = writer.run(shared).err();
    let mut waiting = lock(&shared.waiting);
    waiting.over = true;
    let left = waiting.entries.len() as u64 + waiting.gap.entries;
    let lost = left + waiting.recorded.lost + writer.recorded.lost;
    waiting.entries.clear();
    let cut_short = cut.map(|cut| writer.words(&cut));
    waiting.recorded = Recorded { lost, cut_short: cut_short.clone(), ..writer.recorded };
    drop(waiting);
    if let Some(why) = cut_short {
        tell(why);
    }
}

impl BlockWriter {
    fn run(&mut self, shared: &RecorderState) -> Result<(), Cut> {
        self.put(&block::file_head())?;
        loop {
            let (entries, over) = next(shared, self.since.map(|since| since + OPEN_MOST));
            for (bytes, boot_ns) in entries {
                self.entry(bytes, boot_ns)?;
            }
            if over {
                let gap = std::mem::take(&mut lock(&shared.waiting).gap);
                if gap.entries > 0 {
                    self.recorded.lost += gap.entries;
                    self.own(&RecordEntry::Gap(gap));
                }
                return self.close(ended::STOPPED);
            }
            if self.since.is_some_and(|since| since.elapsed() >= OPEN_MOST) {
                self.flush()?;
            }
        }
    }

    fn entry(&mut self, bytes: Vec<u8>, boot_ns: Option<u64>) -> Result<(), Cut> {
        let bytes = match &mut self.redactor {
            Some(redactor) => redactor.entry(&bytes),
            None => bytes,
        };
        if self.open.len() + bytes.len() > PLAIN_AIM {
            self.flush()?;
        }
        self.open.extend_from_slice(&bytes);
        self.since = self.since.or_else(|| Some(Instant::now()));
        if let Some(boot_ns) = boot_ns {
            let (first, last) = self.times.unwrap_or((boot_ns, boot_ns));
            self.times = Some((first, last.max(boot_ns)));
        }
        self.recorded.entries += 1;
        Ok(())
    }

    fn own(&mut self, entry: &RecordEntry<'_>) {
        entry.push(&mut self.open);
        self.recorded.entries += 1;
    }

    /// Ends the open block.
    fn flush(&mut self) -> Result<(), Cut> {
        if self.open.is_empty() {
            return Ok(());
        }
        let block = block::block(&self.open, self.sequence, self.times.unwrap_or_default());
        if self.recorded.bytes + block.len() as u64 > self.bytes_max {
            self.open.clear();
            // The end is a few bytes beyond the limit, which is said in MiB.
            self.own(&RecordEntry::Closing(Closing { why: ended::FULL.into() }));
            let last = block::block(&self.open, self.sequence, self.times.unwrap_or_default());
            self.put(&last)?;
            return Err(Cut::Full);
        }
        self.put(&block)?;
        self.open.clear();
        (self.times, self.since, self.sequence) = (None, None, self.sequence + 1);
        Ok(())
    }

    fn close(&mut self, why: &str) -> Result<(), Cut> {
        self.own(&RecordEntry::Closing(Closing { why: why.into() }));
        self.flush()?;
        self.file.sync_all().map_err(Cut::Failed)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        self.file.write_all(bytes).map_err(Cut::Failed)?;
        self.recorded.bytes += bytes.len() as u64;
        Ok(())
    }

    fn words(&self, cut: &Cut) -> String {
        let file = Path::display(&self.path);
        match cut {
            Cut::Full => {
                format!(
                    "{file}: the recording ends, as it has the {} MiB that it may have",
                    self.bytes_max >> 20
                )
            }
            Cut::Failed(error) => {
                format!("{file}: the recording ends, as it cannot be written to: {error}")
            }
        }
    }
}

/// What waits, in order, as soon as something does, or nothing from `until` on; and whether that is all.
fn next(shared: &RecorderState, until: Option<Instant>) -> (VecDeque<Encoded>, bool) {
    let mut waiting = lock(&shared.waiting);
    while waiting.entries.is_empty() && !waiting.over {
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
    (std::mem::take(&mut waiting.entries), waiting.over)
}

#[cfg(test)]
mod tests;
