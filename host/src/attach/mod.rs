//! Which hooks are attached by which programs, as plugins and the administrator ask for them, and what is
//! published of it. Hands back values; who is told of them is the pipeline's affair.

mod digests;
pub(crate) mod error;
pub(crate) mod filters;
mod hash;
pub(crate) mod hooks;
pub(crate) mod left_out;
pub(crate) mod proof;
pub(crate) mod published;
pub(crate) mod wanted;
pub(crate) mod watches;
mod witness;

pub(crate) use self::error::AttachError;
pub(crate) use self::left_out::LeftOut;
