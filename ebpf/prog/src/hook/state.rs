//! State of a call while the template works on it: what was read, and what was decided.

use aya_ebpf::EbpfContext;
use krsi_host_abi::spec::{ARGS, CAPTURES};

use crate::capture::{self, Ptr, Skip};
use crate::filter::{Call, Traits};
use crate::verdict::Decision;
use crate::{global, spec};

/// What is known of a call. It stays in one place on the stack, and functions of their own work on
/// it: inlined for each row, the template would be too long for a jump.
pub struct State {
    /// The call that the template works on.
    pub call: Call,
    /// Values that rows have read.
    pub values: Values,
    /// Traits of the call that filters ask about.
    pub traits: Traits,
    /// The decision on the call.
    pub decision: Decision,
    ctx: *const u64,
    /// Arguments that are NULL, as bits.
    pub nulls: u32,
}

impl State {
    /// Nothing is read yet but which arguments are NULL.
    #[inline(always)]
    pub fn new(call: Call, ctx: &impl EbpfContext) -> Self {
        let ctx = ctx.as_ptr().cast::<u64>().cast_const();
        let zero = call.facts.unknown_zero();
        let values = Values::none(zero);
        let (traits, decision) = (Traits::none(&call), Decision::none(&call));
        let nulls = if may_be_null(ctx) { capture::nulls(ctx, zero) } else { zero as u32 };
        Self { call, values, traits, decision, ctx, nulls }
    }

    /// An argument as the verifier types it; one that no row names is never touched.
    #[inline(always)]
    pub fn argument(&self, at: u8) -> *const u8 {
        match at {
            0 => capture::argument::<0>(self.ctx),
            1 => capture::argument::<1>(self.ctx),
            2 => capture::argument::<2>(self.ctx),
            3 => capture::argument::<3>(self.ctx),
            4 => capture::argument::<4>(self.ctx),
            _ => capture::argument::<5>(self.ctx),
        }
    }

    /// An argument that is a pointer.
    #[inline(always)]
    pub fn pointer(&self, at: u8) -> Result<Ptr, Skip> {
        if (self.nulls ^ self.call.facts.unknown_zero() as u32) >> (at & 7) & 1 != 0 {
            return Err(Skip::Null);
        }
        Ptr::new(self.argument(at))
    }
}

/// Whether a pointer among the arguments may be NULL: few are, and only then a helper is asked for all.
#[inline(always)]
fn may_be_null(ctx: *const u64) -> bool {
    macro_rules! any {
        ($($at:literal)*) => {
            false $(
                || spec::pointers() & (1 << $at) != 0
                    && capture::low_half(capture::argument::<$at>(ctx)) == 0
            )*
        };
    }
    const { assert!(ARGS == 6) };
    any!(0 1 2 3 4 5)
}

/// Values that rows have read.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Values {
    /// Value of each row.
    pub numbers: [u64; CAPTURES],
    /// Rows that were read, as bits.
    pub read: u32,
    /// Rows behind a NULL, as bits.
    pub null: u32,
    /// Zero, as a number that the verifier knows nothing about.
    zero: u64,
}

impl Values {
    /// Nothing. Constant zeroes would be written by a loop, which each kernel would go through.
    #[inline(always)]
    fn none(zero: u64) -> Self {
        let z = zero;
        let numbers = [z, z, z, z, z, z, z, z, z, z, z, z];
        Self { numbers, read: zero as u32, null: zero as u32, zero }
    }

    /// Zero, as bits that the verifier knows nothing about.
    #[inline(always)]
    pub fn unknown_zero(&self) -> u64 {
        global::anew(&self.zero)
    }

    /// The value of a capture that was read.
    #[inline(always)]
    pub fn get(&self, at: usize) -> Option<u64> {
        if at < CAPTURES && self.read & (1 << at) != 0 { Some(self.numbers[at]) } else { None }
    }

    /// The number of a capture, 0 when it was not read.
    #[inline(always)]
    pub fn number(&self, at: usize) -> u64 {
        if at < CAPTURES { self.numbers[at] } else { 0 }
    }

    /// Whether a capture was read.
    #[inline(always)]
    pub fn is_read(&self, at: usize) -> bool {
        at < CAPTURES && self.read & (1 << at) != 0
    }

    /// Whether a capture was not read because there is nothing.
    #[inline(always)]
    pub fn is_null(&self, at: usize) -> bool {
        at < CAPTURES && self.null & (1 << at) != 0
    }

    /// Keeps a value, and lets the verifier forget what it was, or whether there was one: else it
    /// would go through all that follows once for each way to read each row.
    #[inline(always)]
    pub fn put(&mut self, row: usize, value: Result<u64, Skip>) {
        if row >= CAPTURES {
            return;
        }
        let (value, read, null) = match value {
            Ok(value) => (value, 1, 0),
            Err(Skip::Null) => (0, 0, 1),
            Err(_) => (0, 0, 0),
        };
        let zero = self.unknown_zero();
        self.numbers[row] = value ^ zero;
        self.read |= (read ^ zero as u32) << row;
        self.null |= (null ^ zero as u32) << row;
    }
}
