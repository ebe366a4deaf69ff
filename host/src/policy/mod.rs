//! Actions of plugins → rules in force: what was asked and granted, which lease is whose, until when.

pub mod apply;
pub mod capability;
mod deny_keys;
pub mod kill;
pub mod ledger;
mod rate;
mod text;

pub use apply::{Applied, Principal, RaisedAlert, RefusedAction, Surroundings, apply};
pub use capability::{Asked, Grant, GrantSpec};
pub use deny_keys::DenyKeys;
pub use ledger::{Ending, Kinship, Ledger, RuleView, looked_up};
