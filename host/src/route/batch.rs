//! Events → one encoded batch: each process is described before the first record that names it.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;
use krsi_plugin_schema::frame::FrameError;
use krsi_plugin_schema::latest::{
    BatchStart, Body, Event, FileKey, Gone, Lost, Process, ProcessKey, RecordRef, SCHEMA,
};
use krsi_plugin_schema::{Schema, lower};

use super::buffer_pool::BufferPool;
use super::queue::{Batch, HEAD_ROOM};
use super::scope::Scope;
use crate::enrich::ProcessChange;

/// Described processes that a view remembers; beyond, it forgets all and describes anew.
const KNOWN_MAX: usize = 65_536;
/// Ancestors that are described with a process.
const ANCESTORS_MAX: usize = 64;

/// Where descriptions of processes come from.
pub trait ProcessSource {
    /// What is known of a process.
    fn process(&self, key: ProcessKey) -> Option<&Process<'static>>;
}

/// A batch under construction, and which processes its readers know.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    /// Room for a batch start, then frames; empty before the first frame.
    bytes: Vec<u8>,
    /// The batch start, made last as it carries the time.
    head: Vec<u8>,
    records: u32,
    /// Losses told in it.
    lost: Vec<Lost>,
    /// Files named in it, if its schema does not tell them from later ones.
    files: Vec<FileKey>,
    known: HashSet<ProcessKey, RandomState>,
    /// Unknown ancestors of the process being described, youngest first.
    lineage: Vec<ProcessKey>,
    pool: Arc<BufferPool>,
    /// Scope of the readers: the processes that they may know of.
    scope: Scope,
    /// Schema of the batches.
    schema: Schema,
}

impl BatchBuilder {
    /// An empty batch for readers of a scope and a schema; buffers come from `pool` and go there.
    #[must_use]
    pub(crate) fn new(scope: Scope, schema: Schema, pool: Arc<BufferPool>) -> Self {
        Self { scope, schema, pool, ..Self::default() }
    }

    /// Appends an event, preceded by the descriptions it needs.
    ///
    /// # Errors
    /// When the event is too long for a frame; the batch is then as before.
    pub(crate) fn push(
        &mut self,
        event: &Event<'_>,
        processes: &impl ProcessSource,
    ) -> Result<(), FrameError> {
        self.start();
        self.describe(event.meta.process, processes);
        if let Body::SchedProcessFork(fork) = &event.body {
            self.describe(fork.child, processes);
        }
        let record = RecordRef::Event(event);
        let has = lower::push(&mut self.bytes, record, self.schema)?;
        self.note(record);
        self.records += u32::from(has);
        Ok(())
    }

    /// Tells a loss after the events so far.
    pub(crate) fn lose(&mut self, lost: Lost) {
        self.start();
        self.add(RecordRef::Lost(lost));
        self.lost.push(lost);
    }

    /// Follows a process, whether or not this batch's readers see the event that tells of it: after an
    /// exec it is described anew, after its end it is forgotten.
    pub(crate) fn follow(&mut self, change: ProcessChange<'_>) {
        match change {
            ProcessChange::Forked { .. } => {}
            ProcessChange::Executed { process, .. } => {
                self.known.remove(&process);
            }
            ProcessChange::Exited { process } => self.forget(process),
        }
    }

    /// Notes that the readers know a process that this batch did not describe.
    pub(crate) fn described(&mut self, process: ProcessKey) {
        self.known.insert(process);
    }

    /// Makes the next events describe every process again, for a reader that has just come.
    pub(crate) fn describe_anew(&mut self) {
        self.known.clear();
    }

    /// Whether there is nothing to hand over.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.bytes.len() <= HEAD_ROOM
    }

    /// Ends the batch and starts the next one.
    pub(crate) fn finish(&mut self, boot_ns: u64, unix_offset_ns: i64) -> Batch {
        self.start();
        self.head.clear();
        push_start(&mut self.head, self.schema, (boot_ns, unix_offset_ns));
        let next = self.pool.take(self.bytes.len());
        let bytes = std::mem::replace(&mut self.bytes, next);
        let (records, lost) = (std::mem::take(&mut self.records), std::mem::take(&mut self.lost));
        let batch = Batch::headed(&self.head, bytes, (records, lost), Arc::clone(&self.pool));
        batch.with_files(std::mem::take(&mut self.files))
    }

    fn start(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEAD_ROOM, 0);
        }
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
    }

    fn describe(&mut self, key: ProcessKey, processes: &impl ProcessSource) {
        self.lineage.clear();
        let mut next = key;
        while self.lineage.len() < ANCESTORS_MAX && !self.known.contains(&next) {
            let Some(process) = processes.process(next) else { break };
            if !self.scope.holds(process) {
                break;
            }
            if self.lineage.contains(&next) {
                break;
            }
            self.lineage.push(next);
            next = process.parent;
        }
        while let Some(key) = self.lineage.pop() {
            let Some(process) = processes.process(key) else { continue };
            // Descriptions are bounded well below a frame by the process table.
            let record = RecordRef::Process(process);
            if lower::push(&mut self.bytes, record, self.schema).is_ok() {
                self.note(record);
                self.known.insert(key);
            }
        }
    }

    /// Notes the file of a record, where the bytes do not tell which it is.
    fn note(&mut self, record: RecordRef<'_, '_>) {
        if self.schema == Schema::V0_1
            && let Some(file) = lower::file_of(record)
            && self.files.last() != Some(&file)
        {
            self.files.push(file);
        }
    }

    fn forget(&mut self, key: ProcessKey) {
        if self.known.remove(&key) {
            self.start();
            self.add(RecordRef::Gone(Gone { key }));
        }
    }

    /// Appends a record of a few bytes, which always fits a frame.
    fn add(&mut self, record: RecordRef<'_, '_>) {
        let _fits = lower::push(&mut self.bytes, record, self.schema);
    }
}

/// Appends the first record of a batch of a schema, at a time and an offset to the Unix epoch.
fn push_start(out: &mut Vec<u8>, schema: Schema, (boot_ns, unix_offset_ns): (u64, i64)) {
    let start = BatchStart { schema: schema.number(), boot_ns, unix_offset_ns };
    // A batch start is a few bytes.
    let _fits = lower::push(out, RecordRef::BatchStart(start), schema);
}

/// A batch of the host's own schema with nothing in it yet, for one reader; [`fit`] makes of it what
/// that reader may have.
#[must_use]
pub fn private(now: (u64, i64)) -> Vec<u8> {
    let mut batch = Vec::new();
    push_start(&mut batch, SCHEMA, now);
    batch
}

/// A batch as a reader of a schema may have it. Views are made for their readers, so this is the
/// batch itself; but while a version of another contract takes over or runs beside, there are
/// batches that were made for another schema, and the host's own reports are made in its own.
#[must_use]
pub(crate) fn fit(batch: &Batch, schema: Schema) -> Cow<'_, [u8]> {
    match lower::schema_of(batch.bytes()) {
        Some(written) if written != schema => {
            Cow::Owned(lower::batch(batch.bytes(), written, schema, batch.files()))
        }
        Some(_) | None => Cow::Borrowed(batch.bytes()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use krsi_plugin_schema::frame::Frames;
    use krsi_plugin_schema::latest::{
        Call, Connect, Exec, FileOpen, Hook, LostOf, LostWhere, Meta, Record, Watch,
    };
    use krsi_plugin_schema::v0_1;

    use super::*;

    struct ProcessMap(HashMap<ProcessKey, Process<'static>>);

    impl ProcessSource for ProcessMap {
        fn process(&self, key: ProcessKey) -> Option<&Process<'static>> {
            self.0.get(&key)
        }
    }

    fn key(tgid: u32) -> ProcessKey {
        ProcessKey { start_boot_ns: u64::from(tgid) * 10, tgid }
    }

    fn table() -> ProcessMap {
        let process =
            |tgid, parent| Process { key: key(tgid), parent: key(parent), ..Process::default() };
        ProcessMap(
            [process(1, 0), process(2, 1), process(3, 2)].into_iter().map(|p| (p.key, p)).collect(),
        )
    }

    fn event(tgid: u32, body: Body<'static>) -> Event<'static> {
        Event { meta: Meta { process: key(tgid), ..Meta::default() }, body }
    }

    fn kinds(batch: &Batch) -> Vec<String> {
        Frames::new(batch.bytes())
            .map(|frame| match Record::decode(&frame.unwrap()).unwrap() {
                Record::BatchStart(_) => "start".into(),
                Record::Process(process) => format!("process {}", process.key.tgid),
                Record::Gone(gone) => format!("gone {}", gone.key.tgid),
                Record::Event(event) => event.body.name().into(),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn a_process_and_its_ancestors_are_described_once_before_they_are_named() {
        let (table, mut batch) = (table(), BatchBuilder::default());
        batch.push(&event(3, Body::SocketConnect(Connect::default())), &table).unwrap();
        batch.push(&event(3, Body::SocketConnect(Connect::default())), &table).unwrap();
        let first = batch.finish(5, 0);
        assert_eq!(first.records(), 2);
        let expected =
            ["start", "process 1", "process 2", "process 3", "socket_connect", "socket_connect"];
        assert_eq!(kinds(&first), expected);
        assert!(batch.is_empty());
        batch.push(&event(2, Body::SocketConnect(Connect::default())), &table).unwrap();
        assert_eq!(kinds(&batch.finish(6, 0)), ["start", "socket_connect"]);
    }

    #[test]
    fn a_batch_for_a_newer_schema_loses_what_an_older_one_does_not_have() {
        let (table, mut batch) =
            (table(), BatchBuilder::new(Scope::System, Schema::V0_2, Arc::default()));
        let call = || Call { hook: Hook::TaskKill, values: Vec::new() };
        let watch = || Watch { index: 0, hook: "task_kill".into(), values: Vec::new() };
        batch.push(&event(1, Body::Call(call())), &table).unwrap();
        batch.push(&event(1, Body::SocketConnect(Connect::default())), &table).unwrap();
        batch.push(&event(1, Body::Watch(watch())), &table).unwrap();
        for place in [LostWhere::Verdicts, LostWhere::Recursion] {
            batch.lose(Lost { place, records: 7, of: LostOf::Hook(Hook::TaskKill as u16) });
        }
        let newer = batch.finish(5, -3);
        let lower = fit(&newer, Schema::V0_1);
        let records: Vec<_> = Frames::new(&lower)
            .map(|frame| v0_1::Record::decode(&frame.unwrap()).unwrap())
            .collect();
        let [start, v0_1::Record::Process(_), v0_1::Record::Event(_), lost] = &records[..] else {
            panic!("{records:?}");
        };
        let expected = v0_1::Lost { place: v0_1::LostWhere::Ring, records: 7 };
        assert_eq!(*lost, v0_1::Record::Lost(expected));
        let expected = v0_1::BatchStart { schema: 1, boot_ns: 5, unix_offset_ns: -3 };
        assert_eq!(*start, v0_1::Record::BatchStart(expected));
        let same = [(newer.bytes(), Schema::V0_2), (&lower, Schema::V0_1), (b"", Schema::V0_1)];
        for (bytes, schema) in same {
            let batch = Batch::private(bytes.to_vec());
            assert!(matches!(fit(&batch, schema), Cow::Borrowed(same) if same == bytes));
        }
        // A successor of the newer contract takes over a batch that was made for the older one.
        let older = Batch::private(lower.to_vec());
        let higher = fit(&older, Schema::V0_2);
        let kinds: Vec<_> = Frames::new(&higher)
            .map(|frame| Record::decode(&frame.unwrap()).unwrap())
            .filter(|record| matches!(record, Record::Unknown(_)))
            .collect();
        assert_eq!((kinds, Frames::new(&higher).count()), (Vec::new(), records.len()));
    }

    #[test]
    fn a_batch_for_0_1_has_the_files_that_its_bytes_do_not_tell_from_later_ones() {
        let file = |ino, generation| FileKey { ino, dev: 1, generation };
        let open = |file| Body::FileOpen(FileOpen { file, ..FileOpen::default() });
        let mut table = table();
        table.0.get_mut(&key(1)).unwrap().file = file(9, 4);
        for (schema, expected) in
            [(Schema::V0_1, vec![file(9, 4), file(7, 1), file(7, 2)]), (Schema::V0_2, Vec::new())]
        {
            let mut batch = BatchBuilder::new(Scope::System, schema, Arc::default());
            for file in [file(7, 1), file(7, 1), file(7, 2)] {
                batch.push(&event(1, open(file)), &table).unwrap();
            }
            let told = batch.finish(5, 0);
            assert_eq!((told.files(), batch.finish(6, 0).files()), (&expected[..], &[][..]));
            // A version of the newer contract that takes over has them as they were.
            let higher = fit(&told, Schema::V0_2);
            let named: Vec<FileKey> = Frames::new(&higher)
                .filter_map(|frame| {
                    lower::file_of(Record::decode(&frame.unwrap()).unwrap().by_ref()?)
                })
                .collect();
            let last = if schema == Schema::V0_1 { file(7, 2) } else { file(7, 1) };
            assert_eq!(named, [file(9, 4), last, last, file(7, 2)]);
        }
    }

    #[test]
    fn an_exec_describes_anew_and_an_exit_forgets() {
        let (table, mut batch) = (table(), BatchBuilder::default());
        batch.push(&event(2, Body::SocketConnect(Connect::default())), &table).unwrap();
        batch.finish(1, 0);
        let exec = Exec::default();
        batch.follow(ProcessChange::Executed { process: key(2), exec: &exec });
        batch.push(&event(2, Body::SocketConnect(Connect::default())), &table).unwrap();
        assert_eq!(kinds(&batch.finish(2, 0)), ["start", "process 2", "socket_connect"]);
        batch.follow(ProcessChange::Exited { process: key(2) });
        batch.follow(ProcessChange::Exited { process: key(9) });
        assert_eq!(kinds(&batch.finish(3, 0)), ["start", "gone 2"]);
    }
}
