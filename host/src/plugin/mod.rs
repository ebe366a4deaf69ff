//! The plugin room: untrusted Wasm, compiled, limited, and driven by one thread each.

mod compile;
mod engine;
mod lifecycle;
mod limit;
mod worker;
mod world;

pub use compile::{LoadError, PluginPre};
pub use engine::{Engine, EngineError};
pub use lifecycle::State;
pub use limit::Limits;
pub use worker::{ActionSink, Worker, WorkerSpec, WorkerStats};
pub use world::{CallError, Manifest, ManifestError, OnStop, StartError};
