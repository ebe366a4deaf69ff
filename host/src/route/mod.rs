//! The route room: who gets which event, encoded once, handed over without waiting.

pub(crate) mod batch;
pub(crate) mod buffer_pool;
pub(crate) mod filter;
pub(crate) mod queue;
pub(crate) mod scope;
pub(crate) mod subscription;
