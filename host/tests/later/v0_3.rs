//! The made-up schema: a field more in `Meta`, `FileKey`, `Process` and `Rule`, a new value, hook, record, key and action.

use krsi_plugin_schema::codec::{Composite, Encode, choice, number, sized};
use krsi_plugin_schema::frame::write;
use krsi_plugin_schema::latest::{
    Argv, BatchStart, Body, Call, Event, Exec, FileKey, FileOpen, Hook, HookSet, LabelTest, Meta,
    Process, ProcessKey, RecordRef, RuleKey, Subject, Value, Why, kind, manifest,
};
use krsi_plugin_schema::{Schema, lower};

const KEY: ProcessKey = ProcessKey { start_boot_ns: 5, tgid: 6 };
/// Id of the new hook.
const COLOUR_SET: u16 = 0x90;
/// Kind of the new record.
const MARK: u16 = 0x280;

/// A value of this schema.
enum LaterValue {
    Known(Value<'static>),
    Colour(u32),
}

/// What a hook of this schema was called with.
enum LaterBody {
    /// The subvolume is a new field of the file's key.
    FileOpen {
        open: FileOpen<'static>,
        subvolume: u64,
    },
    Exec(Exec<'static>),
    Call {
        hook: Hook,
        values: Vec<LaterValue>,
    },
    /// A new hook.
    ColourSet(u32),
}

/// A record of this schema.
enum LaterRecord {
    /// The namespace is a new field.
    Process { process: Process<'static>, namespace: u64 },
    /// The label is a new field of `Meta`.
    Event { meta: Meta<'static>, label: u64, body: LaterBody },
    /// A new kind.
    Mark(u32),
}

fn meta() -> Meta<'static> {
    let comm = "later".into();
    Meta { boot_ns: 9, process: KEY, tid: 6, uid: 7, comm, ..Meta::default() }
}

fn records() -> Vec<LaterRecord> {
    let event = |body| LaterRecord::Event { meta: meta(), label: 1 << 40, body };
    let file = FileKey { ino: 3, dev: 4, generation: 1 };
    let path = "/tmp/seq-5".into();
    let open = FileOpen { file, path, path_truncated: false, flags: 1, mode: 2 };
    let exec = Exec { path: "/tmp/report-me".into(), ..Exec::default() };
    let values = [Value::Absent(Why::Null)].map(LaterValue::Known).into_iter();
    let values = values.chain([LaterValue::Colour(300), LaterValue::Known(Value::Number(7))]);
    let process = Process { key: KEY, argv: Argv::default(), ..Process::default() };
    vec![
        LaterRecord::Process { process, namespace: u64::MAX },
        LaterRecord::Mark(1),
        event(LaterBody::FileOpen { open, subvolume: u64::MAX }),
        event(LaterBody::ColourSet(2)),
        event(LaterBody::Call { hook: Hook::FileMprotect, values: values.collect() }),
        event(LaterBody::Exec(exec)),
    ]
}

impl Encode for LaterValue {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            LaterValue::Known(value) => value.encode(out),
            LaterValue::Colour(colour) => choice(out, 8, |out| colour.encode(out)),
        }
    }
}

impl LaterRecord {
    fn push(&self, out: &mut Vec<u8>) {
        match self {
            LaterRecord::Process { process, namespace } => write(out, kind::PROCESS, |out| {
                process.encode_fields(out);
                namespace.encode(out);
            }),
            LaterRecord::Mark(mark) => write(out, MARK, |out| mark.encode(out)),
            LaterRecord::Event { meta, label, body } => {
                let hook = match body {
                    LaterBody::FileOpen { .. } => Hook::FileOpen as u16,
                    LaterBody::Exec(_) => Hook::BprmCommittedCreds as u16,
                    LaterBody::Call { hook, .. } => *hook as u16,
                    LaterBody::ColourSet(_) => COLOUR_SET,
                };
                write(out, kind::EVENT + hook, |out| {
                    sized(out, |out| {
                        meta.encode_fields(out);
                        label.encode(out);
                    });
                    body.encode(out);
                })
            }
        }
        .unwrap();
    }
}

impl Encode for LaterBody {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            LaterBody::FileOpen { open, subvolume } => {
                let FileOpen { file, path, path_truncated, flags, mode } = open;
                sized(out, |out| {
                    file.encode_fields(out);
                    subvolume.encode(out);
                });
                path.encode(out);
                path_truncated.encode(out);
                flags.encode(out);
                mode.encode(out);
            }
            LaterBody::Exec(exec) => exec.encode_fields(out),
            LaterBody::Call { values, .. } => values.encode(out),
            LaterBody::ColourSet(colour) => colour.encode(out),
        }
    }
}

fn start(schema: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let start = BatchStart { schema, boot_ns: 10, unix_offset_ns: 0 };
    RecordRef::BatchStart(start).push(&mut out).unwrap();
    out
}

/// A batch of this schema.
pub(crate) fn batch() -> Vec<u8> {
    let mut out = start(3);
    records().iter().for_each(|record| record.push(&mut out));
    out
}

/// The same as a host of this schema sends it to 0.2.
pub(crate) fn lowered() -> Vec<u8> {
    let mut out = start(2);
    for record in records() {
        match record {
            LaterRecord::Process { process, namespace: _ } => {
                lower::push(&mut out, RecordRef::Process(&process), Schema::V0_2).unwrap();
            }
            LaterRecord::Event { meta, label: _, body } => {
                let body = match body {
                    LaterBody::FileOpen { open, subvolume: _ } => Body::FileOpen(open),
                    LaterBody::Exec(exec) => Body::BprmCommittedCreds(exec),
                    LaterBody::Call { hook, values } => {
                        let values = values.into_iter().map(|value| match value {
                            LaterValue::Known(value) => value,
                            LaterValue::Colour(_) => Value::Unknown(8),
                        });
                        Body::Call(Call { hook, values: values.collect() })
                    }
                    LaterBody::ColourSet(_) => continue,
                };
                let event = Event { meta, body };
                lower::push(&mut out, RecordRef::Event(&event), Schema::V0_2).unwrap();
            }
            LaterRecord::Mark(_) => {}
        }
    }
    out
}

/// A rule with a field more, on a key that `key` writes.
fn rule(out: &mut Vec<u8>, token: u32, hooks: &[u8], key: impl FnOnce(&mut Vec<u8>)) {
    sized(out, |out| {
        token.encode(out);
        0u64.encode(out);
        key(out);
        Subject::Any.encode(out);
        LabelTest::default().encode(out);
        hooks.encode(out);
        1000u64.encode(out);
        "why".encode(out);
        // The new field.
        "priority".encode(out);
    });
}

/// What a plugin of this schema asks of a host.
pub(crate) fn actions() -> Vec<u8> {
    let mut out = Vec::new();
    let known =
        |out: &mut Vec<u8>| RuleKey::File(FileKey { ino: 1, dev: 1, generation: 1 }).encode(out);
    let label = |out: &mut Vec<u8>| choice(out, 9, |out| 77u64.encode(out));
    let open = HookSet::default().with(Hook::FileOpen).0 as u8;
    let mut beyond = [0; 38];
    // Hook 300: bit 4 of byte 37.
    beyond.iter_mut().last().into_iter().for_each(|byte| *byte = 1 << 4);
    let mut deny = |token, mode: u64, hooks: &[u8], key: &dyn Fn(&mut Vec<u8>)| {
        write(&mut out, 1, |out| {
            rule(out, token, hooks, key);
            1u16.encode(out);
            number(mode, out);
            number(0, out);
            // A new field of a denial.
            9u64.encode(out);
        })
        .unwrap();
    };
    deny(1, 0, &[open], &known);
    deny(2, 0, &[open], &label);
    deny(3, 3, &[open], &known);
    // A new action, which starts with its token.
    let mut rest = Vec::new();
    write(&mut rest, 90, |out| (4u32.encode(out), KEY.encode(out), "red".encode(out)).2).unwrap();
    out.extend_from_slice(&rest);
    write(&mut out, 2, |out| rule(out, 5, &beyond, known)).unwrap();
    write(&mut out, 5, |out| {
        "T1496".encode(out);
        number(3, out);
        KEY.encode(out);
        "to the end".encode(out);
        0u64.encode(out);
        // No evidence.
        0usize.encode(out);
        // The new field.
        "where".encode(out);
    })
    .unwrap();
    out
}

/// A filter with a condition of this schema before one that is known.
pub(crate) fn push_filter(out: &mut Vec<u8>) {
    let condition = |out: &mut Vec<u8>, name: &str, value: u16| {
        name.encode(out);
        sized(out, |out| value.encode(out));
    };
    write(out, manifest::field::OPTIONAL, |out| {
        "filter".encode(out);
        sized(out, |out| {
            "file_open".encode(out);
            2usize.encode(out);
            condition(out, "label", 1);
            condition(out, "port", 80);
        });
    })
    .unwrap();
}
