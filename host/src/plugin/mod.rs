//! The plugin room: untrusted Wasm, compiled apart, limited, and driven by one thread each.

mod candidate;
mod compile;
mod engine;
mod lifecycle;
mod limit;
mod live;
mod shadow;
mod stepped;
mod taped;
mod thread;
mod worker;
mod world;

pub use candidate::{Candidate, Start};
#[cfg(test)]
pub(crate) use compile::compile_here;
pub(crate) use compile::{
    Cache, CacheError, CodeOrigin, CompileStop, Identity, LoadError, PluginPre, SignatureError,
    TrustedKey, child as compile_child, may_make_code, precompile, signature_of,
};
pub use compile::{CompileLimits, Compiler, VERB as COMPILE_VERB};
pub use engine::Engine;
pub(crate) use engine::EngineError;
pub(crate) use lifecycle::State;
pub use lifecycle::{Next, RestartPolicy};
pub use limit::Limits;
pub(crate) use shadow::{ShadowSink, differences, words};
pub(crate) use stepped::{Stepped, failing};
pub(crate) use worker::Swapped;
pub use worker::{ActionSink, Worker};
pub use world::CallError;
pub(crate) use world::{Filter, KeptLog, Manifest, StartError, is_label_name, is_plugin_name};
