//! Threads of the host: each is started here, and an end that nobody asked for is told.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{Builder, JoinHandle, panicking};

/// Longest name of a thread that the kernel shows.
const NAME_MAX: usize = 15;
/// Ends that are kept until somebody listens; the first is the one that counts.
const EARLY_MAX: usize = 8;

/// What a thread's return means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// The thread runs as long as the host does: that it returns is told.
    Lasting,
    /// The thread returns when its work is done: only a panic is told.
    Passing,
    /// The host goes on without the thread's work, and who wants it looks after it: no end is told.
    Optional,
}

/// How a thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadEnding {
    /// The thread's function returned.
    Returned,
    /// The thread panicked.
    Panicked,
}

/// A thread that has ended while the host runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadEnd {
    pub thread: String,
    pub ending: ThreadEnding,
}

impl Display for ThreadEnd {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let how = match self.ending {
            ThreadEnding::Returned => "ended",
            ThreadEnding::Panicked => "panicked",
        };
        write!(formatter, "the thread {} {how}", self.thread)
    }
}

type Listener = Box<dyn Fn(ThreadEnd) + Send>;

enum Heard {
    /// Nobody listens yet: what has ended so far.
    Early(Vec<ThreadEnd>),
    By(Listener),
}

static HEARD: Mutex<Heard> = Mutex::new(Heard::Early(Vec::new()));

/// Has `listener` told of every thread that ends, those among them that have ended already.
pub(crate) fn listen(listener: impl Fn(ThreadEnd) + Send + 'static) {
    let mut heard = HEARD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Heard::Early(early) = &mut *heard {
        early.drain(..).for_each(&listener);
    }
    *heard = Heard::By(Box::new(listener));
}

/// Starts a thread.
///
/// # Errors
/// When the kernel gives none.
pub(crate) fn spawn<T: Send + 'static>(
    name: &str,
    task: Task,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    let watched = Watched { thread: name.to_owned(), task };
    Builder::new().name(name.chars().take(NAME_MAX).collect()).spawn(move || {
        let _watched = watched;
        body()
    })
}

/// Name of the environment variable that names a file; a thread whose name stands in that file panics at its next turn.
/// A test's means, which only builds with debug assertions have.
const PANIC: &str = "KRSI_TEST_PANIC";

/// Begins a turn of a thread's loop: panics if a test wants this thread to.
pub(crate) fn turn() {
    static ASKED: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    let file = ASKED.get_or_init(|| std::env::var_os(PANIC).map(PathBuf::from));
    let Some(file) = file else { return };
    let own = std::thread::current();
    let is_meant = std::fs::read_to_string(file).is_ok_and(|name| own.name() == Some(name.trim()));
    assert!(!is_meant, "{} names this thread", file.display());
}

/// Tells of the end of a thread when it is dropped there.
struct Watched {
    thread: String,
    task: Task,
}

impl Drop for Watched {
    fn drop(&mut self) {
        let ending = if panicking() { ThreadEnding::Panicked } else { ThreadEnding::Returned };
        let is_told = match self.task {
            Task::Lasting => true,
            Task::Passing => ending == ThreadEnding::Panicked,
            Task::Optional => false,
        };
        if !is_told {
            return;
        }
        let end = ThreadEnd { thread: std::mem::take(&mut self.thread), ending };
        match &mut *HEARD.lock().unwrap_or_else(PoisonError::into_inner) {
            Heard::Early(early) if early.len() < EARLY_MAX => early.push(end),
            Heard::Early(_) => {}
            Heard::By(listener) => listener(end),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn ends_that_nobody_asked_for_are_told_with_the_name() {
        let end = |name: &str, task, panics: bool| {
            let body = move || assert!(!panics, "told to panic");
            // The panic is the test's own.
            let _panicked = spawn(name, task, body).unwrap().join();
        };
        end("early-and-longer-than-shown", Task::Lasting, false);
        let (told, ends) = channel();
        listen(move |end| told.send(end).unwrap());
        end("reader", Task::Lasting, true);
        end("plugin-a", Task::Passing, false);
        end("plugin-b", Task::Passing, true);
        // Threads of other tests end too.
        let own = ["early-and-longer-than-shown", "reader", "plugin-a", "plugin-b"];
        let ends = ends.try_iter().filter(|end| own.contains(&&*end.thread));
        let ends: Vec<String> = ends.map(|end| end.to_string()).collect();
        let expected = [
            "the thread early-and-longer-than-shown ended",
            "the thread reader panicked",
            "the thread plugin-b panicked",
        ];
        assert_eq!(ends, expected);
    }
}
