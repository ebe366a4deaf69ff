//! Actions of plugins → rules in force: what was asked and granted, which lease is whose, until when.

pub mod apply;
mod asked;
pub(crate) mod broad;
pub(crate) mod capability;
mod generation;
pub(crate) mod kill;
pub(crate) mod ledger;
mod metric;
mod rate;
mod regrant;
mod sample;
mod turns;
mod watch;

pub use apply::{ActionContext, Principal, apply};
pub(crate) use apply::{Applied, RaisedAlert};
pub use asked::Asked;
pub(crate) use asked::{AskedFilter, AskedVerdict, AskedWatch};
pub use broad::Machine;
pub(crate) use broad::ResolvingHooks;
pub use capability::{Grant, GrantSpec};
pub(crate) use ledger::{
    GrantVerdict, KEPT, LabelError, LabelNames, LabelView, NO_ROOM, NoDigests, PublishedLabelNames,
    Regranted, RuleSpec, RuleView, Undeclared,
};
pub use ledger::{Kinship, Ledger, looked_up};
pub(crate) use metric::MetricTotals;
pub(crate) use rate::Allowance;
pub(crate) use regrant::recheck_rule;
pub use sample::SampleBook;
pub(crate) use sample::{DueSample, SampleError, SampleLimits, Sampling};
pub(crate) use turns::Others;
pub use turns::Turns;
