//! Finds values that nobody reads, in registers and in places of the frame that have no address.

use aya_obj::generated::{BPF_ALU, BPF_ALU64, BPF_LD, BPF_LDX, BPF_MEM, BPF_MOV, BPF_ST, BPF_STX};

use super::code::{FRAME, Flow, LOAD_IMMEDIATE, Op, ProgramCode};
use super::stack::{WORDS, words};
use super::value::{is_register, size};

/// Registers that a call takes, as bits.
const ARGUMENTS: u16 = 0b11_1110;
/// Registers that a call leaves without a value, or with its answer.
const LEFT_BY_CALL: u16 = 0b11_1111;
/// The register of a function's answer.
const ANSWER: u16 = 1;

/// Registers and words of the frame that may still be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct StillRead {
    registers: u16,
    words: u128,
}

const _: () = assert!(WORDS == u128::BITS as usize);

impl StillRead {
    fn or(self, other: Self) -> Self {
        Self { registers: self.registers | other.registers, words: self.words | other.words }
    }

    const fn holds(self, register: u8) -> bool {
        register >= FRAME || self.registers & bit(register) != 0
    }
}

const fn bit(register: u8) -> u16 {
    1 << (register & 15)
}

/// Bits of the words that `size` bytes at an offset from the frame pointer touch.
fn touched(op: &Op) -> u128 {
    words(i64::from(op.off), size(op)).fold(0, |bits, word| bits | 1 << word)
}

/// Takes out what computes or keeps values that nobody reads; whether there was any.
pub(super) fn drop_unread(code: &mut ProgramCode) -> bool {
    let mut before = vec![StillRead::default(); code.ops.len() + 1];
    let after = |before: &[StillRead], at: usize, op: &Op| {
        let of = |at: usize| before.get(at).copied().unwrap_or_default();
        match op.flow() {
            Flow::Exit => StillRead::default(),
            Flow::Jump(target) => of(target),
            Flow::Branch(target) => of(target).or(of(at + 1)),
            Flow::Next | Flow::Call(_) => of(at + 1),
        }
    };
    loop {
        let mut changed = false;
        for (at, op) in code.ops.iter().enumerate().rev() {
            let wanted = wanted_before(op, after(&before, at, op));
            if let Some(slot) = before.get_mut(at)
                && *slot != wanted
            {
                *slot = wanted;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let mut dropped = false;
    for at in 0..code.ops.len() {
        let Some(op) = code.ops.get_mut(at) else { continue };
        if !op.gone && is_unread(op, after(&before, at, op)) {
            op.gone = true;
            dropped = true;
        }
    }
    dropped
}

/// Whether all that an operation does is to leave a value that nobody wants.
fn is_unread(op: &Op, after: StillRead) -> bool {
    match op.class() {
        BPF_ALU | BPF_ALU64 | BPF_LDX => !after.holds(op.dst),
        BPF_LD => op.code == LOAD_IMMEDIATE && !after.holds(op.dst),
        BPF_ST | BPF_STX => op.is_private && touched(op) & after.words == 0,
        _ => false,
    }
}

/// What is wanted before an operation, by what is wanted after it.
fn wanted_before(op: &Op, after: StillRead) -> StillRead {
    // What leaves an unwanted value wants nothing for it.
    if op.gone || is_unread(op, after) {
        return after;
    }
    let StillRead { mut registers, mut words } = after;
    let source = if is_register(op) { bit(op.src) } else { 0 };
    match op.class() {
        BPF_ALU | BPF_ALU64 if op.kind() == BPF_MOV => {
            registers = registers & !bit(op.dst) | source;
        }
        BPF_ALU | BPF_ALU64 => registers |= bit(op.dst) | source,
        BPF_LD if op.code == LOAD_IMMEDIATE => registers &= !bit(op.dst),
        // None of ours: it takes what it likes.
        BPF_LD => registers = u16::MAX,
        BPF_LDX => {
            registers = registers & !bit(op.dst) | bit(op.src);
            if op.src == FRAME {
                words |= touched(op);
            }
        }
        BPF_ST | BPF_STX if u32::from(op.code) & 0xe0 == BPF_MEM => {
            let stored = if op.class() == BPF_STX { bit(op.src) } else { 0 };
            registers |= bit(op.dst) | stored;
            if op.dst == FRAME && op.off % 4 == 0 && size(op) >= 4 {
                words &= !touched(op);
            }
        }
        BPF_ST | BPF_STX => {
            registers |= bit(op.dst) | bit(op.src) | ANSWER;
            words = u128::MAX;
        }
        _ if op.is_call() => registers = registers & !LEFT_BY_CALL | ARGUMENTS,
        _ => match op.flow() {
            Flow::Exit => registers |= ANSWER,
            Flow::Branch(_) => registers |= bit(op.dst) | source,
            Flow::Jump(_) | Flow::Next | Flow::Call(_) => {}
        },
    }
    StillRead { registers, words }
}
