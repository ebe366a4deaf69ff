//! What an author of plugins needs: a crate to start from, its build, and what a host would say of the result.
//!
//! Nothing here runs beside a host, and nothing is downloaded but by the author's own cargo.

mod build;
mod check;
mod describe;
mod replay;
mod scaffold;
mod stage;

pub use build::{BuildError, build};
pub use check::{KernelLack, lacks};
pub use describe::{DescribeError, Description, describe};
pub use replay::{Follower, On, Replay, ReplayError, Replayed, Told, What, compare, replay};
pub use scaffold::{ScaffoldError, create};
pub use stage::StageError;
