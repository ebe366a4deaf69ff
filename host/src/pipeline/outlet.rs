//! The thread that writes reports to standard output, so that nobody else waits for one that takes nothing.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::RunError;
use super::reports::ReportReceiver;
use super::shared::Shared;
use crate::config::{Config, Format};
use crate::loss::Loss;
use crate::output::{IDLE, IN_ALL, Json, Output, Report, Terminal};
use crate::thread::{self, Task};

/// Bytes that are written at once.
const CHUNK: usize = 64 << 10;
/// A write that takes longer is told.
pub(super) const STALLED: Duration = Duration::from_secs(5);

/// Starts the thread, which ends once no report comes any more.
pub(super) fn start(
    config: &Config,
    shared: &Arc<Shared>,
    reports: ReportReceiver,
) -> Result<(), RunError> {
    let output: Box<dyn Output> = match config.format {
        Format::Json => Box::new(Json),
        Format::Terminal(colour) => Box::new(Terminal::new(colour)),
    };
    // A descriptor of its own: what is written is written, and nothing waits in a buffer.
    let out = io::stdout().as_fd().try_clone_to_owned().map_err(RunError::Thread)?;
    let (mut outlet, shared) = (Outlet::new(output, File::from(out)), Arc::clone(shared));
    thread::spawn("output", Task::Passing, move || run(&mut outlet, &shared, reports))
        .map_err(RunError::Thread)?;
    Ok(())
}

/// Waits until everything is written, as long as something is; tells what is left.
pub(super) fn finish(shared: &Shared) {
    let left = shared.reports.rest((IDLE, IN_ALL));
    if left > 0 {
        let lost = shared.losses.count(Loss::Output) + left;
        tracing::warn!(
            "standard output takes nothing: {lost} reports were lost, the last {left} among them"
        );
    }
}

fn run<W: Write + AsFd>(outlet: &mut Outlet<W>, shared: &Shared, mut reports: ReportReceiver) {
    let mut failing = false;
    while let Some(report) = reports.recv() {
        thread::turn();
        outlet.add(&report);
        while outlet.lines.len() < CHUNK
            && let Some(report) = reports.try_recv()
        {
            outlet.add(&report);
        }
        let (began, before) = (Instant::now(), shared.losses.count(Loss::Output));
        let result = outlet.write();
        shared.losses.add(Loss::Output, outlet.take_lost());
        reports.done();
        match &result {
            Ok(()) => {
                let lost = shared.losses.count(Loss::Output) - before;
                if failing {
                    shared.note("standard output can be written to again".into());
                } else if began.elapsed() >= STALLED {
                    let seconds = began.elapsed().as_secs();
                    shared.note(format!(
                        "standard output took nothing for {seconds} s: {lost} reports were lost"
                    ));
                }
            }
            Err(error) if !failing => {
                tracing::warn!(
                    "standard output cannot be written to ({error}): reports are lost, and counted"
                );
            }
            Err(_) => {}
        }
        failing = result.is_err();
    }
}

/// Lines on their way to a descriptor.
struct Outlet<W> {
    output: Box<dyn Output>,
    out: W,
    lines: Vec<u8>,
    /// End of each line in `lines`, in bytes.
    ends: Vec<usize>,
    /// Whether the first of them is the rest of one that was torn.
    has_rest: bool,
    lost: u64,
}

impl<W: Write + AsFd> Outlet<W> {
    fn new(output: Box<dyn Output>, out: W) -> Self {
        Self { output, out, lines: Vec::new(), ends: Vec::new(), has_rest: false, lost: 0 }
    }

    fn add(&mut self, report: &Report) {
        let before = self.lines.len();
        match self.output.write(report, &mut self.lines) {
            Ok(()) => self.ends.push(self.lines.len()),
            Err(_) => {
                self.lines.truncate(before);
                self.lost += 1;
            }
        }
    }

    /// Writes all lines. Of one that was torn by an error the rest is kept, and comes first the next time; those
    /// after it are lost.
    fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        let result = self.push(&mut written);
        if result.is_ok() {
            self.lines.clear();
            self.ends.clear();
            self.has_rest = false;
            return result;
        }
        let whole = self.ends.iter().filter(|end| **end <= written).count();
        let starts = whole.checked_sub(1).and_then(|last| self.ends.get(last).copied());
        let is_torn = written > starts.unwrap_or(0) || (whole == 0 && self.has_rest);
        let rest = self.ends.get(whole).copied().filter(|_| is_torn);
        self.lost += (self.ends.len() - whole) as u64 - u64::from(rest.is_some());
        self.lines.truncate(rest.unwrap_or(written));
        self.lines.drain(..written);
        self.ends.clear();
        self.ends.extend(rest.map(|_| self.lines.len()));
        self.has_rest = rest.is_some();
        result
    }

    fn push(&mut self, written: &mut usize) -> io::Result<()> {
        let Self { out, lines, .. } = self;
        while let Some(rest) = lines.get(*written..).filter(|rest| !rest.is_empty()) {
            match out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => *written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Whoever shares the descriptor made it so.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(&*out, PollFlags::OUT)], None)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::output::NoteReport;

    /// A descriptor that takes so many bytes, then fails.
    struct Scarce {
        room: usize,
        taken: Vec<u8>,
        null: File,
    }

    impl Write for Scarce {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl AsFd for Scarce {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.null.as_fd()
        }
    }

    fn note(text: &str) -> Report {
        Report::Note(NoteReport { unix_ns: 0, text: text.into() })
    }

    #[test]
    fn a_line_that_was_torn_is_resumed_and_no_line_is_counted_twice() {
        let mut whole = Vec::new();
        ["a", "b", "c", "d"].iter().for_each(|text| Json.write(&note(text), &mut whole).unwrap());
        let line = whole.len() / 4;
        for room in 0..=3 * line {
            let null = File::open("/dev/null").unwrap();
            let mut outlet = Outlet::new(Box::new(Json), Scarce { room, taken: Vec::new(), null });
            ["a", "b", "c"].iter().for_each(|text| outlet.add(&note(text)));
            assert_eq!(outlet.write().is_ok(), room == 3 * line);
            // The room is still full.
            outlet.add(&note("d"));
            assert!(outlet.write().is_err());
            outlet.out.room = usize::MAX;
            outlet.add(&note("d"));
            outlet.write().unwrap();
            let taken = std::mem::take(&mut outlet.out.taken);
            let lines: Vec<&[u8]> = taken.split_inclusive(|byte| *byte == b'\n').collect();
            let of_whole: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
            assert!(lines.iter().all(|line| of_whole.contains(line)), "room {room}: {lines:?}");
            assert_eq!(outlet.take_lost() as usize + lines.len(), 5, "room {room}");
        }
    }

    #[test]
    fn a_descriptor_that_would_block_is_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
        let lines = std::thread::spawn(move || io::read_to_string(reader).unwrap().lines().count());
        let mut outlet = Outlet::new(Box::new(Json), writer);
        for _ in 0..4000 {
            outlet.add(&note("longer than a pipe takes"));
        }
        outlet.write().unwrap();
        drop(outlet);
        assert_eq!(lines.join().unwrap(), 4000);
    }
}
