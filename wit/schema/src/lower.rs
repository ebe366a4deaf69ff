//! Between schemas: a record as an older one has it, and what an older one wrote as the newest has it.
//!
//! Every conversion names every field and every alternative, so that one which is added does not
//! compile before this file says what becomes of it in each schema. What a schema has no word for is
//! not sent to its readers; a new schema adds an arm to [`push`], [`record`] and [`action`].

use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::frame::{Frame, FrameError, Frames};
use crate::v0_2::{Action, Body, LostWhere, Record, RecordRef, Verdict, kind};
use crate::{Schema, v0_1, v0_2};

/// Appends a record to a batch, as a schema has it; whether it has it.
///
/// # Errors
/// When it is longer than a frame can be; `out` is then as before.
pub fn push(
    out: &mut Vec<u8>,
    record: RecordRef<'_, '_>,
    schema: Schema,
) -> Result<bool, FrameError> {
    match schema {
        Schema::V0_2 => record.push(out).map(|()| true),
        Schema::V0_1 => match to_0_1(record) {
            Some(record) => record.push(out).map(|()| true),
            None => Ok(false),
        },
    }
}

/// Decodes a record of a schema.
///
/// # Errors
/// When the body is not what the kind says.
pub fn record<'a>(frame: &Frame<'a>, schema: Schema) -> Result<Record<'a>, FrameError> {
    match schema {
        Schema::V0_2 => Record::decode(frame),
        Schema::V0_1 => v0_1::Record::decode(frame).map(record_of_0_1),
    }
}

/// Decodes an action of a schema.
///
/// # Errors
/// When the body is not what the kind says, or wants what this version does not have.
pub fn action<'a>(frame: &Frame<'a>, schema: Schema) -> Result<Action<'a>, FrameError> {
    match schema {
        Schema::V0_2 => Action::decode(frame),
        Schema::V0_1 => v0_1::Action::decode(frame).map(action_of_0_1),
    }
}

/// Token of an action that does not decode, as far as it can be read, 0 without one.
#[must_use]
pub fn token_of(frame: &Frame<'_>, schema: Schema) -> u32 {
    match schema {
        Schema::V0_2 => Action::token_of(frame),
        Schema::V0_1 => 0,
    }
}

/// The file that a record names, in a schema whose files have no generation.
#[must_use]
pub const fn file_of(record: RecordRef<'_, '_>) -> Option<v0_2::FileKey> {
    match record {
        RecordRef::Process(process) => Some(process.file),
        RecordRef::Running(running) => Some(running.process.file),
        RecordRef::Event(v0_2::Event { body, .. }) => match body {
            Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => Some(exec.file),
            Body::FileOpen(open) => Some(open.file),
            Body::SocketConnect(_)
            | Body::SchedProcessFork(_)
            | Body::SchedProcessExit(_)
            | Body::Call(_)
            | Body::Watch(_) => None,
        },
        RecordRef::BatchStart(_)
        | RecordRef::Gone(_)
        | RecordRef::Outcome(_)
        | RecordRef::Lost(_)
        | RecordRef::Tick(_)
        | RecordRef::RunningEnd(_)
        | RecordRef::Sample(_) => None,
    }
}

/// Gives a record's file the generation of the last of some files with its number and device.
fn complete(record: &mut Record<'_>, files: &[v0_2::FileKey]) {
    let file = match record {
        Record::Process(process) => &mut process.file,
        Record::Event(event) => match &mut event.body {
            Body::BprmCheckSecurity(exec) | Body::BprmCommittedCreds(exec) => &mut exec.file,
            Body::FileOpen(open) => &mut open.file,
            _ => return,
        },
        _ => return,
    };
    if let Some(known) = files.iter().rev().find(|known| known.is_numbered_as(file)) {
        *file = *known;
    }
}

/// The schema that a batch is written in, if this version has it.
#[must_use]
pub fn schema_of(batch: &[u8]) -> Option<Schema> {
    let first = Frames::new(batch).next()?.ok()?;
    // A batch start is the same in every schema.
    match (first.kind, Record::decode(&first)) {
        (kind::BATCH_START, Ok(Record::BatchStart(start))) => Schema::from_number(start.schema),
        _ => None,
    }
}

/// A batch in another schema: what that has of it, in order; a frame that does not decode is left out. `files`
/// are those that it names, if it is written in a schema whose files have no generation.
#[must_use]
pub fn batch(batch: &[u8], from: Schema, to: Schema, files: &[v0_2::FileKey]) -> Vec<u8> {
    let mut out = Vec::with_capacity(batch.len());
    for frame in Frames::new(batch).flatten() {
        let Ok(mut record) = record(&frame, from) else { continue };
        complete(&mut record, files);
        // What was a frame is one in any schema, within a few bytes; nothing comes near the limit.
        let _had = match record.by_ref() {
            Some(RecordRef::BatchStart(start)) => {
                let start = v0_2::BatchStart { schema: to.number(), ..start };
                push(&mut out, RecordRef::BatchStart(start), to)
            }
            Some(record) => push(&mut out, record, to),
            None => Ok(false),
        };
    }
    out
}

fn to_0_1<'r>(record: RecordRef<'r, '_>) -> Option<v0_1::Record<'r>> {
    Some(match record {
        RecordRef::BatchStart(v0_2::BatchStart { schema, boot_ns, unix_offset_ns }) => {
            v0_1::Record::BatchStart(v0_1::BatchStart { schema, boot_ns, unix_offset_ns })
        }
        RecordRef::Process(process) => v0_1::Record::Process(process_to_0_1(process)),
        RecordRef::Gone(v0_2::Gone { key }) => v0_1::Record::Gone(v0_1::Gone { key }),
        RecordRef::Outcome(v0_2::Outcome { token, rule_id, refusal, detail }) => {
            v0_1::Record::Outcome(v0_1::Outcome {
                token: *token,
                rule_id: *rule_id,
                refusal: refusal.map(refusal_to_0_1),
                detail: Cow::Borrowed(detail),
            })
        }
        RecordRef::Lost(lost) => v0_1::Record::Lost(lost_to_0_1(lost)?),
        RecordRef::Tick(v0_2::Tick {}) => v0_1::Record::Tick(v0_1::Tick {}),
        RecordRef::Event(v0_2::Event { meta, body }) => {
            let body = body_to_0_1(body)?;
            v0_1::Record::Event(v0_1::Event { meta: meta_to_0_1(meta), body })
        }
        RecordRef::Running(_) | RecordRef::RunningEnd(_) | RecordRef::Sample(_) => return None,
    })
}

fn process_to_0_1<'r>(process: &'r v0_2::Process<'_>) -> v0_1::Process<'r> {
    let v0_2::Process { key, parent, exe, argv, file, uid, gid, cgroup, root: _, mounts: _ } =
        process;
    v0_1::Process {
        key: *key,
        parent: *parent,
        exe: Cow::Borrowed(exe),
        argv: argv_to_0_1(argv),
        file: file_to_0_1(*file),
        uid: *uid,
        gid: *gid,
        cgroup: Cow::Borrowed(cgroup),
    }
}

fn argv_to_0_1<'r>(argv: &'r v0_2::Argv<'_>) -> v0_1::Argv<'r> {
    let v0_2::Argv { joined, argc, truncated } = argv;
    v0_1::Argv { joined: Cow::Borrowed(joined), argc: *argc, truncated: *truncated }
}

const fn file_to_0_1(file: v0_2::FileKey) -> v0_1::FileKey {
    let v0_2::FileKey { ino, dev, generation: _ } = file;
    v0_1::FileKey { ino, dev }
}

fn meta_to_0_1<'r>(meta: &'r v0_2::Meta<'_>) -> v0_1::Meta<'r> {
    // 0.1 knows no labels.
    let v0_2::Meta {
        boot_ns,
        process,
        tid,
        uid,
        gid,
        mount_ns,
        cgroup_id,
        comm,
        verdict,
        labels: _,
    } = meta;
    v0_1::Meta {
        boot_ns: *boot_ns,
        process: *process,
        tid: *tid,
        uid: *uid,
        gid: *gid,
        mount_ns: *mount_ns,
        cgroup_id: *cgroup_id,
        comm: Cow::Borrowed(comm),
        verdict: match *verdict {
            Verdict::None => v0_1::Verdict::None,
            Verdict::Denied { rule_id, errno } => v0_1::Verdict::Denied { rule_id, errno },
            Verdict::Audited { rule_id, errno } => v0_1::Verdict::Audited { rule_id, errno },
        },
    }
}

/// None for what 0.1 does not have: calls of other hooks, and watches.
fn body_to_0_1<'r>(body: &'r Body<'_>) -> Option<v0_1::Body<'r>> {
    Some(match body {
        Body::BprmCheckSecurity(exec) => v0_1::Body::BprmCheckSecurity(exec_to_0_1(exec)),
        Body::BprmCommittedCreds(exec) => v0_1::Body::BprmCommittedCreds(exec_to_0_1(exec)),
        Body::FileOpen(v0_2::FileOpen { file, path, path_truncated, flags, mode }) => {
            v0_1::Body::FileOpen(v0_1::FileOpen {
                file: file_to_0_1(*file),
                path: Cow::Borrowed(path),
                path_truncated: *path_truncated,
                flags: *flags,
                mode: *mode,
            })
        }
        Body::SocketConnect(v0_2::Connect { address, port, family, protocol, kind }) => {
            v0_1::Body::SocketConnect(v0_1::Connect {
                address: *address,
                port: *port,
                family: *family,
                protocol: *protocol,
                kind: *kind,
            })
        }
        Body::SchedProcessFork(v0_2::Fork { child }) => {
            v0_1::Body::SchedProcessFork(v0_1::Fork { child: *child })
        }
        Body::SchedProcessExit(v0_2::Exit { code }) => {
            v0_1::Body::SchedProcessExit(v0_1::Exit { code: *code })
        }
        Body::Call(_) | Body::Watch(_) => return None,
    })
}

fn exec_to_0_1<'r>(exec: &'r v0_2::Exec<'_>) -> v0_1::Exec<'r> {
    let v0_2::Exec { file, path, path_truncated, argv, flags } = exec;
    v0_1::Exec {
        file: file_to_0_1(*file),
        path: Cow::Borrowed(path),
        path_truncated: *path_truncated,
        argv: argv_to_0_1(argv),
        flags: *flags,
    }
}

const fn refusal_to_0_1(refusal: v0_2::Refusal) -> v0_1::Refusal {
    match refusal {
        v0_2::Refusal::NotGranted => v0_1::Refusal::NotGranted,
        v0_2::Refusal::Invalid => v0_1::Refusal::Invalid,
        v0_2::Refusal::TokenInUse => v0_1::Refusal::TokenInUse,
        v0_2::Refusal::UnknownRule => v0_1::Refusal::UnknownRule,
        v0_2::Refusal::UnknownProcess => v0_1::Refusal::UnknownProcess,
        v0_2::Refusal::TooManyRules | v0_2::Refusal::TooMany => v0_1::Refusal::TooManyRules,
        v0_2::Refusal::KeyFull => v0_1::Refusal::KeyFull,
        v0_2::Refusal::MapFull => v0_1::Refusal::MapFull,
        v0_2::Refusal::Unsupported | v0_2::Refusal::Other => v0_1::Refusal::Unsupported,
        v0_2::Refusal::Kernel => v0_1::Refusal::Kernel,
        v0_2::Refusal::OutOfScope => v0_1::Refusal::OutOfScope,
    }
}

/// None for a call that the kernel left out, which 0.1 has no word for. It does not say of what, too.
const fn lost_to_0_1(lost: v0_2::Lost) -> Option<v0_1::Lost> {
    let v0_2::Lost { place, records, of: _ } = lost;
    let place = match place {
        LostWhere::Ring | LostWhere::Verdicts | LostWhere::Elsewhere => v0_1::LostWhere::Ring,
        LostWhere::Decode => v0_1::LostWhere::Decode,
        LostWhere::Queue => v0_1::LostWhere::Queue,
        LostWhere::Plugin => v0_1::LostWhere::Plugin,
        LostWhere::Recursion => return None,
    };
    Some(v0_1::Lost { place, records })
}

fn record_of_0_1(record: v0_1::Record<'_>) -> Record<'_> {
    match record {
        v0_1::Record::BatchStart(v0_1::BatchStart { schema, boot_ns, unix_offset_ns }) => {
            Record::BatchStart(v0_2::BatchStart { schema, boot_ns, unix_offset_ns })
        }
        v0_1::Record::Process(process) => Record::Process(v0_2::Process {
            key: process.key,
            parent: process.parent,
            exe: process.exe,
            argv: argv_of_0_1(process.argv),
            file: file_of_0_1(process.file),
            uid: process.uid,
            gid: process.gid,
            cgroup: process.cgroup,
            root: v0_2::Whose::Unknown,
            mounts: v0_2::Whose::Unknown,
        }),
        v0_1::Record::Gone(v0_1::Gone { key }) => Record::Gone(v0_2::Gone { key }),
        v0_1::Record::Outcome(outcome) => Record::Outcome(v0_2::Outcome {
            token: outcome.token,
            rule_id: outcome.rule_id,
            refusal: outcome.refusal.map(refusal_of_0_1),
            detail: outcome.detail,
        }),
        v0_1::Record::Lost(v0_1::Lost { place, records }) => Record::Lost(v0_2::Lost {
            place: match place {
                v0_1::LostWhere::Ring => LostWhere::Ring,
                v0_1::LostWhere::Decode => LostWhere::Decode,
                v0_1::LostWhere::Queue => LostWhere::Queue,
                v0_1::LostWhere::Plugin => LostWhere::Plugin,
            },
            records,
            of: v0_2::LostOf::Any,
        }),
        v0_1::Record::Tick(v0_1::Tick {}) => Record::Tick(v0_2::Tick {}),
        v0_1::Record::Event(v0_1::Event { meta, body }) => {
            Record::Event(v0_2::Event { meta: meta_of_0_1(meta), body: body_of_0_1(body) })
        }
        v0_1::Record::Unknown(kind) => Record::Unknown(kind),
    }
}

fn argv_of_0_1(argv: v0_1::Argv<'_>) -> v0_2::Argv<'_> {
    let v0_1::Argv { joined, argc, truncated } = argv;
    v0_2::Argv { joined, argc, truncated }
}

/// 0.1 knows no generation: it is 0 here, and whoever knows which file was meant says it.
const fn file_of_0_1(file: v0_1::FileKey) -> v0_2::FileKey {
    let v0_1::FileKey { ino, dev } = file;
    v0_2::FileKey { ino, dev, generation: 0 }
}

fn meta_of_0_1(meta: v0_1::Meta<'_>) -> v0_2::Meta<'_> {
    v0_2::Meta {
        boot_ns: meta.boot_ns,
        process: meta.process,
        tid: meta.tid,
        uid: meta.uid,
        gid: meta.gid,
        mount_ns: meta.mount_ns,
        cgroup_id: meta.cgroup_id,
        comm: meta.comm,
        verdict: match meta.verdict {
            v0_1::Verdict::None => Verdict::None,
            v0_1::Verdict::Denied { rule_id, errno } => Verdict::Denied { rule_id, errno },
            v0_1::Verdict::Audited { rule_id, errno } => Verdict::Audited { rule_id, errno },
        },
        labels: v0_2::EventLabels::default(),
    }
}

fn body_of_0_1(body: v0_1::Body<'_>) -> Body<'_> {
    match body {
        v0_1::Body::BprmCheckSecurity(exec) => Body::BprmCheckSecurity(exec_of_0_1(exec)),
        v0_1::Body::BprmCommittedCreds(exec) => Body::BprmCommittedCreds(exec_of_0_1(exec)),
        v0_1::Body::FileOpen(open) => Body::FileOpen(v0_2::FileOpen {
            file: file_of_0_1(open.file),
            path: open.path,
            path_truncated: open.path_truncated,
            flags: open.flags,
            mode: open.mode,
        }),
        v0_1::Body::SocketConnect(connect) => Body::SocketConnect(v0_2::Connect {
            address: connect.address,
            port: connect.port,
            family: connect.family,
            protocol: connect.protocol,
            kind: connect.kind,
        }),
        v0_1::Body::SchedProcessFork(v0_1::Fork { child }) => {
            Body::SchedProcessFork(v0_2::Fork { child })
        }
        v0_1::Body::SchedProcessExit(v0_1::Exit { code }) => {
            Body::SchedProcessExit(v0_2::Exit { code })
        }
    }
}

fn exec_of_0_1(exec: v0_1::Exec<'_>) -> v0_2::Exec<'_> {
    v0_2::Exec {
        file: file_of_0_1(exec.file),
        path: exec.path,
        path_truncated: exec.path_truncated,
        argv: argv_of_0_1(exec.argv),
        flags: exec.flags,
    }
}

const fn refusal_of_0_1(refusal: v0_1::Refusal) -> v0_2::Refusal {
    match refusal {
        v0_1::Refusal::NotGranted => v0_2::Refusal::NotGranted,
        v0_1::Refusal::Invalid => v0_2::Refusal::Invalid,
        v0_1::Refusal::TokenInUse => v0_2::Refusal::TokenInUse,
        v0_1::Refusal::UnknownRule => v0_2::Refusal::UnknownRule,
        v0_1::Refusal::UnknownProcess => v0_2::Refusal::UnknownProcess,
        v0_1::Refusal::TooManyRules => v0_2::Refusal::TooManyRules,
        v0_1::Refusal::KeyFull => v0_2::Refusal::KeyFull,
        v0_1::Refusal::MapFull => v0_2::Refusal::MapFull,
        v0_1::Refusal::Unsupported => v0_2::Refusal::Unsupported,
        v0_1::Refusal::Kernel => v0_2::Refusal::Kernel,
        v0_1::Refusal::OutOfScope => v0_2::Refusal::OutOfScope,
    }
}

fn action_of_0_1(action: v0_1::Action<'_>) -> Action<'_> {
    match action {
        v0_1::Action::Deny(v0_1::Deny { rule, errno, audit }) => Action::Deny(v0_2::Deny {
            rule: rule_of_0_1(rule),
            errno,
            mode: if audit { v0_2::RuleMode::Audit } else { v0_2::RuleMode::Enforce },
            if_unread: v0_2::IfUnread::Pass,
        }),
        v0_1::Action::Allow(v0_1::Allow { rule }) => {
            Action::Allow(v0_2::Allow { rule: rule_of_0_1(rule) })
        }
        v0_1::Action::Revoke(v0_1::Revoke { token }) => Action::Revoke(v0_2::Revoke { token }),
        v0_1::Action::Kill(v0_1::Kill { token, process }) => {
            Action::Kill(v0_2::Kill { token, process })
        }
        v0_1::Action::Alert(alert) => Action::Alert(v0_2::Alert {
            technique: alert.technique,
            severity: match alert.severity {
                v0_1::Severity::Info => v0_2::Severity::Info,
                v0_1::Severity::Low => v0_2::Severity::Low,
                v0_1::Severity::Medium => v0_2::Severity::Medium,
                v0_1::Severity::High => v0_2::Severity::High,
                v0_1::Severity::Critical => v0_2::Severity::Critical,
            },
            process: alert.process,
            text: alert.text,
            cause_boot_ns: alert.cause_boot_ns,
            evidence: Vec::new(),
        }),
        v0_1::Action::Metric(v0_1::Metric { name, kind, value }) => {
            let kind = match kind {
                v0_1::MetricKind::Counter => v0_2::MetricKind::Counter,
                v0_1::MetricKind::Gauge => v0_2::MetricKind::Gauge,
            };
            Action::Metric(v0_2::Metric { name, kind, value })
        }
        v0_1::Action::Unknown(kind) => Action::Unknown(kind),
    }
}

fn rule_of_0_1(rule: v0_1::Rule<'_>) -> v0_2::Rule<'_> {
    v0_2::Rule {
        token: rule.token,
        cause_boot_ns: rule.cause_boot_ns,
        key: match rule.key {
            v0_1::RuleKey::Process(key) => v0_2::RuleKey::Process(key),
            v0_1::RuleKey::Lineage(root) => v0_2::RuleKey::Lineage(root),
            v0_1::RuleKey::File(file) => v0_2::RuleKey::File(file_of_0_1(file)),
            v0_1::RuleKey::Network { address, prefix, port } => {
                v0_2::RuleKey::Network { address, prefix, port }
            }
        },
        subject: match rule.subject {
            v0_1::Subject::Any => v0_2::Subject::Any,
            v0_1::Subject::Lineage(root) => v0_2::Subject::Lineage(root),
        },
        labels: v0_2::LabelTest::default(),
        hooks: v0_2::HookSet(u128::from(rule.hooks.0)),
        ttl_ms: rule.ttl_ms,
        reason: rule.reason,
    }
}
