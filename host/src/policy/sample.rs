//! Samples that a plugin asked for and that are due: a book without a clock or a thread.
//!
//! Asks are kept in order; what is due is taken the longest due first, so many at a time as a plugin may have. A sample
//! that could not be taken in time comes later, and the next one of its ask is that much later too: nothing piles up.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use krsi_plugin_schema::latest::{AskSamples, ProcessKey, Refusal};

/// Milliseconds between two samples of an ask.
const EVERY_MS: RangeInclusive<u64> = 1000..=3_600_000;
/// Samples of an ask.
const TIMES: RangeInclusive<u32> = 1..=100_000;
/// Times at which samples are taken: those that are due within one are read together.
const STEP_NS: u64 = 250_000_000;
/// Steps of a second.
const STEPS: u32 = 4;

/// What a plugin may have of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleLimits {
    /// Asks that are not at their end.
    pub asks: usize,
    /// Samples that are taken in a second.
    pub per_second: u32,
}

impl SampleLimits {
    /// Time between two steps: longer where a step's only sample would be too many.
    fn step_ns(self) -> u64 {
        match self.per_second {
            few @ 1..STEPS => 1_000_000_000 / u64::from(few),
            _ => STEP_NS,
        }
    }

    /// Samples of one step.
    const fn per_step(self) -> usize {
        let per_step = self.per_second / STEPS;
        if per_step == 0 { 1 } else { per_step as usize }
    }
}

/// Why samples are refused.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// Too often, or too seldom.
    #[error("samples every {every_ms} ms: {} to {} ms are allowed", EVERY_MS.start(), EVERY_MS.end())]
    Every { every_ms: u64 },
    /// The number of samples is 0 or too large.
    #[error("{times} samples: 1 to {} are allowed", TIMES.end())]
    Times { times: u32 },
    /// Nothing that a sample says.
    #[error("neither usage nor arguments are asked for")]
    Nothing,
    /// Another ask of the plugin has that token.
    #[error("an ask with that token is not at its end")]
    Token,
    /// As many asks as a plugin may have.
    #[error("{asks} asks for samples are not at their end, no more are granted (`samples`)")]
    TooMany { asks: usize },
    /// Nobody can take samples.
    #[error("no thread can take samples: {source}")]
    Thread { source: std::io::Error },
}

impl SampleError {
    /// The refusal that the plugin gets.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Every { .. } | Self::Times { .. } | Self::Nothing => Refusal::Invalid,
            Self::Token => Refusal::TokenInUse,
            Self::TooMany { .. } => Refusal::TooMany,
            Self::Thread { .. } => Refusal::Unsupported,
        }
    }
}

/// Where a plugin's asks for samples go.
pub trait Sampling {
    /// Begins to take samples.
    ///
    /// # Errors
    /// When they are refused.
    fn begin(
        &self,
        ask: &AskSamples,
        limits: SampleLimits,
        now_boot_ns: u64,
    ) -> Result<(), SampleError>;

    /// Ends an ask; whether there was one.
    fn end(&self, token: u32) -> bool;
}

/// An ask that is not at its end.
#[derive(Clone, Copy, Debug)]
struct Ask {
    asked: AskSamples,
    /// Samples that were taken.
    taken: u32,
    due_boot_ns: u64,
}

/// A sample that is to be taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DueSample {
    pub(crate) asked: AskSamples,
    /// Number of the sample, from 1 on.
    pub(crate) number: u32,
}

impl DueSample {
    /// Whether it is the last of its ask.
    pub(crate) const fn is_last(&self) -> bool {
        self.number >= self.asked.times
    }
}

/// The asks of a plugin.
#[derive(Debug)]
pub struct SampleBook {
    asks: Vec<Ask>,
    limits: SampleLimits,
    /// Time at which samples were taken last, nanoseconds of `CLOCK_BOOTTIME`.
    taken_boot_ns: u64,
}

impl Default for SampleBook {
    fn default() -> Self {
        let limits = SampleLimits { asks: 0, per_second: 0 };
        Self { asks: Vec::new(), limits, taken_boot_ns: 0 }
    }
}

impl SampleBook {
    pub(crate) fn begin(
        &mut self,
        ask: &AskSamples,
        limits: SampleLimits,
        now_boot_ns: u64,
    ) -> Result<(), SampleError> {
        let AskSamples { token, every_ms, times, usage, arguments, .. } = *ask;
        if !TIMES.contains(&times) {
            return Err(SampleError::Times { times });
        }
        // Of a single sample it says nothing.
        if times > 1 && !EVERY_MS.contains(&every_ms) {
            return Err(SampleError::Every { every_ms });
        }
        if !usage && !arguments {
            return Err(SampleError::Nothing);
        }
        if self.asks.iter().any(|ask| ask.asked.token == token) {
            return Err(SampleError::Token);
        }
        if self.asks.len() >= limits.asks {
            return Err(SampleError::TooMany { asks: self.asks.len() });
        }
        self.limits = limits;
        self.asks.push(Ask { asked: *ask, taken: 0, due_boot_ns: now_boot_ns });
        Ok(())
    }

    /// Ends an ask; whether there was one.
    pub(crate) fn end(&mut self, token: u32) -> bool {
        let before = self.asks.len();
        self.asks.retain(|ask| ask.asked.token != token);
        self.asks.len() < before
    }

    /// Ends every ask.
    pub(crate) fn end_all(&mut self) {
        self.asks.clear();
    }

    /// Ends the asks about a process that has ended, and returns their tokens and how many samples each had.
    pub(crate) fn ended(&mut self, process: ProcessKey) -> Vec<(u32, u32)> {
        let (ended, rest) = std::mem::take(&mut self.asks)
            .into_iter()
            .partition(|ask| ask.asked.process == process);
        self.asks = rest;
        let ended: Vec<Ask> = ended;
        ended.iter().map(|ask| (ask.asked.token, ask.taken)).collect()
    }

    /// Whether no ask is left.
    #[cfg(test)]
    const fn is_empty(&self) -> bool {
        self.asks.is_empty()
    }

    /// When the next samples can be taken; `None` without an ask.
    pub(crate) fn next_boot_ns(&self) -> Option<u64> {
        let due = self.asks.iter().map(|ask| ask.due_boot_ns).min()?;
        Some(due.max(self.taken_boot_ns.saturating_add(self.limits.step_ns())))
    }

    /// Samples that are to be taken now, the longest due first.
    pub(crate) fn take_due(&mut self, now_boot_ns: u64) -> Vec<DueSample> {
        if self.taken_boot_ns.saturating_add(self.limits.step_ns()) > now_boot_ns
            && self.taken_boot_ns > 0
        {
            return Vec::new();
        }
        let due = |ask: &&mut Ask| ask.due_boot_ns <= now_boot_ns;
        let mut all: Vec<&mut Ask> = self.asks.iter_mut().filter(due).collect();
        // Of those that are due at the same time the first stays first.
        all.sort_by_key(|ask| ask.due_boot_ns);
        all.truncate(self.limits.per_step());
        let take = |ask: &mut Ask| {
            ask.taken += 1;
            ask.due_boot_ns =
                now_boot_ns.saturating_add(ask.asked.every_ms.saturating_mul(1_000_000));
            DueSample { asked: ask.asked, number: ask.taken }
        };
        let taken: Vec<DueSample> = all.into_iter().map(take).collect();
        if !taken.is_empty() {
            self.taken_boot_ns = now_boot_ns;
        }
        self.asks.retain(|ask| ask.taken < ask.asked.times);
        taken
    }
}

/// A book alone: of a plugin that is given its samples by hand.
impl Sampling for Mutex<SampleBook> {
    fn begin(
        &self,
        ask: &AskSamples,
        limits: SampleLimits,
        now_boot_ns: u64,
    ) -> Result<(), SampleError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).begin(ask, limits, now_boot_ns)
    }

    fn end(&self, token: u32) -> bool {
        self.lock().unwrap_or_else(PoisonError::into_inner).end(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SampleLimits = SampleLimits { asks: 3, per_second: 8 };
    const SECOND: u64 = 1_000_000_000;

    fn ask(token: u32, times: u32) -> AskSamples {
        let process = ProcessKey { start_boot_ns: 1, tgid: token };
        AskSamples { token, process, every_ms: 1000, times, usage: true, arguments: false }
    }

    fn due(book: &mut SampleBook, now: u64) -> Vec<(u32, u32, bool)> {
        let due = book.take_due(now).into_iter();
        due.map(|due| (due.asked.token, due.number, due.is_last())).collect()
    }

    #[test]
    fn what_is_due_is_taken_in_order_and_no_more_than_may_be() {
        let mut book = SampleBook::default();
        assert_eq!(book.next_boot_ns(), None);
        for token in 1..=3 {
            book.begin(&ask(token, 2), LIMITS, SECOND).unwrap();
        }
        assert_eq!(due(&mut book, SECOND - 1), []);
        assert_eq!(due(&mut book, SECOND), [(1, 1, false), (2, 1, false)]);
        // The third waits for the next step, and comes before those that are due again.
        assert_eq!(
            (book.next_boot_ns(), due(&mut book, SECOND + 1)),
            (Some(SECOND + STEP_NS), vec![])
        );
        assert_eq!(due(&mut book, SECOND + STEP_NS), [(3, 1, false)]);
        assert_eq!(due(&mut book, 9 * SECOND), [(1, 2, true), (2, 2, true)]);
        assert_eq!(book.ended(ask(3, 2).process), [(3, 1)]);
        assert!(book.is_empty());
    }

    #[test]
    fn a_limit_of_one_a_second_is_one_a_second() {
        let (mut book, limits) = (SampleBook::default(), SampleLimits { per_second: 1, ..LIMITS });
        for token in 1..=2 {
            book.begin(&ask(token, 1), limits, SECOND).unwrap();
        }
        assert_eq!(due(&mut book, SECOND), [(1, 1, true)]);
        assert_eq!(book.next_boot_ns(), Some(2 * SECOND));
        assert_eq!(due(&mut book, 2 * SECOND - 1), []);
        assert_eq!(due(&mut book, 2 * SECOND), [(2, 1, true)]);
    }

    #[test]
    fn asks_are_bounded_and_refused_by_name() {
        let mut book = SampleBook::default();
        let mut refused = |change: &dyn Fn(&mut AskSamples), words: &str| {
            let mut ask = ask(1, 2);
            change(&mut ask);
            let error = book.begin(&ask, LIMITS, 1).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            error.refusal()
        };
        assert_eq!(refused(&|ask| ask.every_ms = 999, "999 ms"), Refusal::Invalid);
        assert_eq!(refused(&|ask| ask.every_ms = u64::MAX, "3600000 ms"), Refusal::Invalid);
        assert_eq!(refused(&|ask| ask.times = 0, "0 samples"), Refusal::Invalid);
        assert_eq!(refused(&|ask| ask.times = u32::MAX, "100000"), Refusal::Invalid);
        assert_eq!(refused(&|ask| ask.usage = false, "neither"), Refusal::Invalid);
        book.begin(&AskSamples { every_ms: 0, ..ask(1, 1) }, LIMITS, 1).unwrap();
        assert_eq!(book.begin(&ask(1, 2), LIMITS, 1).unwrap_err().refusal(), Refusal::TokenInUse);
        (2..=3).for_each(|token| book.begin(&ask(token, 1), LIMITS, 1).unwrap());
        let many = book.begin(&ask(4, 1), LIMITS, 1).unwrap_err();
        assert_eq!(
            (many.refusal(), many.to_string().contains("`samples`")),
            (Refusal::TooMany, true)
        );
        assert!(book.end(2) && !book.end(2));
        book.begin(&ask(4, 1), LIMITS, 1).unwrap();
        assert_eq!(due(&mut book, 5), [(1, 1, true), (3, 1, true)]);
        book.end_all();
        assert_eq!((due(&mut book, u64::MAX), book.is_empty()), (vec![], true));
    }
}
