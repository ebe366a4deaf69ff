//! The route room: who gets which event, encoded once, handed over without waiting.

pub mod batch;
pub mod buffer_pool;
pub mod filter;
pub mod queue;
pub mod scope;
pub mod subscription;
