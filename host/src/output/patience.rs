//! How long the end of the host waits for who takes what was written.

use std::time::{Duration, Instant};

/// Longest wait while nothing is taken.
pub(crate) const IDLE: Duration = Duration::from_secs(2);
/// Longest wait in all.
pub(crate) const IN_ALL: Duration = Duration::from_secs(10);

/// A wait that goes on as long as something is taken, and not for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    began: Instant,
    /// Since when nothing was taken.
    since: Instant,
    /// Amount that had been taken at `since`.
    done: u64,
    idle: Duration,
    in_all: Duration,
}

impl Patience {
    /// A wait that begins when so much was `done`.
    pub(crate) fn new(done: u64, (idle, in_all): (Duration, Duration)) -> Self {
        let began = Instant::now();
        Self { began, since: began, done, idle, in_all }
    }

    /// How long to wait at most before it is asked again, as so much is `done` now; `None` once it is over.
    pub(crate) fn left(&mut self, done: u64) -> Option<Duration> {
        if done != self.done {
            (self.done, self.since) = (done, Instant::now());
        }
        let idle = self.idle.checked_sub(self.since.elapsed())?;
        let all = self.in_all.checked_sub(self.began.elapsed())?;
        Some(idle.min(all)).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_goes_on_as_long_as_something_is_taken() {
        let bounds = (Duration::from_millis(50), Duration::from_millis(400));
        let mut idle = Patience::new(7, bounds);
        assert!(idle.left(7).is_some_and(|left| left <= bounds.0));
        std::thread::sleep(bounds.0);
        assert_eq!(idle.left(7), None);
        let (mut busy, began) = (Patience::new(0, bounds), Instant::now());
        let mut done = 0;
        while busy.left(done).is_some() {
            std::thread::sleep(Duration::from_millis(10));
            done += 1;
        }
        assert!(began.elapsed() >= bounds.1, "{:?}", began.elapsed());
    }
}
