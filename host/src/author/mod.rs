//! What an author of plugins needs: a crate to start from, its build, and what a host would say of the result.
//!
//! Nothing here runs beside a host, and nothing is downloaded but by the author's own cargo.

mod build;
mod check;
mod describe;
mod replay;
mod scaffold;

pub use build::{BuildError, build};
pub use check::{KernelLack, lacks};
pub use describe::{DescribeError, Description, describe};
pub use replay::{Follower, Replay, ReplayError, Replayed, Told, What, replay};
pub use scaffold::{ScaffoldError, create};
