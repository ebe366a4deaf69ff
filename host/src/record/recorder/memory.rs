//! The blocks of a flight recorder: the last of them, in segments that can each be played from their start.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};

use super::super::block;
use super::super::entry::{Closing, Head, RecordEntry, ended};
use super::Recorded;

/// Blocks from one keyframe to the next.
#[derive(Default)]
struct Segment {
    blocks: Vec<Vec<u8>>,
    bytes: usize,
    /// It was longer than all may be: what is left of it cannot be played.
    spoilt: bool,
}

/// The last segments, as many as fit.
pub(super) struct FlightMemory {
    head: Head,
    segments: VecDeque<Segment>,
    bytes: usize,
    bytes_max: usize,
}

impl FlightMemory {
    /// An empty memory of some bytes.
    pub(super) fn new(head: Head, bytes_max: usize) -> Self {
        Self { head, segments: VecDeque::from([Segment::default()]), bytes: 0, bytes_max }
    }

    /// Begins a segment: what comes next can be played without what came before.
    pub(super) fn begin(&mut self) {
        self.segments.push_back(Segment::default());
    }

    /// Keeps a block; the oldest segments go for it.
    pub(super) fn keep(&mut self, block: Vec<u8>) {
        let Some(last) = self.segments.back_mut().filter(|last| !last.spoilt) else { return };
        self.bytes += block.len();
        last.bytes += block.len();
        last.blocks.push(block);
        while self.bytes > self.bytes_max && self.segments.len() > 1 {
            let gone = self.segments.pop_front().map_or(0, |segment| segment.bytes);
            self.bytes -= gone;
        }
        if self.bytes > self.bytes_max {
            self.segments = VecDeque::from([Segment { spoilt: true, ..Segment::default() }]);
            self.bytes = 0;
        }
    }

    /// Writes all that is kept as a recording.
    pub(super) fn dump(&self, mut file: File) -> io::Result<Recorded> {
        let mut recorded = Recorded::default();
        let mut put = |bytes: &[u8]| {
            recorded.bytes += bytes.len() as u64;
            file.write_all(bytes)
        };
        put(&block::file_head())?;
        let mut own = Vec::new();
        RecordEntry::Head(self.head.clone()).push(&mut own);
        let times = (self.head.boot_ns, self.head.boot_ns);
        put(&block::block(&own, 0, times))?;
        let mut sequence = 1;
        for kept in self.segments.iter().flat_map(|segment| &segment.blocks) {
            let mut numbered = kept.clone();
            block::renumber(&mut numbered, sequence);
            put(&numbered)?;
            sequence += 1;
        }
        own.clear();
        RecordEntry::Closing(Closing { why: ended::DUMPED.into() }).push(&mut own);
        put(&block::block(&own, sequence, (0, 0)))?;
        file.sync_all()?;
        recorded.entries = sequence + 1;
        Ok(recorded)
    }
}
