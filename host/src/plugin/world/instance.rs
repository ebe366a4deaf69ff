//! A live plugin of any contract: its store, its limits, its calls, and how they fail.

use std::time::Duration;

use krsi_plugin_schema::Schema;
use krsi_plugin_schema::latest::ManifestFault;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Store, Trap, WasmBacktrace};

use super::super::engine::Engine;
use super::super::limit::{Limits, MemoryMeter};
use super::log::{KeptLog, Log};
use super::manifest::check;
use super::{CallError, Contract, Manifest, ManifestError, World};
use crate::text::cut;

/// Bytes that are copied beyond a limit, so that a message can tell the length.
const COPY_SLACK: usize = 16 << 20;
/// Lines of a backtrace that are told.
const FRAMES: usize = 16;
/// Bytes of a backtrace's line that are told.
const FRAME_BYTES: usize = 256;
/// Longest refusal text that is told.
const REFUSAL_BYTES: usize = 2048;

/// A manifest as a contract's bindings give it, or why it cannot be read.
pub(super) type RawManifest = Result<krsi_plugin_schema::latest::Manifest, ManifestFault>;

/// What a store holds for its plugin.
pub(super) struct Host {
    meter: MemoryMeter,
    pub(super) log: Log,
    stack_bytes: usize,
}

/// The bindings of one contract: what its generated code does, under names that all contracts share.
pub(super) trait Bindings: Sized + Send + 'static {
    /// Schema of the contract's batches.
    const SCHEMA: Schema;
    /// A compiled plugin.
    type Pre: Send + Sync;

    /// Offers the imports.
    fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()>;
    /// Finds the exports.
    fn pre(pre: InstancePre<Host>) -> wasmtime::Result<Self::Pre>;
    /// Makes a live instance of a compiled plugin.
    fn instantiate(pre: &Self::Pre, store: &mut Store<Host>) -> wasmtime::Result<Self>;
    /// Calls `describe`.
    fn describe(&self, store: &mut Store<Host>) -> wasmtime::Result<RawManifest>;
    /// Calls `init`.
    fn init(
        &self,
        store: &mut Store<Host>,
        config: &[u8],
        seed: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, String>>;
    /// Calls `handle`.
    fn handle(&self, store: &mut Store<Host>, batch: &[u8]) -> wasmtime::Result<Vec<u8>>;
    /// Calls `snapshot`.
    fn snapshot(&self, store: &mut Store<Host>) -> wasmtime::Result<Vec<u8>>;
    /// Calls `restore`.
    fn restore(
        &self,
        store: &mut Store<Host>,
        from_version: &str,
        state: &[u8],
    ) -> wasmtime::Result<Result<(), String>>;
}

/// Binds a component to a contract.
pub(super) fn bind<B: Bindings>(
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Contract> {
    let mut linker = Linker::new(engine.wasm());
    B::link(&mut linker)?;
    Ok(Box::new(LinkedContract::<B>(B::pre(linker.instantiate_pre(component)?)?)))
}

/// A compiled plugin of a contract.
struct LinkedContract<B: Bindings>(B::Pre);

impl<B: Bindings> super::Pre for LinkedContract<B> {
    fn instantiate(
        &self,
        engine: &Engine,
        limits: Limits,
        name: String,
    ) -> Result<Box<dyn World>, CallError> {
        Ok(Box::new(Live::<B>::new(&self.0, engine, limits, name)?))
    }
}

/// A live plugin of a contract.
struct Live<B> {
    plugin: B,
    store: Store<Host>,
    engine: Engine,
    limits: Limits,
}

impl<B: Bindings> Live<B> {
    fn new(pre: &B::Pre, engine: &Engine, limits: Limits, name: String) -> Result<Self, CallError> {
        let stack_bytes = limits.stack_bytes;
        let host =
            Host { meter: MemoryMeter::new(limits), log: Log::new(name, limits), stack_bytes };
        let mut store = Store::new(engine.wasm(), host);
        store.limiter(|host| &mut host.meter);
        // Bounds what the host copies out of the guest in one call; a little beyond a limit is still
        // copied, so that the message can say how much it was.
        store.set_hostcall_fuel(limits.output_bytes.max(limits.state_bytes) + COPY_SLACK);
        store.epoch_deadline_trap();
        store.set_epoch_deadline(Engine::ticks(limits.init_deadline));
        let running = engine.enter();
        let plugin = B::instantiate(pre, &mut store);
        drop(running);
        match plugin {
            Ok(plugin) => Ok(Self { plugin, store, engine: engine.clone(), limits }),
            Err(error) => Err(failure("instantiation", limits.init_deadline, &error, store.data())),
        }
    }

    fn call<T>(
        &mut self,
        call: &'static str,
        deadline: Duration,
        act: impl FnOnce(&B, &mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        self.store.set_epoch_deadline(Engine::ticks(deadline));
        let running = self.engine.enter();
        let result = act(&self.plugin, &mut self.store);
        drop(running);
        result.map_err(|error| failure(call, deadline, &error, self.store.data()))
    }

    fn bounded(&self, call: &'static str, output: Vec<u8>) -> Result<Vec<u8>, CallError> {
        within(call, output, self.limits.output_bytes)
    }
}

fn within(call: &'static str, output: Vec<u8>, limit: usize) -> Result<Vec<u8>, CallError> {
    let bytes = output.len();
    if bytes > limit { Err(CallError::Output { call, bytes, limit }) } else { Ok(output) }
}

impl<B: Bindings> World for Live<B> {
    fn describe(&mut self) -> Result<Result<Manifest, ManifestError>, CallError> {
        let deadline = self.limits.init_deadline;
        let manifest = self.call("describe", deadline, |plugin, store| plugin.describe(store))?;
        Ok(manifest.map_err(ManifestError::from).and_then(|manifest| check(manifest, B::SCHEMA)))
    }

    fn init(&mut self, config: &[u8], seed: u64) -> Result<Result<Vec<u8>, String>, CallError> {
        let deadline = self.limits.init_deadline;
        let started =
            self.call("init", deadline, |plugin, store| plugin.init(store, config, seed))?;
        match started {
            Ok(actions) => self.bounded("init", actions).map(Ok),
            Err(reason) => Ok(Err(cut(&reason, REFUSAL_BYTES).to_owned())),
        }
    }

    fn handle(&mut self, batch: &[u8]) -> Result<Vec<u8>, CallError> {
        let deadline = self.limits.call_deadline;
        let actions = self.call("handle", deadline, |plugin, store| plugin.handle(store, batch))?;
        self.bounded("handle", actions)
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, CallError> {
        let deadline = self.limits.call_deadline;
        let state = self.call("snapshot", deadline, |plugin, store| plugin.snapshot(store))?;
        within("snapshot", state, self.limits.state_bytes)
    }

    fn restore(
        &mut self,
        from_version: &str,
        state: &[u8],
    ) -> Result<Result<(), String>, CallError> {
        let deadline = self.limits.init_deadline;
        let restored = self.call("restore", deadline, |plugin, store| {
            plugin.restore(store, from_version, state)
        })?;
        Ok(restored.map_err(|reason| cut(&reason, REFUSAL_BYTES).to_owned()))
    }

    fn log_dropped(&self) -> u64 {
        self.store.data().log.dropped
    }

    fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.store.data_mut().log.plugin);
    }

    fn take_log(&mut self) -> KeptLog {
        self.store.data_mut().log.take()
    }
}

/// Finds out which limit a failed call met, or what it trapped on.
fn failure(
    call: &'static str,
    deadline: Duration,
    error: &wasmtime::Error,
    host: &Host,
) -> CallError {
    let trap = error.downcast_ref::<Trap>();
    let backtrace = backtrace(error);
    match trap {
        Some(Trap::Interrupt) => return CallError::Deadline { call, deadline, backtrace },
        Some(Trap::StackOverflow) => {
            return CallError::Stack { call, limit: host.stack_bytes, backtrace };
        }
        _ => {}
    }
    if let Some(met) = host.meter.exceeded() {
        return CallError::Limit { call, what: met.what, asked: met.asked, limit: met.limit };
    }
    let mut text = match trap {
        Some(trap) => trap.to_string(),
        None => cut(&error.root_cause().to_string(), REFUSAL_BYTES).to_owned(),
    };
    if let Some(words) = &host.log.last_words {
        text = format!("{words}; {text}");
    }
    CallError::Trap { call, text, backtrace }
}

/// The frames of a backtrace, below the line that says what it is.
fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return Vec::new() };
    let text = backtrace.to_string();
    let frames =
        text.lines().map(str::trim).filter(|line| line.starts_with(|at: char| at.is_ascii_digit()));
    frames.take(FRAMES).map(|frame| cut(frame, FRAME_BYTES).to_owned()).collect()
}
