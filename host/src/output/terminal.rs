//! Reports for a person: one aligned line each, coloured on a terminal, and the closing table.
//!
//! Texts come from plugins and the kernel: control characters are shown, never sent.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::{
    HookSummary, Output, PluginSummary, Report, Summary, VerdictReport, WatchReport, Witnessed,
};

/// Whether escape sequences are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Yes.
    On,
    /// No.
    Off,
}

/// A terminal, or a file that is read like one.
pub struct Terminal {
    colour: Colour,
    /// Rules of one plugin for one reason that were counted instead of shown.
    more: Option<More>,
}

struct More {
    plugin: String,
    reason: String,
    rules: u64,
}

impl Terminal {
    /// A terminal with or without colours.
    #[must_use]
    pub const fn new(colour: Colour) -> Self {
        Self { colour, more: None }
    }

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
        writeln!(out, "{}  {on}{label:<8}{off}  {}", clock(unix_ns), visible(text))
    }
}

impl Output for Terminal {
    fn write(&mut self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        if let Report::Rule(rule) = report
            && let Some(more) = &mut self.more
            && (&more.plugin, &more.reason) == (&rule.plugin, &rule.reason)
        {
            more.rules += 1;
            return Ok(());
        }
        if let Some(More { plugin, rules: rules @ 1.., .. }) = self.more.take() {
            let (clock, label) = ("", "");
            writeln!(
                out,
                "{clock:<15}{label:<10}{plugin}  and {rules} more rules for the same reason"
            )?;
        }
        match report {
            Report::Note(note) => self.line(out, note.unix_ns, ("NOTE", "2"), &note.text),
            Report::Alert(alert) => {
                let text = format!(
                    "{:<8} {:<9} {:<10} {}  {}",
                    alert.severity,
                    alert.technique,
                    alert.plugin,
                    who(alert.tgid, &alert.exe),
                    alert.text
                );
                self.line(out, alert.unix_ns, ("ALERT", "1;33"), &text)
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
                let text = watch_text(watch);
                self.line(out, watch.unix_ns, ("WATCH", "36"), &text)
            }
            Report::Rule(rule) => {
                let (plugin, reason) = (rule.plugin.clone(), rule.reason.clone());
                let text = format!("{plugin}#{}  {}  because {reason}", rule.rule_id, rule.text);
                self.more = Some(More { plugin, reason, rules: 0 });
                self.line(out, rule.unix_ns, ("RULE", "36"), &text)
            }
            Report::Refusal(refusal) => {
                let text =
                    format!("{}  action {}: {}", refusal.plugin, refusal.token, refusal.reason);
                self.line(out, refusal.unix_ns, ("REFUSED", "33"), &text)
            }
            Report::Failure(failure) => {
                let text = format!("{}  {}  ({})", failure.plugin, failure.reason, failure.rules);
                self.line(out, failure.unix_ns, ("FAILED", "1;31"), &text)
            }
            Report::Summary(summary) => write_summary(summary, out),
        }
    }
}

fn watch_text(watch: &WatchReport) -> String {
    let fields: Vec<String> =
        watch.fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!(
        "{:<20} {}  by {} uid {} ({})",
        watch.hook,
        fields.join(" "),
        who(watch.tgid, &watch.exe),
        watch.uid,
        watch.comm
    )
}

fn verdict_text(verdict: &VerdictReport) -> String {
    let until = verdict
        .until_unix_ns
        .map_or_else(|| "revoked".into(), |until| format!("until {}", clock(until)));
    format!(
        "{:<8} {:<20} {}  by {} uid {} ({})  rule {}#{} {until}: {}",
        verdict.errno,
        verdict.hook,
        verdict.object,
        who(verdict.tgid, &verdict.exe),
        verdict.uid,
        verdict.comm,
        verdict.plugin,
        verdict.rule_id,
        verdict.reason
    )
}

fn who(tgid: u32, exe: &str) -> String {
    if tgid == 0 { String::from("-") } else { format!("{tgid} {exe}") }
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
        "hooks met by {}; calls missed under preemption: {}",
        summary.backend, summary.missed
    )?;
    writeln!(out, "lost in the host: {}", lost.join(", "))?;
    writeln!(out, "{}", summary.processes)?;
    writeln!(
        out,
        "rules put in force: {}; from hook to rule in force: p50 {} p99 {}",
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
        visible(&plugin.plugin),
        visible(&plugin.version),
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

/// UTC time of day.
fn clock(unix_ns: i64) -> String {
    let since = Duration::from_nanos(u64::try_from(unix_ns).unwrap_or(0));
    let whole = humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since).to_string();
    whole.split_once('T').map_or(whole.clone(), |(_, time)| time.to_owned())
}

/// The text with control characters escaped, but for the line breaks of a backtrace.
fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\n            "),
            control if control.is_control() => out.extend(control.escape_default()),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{AlertReport, NoteReport, RuleReport};
    use super::*;

    fn text(report: &Report, colour: Colour) -> String {
        let mut out = Vec::new();
        Terminal::new(colour).write(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hostile_text_cannot_drive_the_terminal() {
        let note = Report::Note(NoteReport { unix_ns: 0, text: "a\x1b[2Jb\r".into() });
        assert_eq!(text(&note, Colour::Off), "00:00:00.000Z  NOTE      a\\u{1b}[2Jb\\r\n");
    }

    #[test]
    fn an_alert_is_one_aligned_line() {
        let alert = Report::Alert(AlertReport {
            unix_ns: 1_500_000_000,
            plugin: "miner".into(),
            technique: "T1496".into(),
            severity: "high",
            tgid: 42,
            exe: "/tmp/x".into(),
            text: "mining".into(),
        });
        let plain = "00:00:01.500Z  ALERT     high     T1496     miner      42 /tmp/x  mining\n";
        assert_eq!(text(&alert, Colour::Off), plain);
        assert!(text(&alert, Colour::On).contains("\x1b[1;33mALERT   \x1b[0m"));
    }

    #[test]
    fn a_hook_that_lost_something_says_where() {
        let quiet = HookSummary { hook: "file_open".into(), seen: 9, ..HookSummary::default() };
        let told = HookSummary {
            hook: "task_kill".into(),
            lost: 7,
            lost_telemetry: 5,
            lost_verdicts: 2,
            lost_by_cpu: vec![(0, 3), (3, 4)],
            missed: 1,
            ..HookSummary::default()
        };
        let summary = Summary { hooks: vec![quiet, told], ..Summary::default() };
        let text = text(&Report::Summary(summary), Colour::Off);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("lost at ")).collect();
        let expected = "lost at task_kill: telemetry 5, verdicts 2, calls missed 1, cpu0 3, cpu3 4";
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn rules_for_one_reason_are_one_line_and_a_count() {
        let rule = |rule_id| {
            Report::Rule(RuleReport {
                unix_ns: 0,
                rule_id,
                plugin: "miner".into(),
                text: "deny".into(),
                reason: "mining".into(),
            })
        };
        let mut terminal = Terminal::new(Colour::Off);
        let mut out = Vec::new();
        let note = Report::Note(NoteReport { unix_ns: 0, text: "end".into() });
        for report in [rule(1), rule(2), rule(3), note] {
            terminal.write(&report, &mut out).unwrap();
        }
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().count(), 3);
        assert!(out.contains("miner#1  deny  because mining\n"));
        assert!(out.contains("and 2 more rules"));
    }
}
