//! Who is worth a look: the flags word first, then whether the caller is the host itself.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{ProcessKey, flag};
use krsi_host_abi::hook::Hook;

use crate::capture::{self, Ptr, Skip};
use crate::{map, offset};

/// A call that somebody wants something of.
#[derive(Clone, Copy)]
pub struct Call {
    /// The hook.
    pub hook: Hook,
    /// Its flags word.
    pub flags: u64,
    /// The calling task.
    pub task: Ptr,
    /// The calling process.
    pub process: ProcessKey,
}

impl Call {
    /// Whether a flag is set.
    #[inline(always)]
    pub fn wants(&self, bit: u64) -> bool {
        self.flags & bit != 0
    }
}

/// The call, unless nothing is wanted of it. Costs one array look-up when the flags word is clear.
#[inline(always)]
pub fn enter(hook: Hook) -> Option<Call> {
    let flags = map::flags(hook);
    if flags == 0 {
        return None;
    }
    map::count(hook, Counter::Seen);
    if capture::tgid() == offset::host_tgid() {
        map::count(hook, Counter::Filtered);
        return None;
    }
    let caller = || {
        let task = capture::current()?;
        Ok((task, capture::process_key(task)?))
    };
    match caller() {
        Ok((task, process)) => Some(Call { hook, flags, task, process }),
        Err(skip) => {
            self::skip(hook, skip);
            None
        }
    }
}

/// Counts a call that ends without a record because nobody subscribed to it.
#[inline(always)]
pub fn leave(hook: Hook) {
    map::count(hook, Counter::Filtered);
}

/// Counts a call whose capture failed; its answer is 0.
#[inline(always)]
pub fn skip(hook: Hook, skip: Skip) {
    map::count(hook, skip.counter());
}

/// Whether telemetry of this call is wanted.
#[inline(always)]
pub fn forwards(call: &Call) -> bool {
    call.wants(flag::FORWARD)
}
