//! The way of reports to the outputs: denials first, then what a person is called for, then the rest; and of every
//! kind only so many a second.
//!
//! Each kind of each plugin has a rate of its own, so that a flood of one takes no room from another. What is
//! left out is counted, and a line a second says how much of what it was.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock;
use crate::loss::Loss;
use crate::output::{NoteReport, Patience, Report};
use crate::policy::Allowance;

/// Reports that wait for the outputs in each class; beyond, they are counted as lost.
const WAITING_MAX: usize = 8192;

/// A kind of reports, and how many of it are told in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ReportKind {
    words: &'static str,
    per_second: u32,
}

const fn kind(words: &'static str, per_second: u32) -> ReportKind {
    ReportKind { words, per_second }
}

/// The kind of a report, and the plugin or hook whose rate it is counted on; none for what is always told.
fn kind_of(report: &Report) -> Option<(ReportKind, &str)> {
    Some(match report {
        Report::Verdict(verdict) if is_denial(report) => (kind("denials", 16_384), &verdict.plugin),
        Report::Verdict(verdict) => (kind("audited calls", 1024), &verdict.plugin),
        Report::Alert(alert) => (kind("alerts", 8192), &alert.plugin),
        Report::Watch(watch) => (kind("calls seen by watches", 1024), &watch.hook),
        Report::Rule(rule) => (kind("rules", 1024), &rule.plugin),
        Report::RuleEnd(end) => (kind("ends of rules", 1024), &end.plugin),
        Report::Refusal(refusal) => (kind("refusals", 100), &refusal.plugin),
        Report::Failure(failure) => (kind("failures", 100), &failure.plugin),
        Report::Note(_) => (kind("notes", 1024), "the host"),
        Report::Summary(_) => return None,
    })
}

/// What is told before what: the first class first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Calls that were refused.
    Denials = 0,
    /// Reports that a person is called for.
    Urgent = 1,
    /// Reports of all other kinds.
    Rest = 2,
}

const CLASSES: usize = 3;

fn is_denial(report: &Report) -> bool {
    class_of(report) == Class::Denials
}

fn class_of(report: &Report) -> Class {
    match report {
        Report::Verdict(verdict) if verdict.verdict == "denied" => Class::Denials,
        Report::Alert(_) | Report::Failure(_) | Report::Note(_) | Report::Summary(_) => {
            Class::Urgent
        }
        Report::Verdict(_)
        | Report::Watch(_)
        | Report::Rule(_)
        | Report::RuleEnd(_)
        | Report::Refusal(_) => Class::Rest,
    }
}

/// What is left of a rate, and what it left out since that was last told.
#[derive(Debug)]
struct Rate {
    allowance: Allowance,
    left_out: u64,
}

/// Reports that wait, and what the outputs do.
#[derive(Debug, Default)]
struct ReportQueue {
    inside: Mutex<Inside>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Inside {
    classes: [VecDeque<Report>; CLASSES],
    /// The host's last word, once nothing else comes.
    last: Option<Report>,
    is_ended: bool,
    /// Since when the outputs have been writing what they took, and how many reports that is.
    taken: Option<(Instant, u64)>,
    /// Reports that were written, or lost by the outputs.
    done: u64,
}

impl Inside {
    fn pop(&mut self) -> Option<Report> {
        self.classes.iter_mut().find_map(VecDeque::pop_front)
    }

    /// Reports that are not written yet.
    fn left(&self) -> u64 {
        let waiting: usize = self.classes.iter().map(VecDeque::len).sum();
        let taken = self.taken.map_or(0, |(_, reports)| reports);
        waiting as u64 + taken + u64::from(self.last.is_some())
    }
}

impl ReportQueue {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end of the report queues.
#[derive(Debug)]
pub(super) struct Reports {
    way: Arc<ReportQueue>,
    rates: Mutex<BTreeMap<(ReportKind, String), Rate>>,
}

/// The receiving end of the report queues.
#[derive(Debug)]
pub struct ReportReceiver(Arc<ReportQueue>);

/// A way for reports.
pub(super) fn channel() -> (Reports, ReportReceiver) {
    let way: Arc<ReportQueue> = Arc::default();
    (Reports { way: Arc::clone(&way), rates: Mutex::default() }, ReportReceiver(way))
}

impl Reports {
    /// Sends a report, if its rate and the outputs have room for it.
    ///
    /// # Errors
    /// Where it is lost.
    pub(super) fn send(&self, report: Report) -> Result<(), Loss> {
        if !self.is_within_rate(&report, clock::boot_ns()) {
            return Err(Loss::Rate);
        }
        if self.push(report) { Ok(()) } else { Err(Loss::Output) }
    }

    /// Says what was left out since it was last said, and how much.
    pub(super) fn report_left_out(&self) {
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        for ((kind, whose), rate) in &mut *rates {
            let left_out = std::mem::take(&mut rate.left_out);
            if left_out > 0 {
                let unix_ns = clock::unix_ns(clock::boot_ns());
                let ReportKind { words, per_second } = kind;
                let text = format!(
                    "{whose}: {left_out} more {words} were not reported: the limit is {per_second} a second"
                );
                // What has no room here is part of what was left out.
                let _told = self.push(Report::Note(NoteReport { unix_ns, text }));
            }
        }
    }

    /// Says that nothing comes any more, but for the host's last word.
    pub(super) fn end(&self, last: Option<Report>) {
        let mut inside = self.way.lock();
        (inside.last, inside.is_ended) = (last, true);
        self.way.news.notify_all();
    }

    /// How long the outputs have been at what they write, and how many reports are left to write.
    pub(super) fn state(&self) -> (Duration, u64) {
        let inside = self.way.lock();
        let busy = inside.taken.map(|(since, _)| since.elapsed());
        (busy.unwrap_or_default(), inside.left())
    }

    /// Waits until all is written: no longer than the first of `bounds` while nothing is, and than the second in all.
    /// Returns how much is left.
    pub(super) fn rest(&self, bounds: (Duration, Duration)) -> u64 {
        let mut inside = self.way.lock();
        let mut patience = Patience::new(inside.done, bounds);
        while inside.left() > 0
            && let Some(left) = patience.left(inside.done)
        {
            let waited = self.way.news.wait_timeout(inside, left);
            inside = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inside.left()
    }

    fn push(&self, report: Report) -> bool {
        let mut inside = self.way.lock();
        // Whoever takes reports waits for the first only: each further one costs no system call.
        let is_first = inside.classes.iter().all(VecDeque::is_empty);
        let class = class_of(&report) as usize;
        let Some(waiting) = inside.classes.get_mut(class) else { return false };
        let has_room = waiting.len() < WAITING_MAX;
        if has_room {
            waiting.push_back(report);
            if is_first {
                self.way.news.notify_all();
            }
        }
        has_room
    }

    fn is_within_rate(&self, report: &Report, now_boot_ns: u64) -> bool {
        let Some((kind, whose)) = kind_of(report) else { return true };
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates
            .entry((kind, whose.to_owned()))
            .or_insert_with(|| Rate { allowance: Allowance::new(kind.per_second), left_out: 0 });
        let within = rate.allowance.take(now_boot_ns);
        rate.left_out += u64::from(!within);
        within
    }
}

impl ReportReceiver {
    /// The next report, of the first class that has one, which is written from now on; none once nobody sends one
    /// any more.
    pub(super) fn recv(&self) -> Option<Report> {
        let mut inside = self.0.lock();
        loop {
            let next = inside.pop();
            let next = next.or_else(|| if inside.is_ended { inside.last.take() } else { None });
            if next.is_some() || inside.is_ended {
                inside.taken = next.as_ref().map(|_| (Instant::now(), 1));
                return next;
            }
            inside = self.0.news.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next one that is there, of the first class that has one: written along with what was taken before.
    pub fn try_recv(&mut self) -> Option<Report> {
        let mut inside = self.0.lock();
        let next = inside.pop()?;
        if let Some((_, reports)) = &mut inside.taken {
            *reports += 1;
        }
        Some(next)
    }

    /// Says that what was taken is written, or lost.
    pub(super) fn done(&self) {
        let mut inside = self.0.lock();
        inside.done += inside.taken.take().map_or(0, |(_, reports)| reports);
        self.0.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{CallObject, Decider, RefusalReport, VerdictReport};

    fn refusal(plugin: &str) -> Report {
        let (unix_ns, plugin, reason) = (0, plugin.to_owned(), "no".to_owned());
        Report::Refusal(RefusalReport { unix_ns, plugin, token: 1, reason })
    }

    fn denial() -> Report {
        Report::Verdict(VerdictReport {
            unix_ns: 0,
            verdict: "denied",
            hook: "file_open".into(),
            errno: "EPERM".into(),
            object: CallObject::Name("/a".into()),
            tgid: 1,
            uid: 0,
            comm: String::new(),
            exe: String::new(),
            cgroup: String::new(),
            labels: Vec::new(),
            rule_id: 1,
            plugin: "other".into(),
            reason: String::new(),
            until_unix_ns: None,
            decided_by: Decider::Rule,
            ending: String::new(),
        })
    }

    fn taken(waiting: &mut ReportReceiver) -> Vec<Report> {
        std::iter::from_fn(|| waiting.try_recv()).collect()
    }

    #[test]
    fn a_flood_of_refusals_keeps_no_denial_back() {
        let (reports, mut waiting) = channel();
        // More than wait for the outputs, by as many plugins as no rate of one would hold back.
        for plugin in 0..100 {
            (0..200).for_each(|_| _ = reports.send(refusal(&plugin.to_string())));
        }
        let (unix_ns, text) = (0, "loaded".to_owned());
        let note = Report::Note(NoteReport { unix_ns, text });
        assert_eq!([note.clone(), denial()].map(|report| reports.send(report)), [Ok(()), Ok(())]);
        let told = taken(&mut waiting);
        assert_eq!(told[..2], [denial(), note], "the denial is told first");
        assert_eq!(told.len(), WAITING_MAX + 2);
        // What no rate holds back, and finds no room, is standard output's loss.
        let sent: Vec<_> = (0..=WAITING_MAX).map(|_| reports.send(denial())).collect();
        assert_eq!(sent.last(), Some(&Err(Loss::Output)));
        assert_eq!(sent.iter().filter(|sent| sent.is_err()).count(), 1);
    }

    #[test]
    fn each_plugin_has_its_own_rate_and_what_it_left_out_is_told() {
        let (reports, mut waiting) = channel();
        let sent: Vec<_> = (0..250).map(|_| reports.send(refusal("flooder"))).collect();
        let flooder = sent.iter().filter(|sent| sent.is_ok()).count();
        assert!((100..110).contains(&flooder), "{flooder}");
        assert!(sent.iter().flat_map(|sent| sent.err()).all(|loss| loss == Loss::Rate));
        assert_eq!(reports.send(refusal("quiet")), Ok(()));
        drop(taken(&mut waiting));
        reports.report_left_out();
        let [Report::Note(note)] = &taken(&mut waiting)[..] else { panic!("one note") };
        let left_out = format!("flooder: {} more refusals were not reported", 250 - flooder);
        assert!(note.text.starts_with(&left_out), "{}", note.text);
        reports.report_left_out();
        assert_eq!(taken(&mut waiting), []);
    }
}
