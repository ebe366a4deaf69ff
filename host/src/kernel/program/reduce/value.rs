//! Known values of registers, and the arithmetic on them.

use aya_obj::generated::{
    BPF_ADD, BPF_ALU, BPF_ALU64, BPF_AND, BPF_ARSH, BPF_B, BPF_DW, BPF_H, BPF_JEQ, BPF_JGE,
    BPF_JGT, BPF_JLE, BPF_JLT, BPF_JMP32, BPF_JNE, BPF_JSET, BPF_JSGE, BPF_JSGT, BPF_JSLE,
    BPF_JSLT, BPF_LSH, BPF_MOV, BPF_MUL, BPF_NEG, BPF_OR, BPF_RSH, BPF_SUB, BPF_W, BPF_X, BPF_XOR,
};

use super::code::Op;

/// What is known of a register or of a place on the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Value {
    /// A value of which nothing is known.
    #[default]
    Any,
    Number(u64),
    /// An address in the read-only globals, by its offset.
    Globals(i64),
    /// An address in the function's frame, by its offset from the frame pointer.
    Frame(i64),
}

impl Value {
    /// The value that is known where it may be this one or the other.
    pub(super) fn join(self, other: Self) -> Self {
        if self == other { self } else { Value::Any }
    }

    pub(super) const fn number(self) -> Option<u64> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }
}

/// An immediate as 64-bit operations see it.
pub(super) const fn extended(imm: i32) -> u64 {
    (imm as i64).cast_unsigned()
}

/// Bytes that a load or store moves.
pub(super) const fn size(op: &Op) -> usize {
    match op.code as u32 & BPF_DW {
        BPF_B => 1,
        BPF_H => 2,
        BPF_W => 4,
        _ => 8,
    }
}

/// Result of an operation of arithmetic on what its operands are known to be.
pub(super) fn arithmetic(op: &Op, left: Value, right: Value) -> Value {
    let is_wide = op.class() == BPF_ALU64;
    let kind = op.kind();
    // A move that extends a sign has its width in the offset; no compiler of ours makes one.
    if op.off != 0 || !matches!(op.class(), BPF_ALU | BPF_ALU64) {
        return Value::Any;
    }
    if kind == BPF_MOV && is_wide {
        return right;
    }
    match (left, right) {
        (_, Value::Number(right)) if kind == BPF_MOV => Value::Number(right & LOW),
        (Value::Number(left), _) if kind == BPF_NEG => cut(is_wide, 0u64.wrapping_sub(left)),
        (Value::Number(left), Value::Number(right)) => numbers(kind, is_wide, left, right),
        (address, Value::Number(by)) if is_wide => moved(kind, address, by.cast_signed()),
        (Value::Number(by), address) if is_wide && kind == BPF_ADD => {
            moved(kind, address, by.cast_signed())
        }
        _ => Value::Any,
    }
}

/// Low half of a register.
const LOW: u64 = 0xffff_ffff;

const fn cut(is_wide: bool, number: u64) -> Value {
    Value::Number(if is_wide { number } else { number & LOW })
}

/// An address that a number is added to or taken from.
fn moved(kind: u32, address: Value, by: i64) -> Value {
    let by = match kind {
        BPF_ADD => by,
        BPF_SUB => by.wrapping_neg(),
        _ => return Value::Any,
    };
    match address {
        Value::Globals(offset) => Value::Globals(offset.wrapping_add(by)),
        Value::Frame(offset) => Value::Frame(offset.wrapping_add(by)),
        Value::Any | Value::Number(_) => Value::Any,
    }
}

fn numbers(kind: u32, is_wide: bool, left: u64, right: u64) -> Value {
    let (left, right) = if is_wide { (left, right) } else { (left & LOW, right & LOW) };
    let bits = if is_wide { 63 } else { 31 };
    let by = (right & bits) as u32;
    let number = match kind {
        BPF_ADD => left.wrapping_add(right),
        BPF_SUB => left.wrapping_sub(right),
        BPF_MUL => left.wrapping_mul(right),
        BPF_OR => left | right,
        BPF_AND => left & right,
        BPF_XOR => left ^ right,
        BPF_LSH => left << by,
        BPF_RSH => left >> by,
        BPF_ARSH if is_wide => (left.cast_signed() >> by).cast_unsigned(),
        BPF_ARSH => u64::from(((left as u32).cast_signed() >> by).cast_unsigned()),
        // Division, byte order: not worth the words.
        _ => return Value::Any,
    };
    cut(is_wide, number)
}

/// Whether a branch on two numbers is taken, where that is decided.
pub(super) fn is_taken(op: &Op, left: u64, right: u64) -> Option<bool> {
    let is_half = op.class() == BPF_JMP32;
    let (left, right) = if is_half { (left & LOW, right & LOW) } else { (left, right) };
    let signed = |number: u64| match is_half {
        true => i64::from((number as u32).cast_signed()),
        false => number.cast_signed(),
    };
    Some(match op.kind() {
        BPF_JEQ => left == right,
        BPF_JNE => left != right,
        BPF_JGT => left > right,
        BPF_JGE => left >= right,
        BPF_JLT => left < right,
        BPF_JLE => left <= right,
        BPF_JSET => left & right != 0,
        BPF_JSGT => signed(left) > signed(right),
        BPF_JSGE => signed(left) >= signed(right),
        BPF_JSLT => signed(left) < signed(right),
        BPF_JSLE => signed(left) <= signed(right),
        _ => return None,
    })
}

/// Whether the second operand is a register.
pub(super) const fn is_register(op: &Op) -> bool {
    op.code as u32 & BPF_X != 0
}
