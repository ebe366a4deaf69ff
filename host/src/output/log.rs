//! The host's own log: lines wait, in bounded room, for a thread that writes them to standard error, so that nobody
//! else ever waits for one that takes nothing.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::patience::{IDLE, IN_ALL, Patience};
use crate::thread::{self, Task};

/// Bytes that wait; lines that find no room are counted as lost.
const ROOM: usize = 1 << 20;
/// What of it lines of plugins may take, so that theirs never cost the host its own.
const PLUGINS_ROOM: usize = ROOM / 2;
/// How long the end waits for standard error when it is not to wait: what a line takes that somebody reads.
const HURRIED: Duration = Duration::from_millis(100);
/// Bytes that are written at once.
const CHUNK: usize = 64 << 10;

/// Origin of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Host,
    Plugin,
}

/// The way to standard error.
#[derive(Debug, Default)]
struct Lines {
    waiting: Mutex<WaitingLines>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct WaitingLines {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that the thread has taken and not written yet.
    taken: u64,
    written: u64,
    lost: u64,
    /// Of the lost ones, those that were told on standard error itself.
    told: u64,
    /// How many were written when a wait was given up, if one was.
    given_up_at: Option<u64>,
    /// Whether the end is not to wait.
    is_hurried: bool,
    /// Whether a thread writes.
    is_started: bool,
}

static LINES: Lines = Lines {
    waiting: Mutex::new(WaitingLines {
        lines: VecDeque::new(),
        bytes: 0,
        taken: 0,
        written: 0,
        lost: 0,
        told: 0,
        given_up_at: None,
        is_hurried: false,
        is_started: false,
    }),
    news: Condvar::new(),
};

/// Starts the thread that writes what is logged.
///
/// # Errors
/// When the kernel gives no thread.
pub(crate) fn start_log() -> io::Result<()> {
    thread::spawn("log", Task::Lasting, || LINES.write(&mut io::stderr()))?;
    LINES.lock().is_started = true;
    Ok(())
}

/// Writes lines to standard error: by the thread where there is one, else at once.
///
/// # Errors
/// When standard error takes nothing, as far as that is known.
pub(crate) fn say(lines: &[u8]) -> io::Result<()> {
    if LINES.lock().is_started {
        LINES.push(lines, Who::Host);
        return Ok(());
    }
    io::stderr().write_all(lines)
}

/// Lines that standard error had no room for.
#[must_use]
pub(crate) fn lost_lines() -> u64 {
    LINES.lock().lost
}

/// Has the end of the log wait no longer than a line takes that somebody reads.
pub(crate) fn hurry_log() {
    LINES.lock().is_hurried = true;
}

/// Waits until what was logged is written; not for long where standard error takes nothing, and not twice for that.
pub(crate) fn end_log() {
    if LINES.lock().is_started {
        LINES.wait();
    }
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, WaitingLines> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8], who: Who) {
        let mut waiting = self.lock();
        let room = if who == Who::Plugin { PLUGINS_ROOM } else { ROOM };
        if waiting.bytes.saturating_add(line.len()) > room {
            waiting.lost += 1;
            return;
        }
        // The thread waits for the first line only: each further one costs no system call.
        let is_first = waiting.lines.is_empty();
        waiting.bytes += line.len();
        waiting.lines.push_back(line.to_owned());
        if is_first {
            self.news.notify_all();
        }
    }

    /// The next lines, and how many they are; waits for some.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut waiting = self.lock();
        while waiting.lines.is_empty() {
            waiting = self.news.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut bytes, mut count) = (Vec::new(), 0);
        while bytes.len() < CHUNK
            && let Some(line) = waiting.lines.pop_front()
        {
            bytes.extend_from_slice(&line);
            count += 1;
        }
        waiting.bytes -= bytes.len();
        waiting.taken = count;
        (bytes, count)
    }

    /// Writes what comes, for ever.
    fn write(&self, out: &mut impl Write) {
        loop {
            let (mut bytes, count) = self.take();
            let untold = {
                let waiting = self.lock();
                waiting.lost - waiting.told
            };
            if untold > 0 {
                let line = format!(
                    "krsi-host: {untold} lines of this log were lost, as nobody took them\n"
                );
                bytes.extend_from_slice(line.as_bytes());
            }
            let result = out.write_all(&bytes);
            let mut waiting = self.lock();
            waiting.taken = 0;
            match result {
                Ok(()) => {
                    waiting.written += count;
                    waiting.told += untold;
                }
                Err(_) => waiting.lost += count,
            }
            self.news.notify_all();
        }
    }

    /// Waits until nothing waits any more, while something is written.
    fn wait(&self) {
        let mut waiting = self.lock();
        let is_stuck = waiting.given_up_at == Some(waiting.written);
        let bounds =
            if waiting.is_hurried || is_stuck { (HURRIED, HURRIED) } else { (IDLE, IN_ALL) };
        let mut patience = Patience::new(waiting.written, bounds);
        while !waiting.lines.is_empty() || waiting.taken > 0 {
            let Some(left) = patience.left(waiting.written) else {
                waiting.given_up_at = Some(waiting.written);
                return;
            };
            let waited = self.news.wait_timeout(waiting, left);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Writer of `tracing` to the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LogWriter;

/// A line of the log that is being written.
#[derive(Debug)]
pub(crate) struct LogLine(Who);

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine(Who::Host)
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> LogLine {
        let is_plugin = about.target().starts_with("krsi_host::plugin::world::log");
        LogLine(if is_plugin { Who::Plugin } else { Who::Host })
    }
}

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.push(line, self.0);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_standard_error_that_takes_nothing_stops_nobody() {
        let lines: &'static Lines = Box::leak(Box::default());
        let (mut reader, mut writer) = io::pipe().unwrap();
        std::thread::spawn(move || lines.write(&mut writer));
        // More than a pipe and the room take, by plugins alone.
        let line = [b'p'; 1023].iter().copied().chain([b'\n']).collect::<Vec<_>>();
        for _ in 0..2048 {
            lines.push(&line, Who::Plugin);
        }
        let lost = lines.lock().lost;
        assert!(lost > 1000, "{lost}");
        lines.push(b"the host's\n", Who::Host);
        assert_eq!(lines.lock().lost, lost, "a plugin's log left the host no room");
        let began = Instant::now();
        lines.wait();
        assert!((IDLE..IN_ALL).contains(&began.elapsed()), "{:?}", began.elapsed());
        // Nobody waits as long a second time, nor at all who is told to hurry.
        let again = Instant::now();
        lines.wait();
        lines.lock().given_up_at = None;
        lines.lock().is_hurried = true;
        lines.wait();
        assert!(again.elapsed() < IDLE, "{:?}", again.elapsed());
        lines.lock().is_hurried = false;
        // Somebody reads after all: everything that waited comes, and what is missing is told.
        let mut text = Vec::new();
        while !text.ends_with(b"the host's\n") {
            let mut chunk = vec![0; 1 << 16];
            let count = reader.read(&mut chunk).unwrap();
            text.extend_from_slice(&chunk[..count]);
        }
        lines.push(b"later\n", Who::Host);
        lines.wait();
        let text = String::from_utf8(text).unwrap();
        let missing = format!("krsi-host: {lost} lines of this log were lost");
        assert!(text.contains(&missing), "{}", text.len());
        assert_eq!(text.matches("pppp\n").count() as u64, 2048 - lost);
    }

    #[test]
    fn a_standard_error_that_is_closed_or_full_costs_its_lines_and_no_wait() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines: &'static Lines = Box::leak(Box::default());
        std::thread::spawn(move || lines.write(&mut Closed));
        for line in [b"a\n", b"b\n", b"c\n"] {
            lines.push(line, Who::Host);
        }
        let began = Instant::now();
        lines.wait();
        assert!(began.elapsed() < IDLE, "{:?}", began.elapsed());
        assert_eq!(lines.lock().lost, 3);
    }
}
