//! Asks a running host something and prints its answer.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::exit;
use super::print::{self, print};
use crate::control::{Answer, LabelledProcesses, Query, send_query};
use crate::output::{LabelCount, OutputStatus, ProcessCounts, Status, WatchCount};
use crate::text::{Escaped, Quoted};

/// Where the control socket is unless said otherwise.
pub(super) const CONTROL: &str = "/run/krsi-host/control.sock";

/// The running host to talk to.
#[derive(Debug, Args)]
pub(super) struct Socket {
    /// Control socket of the host.
    #[arg(long, value_name = "PATH", default_value = CONTROL)]
    pub(super) control: PathBuf,
}

/// Sends a query to the running host, prints the answer and returns the exit code.
pub(super) fn query_host(socket: &Socket, query: &Query, json: bool) -> ExitCode {
    match send_query(&socket.control, query) {
        Err(error) => exit::report_control(error),
        Ok(Answer::Status(status)) if json => print(&print::line(&status), ExitCode::SUCCESS),
        Ok(Answer::Status(status)) => print(&text(&status), ExitCode::SUCCESS),
        Ok(Answer::Reloaded(results)) => {
            let failed = results.iter().any(Result::is_err);
            results
                .iter()
                .filter_map(|row| row.as_ref().err())
                .for_each(|line| exit::say(line, ""));
            let done = results.iter().filter_map(|row| row.as_ref().ok());
            let done: String = done.map(|line| format!("{}\n", Escaped(line))).collect();
            print(&done, if failed { exit::ExitReason::Plugin.into() } else { ExitCode::SUCCESS })
        }
        Ok(Answer::Recording(text)) => print(&format!("{}\n", Escaped(&text)), ExitCode::SUCCESS),
        Ok(Answer::Labels(labelled)) if json => print(&print::line(&labelled), ExitCode::SUCCESS),
        Ok(Answer::Labels(labelled)) => print(&labelled_text(&labelled), ExitCode::SUCCESS),
        Ok(Answer::Cleared(labels)) => {
            let text = format!("took {}\n", Escaped(&labels.join(", ")));
            print(&text, ExitCode::SUCCESS)
        }
        Ok(Answer::Refused(reason)) => {
            exit::say(&reason, "");
            exit::ExitReason::Usage.into()
        }
    }
}

/// A status for people.
fn text(status: &Status) -> String {
    let mut out = String::new();
    let hooks: BTreeSet<&str> = status.hooks.iter().map(String::as_str).collect();
    let hooks = hooks.into_iter().collect::<Vec<_>>().join(", ");
    // Writing to a String cannot fail.
    let _ok = writeln!(out, "krsi-host {} on {}: {hooks}\n", status.version, status.kernel);
    for unproven in &status.unproven {
        let _ok = writeln!(out, "attached, not proven: {}\n", Escaped(unproven));
    }
    if status.processes != ProcessCounts::default() {
        let _ok = writeln!(out, "{}\n", status.processes);
    }
    watches(&mut out, &status.watches);
    let _ok = writeln!(
        out,
        "{:<16}{:<10}{:<12}{:>10}{:>8}{:>7}{:>8}{:>7}  {:<10}sha256",
        "plugin", "version", "state", "records", "lost", "rules", "faults", "swaps", "scope"
    );
    for row in &status.plugins {
        let lost = row.lost_queue + row.lost_plugin;
        let hash: String = row.sha256.chars().take(16).collect();
        let _ok = writeln!(
            out,
            "{:<16}{:<10}{:<12}{:>10}{lost:>8}{:>7}{:>8}{:>7}  {:<10}{hash}",
            Quoted(&row.plugin),
            Quoted(&row.version),
            row.state,
            row.records,
            row.rules,
            row.faults,
            row.swaps,
            Quoted(&row.scope)
        );
        if let Some(shadow) = &row.shadow {
            let _ok = writeln!(
                out,
                "  beside it {}: {} batches the same, {} different, {} not compared",
                Quoted(&shadow.version),
                shadow.same,
                shadow.different,
                shadow.skipped
            );
        }
        if let Some(key) = &row.signed_by {
            let _ok = writeln!(out, "  signed by {}", Quoted(key));
        }
        if !row.metrics.is_empty() {
            let metrics =
                row.metrics.iter().map(|(name, value)| format!("{} {value}", Quoted(name)));
            let _ok = writeln!(out, "  metrics {}", metrics.collect::<Vec<_>>().join(", "));
        }
        if !row.may.is_empty() {
            let _ok = writeln!(out, "  may {}", Escaped(&row.may.join(", ")));
        }
    }
    labels(&mut out, &status.labels);
    outputs(&mut out, &status.output);
    for rejected in &status.rejected {
        let _ok = writeln!(out, "\nnot run: {}", Escaped(&rejected.reason));
    }
    out
}

/// What standard output and standard error did not take.
fn outputs(out: &mut String, output: &OutputStatus) {
    let OutputStatus { waiting, left_out, lost, stalled_s, log_lost } = output;
    // Writing to a String cannot fail, here and below.
    if *stalled_s > 0 {
        let _ok = writeln!(
            out,
            "\nstandard output has taken nothing for {stalled_s} s: {waiting} reports wait"
        );
    }
    if *left_out > 0 {
        let _ok = writeln!(out, "\nreports beyond the rate of their kind, not written: {left_out}");
    }
    if *lost > 0 {
        let _ok = writeln!(out, "\nreports that standard output did not take: {lost}");
    }
    if *log_lost > 0 {
        let _ok = writeln!(out, "\nlines of the log that standard error did not take: {log_lost}");
    }
}

/// Writes the labels in use, a line each.
fn labels(out: &mut String, labels: &[LabelCount]) {
    for row in labels {
        // Writing to a String cannot fail.
        let _ok = writeln!(out, "label {}: {} processes", Quoted(&row.label), row.processes);
    }
}

/// The watches with a program, a line each.
fn watches(out: &mut String, watches: &[WatchCount]) {
    if watches.is_empty() {
        return;
    }
    // Writing to a String cannot fail, here and below.
    let _ok = writeln!(
        out,
        "{:<16}{:<24}{:>10}{:>10}{:>8}{:>9}{:>8}  watch",
        "watch of", "hook", "calls", "matched", "denied", "audited", "errors"
    );
    for row in watches {
        let WatchCount { plugin, hook, watch, seen, matched, denied, audited, errors } = row;
        let (plugin, watch) = (Quoted(plugin), Escaped(watch));
        let _ok = writeln!(
            out,
            "{plugin:<16}{hook:<24}{seen:>10}{matched:>10}{denied:>8}{audited:>9}{errors:>8}  {watch}"
        );
    }
    out.push('\n');
}

/// Processes and their labels for people, a line each.
fn labelled_text(labelled: &LabelledProcesses) -> String {
    let mut out = String::new();
    for (tgid, labels) in &labelled.processes {
        let labels: Vec<String> = labels.iter().map(|label| Quoted(label).to_string()).collect();
        // Writing to a String cannot fail, here and below.
        let _ok = writeln!(out, "{tgid:>8}  {}", labels.join(" "));
    }
    if labelled.more > 0 {
        let _ok = writeln!(out, "and {} more processes", labelled.more);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_shows_watches_and_their_counts() {
        let watch = WatchCount {
            plugin: "administrator".into(),
            hook: "path_unlink".into(),
            watch: "path_unlink: dentry.d_name.name\n deny EPERM".into(),
            seen: 12,
            matched: 3,
            denied: 3,
            ..WatchCount::default()
        };
        let hooks = ["path_unlink", "file_open", "path_unlink"].map(str::to_owned).to_vec();
        let (version, kernel) = ("1".into(), "6.12".into());
        let status = Status { version, kernel, hooks, watches: vec![watch], ..Status::default() };
        let shown = text(&status);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "krsi-host 1 on 6.12: file_open, path_unlink");
        let row = "administrator   path_unlink                     12         3       3        0       0  \
                   path_unlink: dentry.d_name.name\\n deny EPERM";
        assert_eq!(lines[3], row);
        assert!(lines[5].starts_with("plugin"), "{shown}");
    }

    #[test]
    fn a_line_for_each_process_and_the_rest_counted() {
        let processes = [(7, vec!["shadow.reader".to_owned(), "web.served".to_owned()])];
        let labelled = LabelledProcesses { processes: processes.into(), more: 2 };
        assert_eq!(
            labelled_text(&labelled),
            "       7  shadow.reader web.served\nand 2 more processes\n"
        );
    }
}
