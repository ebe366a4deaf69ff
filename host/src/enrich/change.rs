//! What an event says became of a process: asked of each event once, and handed to who follows
//! processes.

use krsi_plugin_schema::latest::{Body, Event, Exec, ProcessKey};

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProcessChange<'a> {
    /// It was forked.
    Forked {
        /// Who forked.
        parent: ProcessKey,
        /// The new process.
        child: ProcessKey,
    },
    /// It runs another executable from now on.
    Executed {
        /// The process.
        process: ProcessKey,
        /// What it runs.
        exec: &'a Exec<'a>,
    },
    /// Its last thread ended.
    Exited {
        /// The process.
        process: ProcessKey,
    },
}

impl<'a> ProcessChange<'a> {
    /// What an event says; nothing for most events.
    #[must_use]
    pub const fn of(event: &'a Event<'a>) -> Option<Self> {
        let process = event.meta.process;
        match &event.body {
            Body::SchedProcessFork(fork) => {
                Some(ProcessChange::Forked { parent: process, child: fork.child })
            }
            Body::BprmCommittedCreds(exec) => Some(ProcessChange::Executed { process, exec }),
            Body::SchedProcessExit(_) => Some(ProcessChange::Exited { process }),
            Body::BprmCheckSecurity(_)
            | Body::FileOpen(_)
            | Body::SocketConnect(_)
            | Body::Call(_)
            | Body::Watch(_) => None,
        }
    }
}
