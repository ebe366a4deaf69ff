//! The list of verbs; those that ask a running host, and the one that is the compiler's child.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::plugin::PluginVerb;
use super::record::RecordVerb;
use super::replay::ReplayArgs;
use super::run::OutputArg;
use super::{doctor, exit, hooks};
use crate::control::{Answer, Query, ask};
use crate::output::{LabelCount, OutputStatus, ProcessCounts, Status, WatchCount};
use crate::plugin::{COMPILE_VERB, Cache, CompileLimits, Limits, compile_child, precompile};
use crate::text::{Escaped, Quoted};

/// Where the control socket is unless said otherwise.
pub(super) const CONTROL: &str = "/run/krsi-host/control.sock";

/// Commands of krsi-host besides running plugins.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Shows the running plugins: their state, hashes and counts.
    Status {
        #[command(flatten)]
        socket: Socket,
        /// Prints the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Reloads plugins from their files without losing an event or a rule.
    Reload {
        /// Name of a plugin. Without it all plugins are reloaded.
        plugin: Option<String>,
        /// Grants what the new manifest asks for beyond the old one.
        #[arg(long)]
        accept: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Lists the LSM hooks of this kernel: signature, whether BPF may attach, deny and sleep, and what
    /// is attached.
    Hooks {
        /// Hooks to list. Without names all hooks are listed.
        #[arg(value_name = "NAME")]
        names: Vec<String>,
        /// Format of the list.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
        #[command(flatten)]
        socket: Socket,
    },
    /// Creates, builds, inspects and checks plugins; needs no running host.
    Plugin {
        #[command(subcommand)]
        verb: PluginVerb,
    },
    /// Has a running host record what its hooks see and what its plugins are called with, from now on until a
    /// signal.
    Record(RecordVerb),
    /// Plays a recording again, without root and without a kernel: the same calls of the same plugins. Exits with 0
    /// when they did what the recording says, 5 when something differs, 3 when something could not be played.
    Replay(ReplayArgs),
    /// Reports how well krsi-host works on this machine, what is missing, and the fix. Exits with 0 if
    /// nothing is missing, 1 if it works with limits, 3 if it cannot work.
    Doctor {
        /// Format of the report.
        #[arg(long, value_enum, default_value_t = OutputArg::Text)]
        output: OutputArg,
    },
    /// Compiles a plugin from standard input; krsi-host's own child.
    #[command(name = COMPILE_VERB, hide = true)]
    Compile {
        /// Address space in MiB.
        memory_mib: u64,
        /// Processor seconds.
        seconds: u64,
    },
    /// Compiles plugins for every processor of this architecture into a folder that machines can be given as
    /// their `--cache-dir`. What is no plugin is named and left out.
    #[command(hide = true)]
    Precompile {
        /// Folder for the compiled plugins.
        #[arg(long, value_name = "DIR")]
        cache_dir: PathBuf,
        /// Plugins to compile.
        #[arg(value_name = "FILE", required = true)]
        plugins: Vec<PathBuf>,
    },
}

/// The running host to talk to.
#[derive(Debug, Args)]
pub(super) struct Socket {
    /// Control socket of the host.
    #[arg(long, value_name = "PATH", default_value = CONTROL)]
    control: PathBuf,
}

impl Verb {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Verb::Compile { memory_mib, seconds } => {
                compile_child(CompileLimits { memory_mib, seconds })
            }
            Verb::Precompile { cache_dir, plugins } => keep_compiled(&cache_dir, &plugins),
            Verb::Hooks { names, output, socket } => hooks::run(output, &socket.control, &names),
            Verb::Plugin { verb } => verb.run(),
            Verb::Record(record) => record.run(),
            Verb::Replay(replay) => replay.run(),
            Verb::Doctor { output } => doctor::run(output),
            Verb::Status { socket, json } => query_host(&socket, &Query::Status, json),
            Verb::Reload { plugin, accept, socket } => {
                query_host(&socket, &Query::Reload { plugin, accept }, false)
            }
        }
    }
}

/// Compiles what can be; the exit code says whether that was all.
fn keep_compiled(folder: &Path, plugins: &[PathBuf]) -> ExitCode {
    let cache = match Cache::open(folder) {
        Ok(cache) => cache,
        Err(error) => return exit::report(&error.into()),
    };
    let mut code = ExitCode::SUCCESS;
    for plugin in plugins {
        if let Err(error) = precompile(&cache, plugin, Limits::default().binary_bytes) {
            exit::say(&error.to_string(), "");
            code = exit::ExitReason::Plugin.into();
        }
    }
    code
}

pub(super) fn query_host(socket: &Socket, query: &Query, json: bool) -> ExitCode {
    match ask(&socket.control, query) {
        Err(error) => exit::report_control(error),
        Ok(Answer::Status(status)) if json => {
            super::print::print(&super::print::line(&status), ExitCode::SUCCESS)
        }
        Ok(Answer::Status(status)) => super::print::print(&text(&status), ExitCode::SUCCESS),
        Ok(Answer::Reloaded(results)) => {
            let failed = results.iter().any(Result::is_err);
            results
                .iter()
                .filter_map(|row| row.as_ref().err())
                .for_each(|line| exit::say(line, ""));
            let done = results.iter().filter_map(|row| row.as_ref().ok());
            let done: String = done.map(|line| format!("{}\n", Escaped(line))).collect();
            super::print::print(
                &done,
                if failed { exit::ExitReason::Plugin.into() } else { ExitCode::SUCCESS },
            )
        }
        Ok(Answer::Recording(text)) => super::print::print(&format!("{text}\n"), ExitCode::SUCCESS),
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
    let OutputStatus { waiting, lost, stalled_s, log_lost } = output;
    // Writing to a String cannot fail, here and below.
    if *stalled_s > 0 {
        let _ok = writeln!(
            out,
            "\nstandard output has taken nothing for {stalled_s} s: {waiting} reports wait"
        );
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
}
