//! A made-up schema 0.3 beside real plugins of 0.1 and 0.2: each sees exactly what it knows, and what a
//! plugin of 0.3 asks of this host is done as far as it is known, the rest refused by name.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod v0_3;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use krsi_host::facade::{
    ActionContext, ActionSink, Asked, Batch, CallError, Candidate, CompileLimits, Compiler,
    Delivery, Engine, EntryKey, Grant, GrantSpec, Kinship, Ledger, Limits, Machine, Next,
    Principal, Queue, RecorderSlot, RestartPolicy, RuleStore, SampleBook, Start, StoreError, Turns,
    Worker, apply,
};
use krsi_host_abi::deny::{Bounds, Entry, LabelRules, Membership, ProcessKey};
use krsi_host_abi::hook::Hook as AbiHook;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{
    Action, Filter, Hook, HookSet, KeyKind, Manifest, ManifestFault, Outcome, Record, Refusal,
    RuleKey, Severity, manifest,
};
use krsi_plugin_schema::{Schema, lower};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The plugin that SDK 0.1.0 built, never to be built again.
fn of_0_1() -> PathBuf {
    root().join("tests/contract/0.1.0/census.wasm")
}

/// A plugin of 0.2, built anew until that is released.
fn of_0_2(name: &str) -> PathBuf {
    let packages = [format!("fixture-{name}")];
    let target = root().join("target/wasm");
    let folder = krsi_toolchain::build_plugins(root(), &target, &packages).unwrap();
    folder.join(format!("{name}.wasm"))
}

/// Keeps what the plugin wants after its start.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl ActionSink for Sink {
    fn begin(&mut self, _actions: &[u8]) -> Vec<u8> {
        Vec::new()
    }
    fn apply(&mut self, actions: &[u8]) -> Vec<u8> {
        self.0.lock().unwrap().extend_from_slice(actions);
        Vec::new()
    }
    fn failed(&mut self, why: &CallError, _next: Next) {
        panic!("{why}");
    }
    fn note(&mut self, text: &str) {
        panic!("{text}");
    }
    fn processes(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    fn now(&self) -> (u64, i64) {
        (1, 0)
    }
}

/// Texts of the alerts that a plugin raises about a batch.
fn alerts(file: &Path, schema: Schema, batch: &[u8]) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_krsi-host").into();
    let compiler = Compiler::new(program, CompileLimits::default(), None, None);
    let engine = Engine::new(Limits::default().stack_bytes).unwrap();
    let pre = compiler.load(&engine, file, Limits::default()).unwrap();
    let candidate = Candidate::describe(pre).unwrap();
    assert_eq!(candidate.manifest.schema, schema);
    let (sink, queue) = (Sink::default(), Arc::new(Queue::new(100)));
    let start = Start { config: [].into(), seed: 1, recorder: RecorderSlot::default() };
    let policy = RestartPolicy::default();
    let worker = Worker::start(candidate, start, policy, queue, Box::new(sink.clone())).unwrap();
    worker.queue().push(Delivery::Batch(Arc::new(Batch::private(batch.to_vec()))));
    worker.stop();
    let actions = sink.0.lock().unwrap().clone();
    let alert = |action| match action {
        Action::Alert(alert) => Some(alert.text.into_owned()),
        _ => None,
    };
    let actions = Frames::new(&actions).map(|frame| lower::action(&frame.unwrap(), schema));
    actions.filter_map(|action| alert(action.unwrap())).collect()
}

/// What a census of either contract tells of the open and the exec that the batch holds.
const CENSUS: &str =
    "by 1.0.000 all 2 opens 1 sum 5 squares 25 refused 0 known true versions 1.0.000=1";
/// What 0.2 has a word for of a call with a value of 0.3.
const CALL: &str = "file_mprotect - ? 7";

#[test]
fn plugins_of_0_1_and_0_2_see_exactly_what_they_know() {
    let (later, lowered) = (v0_3::batch(), v0_3::lowered());
    let (census, caller) = (of_0_2("census"), of_0_2("caller"));
    // Lowered, as a host of 0.3 would send it: to 0.1 by way of 0.2.
    assert_eq!(alerts(&of_0_1(), Schema::V0_1, &lowered), [CENSUS]);
    assert_eq!(alerts(&census, Schema::V0_2, &lowered), [CENSUS]);
    assert_eq!(alerts(&caller, Schema::V0_2, &lowered), [CALL]);
    // As it is: 0.2 skips what it does not know, 0.1 reads the time and nothing else.
    assert_eq!(alerts(&census, Schema::V0_2, &later), [CENSUS]);
    assert_eq!(alerts(&caller, Schema::V0_2, &later), [CALL]);
    assert_eq!(alerts(&of_0_1(), Schema::V0_1, &later), Vec::<String>::new());
}

#[test]
fn a_batch_of_0_3_reads_as_what_is_sent_of_it_to_0_2() {
    let read = |bytes: &[u8]| {
        let records = Frames::new(bytes).map(|frame| {
            let record = Record::decode(&frame.unwrap()).unwrap();
            format!("{record:?}")
        });
        let known = |text: &String| !text.starts_with("Unknown") && !text.starts_with("BatchStart");
        records.filter(known).collect::<Vec<_>>()
    };
    let (later, lowered) = (v0_3::batch(), v0_3::lowered());
    assert_eq!(read(&later), read(&lowered));
    assert_eq!(read(&lowered).len(), 4);
    assert_eq!((lower::schema_of(&later), lower::schema_of(&lowered)), (None, Some(Schema::V0_2)));
}

/// Maps that take everything.
struct Maps;

impl RuleStore for Maps {
    fn put(&mut self, _: EntryKey, _: &Entry) -> Result<(), StoreError> {
        Ok(())
    }
    fn remove(&mut self, _: EntryKey) -> Result<(), StoreError> {
        Ok(())
    }
    fn mark(&mut self, _: ProcessKey, _: &Membership) -> Result<(), StoreError> {
        Ok(())
    }
    fn unmark(&mut self, _: ProcessKey) -> Result<(), StoreError> {
        Ok(())
    }
    fn marks(&self, _: ProcessKey) -> Result<Option<Membership>, StoreError> {
        Ok(None)
    }
    fn bound(&mut self, _: u8, _: Bounds) -> Result<(), StoreError> {
        Ok(())
    }
    fn set_rule_flags(&mut self, _: AbiHook, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    fn set_label_rules(&mut self, _: LabelRules) -> Result<(), StoreError> {
        Ok(())
    }
    fn set_labels(&mut self, _: ProcessKey, _: u64, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    fn forget_labels(&mut self, _: ProcessKey) -> Result<(), StoreError> {
        Ok(())
    }
    fn labels(&self) -> Result<Vec<(ProcessKey, u64)>, StoreError> {
        Ok(Vec::new())
    }
    fn capacity(&self, _: EntryKey) -> Option<(&'static str, usize)> {
        None
    }
    fn open_hits(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
    fn hits(&self, _: u64) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn close_hits(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn actions_of_0_3_are_done_as_far_as_known_and_the_rest_is_refused_by_name() {
    let open = HookSet::default().with(Hook::FileOpen);
    let deny_keys = [KeyKind::File].into_iter().collect();
    let asked = Asked { deny_keys, deny_hooks: open, ..Asked::default() };
    let grant = Grant::new(asked, GrantSpec::default());
    let mut principal = Principal::new(1, "later".into(), Schema::V0_2, grant);
    let ledger = Turns::new(Ledger::new(Maps, [AbiHook::FileOpen]));
    let nobody = |_: &RuleKey| Vec::new();
    let kinship = Kinship { exists: &|_| true, descendants: &|_| Vec::new(), running: &nobody };
    let machine = &Machine { without_cgroups: None, ..Machine::default() };
    let samples = Mutex::new(SampleBook::default());
    let context = ActionContext {
        now_boot_ns: 1,
        kinship,
        machine,
        within: &|_| true,
        bounds: Bounds::default(),
        sampling: &samples,
    };
    let applied = apply(&ledger, &mut principal, &v0_3::actions(), context);

    let outcomes = Frames::new(&applied.outcomes).map(|frame| {
        let Record::Outcome(Outcome { token, rule_id, refusal, detail }) =
            Record::decode(&frame.unwrap()).unwrap()
        else {
            panic!("no outcome")
        };
        (token, rule_id.is_some(), refusal, detail.into_owned())
    });
    let refused = |token, refusal, detail: &str| (token, false, Some(refusal), detail.to_owned());
    let expected = [
        (1, true, None, String::new()),
        refused(2, Refusal::Unsupported, "rule key 9 is not known to this version"),
        refused(3, Refusal::Unsupported, "mode of a rule 3 is not known to this version"),
        refused(4, Refusal::Unsupported, "actions of kind 90 are unknown"),
        refused(5, Refusal::Unsupported, "hook 300 is not known to this version"),
    ];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    let alerts: Vec<_> = applied.alerts.iter().map(|one| (one.severity, &*one.text)).collect();
    assert_eq!(alerts, [(Severity::High, "to the end")]);
}

#[test]
fn a_manifest_of_0_3_is_read_and_what_it_requires_is_refused_by_name() {
    let asks = |more: &dyn Fn(&mut Vec<u8>)| {
        let filter = Filter::new(Hook::FileOpen).uid(7);
        let mut known = Manifest::new("later", "1.0.0").hook(Hook::FileOpen).filter(filter);
        known.schema = 3;
        let mut bytes = known.encode().unwrap();
        more(&mut bytes);
        (known, Manifest::decode(&bytes))
    };
    let push = |out: &mut Vec<u8>, kind, name: &str, value: &str| {
        manifest::push(out, kind, name, value).unwrap();
    };
    let (known, read) = asks(&|out| push(out, manifest::field::OPTIONAL, "colour", "red"));
    assert_eq!(read, Ok(known));
    let (_, read) = asks(&|out| push(out, manifest::field::REQUIRED, "labels", "write"));
    assert_eq!(read, Err(ManifestFault::Requirement { name: "labels".into() }));
    let (_, read) = asks(&|out| push(out, manifest::field::REQUIRED, "deny-key", "label"));
    assert_eq!(read, Err(ManifestFault::Key { name: "label".into() }));
    // A condition of a filter that is not known is left out: the plugin sees more.
    let (known, read) = asks(&v0_3::push_filter);
    let mut expected = known;
    expected.filters.push(Filter::new(Hook::FileOpen).port(80));
    assert_eq!(read, Ok(expected));
    assert!(Schema::V0_2.serves(3) && !Schema::V0_1.serves(3));
}
