//! What an event says became of a process: asked of each event once, and handed to who follows
//! processes.

use krsi_plugin_schema::latest::{Body, Event, Exec, ProcessKey};

/// A change of a process: a fork, an exec or an exit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ProcessChange<'a> {
    Forked {
        /// The process that forked.
        parent: ProcessKey,
        /// The new process.
        child: ProcessKey,
    },
    /// The process runs another executable from now on.
    Executed {
        /// The process that executes another file.
        process: ProcessKey,
        /// The file that it executes.
        exec: &'a Exec<'a>,
    },
    /// The last thread of the process ended.
    Exited {
        /// The process that ended.
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

#[cfg(test)]
mod tests {
    use krsi_plugin_schema::latest::{Exit, FileOpen, Fork, Meta};

    use super::*;

    #[test]
    fn three_events_say_what_became_of_a_process() {
        let key = |tgid| ProcessKey { start_boot_ns: 7, tgid };
        let (process, child, exec) = (key(1), key(2), Exec::default());
        let check = |body, expected: Option<ProcessChange<'_>>| {
            let event = Event { meta: Meta { process, ..Meta::default() }, body };
            assert_eq!(ProcessChange::of(&event), expected);
        };
        let forked = ProcessChange::Forked { parent: process, child };
        check(Body::SchedProcessFork(Fork { child }), Some(forked));
        let executed = ProcessChange::Executed { process, exec: &exec };
        check(Body::BprmCommittedCreds(exec.clone()), Some(executed));
        // It may yet be refused.
        check(Body::BprmCheckSecurity(exec.clone()), None);
        check(Body::SchedProcessExit(Exit::default()), Some(ProcessChange::Exited { process }));
        check(Body::FileOpen(FileOpen::default()), None);
    }
}
