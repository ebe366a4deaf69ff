//! The way of reports to the outputs: denials first, then what a person is called for, then the rest; and of every
//! kind only so many a second.
//!
//! Each kind of each plugin has a rate of its own, so that a flood of one takes no room from another. What is
//! left out is counted, and a line a second says how much of what it was.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::clock;
use crate::output::{NoteReport, Report};
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
    /// What a person is called for.
    Urgent = 1,
    /// Everything else.
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

/// The sending end of the report queues.
#[derive(Debug)]
pub(super) struct Reports {
    classes: [mpsc::Sender<Report>; CLASSES],
    rates: Mutex<BTreeMap<(ReportKind, String), Rate>>,
}

/// The receiving end of the report queues.
#[derive(Debug)]
pub struct ReportReceiver {
    classes: [mpsc::Receiver<Report>; CLASSES],
}

/// A way for reports.
pub(super) fn channel() -> (Reports, ReportReceiver) {
    let ways: [_; CLASSES] = std::array::from_fn(|_| mpsc::channel(WAITING_MAX));
    let [(denials, first), (urgent, second), (rest, third)] = ways;
    let reports = Reports { classes: [denials, urgent, rest], rates: Mutex::default() };
    (reports, ReportReceiver { classes: [first, second, third] })
}

impl Reports {
    /// Sends a report, if its rate and the outputs have room for it; whether they have.
    pub(super) fn send(&self, report: Report) -> bool {
        self.is_within_rate(&report, clock::boot_ns()) && self.push(report)
    }

    /// Says what was left out since it was last said; how much.
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

    fn push(&self, report: Report) -> bool {
        let [denials, urgent, rest] = &self.classes;
        let way = match class_of(&report) {
            Class::Denials => denials,
            Class::Urgent => urgent,
            Class::Rest => rest,
        };
        way.try_send(report).is_ok()
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
    /// The next report, of the first class that has one; none once nobody can send one.
    pub(super) async fn recv(&mut self) -> Option<Report> {
        let [denials, urgent, rest] = &mut self.classes;
        tokio::select! {
            biased;
            Some(denial) = denials.recv() => Some(denial),
            Some(report) = urgent.recv() => Some(report),
            report = rest.recv() => report,
        }
    }

    /// The next one that is there, of the first class that has one.
    pub fn try_recv(&mut self) -> Option<Report> {
        self.classes.iter_mut().find_map(|class| class.try_recv().ok())
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
        assert!(reports.send(note.clone()) && reports.send(denial()));
        let told = taken(&mut waiting);
        assert_eq!(told[..2], [denial(), note], "the denial is told first");
        assert_eq!(told.len(), WAITING_MAX + 2);
    }

    #[test]
    fn each_plugin_has_its_own_rate_and_what_it_left_out_is_told() {
        let (reports, mut waiting) = channel();
        let sent = |plugin| (0..250).filter(|_| reports.send(refusal(plugin))).count();
        let (flooder, quiet) = (sent("flooder"), reports.send(refusal("quiet")));
        assert!((100..110).contains(&flooder) && quiet, "{flooder}");
        drop(taken(&mut waiting));
        reports.report_left_out();
        let [Report::Note(note)] = &taken(&mut waiting)[..] else { panic!("one note") };
        let left_out = format!("flooder: {} more refusals were not reported", 250 - flooder);
        assert!(note.text.starts_with(&left_out), "{}", note.text);
        reports.report_left_out();
        assert_eq!(taken(&mut waiting), []);
    }
}
