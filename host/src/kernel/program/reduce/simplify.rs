//! Writes what is known into the operations: numbers instead of reads, jumps instead of branches.

use aya_obj::generated::{
    BPF_ALU, BPF_ALU64, BPF_ARSH, BPF_DIV, BPF_JA, BPF_JMP, BPF_JMP32, BPF_LD, BPF_LDX, BPF_LSH,
    BPF_MOD, BPF_MOV, BPF_RSH, BPF_X,
};

use super::code::{Flow, LOAD_IMMEDIATE, Op, ProgramCode};
use super::flow::{OpFacts, Reached};
use super::value::{Value, extended, is_register};

/// Moves an immediate into a register, its sign extended.
const MOVE: u8 = (BPF_ALU64 | BPF_MOV) as u8;
/// Moves an immediate into the low half of a register and clears the other.
const MOVE_LOW: u8 = (BPF_ALU | BPF_MOV) as u8;
/// Jumps of jumps that are followed.
const HOPS: usize = 8;

/// Writes what is known into a program; whether that changed it.
pub(super) fn apply(code: &mut ProgramCode, reached: &Reached) -> bool {
    let mut changed = false;
    for (op, facts) in code.ops.iter_mut().zip(reached) {
        let before = *op;
        match facts {
            Some(facts) => simplify(op, facts),
            None => op.gone = true,
        }
        changed |= *op != before;
    }
    changed | shorten_jumps(code)
}

fn simplify(op: &mut Op, facts: &OpFacts) {
    op.is_private = facts.is_private;
    match (op.flow(), facts.taken) {
        (Flow::Branch(_), Some(true)) => {
            *op = Op { code: (BPF_JMP | BPF_JA) as u8, dst: 0, src: 0, imm: 0, ..*op };
            return;
        }
        (Flow::Branch(_), Some(false)) => {
            op.gone = true;
            return;
        }
        _ => {}
    }
    let class = op.class();
    if let (BPF_ALU | BPF_ALU64 | BPF_LD | BPF_LDX, Value::Number(number)) = (class, facts.result) {
        load(op, number);
    }
    if let (true, Value::Number(number)) = (is_register(op), facts.source) {
        use_immediate(op, number);
    }
}

/// Makes an operation load a number, if that is no longer than it is.
fn load(op: &mut Op, number: u64) {
    let low = (number as u32).cast_signed();
    let short = |code| Op { code, src: 0, off: 0, imm: low, high: 0, ..*op };
    if extended(low) == number {
        *op = short(MOVE);
    } else if number >> u32::BITS == 0 {
        *op = short(MOVE_LOW);
    } else if op.class() == BPF_LDX {
        let high = ((number >> u32::BITS) as u32).cast_signed();
        *op = Op { code: LOAD_IMMEDIATE, src: 0, off: 0, imm: low, high, ..*op };
    }
}

/// Makes an operation take a number instead of its second register, where the verifier lets it.
fn use_immediate(op: &mut Op, number: u64) {
    let (class, kind) = (op.class(), op.kind());
    let is_wide = matches!(class, BPF_ALU64 | BPF_JMP);
    let imm = (number as u32).cast_signed();
    let fits = !is_wide || extended(imm) == number;
    let number = if is_wide { number } else { number & u64::from(u32::MAX) };
    let bits = if is_wide { 64 } else { 32 };
    let is_allowed = match (class, kind) {
        (BPF_ALU | BPF_ALU64, BPF_LSH | BPF_RSH | BPF_ARSH) => number < bits,
        (BPF_ALU | BPF_ALU64, BPF_DIV | BPF_MOD) => number != 0,
        // Changes of byte order have another meaning for that bit.
        (BPF_ALU | BPF_ALU64, kind) => kind < BPF_ARSH && op.off == 0,
        (BPF_JMP | BPF_JMP32, _) => matches!(op.flow(), Flow::Branch(_)),
        _ => false,
    };
    if fits && is_allowed {
        *op = Op { code: op.code & !(BPF_X as u8), src: 0, imm, ..*op };
    }
}

/// Makes what leads to a jump lead to where that leads; whether anything did.
fn shorten_jumps(code: &mut ProgramCode) -> bool {
    let mut changed = false;
    for at in 0..code.ops.len() {
        let Some(op) = code.ops.get(at) else { continue };
        let (Flow::Jump(first) | Flow::Branch(first)) = op.flow() else { continue };
        let mut to = first;
        for _ in 0..HOPS {
            match code.ops.get(to).map(|next| (next.gone, next.flow())) {
                Some((false, Flow::Jump(next))) if next != to => to = next,
                _ => break,
            }
        }
        if to != first
            && let Some(op) = code.ops.get_mut(at)
        {
            op.target = Some(to);
            changed = true;
        }
    }
    changed
}
