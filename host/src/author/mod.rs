//! What an author of plugins needs: a crate to start from, its build, its tests, and what a host would say of it.
//!
//! Nothing here runs beside a host, and nothing is downloaded but by the author's own cargo.

mod build;
mod check;
mod describe;
mod replay;
mod scaffold;
mod scenario;
mod sign;
mod stage;

pub use build::{BuildError, build, native_tests};
pub use check::{KernelLack, lacks};
pub use describe::{DescribeError, Description, describe, load};
pub use replay::{Follower, On, Replay, ReplayError, Replayed, Told, What, compare, replay};
pub use scaffold::{ScaffoldError, create};
pub use scenario::{
    Case, Kind, Mutations, ScenarioError, TestError, Tested, github, junit, test, text,
};
pub use sign::{SignError, make_key, sign};
pub use stage::StageError;
