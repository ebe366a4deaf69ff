//! The plugin room: untrusted Wasm, compiled apart, limited, and driven by one thread each.

mod candidate;
mod compile;
mod engine;
mod lifecycle;
mod limit;
mod live;
mod regular;
mod shadow;
mod tenure;
mod worker;
mod world;

pub use candidate::{Candidate, Start};
pub use compile::{
    Cache, CacheError, CompileLimits, Compiler, Fault, Identity, LoadError, Origin, PluginPre,
    SignatureError, TrustedKey, VERB as COMPILE_VERB, child as compile_child, compile_here,
    may_make_code, precompile, signature_of,
};
pub use engine::{Engine, EngineError};
pub use lifecycle::{Next, RestartPolicy, State};
pub use limit::Limits;
pub use regular::{NotRegular, open as open_regular};
pub use shadow::{ShadowSink, ShadowStats};
pub use worker::{About, ActionSink, Swapped, Worker, WorkerStats};
pub use world::{CallError, Filter, Manifest, ManifestError, StartError, is_plugin_name};
