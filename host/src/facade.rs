//! What benches, tests in `host/tests` and `tests/` use of the host, and nothing else does: no interface.

pub use crate::config::{Config, Format, ModeArg, PluginSpec, Settings};
pub use crate::decode::{CallLayouts, decode};
pub use crate::enrich::{ProcessChange, ProcessTable};
pub use crate::kernel::btf::KernelTypes;
pub use crate::kernel::map::lease::EntryKey;
pub use crate::kernel::map::store::{RuleStore, StoreError};
pub use crate::kernel::map::{Counters, Filters, Flags, KernelMaps, RuleMaps, RulesObeyed};
pub use crate::kernel::program::backend::BackendKind;
pub use crate::kernel::program::job::Job;
pub use crate::kernel::program::load::{HookError, LiveProgram, Loader};
pub use crate::kernel::program::object::{MapRoom, ObjectFile};
pub use crate::kernel::program::plan::{HookPlan, plan};
pub use crate::kernel::spec::curated::{CuratedObject, OLDEST, Shape, of as curated, rows};
pub use crate::pipeline::bench::BenchPipeline;
pub use crate::plugin::{
    ActionSink, COMPILE_VERB, CallError, Candidate, CompileLimits, Compiler, Engine, Limits, Next,
    RestartPolicy, Start, Worker,
};
pub use crate::policy::{
    ActionContext, Asked, Grant, GrantSpec, Kinship, Ledger, Machine, Principal, SampleBook, Turns,
    apply, looked_up,
};
pub use crate::read::record::RawRecord;
pub use crate::read::ring::{Ring, Rings};
pub use crate::record::{
    Failing, FlightOptions, Head, Opened, Options, Recorder, RecorderSlot, TapeCause, TapedOutcome,
};
pub use crate::route::batch::private;
pub use crate::route::queue::{Batch, Delivery, Queue};
pub use crate::route::scope::Scope;
pub use crate::route::subscription::{PluginSlot, Router, Subscription};
