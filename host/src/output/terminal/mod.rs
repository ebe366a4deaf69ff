//! Reports for a person: one aligned line each, coloured on a terminal, and the closing table.
//!
//! Texts come from plugins and from whoever names files and threads. Each stands in a line escaped, and quoted
//! where it is a name.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::{
    AlertReport, Decider, FailureReport, HookSummary, Output, PluginSummary, Report, RuleEndReport,
    RuleReport, Summary, VerdictReport, WatchReport, Witnessed,
};
use crate::text::{Escaped, Quoted};

/// Letters of a time.
const CLOCK: usize = "2026-01-01T00:00:00.000Z".len();

/// Whether escape sequences are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Escape sequences are written.
    On,
    /// No escape sequences are written.
    Off,
}

/// A terminal, or a file that is read like one.
pub(crate) struct Terminal {
    colour: Colour,
    /// Rules of one plugin for one reason that were counted instead of shown.
    more: Option<More>,
}

struct More {
    label: &'static str,
    plugin: String,
    reason: String,
    rules: u64,
}

impl Terminal {
    /// A terminal with or without colours.
    #[must_use]
    pub(crate) const fn new(colour: Colour) -> Self {
        Self { colour, more: None }
    }

    /// Writes one line; `text` has no line break and nothing that drives a terminal.
    fn line(
        &self,
        out: &mut dyn Write,
        unix_ns: i64,
        (label, sgr): (&str, &str),
        text: &str,
    ) -> io::Result<()> {
        let (on, off) = match self.colour {
            Colour::On => (format!("\x1b[{sgr}m"), "\x1b[0m"),
            Colour::Off => (String::new(), ""),
        };
        writeln!(out, "{}  {on}{label:<8}{off}  {text}", clock(unix_ns))
    }

    /// Writes how many rules were counted instead of shown.
    fn write_more(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Some(More { label, plugin, rules: rules @ 1.., .. }) = self.more.take() else {
            return Ok(());
        };
        let (clock, plugin) = ("", Quoted(&plugin));
        writeln!(out, "{clock:<CLOCK$}  {label:<8}  {plugin}  and {rules} more for the same reason")
    }
}

impl Output for Terminal {
    fn write(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        let alike = match report {
            Report::Rule(rule) => Some(("RULE", &rule.plugin, rule.reason.clone())),
            Report::RuleEnd(end) => {
                Some(("ENDED", &end.plugin, format!("{}: {}", end.ending, end.reason)))
            }
            _ => None,
        };
        if let (Some((label, plugin, reason)), Some(more)) = (&alike, &mut self.more)
            && (more.label, &more.plugin, &more.reason) == (*label, *plugin, reason)
        {
            more.rules += 1;
            return Ok(());
        }
        self.write_more(out)?;
        self.more = alike.map(|(label, plugin, reason)| More {
            label,
            plugin: plugin.clone(),
            reason,
            rules: 0,
        });
        match report {
            Report::Note(note) => {
                self.line(out, note.unix_ns, ("NOTE", "2"), &Escaped(&note.text).to_string())
            }
            Report::Alert(alert) => {
                self.line(out, alert.unix_ns, ("ALERT", "1;33"), &alert_text(alert))
            }
            Report::Verdict(verdict) => {
                let label = if verdict.verdict == "denied" {
                    ("DENIED", "1;31")
                } else {
                    ("AUDIT", "1;35")
                };
                self.line(out, verdict.unix_ns, label, &verdict_text(verdict))
            }
            Report::Watch(watch) => {
                self.line(out, watch.unix_ns, ("WATCH", "36"), &watch_text(watch))
            }
            Report::Rule(rule) => self.line(out, rule.unix_ns, ("RULE", "36"), &rule_text(rule)),
            Report::RuleEnd(end) => self.line(out, end.unix_ns, ("ENDED", "36"), &end_text(end)),
            Report::Refusal(refusal) => {
                let (plugin, reason) = (Quoted(&refusal.plugin), Escaped(&refusal.reason));
                let text = format!("{plugin}  action {}: {reason}", refusal.token);
                self.line(out, refusal.unix_ns, ("REFUSED", "33"), &text)
            }
            Report::Failure(failure) => {
                self.line(out, failure.unix_ns, ("FAILED", "1;31"), &failure_text(failure))
            }
            Report::Summary(summary) => write_summary(summary, out),
        }
    }
}

fn rule_name(plugin: &str, rule_id: u64) -> String {
    if plugin.is_empty() { format!("#{rule_id}") } else { format!("{}#{rule_id}", Quoted(plugin)) }
}

fn rule_text(rule: &RuleReport) -> String {
    let name = rule_name(&rule.plugin, rule.rule_id);
    format!("{name}  {}  because {}", Escaped(&rule.text), Escaped(&rule.reason))
}

fn end_text(end: &RuleEndReport) -> String {
    let RuleEndReport { rule_id, plugin, text, reason, ending, hits, .. } = end;
    let (name, text, reason) = (rule_name(plugin, *rule_id), Escaped(text), Escaped(reason));
    let ending = Escaped(ending);
    format!("{name}  {text}  {ending}; it decided {hits} calls: {reason}")
}

fn alert_text(alert: &AlertReport) -> String {
    let technique = if alert.technique.is_empty() { "-" } else { &alert.technique };
    let evidence: Vec<String> = alert
        .evidence
        .iter()
        .map(|one| format!("{} ({})", Quoted(&one.what), one.weight))
        .collect();
    format!(
        "{:<8} {:<9} {:<10} {}  {}{}",
        alert.severity,
        if technique == "-" { technique.to_owned() } else { Quoted(technique).to_string() },
        Quoted(&alert.plugin),
        who(alert.tgid, &alert.exe),
        Escaped(&alert.text),
        if_any("; evidence: ", &evidence.join(", "))
    )
}

fn failure_text(failure: &FailureReport) -> String {
    let (plugin, rules) = (Quoted(&failure.plugin), Escaped(&failure.rules));
    let backtrace: Vec<String> =
        failure.backtrace.iter().map(|frame| Escaped(frame).to_string()).collect();
    let (rules, at) = (if_any("; ", &rules.to_string()), if_any("; at ", &backtrace.join(" < ")));
    format!("{plugin}  {}{rules}{at}", Escaped(&failure.reason))
}

/// A part of a line, with what stands before it, if there is one.
fn if_any(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

fn watch_text(watch: &WatchReport) -> String {
    let fields = watch.fields.iter().map(|(name, value)| format!("{}={value}", Quoted(name)));
    let fields: Vec<String> = fields.collect();
    format!(
        "{:<20} {}  by {} uid {} ({}){}{}",
        Quoted(&watch.hook),
        fields.join(" "),
        who(watch.tgid, &watch.exe),
        watch.uid,
        Quoted(&watch.comm),
        labelled(" labels ", &watch.labels),
        labelled(" gets ", &watch.gave_labels)
    )
}

/// Labels, with what stands before them; nothing without any.
fn labelled(before: &str, labels: &[String]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| Quoted(label).to_string()).collect();
    if_any(before, &labels.join(" "))
}

fn verdict_text(verdict: &VerdictReport) -> String {
    format!(
        "{:<8} {:<20} {}  by {} uid {} ({}){}  {}",
        verdict.errno,
        Quoted(&verdict.hook),
        verdict.object,
        who(verdict.tgid, &verdict.exe),
        verdict.uid,
        Quoted(&verdict.comm),
        labelled(" labels ", &verdict.labels),
        decider(verdict)
    )
}

/// What decided a call, and what is known of it.
fn decider(verdict: &VerdictReport) -> String {
    let (plugin, reason) = (Quoted(&verdict.plugin), Escaped(&verdict.reason));
    match (verdict.decided_by, verdict.plugin.is_empty()) {
        (Decider::Watch, true) => "a watch that is gone".into(),
        (Decider::Watch, false) => format!("{plugin}: {reason}"),
        (Decider::OnError | Decider::Label, _) => reason.to_string(),
        (Decider::Rule, true) => format!("rule #{}, no longer known", verdict.rule_id),
        (Decider::Rule, false) => {
            let name = rule_name(&verdict.plugin, verdict.rule_id);
            let until = match (verdict.ending.as_str(), verdict.until_unix_ns) {
                ("", None) => "without end".into(),
                ("", Some(until)) => format!("until {}", clock(until)),
                (ending, _) => format!("ended since, {}", Escaped(ending)),
            };
            format!("rule {name} {until}: {reason}")
        }
    }
}

fn who(tgid: u32, exe: &str) -> String {
    match (tgid, exe) {
        (0, _) => String::from("-"),
        (tgid, "") => tgid.to_string(),
        (tgid, exe) => format!("{tgid} {}", Quoted(exe)),
    }
}

fn write_summary(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    writeln!(
        out,
        "{:<22}{:>10}{:>11}{:>10}{:>8}{:>9}{:>8}{:>9}",
        "hook", "seen", "delivered", "filtered", "lost", "skipped", "denied", "audited"
    )?;
    for row in &summary.hooks {
        writeln!(
            out,
            "{:<22}{:>10}{:>11}{:>10}{:>8}{:>9}{:>8}{:>9}",
            row.hook,
            row.seen,
            row.delivered,
            row.filtered,
            row.lost,
            row.skipped,
            row.denied,
            row.audited
        )?;
    }
    for row in &summary.hooks {
        write_losses(row, out)?;
    }
    for row in &summary.witness {
        let Witnessed { hook, calls, refused, denied, missed } = row;
        writeln!(
            out,
            "witness {hook}: {calls} calls, {refused} refused, {denied} of them here, {missed} missed"
        )?;
    }
    for plugin in &summary.plugins {
        write_plugin(plugin, out)?;
    }
    let lost: Vec<String> =
        summary.lost.iter().map(|(place, count)| format!("{place} {count}")).collect();
    writeln!(
        out,
        "backend: {}; calls missed under preemption: {}",
        summary.backend, summary.missed
    )?;
    writeln!(out, "lost in the host: {}", lost.join(", "))?;
    writeln!(out, "{}", summary.processes)?;
    writeln!(
        out,
        "rules put in force: {}; delay from hook to rule: p50 {} p99 {}",
        summary.rules,
        micros(summary.delay_p50_ns),
        micros(summary.delay_p99_ns)
    )
}

/// What is to be known of a hook that lost something.
fn write_losses(row: &HookSummary, out: &mut dyn Write) -> io::Result<()> {
    let counts = [
        ("telemetry", row.lost_telemetry),
        ("verdicts", row.lost_verdicts),
        ("undecoded", row.undecoded),
        ("too long", row.too_long),
        ("calls missed", row.missed),
        ("marks of lineages", row.lost_marks),
        ("exemptions", row.lost_exempt),
        ("labels", row.lost_labels),
    ];
    let counts = counts.into_iter().filter(|(_, count)| *count > 0);
    let mut words: Vec<String> = counts.map(|(what, count)| format!("{what} {count}")).collect();
    words.extend(row.lost_by_cpu.iter().map(|(cpu, count)| format!("cpu{cpu} {count}")));
    if words.is_empty() {
        return Ok(());
    }
    writeln!(out, "lost at {}: {}", row.hook, words.join(", "))
}

fn write_plugin(plugin: &PluginSummary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "plugin {} {}: {}; {} records, {} alerts, {} rules, {} refused, lost {} in its queue and {} in itself",
        Quoted(&plugin.plugin),
        Quoted(&plugin.version),
        plugin.state,
        plugin.records,
        plugin.alerts,
        plugin.rules,
        plugin.refused,
        plugin.lost_queue,
        plugin.lost_plugin
    )?;
    if plugin.metrics.is_empty() {
        return Ok(());
    }
    let metrics = plugin.metrics.iter().map(|(name, value)| format!("{name} {value}"));
    writeln!(out, "  its metrics: {}", metrics.collect::<Vec<_>>().join(", "))
}

fn micros(ns: u64) -> String {
    if ns == 0 { String::from("-") } else { format!("{}.{:01} µs", ns / 1000, ns % 1000 / 100) }
}

/// UTC date and time.
fn clock(unix_ns: i64) -> String {
    let since = Duration::from_nanos(u64::try_from(unix_ns).unwrap_or(0));
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests;
