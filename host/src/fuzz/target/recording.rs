//! Recordings: whatever the bytes, entries up to where the file is damaged, and the same ones each time.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use crate::record::{Head, Options, Recorder, RecordingReader};

use crate::fuzz::engine::{FuzzOutcome, FuzzTarget, outcome};

pub(crate) const TARGET: FuzzTarget = FuzzTarget {
    name: "recordings",
    seeds,
    words: &["\0\0\0\u{1}", "\u{7f}\u{7f}\u{7f}\u{7f}", "stopped", "6.12"],
    run,
    slow: Duration::from_secs(10),
    longest: 64 << 10,
};

/// Entries of an input that are looked at.
const ENTRIES_MAX: usize = 10_000;

/// A recording without a call, and one with a piece of a stream.
fn seeds() -> Vec<Vec<u8>> {
    let name = format!("krsi-fuzz-recording-{}", std::process::id());
    let recorded = |batches: usize| {
        let file = std::env::temp_dir().join(format!("{name}-{batches}"));
        let _absent = std::fs::remove_file(&file);
        let options = Options { file: file.clone(), bytes_max: 1 << 20, redacted: false };
        let head = Head { kernel: "6.12".into(), ..Head::default() };
        let recorder = Recorder::start(&options, head, |_| ()).unwrap();
        (0..batches).for_each(|_| recorder.stream(1, b"a batch of records"));
        let _recorded = recorder.stop();
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        bytes
    };
    vec![recorded(0), recorded(1), recorded(40)]
}

fn run(input: &[u8]) -> FuzzOutcome {
    let mut file = File::from(memfd_create("recording", MemfdFlags::CLOEXEC).unwrap());
    file.write_all(input).unwrap();
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let read = || {
        let mut reader = RecordingReader::open(&path).map_err(|_| ())?;
        let mut entries = Vec::new();
        while let Some(entry) = reader.entry().unwrap() {
            let mut bytes = Vec::new();
            entry.push(&mut bytes);
            entries.push(bytes);
            if entries.len() >= ENTRIES_MAX {
                break;
            }
        }
        Ok::<_, ()>((entries, reader.damage().map(|damage| damage.to_string())))
    };
    let found = read();
    assert_eq!(found, read(), "the same bytes mean two things");
    let (entries, damage) = found.unwrap_or_default();
    // Where it is damaged differs with every input.
    let kind = damage.map(|words| words.split(" at byte").next().unwrap_or_default().len());
    outcome((entries.len().min(64), kind))
}
