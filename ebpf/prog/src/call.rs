//! A call of a hook, while a program runs for it: who calls, and what is wanted of it.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{ProcessKey, flag};

use crate::capture::{self, Skip, Task};
use crate::global;
use crate::map::Counts;

/// What global functions are told of a call: plain numbers, which are all that the verifier lets them
/// have.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Facts {
    /// Flags word of the hook.
    flags: u64,
    /// Zero, as a number that the verifier knows nothing about.
    zero: u64,
    /// The calling process.
    pub process: ProcessKey,
    /// Slot of the hook.
    pub slot: u32,
    /// Protocol of the socket, as rules name it; 0 where none of them does.
    pub protocol: u32,
}

impl Facts {
    /// Whether one of some flags is set. The verifier would keep what each test tells it of the word,
    /// and go through every combination.
    #[inline(always)]
    pub fn wants(&self, bits: u64) -> bool {
        (self.flags ^ self.unknown_zero()) & bits != 0
    }

    /// Zero, as a number that the verifier knows nothing about. What is xored with it is the same, and
    /// forgotten by the verifier: paths that differ only in it are gone through once, not each.
    #[inline(always)]
    pub fn unknown_zero(&self) -> u64 {
        global::anew(&self.zero)
    }
}

/// A call that somebody wants something of.
#[derive(Clone, Copy)]
pub struct Call {
    /// Facts for global functions.
    pub facts: Facts,
    /// The calling task.
    pub task: Task,
    /// The hook's counters.
    pub counts: Counts,
}

impl Call {
    /// Whether one of some flags is set.
    #[inline(always)]
    pub fn wants(&self, bits: u64) -> bool {
        self.facts.wants(bits)
    }

    /// Whether a rule or a filter asks about the object of the call.
    #[inline(always)]
    pub fn wants_object(&self) -> bool {
        self.wants(flag::FILE | flag::NETWORK | flag::ANY_PORT | flag::FILTER)
    }

    /// Whether the file of the call is asked for: by rules of any kind, as root's execution of the host's own
    /// is not refused by them, or by a filter.
    #[inline(always)]
    pub fn wants_file(&self) -> bool {
        self.wants(flag::RULES | flag::FILTER)
    }

    /// Counts a call that ends without a record because nobody wants one.
    #[inline(always)]
    pub fn leave(&self) {
        self.counts.add(Counter::Filtered);
    }

    /// Counts a call whose capture failed.
    #[inline(always)]
    pub fn skip(&self, skip: Skip) {
        self.counts.add(skip.counter());
    }
}

/// A call of a hook, with who calls.
#[inline(always)]
pub fn call(flags: u64, slot: u32, counts: Counts) -> Result<Call, Skip> {
    call_of(Task::current()?, flags, slot, counts)
}

/// A call of a hook whose calling task has already been read.
#[inline(always)]
pub fn call_of(task: Task, flags: u64, slot: u32, counts: Counts) -> Result<Call, Skip> {
    let process = capture::process_key(task)?;
    let facts = Facts { flags, zero: counts.unknown_zero(), process, slot, protocol: 0 };
    Ok(Call { facts, task, counts })
}
