//! `krsi-host label`: which processes have labels, and a process without them.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Subcommand;

use super::verb::{Socket, query_host};
use crate::control::{LabelledProcesses, Query};
use crate::text::Quoted;

/// What is to be done with labels.
#[derive(Debug, Subcommand)]
pub(super) enum LabelVerb {
    /// Lists the processes that have labels.
    List {
        #[command(flatten)]
        socket: Socket,
        /// Prints the answer as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Takes all labels from a process. A rule that gives a label gives it again at the next call that it covers.
    Clear {
        /// The process's id.
        #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
        pid: u32,
        #[command(flatten)]
        socket: Socket,
    },
}

impl LabelVerb {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Self::List { socket, json } => query_host(&socket, &Query::Labels, json),
            Self::Clear { pid, socket } => {
                query_host(&socket, &Query::ClearLabels { tgid: pid }, false)
            }
        }
    }
}

/// A line for each process.
pub(super) fn text(labelled: &LabelledProcesses) -> String {
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
    fn a_line_for_each_process_and_the_rest_counted() {
        let processes = [(7, vec!["shadow.reader".to_owned(), "web.served".to_owned()])];
        let labelled = LabelledProcesses { processes: processes.into(), more: 2 };
        assert_eq!(text(&labelled), "       7  shadow.reader web.served\nand 2 more processes\n");
    }
}
