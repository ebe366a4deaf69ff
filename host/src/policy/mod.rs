//! Actions of plugins → rules in force: what was asked and granted, which lease is whose, until when.

pub mod apply;
mod asked;
pub mod broad;
pub mod capability;
mod generation;
pub mod kill;
pub mod ledger;
mod metric;
mod rate;
mod regrant;
mod turns;
mod watch;

pub use apply::{Applied, Principal, RaisedAlert, RefusedAction, Surroundings, apply};
pub use asked::{Asked, AskedFilter, AskedVerdict, AskedWatch};
pub use broad::Machine;
pub use capability::{Grant, GrantSpec};
pub use ledger::{
    Ending, GrantVerdict, Kinship, Ledger, NoDigests, Regranted, RuleSpec, RuleView, looked_up,
};
pub use metric::{MetricTotals, MetricValue};
pub use rate::Allowance;
pub use regrant::judge;
pub use turns::{Others, Turns};
