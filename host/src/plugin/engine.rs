//! The Wasm engine, and the clock that interrupts calls: a thread that sleeps while nothing runs.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::Config;

use crate::thread::{self, Task};

/// Time between two epochs: how exact a deadline is.
const TICK: Duration = Duration::from_millis(5);

/// The reason why the Wasm engine cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The configuration does not suit this machine.
    #[error("the Wasm engine cannot be set up")]
    Config(#[source] wasmtime::Error),
    /// The clock's thread could not be started.
    #[error("the thread of the Wasm clock")]
    Thread(#[source] io::Error),
}

/// An engine for all plugins with the same limit of stack.
#[derive(Clone)]
pub struct Engine {
    wasm: wasmtime::Engine,
    running: Arc<RunningCalls>,
}

#[derive(Default)]
struct RunningCalls {
    calls: Mutex<usize>,
    started: Condvar,
}

/// Keeps the clock going while it lives.
pub(crate) struct EnteredCall<'e>(&'e RunningCalls);

impl Engine {
    /// Sets up an engine whose calls may use `stack_bytes` of native stack, and its clock.
    ///
    /// # Errors
    /// When the machine does not allow it.
    pub fn new(stack_bytes: usize) -> Result<Self, EngineError> {
        let mut config = config();
        config.max_wasm_stack(stack_bytes);
        let wasm = wasmtime::Engine::new(&config).map_err(EngineError::Config)?;
        let running = Arc::new(RunningCalls::default());
        let clock = (wasm.weak(), Arc::clone(&running));
        thread::spawn("wasm-clock", Task::Passing, move || tick(&clock.0, &clock.1))
            .map_err(EngineError::Thread)?;
        Ok(Self { wasm, running })
    }

    /// An engine that only compiles, for the same code as every other.
    pub(crate) fn compiling() -> Result<wasmtime::Engine, EngineError> {
        wasmtime::Engine::new(&config()).map_err(EngineError::Config)
    }

    /// An engine that only compiles, for every processor of this architecture instead of this one.
    pub(crate) fn compiling_portably() -> Result<wasmtime::Engine, EngineError> {
        let mut config = config();
        // With a target that is named, nothing is found out about the processor that is there.
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        config.target(&target).map_err(EngineError::Config)?;
        wasmtime::Engine::new(&config).map_err(EngineError::Config)
    }

    pub(crate) const fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    /// Marks the start of a call; the clock runs until the guard is dropped.
    pub(crate) fn enter(&self) -> EnteredCall<'_> {
        *self.running.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.running.started.notify_one();
        EnteredCall(&self.running)
    }

    /// Epochs that cover a time.
    pub(crate) fn ticks(deadline: Duration) -> u64 {
        u64::try_from(deadline.as_millis() / TICK.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// What all engines share: code that one compiled runs on every other.
fn config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.consume_fuel(false);
    // A recording must replay bit for bit.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config
}

impl Drop for EnteredCall<'_> {
    fn drop(&mut self) {
        *self.0.calls.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

fn tick(engine: &wasmtime::EngineWeak, running: &RunningCalls) {
    loop {
        let mut calls = running.calls.lock().unwrap_or_else(PoisonError::into_inner);
        while *calls == 0 {
            calls = running.started.wait(calls).unwrap_or_else(PoisonError::into_inner);
        }
        drop(calls);
        std::thread::sleep(TICK);
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}
