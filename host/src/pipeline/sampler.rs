//! Samples that a plugin asked for, read by a thread that runs while there are asks and that nothing waits for.
//! docs/adr/0033-samples-are-records-that-were-asked-for.md

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use krsi_plugin_schema::latest::{
    AskSamples, Hook, ProcessKey, RecordRef, Refusal, Sample, SampleState,
};

use super::clock;
use super::grant_cell::GrantCell;
use super::hand_over::{Gone, hand_over};
use super::shared::Shared;
use crate::enrich::{self, Around, MachineRoot, SampleParts};
use crate::policy::{DueSample, GrantSpec, SampleBook, SampleError, SampleLimits, Sampling};
use crate::route::queue::Queue;
use crate::route::scope::Scope;
use crate::thread::{self, Task};

/// Where processes are read.
const PROC: &str = "/proc";

/// The asks of a plugin, and who reads for them.
pub(super) struct Sampler {
    name: String,
    shared: Arc<Shared>,
    words: Arc<GrantCell>,
    /// Gone once the plugin is.
    queue: Weak<Queue>,
    asks: Mutex<Asks>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Asks {
    book: SampleBook,
    /// Whether the thread runs.
    is_read: bool,
}

impl Sampler {
    /// For the plugin of a name, by the operator's word on it.
    pub(super) fn new(
        name: String,
        shared: Arc<Shared>,
        words: Arc<GrantCell>,
        queue: &Arc<Queue>,
    ) -> Self {
        let (queue, asks) = (Arc::downgrade(queue), Mutex::default());
        Self { name, shared, words, queue, asks, changed: Condvar::new() }
    }

    /// Ends every ask: the plugin is gone, or may not have them any more.
    pub(super) fn end_all(&self) {
        self.lock().book.end_all();
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Asks> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads until there is no ask.
    fn run(&self) {
        while let Some(due) = self.wait() {
            let word = self.words.spec();
            let mut round = Round::default();
            let mut around =
                Around { machine: MachineRoot::read(Path::new(PROC)), ..Around::default() };
            for one in &due {
                match self.refusal(&word, one.asked.process) {
                    Some((refusal, why)) => {
                        self.lock().book.end(one.asked.token);
                        self.words.queue_outcome(one.asked.token, refusal, why);
                    }
                    None => self.read(one, &due, &mut around, &mut round),
                }
            }
            if round.records > 0
                && let Err(Gone) = hand_over(&self.queue, &round.frames, round.records)
            {
                self.end_all();
            }
        }
    }

    /// Waits for what is due; `None` once there is no ask, and the thread is to end.
    fn wait(&self) -> Option<Vec<DueSample>> {
        let mut asks = self.lock();
        loop {
            let Some(next) = asks.book.next_boot_ns() else {
                asks.is_read = false;
                return None;
            };
            let now = clock::boot_ns();
            if next <= now {
                let due = asks.book.take_due(now);
                if !due.is_empty() {
                    return Some(due);
                }
            }
            let most = Duration::from_nanos(next.saturating_sub(now).max(1_000_000));
            let woken = self.changed.wait_timeout(asks, most);
            asks = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Why a process may not be read any more, by the operator's word of now.
    fn refusal(&self, word: &GrantSpec, process: ProcessKey) -> Option<(Refusal, &'static str)> {
        let is_shown = word.hooks.is_none_or(|hooks| hooks.contains(Hook::BprmCommittedCreds));
        if !is_shown || word.samples.asks == 0 {
            return Some((Refusal::NotGranted, "samples of processes are not granted any more"));
        }
        if word.scope == Scope::System {
            return None;
        }
        let processes = self.shared.processes();
        let is_within = processes.get(process).is_none_or(|process| word.scope.holds(process));
        (!is_within).then_some((Refusal::OutOfScope, "the process left the plugin's scope"))
    }

    /// Reads a process for an ask. Whoever else asked for one that has ended is told too.
    fn read(&self, one: &DueSample, due: &[DueSample], around: &mut Around, round: &mut Round) {
        let AskSamples { token, process, usage, arguments, .. } = one.asked;
        let parts = SampleParts { usage, arguments };
        let sample = enrich::sample(Path::new(PROC), process, parts, around);
        let has_ended = sample.state == SampleState::Ended;
        let is_last = one.is_last() || has_ended;
        let boot_ns = clock::boot_ns();
        round.add(&Sample { token, number: one.number, is_last, boot_ns, ..sample });
        if !has_ended {
            return;
        }
        for (token, taken) in self.lock().book.ended(process) {
            // Those that are due are read by themselves.
            if !due.iter().any(|other| other.asked.token == token) {
                let (number, state) = (taken.saturating_add(1), SampleState::Ended);
                let ended = Sample { token, process, number, boot_ns, state, ..Sample::default() };
                round.add(&Sample { is_last: true, ..ended });
            }
        }
    }
}

/// Samples that were read together and not handed over yet.
#[derive(Debug, Default)]
struct Round {
    frames: Vec<u8>,
    records: u32,
    /// Asks that are at their end.
    ended: HashSet<u32>,
}

impl Round {
    fn add(&mut self, sample: &Sample<'_>) {
        if sample.is_last && !self.ended.insert(sample.token) {
            return;
        }
        // 64 KiB of arguments, a path and 1024 connections are far from a frame's limit, each byte being escaped.
        if RecordRef::Sample(sample).push(&mut self.frames).is_ok() {
            self.records += 1;
        }
    }
}

/// Says that nobody reads any more, however the thread ends.
struct Reading(Arc<Sampler>);

impl Drop for Reading {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The next ask starts another thread, for those that are left too.
            self.0.lock().is_read = false;
        }
    }
}

impl Sampling for Arc<Sampler> {
    fn begin(
        &self,
        ask: &AskSamples,
        limits: SampleLimits,
        now_boot_ns: u64,
    ) -> Result<(), SampleError> {
        let mut asks = self.lock();
        asks.book.begin(ask, limits, now_boot_ns)?;
        if asks.is_read {
            drop(asks);
            self.changed.notify_one();
            return Ok(());
        }
        let reading = Reading(Arc::clone(self));
        let body = move || reading.0.run();
        match thread::spawn(&format!("samples-{}", self.name), Task::Optional, body) {
            Ok(_detached) => {
                asks.is_read = true;
                Ok(())
            }
            Err(source) => {
                asks.book.end(ask.token);
                Err(SampleError::Thread { source })
            }
        }
    }

    fn end(&self, token: u32) -> bool {
        let ended = self.lock().book.end(token);
        self.changed.notify_one();
        ended
    }
}
