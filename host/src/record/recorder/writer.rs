//! Entries → blocks, and where they go: a file, or the memory of a flight recorder.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::super::block::{self, PLAIN_AIM};
use super::super::entry::{Closing, RecordEntry, ended};
use super::super::redact::Redactor;
use super::memory::FlightMemory;
use super::{Item, OPEN_MOST, Recorded, RecorderState, entries, lock, next};

/// Why writing ended before it was stopped.
pub(super) enum Cut {
    /// The file is as long as it may be.
    Full,
    /// The file system takes no more.
    Failed(io::Error),
}

/// Where blocks are put.
pub(super) enum BlockPlace {
    /// A file, its path, and how long it may be.
    File(File, PathBuf, u64),
    /// The last of them are kept.
    Memory(FlightMemory),
}

/// What turns entries into blocks.
pub(super) struct BlockWriter {
    pub(super) place: BlockPlace,
    pub(super) redactor: Option<Redactor>,
    /// The block that is not ended.
    pub(super) open: Vec<u8>,
    /// Time at which the first entry of the open block came.
    pub(super) since: Option<Instant>,
    pub(super) times: Option<(u64, u64)>,
    pub(super) sequence: u64,
    /// What was taken from the queue and is in no block yet.
    taken: VecDeque<Item>,
    /// Entries of the open block: those that were handed over, and all.
    in_open: (u64, u64),
    /// What reached its place, and the entries that a gap tells of at the end.
    pub(super) recorded: Recorded,
}

impl BlockWriter {
    /// A writer to a place that has nothing yet.
    pub(super) fn new(place: BlockPlace, redactor: Option<Redactor>) -> Self {
        Self {
            place,
            redactor,
            open: Vec::new(),
            since: None,
            times: None,
            sequence: 0,
            taken: VecDeque::new(),
            in_open: (0, 0),
            recorded: Recorded::default(),
        }
    }

    /// Entries that did not reach the place.
    pub(super) fn lost(&self) -> u64 {
        self.recorded.lost + self.in_open.0 + entries(&self.taken)
    }

    /// Writes what is handed over until nothing more is taken.
    pub(super) fn run(&mut self, shared: &RecorderState) -> Result<(), Cut> {
        if matches!(self.place, BlockPlace::File(..)) {
            self.put(&block::file_head())?;
        }
        loop {
            let (items, over) = next(shared, self.since.map(|since| since + OPEN_MOST));
            self.taken = items;
            while let Some(item) = self.taken.pop_front() {
                match item {
                    Item::Entry(bytes, boot_ns) => self.entry(&bytes, boot_ns)?,
                    Item::Gap(bytes) => self.append(&bytes)?,
                    Item::Segment => {
                        self.flush()?;
                        if let BlockPlace::Memory(memory) = &mut self.place {
                            memory.begin();
                        }
                    }
                    Item::Dump(file, reply) => {
                        self.flush()?;
                        let BlockPlace::Memory(memory) = &self.place else { continue };
                        // Whoever asked may be gone.
                        let _told = reply.send(memory.dump(file));
                    }
                }
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

    fn entry(&mut self, bytes: &[u8], boot_ns: Option<u64>) -> Result<(), Cut> {
        let redacted = self.redactor.as_mut().map(|redactor| redactor.entry(bytes));
        let bytes = redacted.as_deref().unwrap_or(bytes);
        let ended = self.append(bytes);
        self.in_open.0 += 1;
        if let Some(boot_ns) = boot_ns {
            let (first, last) = self.times.unwrap_or((boot_ns, boot_ns));
            self.times = Some((first, last.max(boot_ns)));
        }
        ended
    }

    /// Puts an entry into the open block, which is ended before if it is long enough.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        if self.open.len() + bytes.len() > PLAIN_AIM {
            self.flush()?;
        }
        self.open.extend_from_slice(bytes);
        self.since = self.since.or_else(|| Some(Instant::now()));
        self.in_open.1 += 1;
        Ok(())
    }

    fn own(&mut self, entry: &RecordEntry<'_>) {
        entry.push(&mut self.open);
        self.in_open.1 += 1;
    }

    /// Ends the open block.
    fn flush(&mut self) -> Result<(), Cut> {
        if self.open.is_empty() {
            return Ok(());
        }
        let block = block::block(&self.open, self.sequence, self.times.unwrap_or_default());
        let most = match &self.place {
            BlockPlace::File(_, _, most) => *most,
            BlockPlace::Memory(_) => u64::MAX,
        };
        if self.recorded.bytes + block.len() as u64 > most {
            // The end is a few bytes beyond the limit, which is said in MiB.
            let mut end = Vec::new();
            RecordEntry::Closing(Closing { why: ended::FULL.into() }).push(&mut end);
            self.put(&block::block(&end, self.sequence, self.times.unwrap_or_default()))?;
            self.recorded.entries += 1;
            return Err(Cut::Full);
        }
        self.put(&block)?;
        self.recorded.entries += std::mem::take(&mut self.in_open).1;
        self.open.clear();
        (self.times, self.since, self.sequence) = (None, None, self.sequence + 1);
        Ok(())
    }

    fn close(&mut self, why: &str) -> Result<(), Cut> {
        self.own(&RecordEntry::Closing(Closing { why: why.into() }));
        self.flush()?;
        match &self.place {
            BlockPlace::File(file, ..) => file.sync_all().map_err(Cut::Failed),
            BlockPlace::Memory(_) => Ok(()),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        match &mut self.place {
            BlockPlace::File(file, ..) => file.write_all(bytes).map_err(Cut::Failed)?,
            BlockPlace::Memory(memory) => memory.keep(bytes.to_vec()),
        }
        self.recorded.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Why it ended, in words.
    pub(super) fn words(&self, cut: &Cut) -> String {
        let (file, most) = match &self.place {
            BlockPlace::File(_, path, most) => (path.as_path(), *most),
            BlockPlace::Memory(_) => (Path::new("flight recorder"), 0),
        };
        let file = file.display();
        match cut {
            Cut::Full => {
                format!(
                    "{file}: the recording ends, as it has the {} MiB that it may have",
                    most >> 20
                )
            }
            Cut::Failed(error) => {
                format!("{file}: the recording ends, as it cannot be written to: {error}")
            }
        }
    }
}
