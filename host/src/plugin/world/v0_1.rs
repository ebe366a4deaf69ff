//! Contract 0.1: its bindings and the conversions to the contract-neutral view.

use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Store, Trap, WasmBacktrace};

use super::super::engine::Engine;
use super::super::limit::{Limits, Meter};
use super::log::{Level, Log, visible};
use super::{
    CallError, Contract, ContractRow, Manifest, ManifestError, OnStop, RawManifest, World,
};

/// This contract in the table.
pub(super) const ROW: ContractRow = ContractRow {
    version: (0, 1),
    exports: &["describe", "init", "handle", "snapshot", "restore"],
    imports: &["log", "level", "deny-keys", "on-stop", "manifest"],
    bind,
};

/// What is copied beyond a limit, bytes.
const COPY_SLACK: usize = 16 << 20;
/// Lines of a backtrace that are told.
const FRAMES: usize = 16;
/// Longest of them.
const FRAME_BYTES: usize = 256;
/// Longest refusal text that is told.
const REFUSAL_BYTES: usize = 2048;

mod bindings {
    wasmtime::component::bindgen!({ path: "../wit/v0.1", world: "plugin" });
}

/// A compiled plugin of this contract.
struct Pre(bindings::PluginPre<Host>);

/// What a store holds for its plugin.
struct Host {
    meter: Meter,
    log: Log,
    stack_bytes: usize,
}

impl bindings::PluginImports for Host {
    fn log(&mut self, level: bindings::Level, text: String) {
        let level = match level {
            bindings::Level::Error => Level::Error,
            bindings::Level::Warn => Level::Warn,
            bindings::Level::Info => Level::Info,
            bindings::Level::Debug => Level::Debug,
        };
        self.log.write(level, &text);
    }
}

fn bind(engine: &Engine, component: &Component) -> wasmtime::Result<Contract> {
    let mut linker = Linker::new(engine.wasm());
    bindings::Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| host)?;
    Ok(Box::new(Pre(bindings::PluginPre::new(linker.instantiate_pre(component)?)?)))
}

impl super::Pre for Pre {
    fn instantiate(
        &self,
        engine: &Engine,
        limits: Limits,
        name: String,
    ) -> Result<Box<dyn World>, CallError> {
        Ok(Box::new(Live::new(self, engine, limits, name)?))
    }
}

/// A live plugin of this contract.
struct Live {
    plugin: bindings::Plugin,
    store: Store<Host>,
    engine: Engine,
    limits: Limits,
}

impl Live {
    pub(super) fn new(
        pre: &Pre,
        engine: &Engine,
        limits: Limits,
        name: String,
    ) -> Result<Self, CallError> {
        let stack_bytes = limits.stack_bytes;
        let host = Host { meter: Meter::new(limits), log: Log::new(name, limits), stack_bytes };
        let mut store = Store::new(engine.wasm(), host);
        store.limiter(|host| &mut host.meter);
        // Bounds what the host copies out of the guest in one call; a little beyond a limit is still
        // copied, so that the message can say how much it was.
        store.set_hostcall_fuel(limits.output_bytes.max(limits.state_bytes) + COPY_SLACK);
        store.epoch_deadline_trap();
        store.set_epoch_deadline(Engine::ticks(limits.init_deadline));
        let running = engine.enter();
        let plugin = pre.0.instantiate(&mut store);
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
        act: impl FnOnce(&bindings::Plugin, &mut Store<Host>) -> wasmtime::Result<T>,
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

impl World for Live {
    fn describe(&mut self) -> Result<Result<Manifest, ManifestError>, CallError> {
        let deadline = self.limits.init_deadline;
        let manifest =
            self.call("describe", deadline, |plugin, store| plugin.call_describe(store))?;
        Ok(raw(manifest).check())
    }

    fn init(&mut self, config: &[u8], seed: u64) -> Result<Result<Vec<u8>, String>, CallError> {
        let deadline = self.limits.init_deadline;
        let started =
            self.call("init", deadline, |plugin, store| plugin.call_init(store, config, seed))?;
        match started {
            Ok(actions) => self.bounded("init", actions).map(Ok),
            Err(reason) => Ok(Err(visible(&reason, REFUSAL_BYTES))),
        }
    }

    fn handle(&mut self, batch: &[u8]) -> Result<Vec<u8>, CallError> {
        let deadline = self.limits.call_deadline;
        let actions =
            self.call("handle", deadline, |plugin, store| plugin.call_handle(store, batch))?;
        self.bounded("handle", actions)
    }

    fn snapshot(&mut self) -> Result<Vec<u8>, CallError> {
        let deadline = self.limits.call_deadline;
        let state = self.call("snapshot", deadline, |plugin, store| plugin.call_snapshot(store))?;
        within("snapshot", state, self.limits.state_bytes)
    }

    fn restore(
        &mut self,
        from_version: &str,
        state: &[u8],
    ) -> Result<Result<(), String>, CallError> {
        let deadline = self.limits.init_deadline;
        let restored = self.call("restore", deadline, |plugin, store| {
            plugin.call_restore(store, from_version, state)
        })?;
        Ok(restored.map_err(|reason| visible(&reason, REFUSAL_BYTES)))
    }

    fn log_dropped(&self) -> u64 {
        self.store.data().log.dropped
    }

    fn set_name(&mut self, name: &str) {
        name.clone_into(&mut self.store.data_mut().log.plugin);
    }
}

fn raw(manifest: bindings::Manifest) -> RawManifest {
    use bindings::DenyKeys;
    let keys = [DenyKeys::PROCESS, DenyKeys::LINEAGE, DenyKeys::FILE, DenyKeys::NETWORK];
    RawManifest {
        deny_keys: keys.map(|key| manifest.deny.contains(key)),
        name: manifest.name,
        version: manifest.version,
        schema: manifest.schema,
        hooks: manifest.hooks,
        deny_hooks: manifest.deny_hooks,
        kill: manifest.kill,
        tick_ms: manifest.tick_ms,
        on_stop: match manifest.on_stop {
            bindings::OnStop::Keep => OnStop::Keep,
            bindings::OnStop::Clear => OnStop::Clear,
        },
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
        None => visible(&error.root_cause().to_string(), REFUSAL_BYTES),
    };
    if let Some(words) = &host.log.last_words {
        text = format!("{words}; {text}");
    }
    text.push_str(&backtrace);
    CallError::Trap { call, text }
}

fn backtrace(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        for line in backtrace.to_string().lines().take(FRAMES) {
            text.push_str("\n  ");
            text.push_str(&visible(line.trim(), FRAME_BYTES));
        }
    }
    text
}
