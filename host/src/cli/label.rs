//! `krsi-host label`: which processes have labels, and a process without them.

use std::process::ExitCode;

use clap::Subcommand;

use super::answer::{Socket, query_host};
use crate::control::Query;

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
