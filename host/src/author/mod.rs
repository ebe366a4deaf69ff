//! What an author of plugins needs: a crate to start from, its build, its tests, and what a host would say of it.
//!
//! Nothing here runs beside a host, and nothing is downloaded but by the author's own cargo.

mod build;
mod check;
mod describe;
mod matrix;
mod replay;
mod scaffold;
mod scenario;
mod sign;
mod stage;

pub(crate) use build::{BuildError, build, native_tests};
pub(crate) use check::{KernelLack, lacks};
pub(crate) use describe::{DescribeError, Description, describe, load};
pub(crate) use matrix::{MatrixRow, on_matrix};
pub(crate) use replay::{Follower, On, Replay, ReplayError, Replayed, Told, compare, replay};
pub(crate) use scaffold::create;
pub(crate) use scenario::{TestError, github, junit, test, text};
pub(crate) use sign::{SignError, make_key, sign};
pub(crate) use stage::StageError;
