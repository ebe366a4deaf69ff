//! A plugin of contract 0.2 gets calls and watches, and answers as Wasm what it answers natively.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use caller::Caller;
use krsi_host::facade::{
    ActionSink, Batch, CallError, Candidate, CompileLimits, Compiler, Delivery, Engine, Limits,
    Next, Queue, RecorderSlot, RestartPolicy, Start, Worker,
};
use krsi_plugin::Instance;
use krsi_plugin_schema::Schema;
use krsi_plugin_schema::frame::Frames;
use krsi_plugin_schema::latest::{Action, Condition, Hook, KeyKind};

/// A batch with every kind of value.
const GOLDEN: &[u8] = include_bytes!("../../wit/schema/src/v0_2/golden.batch");

/// Keeps what the plugin wants: of `init`, and later.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<(Vec<u8>, Vec<u8>)>>);

impl ActionSink for Sink {
    fn begin(&mut self, actions: &[u8]) -> Vec<u8> {
        self.0.lock().unwrap().0.extend_from_slice(actions);
        Vec::new()
    }
    fn apply(&mut self, actions: &[u8]) -> Vec<u8> {
        self.0.lock().unwrap().1.extend_from_slice(actions);
        Vec::new()
    }
    fn failed(&mut self, why: &CallError, _next: Next) {
        panic!("{why}");
    }
    fn note(&mut self, _text: &str) {}
    fn processes(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    fn now(&self) -> (u64, i64) {
        (1, 0)
    }
}

fn candidate() -> Candidate {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let packages = ["fixture-caller".to_owned()];
    let folder = krsi_toolchain::build_plugins(root, &root.join("target/wasm"), &packages).unwrap();
    let program = env!("CARGO_BIN_EXE_krsi-host").into();
    let compiler = Compiler::new(program, CompileLimits::default(), None, None);
    let engine = Engine::new(Limits::default().stack_bytes).unwrap();
    let file = folder.join("caller.wasm");
    Candidate::describe(compiler.load(&engine, &file, Limits::default()).unwrap()).unwrap()
}

fn alerts(actions: &[u8]) -> Vec<String> {
    let alert = |frame| match Action::decode(&frame) {
        Ok(Action::Alert(alert)) => Some(alert.text.into_owned()),
        _ => None,
    };
    Frames::new(actions).filter_map(|frame| alert(frame.unwrap())).collect()
}

#[test]
fn a_plugin_of_the_second_contract_sees_calls_and_watches() {
    let candidate = candidate();
    assert_eq!(candidate.identity().contract, "krsi:plugin@0.2");
    let manifest = &candidate.manifest;
    assert_eq!(manifest.schema, Schema::V0_2);
    assert_eq!(manifest.hooks.iter().count(), Hook::ALL.len() - 6);
    assert_eq!(manifest.watches, ["inode_getattr: path"]);
    let filter = &manifest.filters[0];
    assert_eq!(filter.hook, Hook::FilePermission);
    let conditions = [Condition::PathPrefix("/etc/".into()), Condition::PerProcessRate(10)];
    assert_eq!(filter.conditions, conditions);
    let kinds = [KeyKind::Cgroup, KeyKind::Path, KeyKind::Digest, KeyKind::Hook];
    assert_eq!(manifest.deny_keys, kinds.into_iter().collect());

    let sink = Sink::default();
    let (start, queue) = (
        Start { config: [].into(), seed: 1, recorder: RecorderSlot::default() },
        Arc::new(Queue::new(100)),
    );
    let policy = RestartPolicy::default();
    let worker = Worker::start(candidate, start, policy, queue, Box::new(sink.clone())).unwrap();
    worker.queue().push(Delivery::Batch(Arc::new(Batch::private(GOLDEN.to_vec()))));
    let started = Instant::now();
    while sink.0.lock().unwrap().1.is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "no answer");
        std::thread::yield_now();
    }
    worker.stop();

    let mut native = Instance::<Caller>::new();
    let first = native.init(b"", 1).unwrap();
    let then = native.handle(GOLDEN);
    assert_eq!(*sink.0.lock().unwrap(), (first, then.clone()));
    let told = alerts(&then);
    assert_eq!(told.len(), 10);
    let mprotect = "file_mprotect - - 139637976727552 139637976735744 3 5 5 gains exec";
    assert!(told.iter().any(|text| text == mprotect), "{told:?}");
    assert_eq!(told.last().unwrap(), "watch 3 inode_getattr 18446744073709551615 päth cut:3");
}
