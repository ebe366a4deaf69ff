//! A machine for tests that runs a program and keeps what the world sees of it: calls and the answer.

use std::collections::HashMap;

use aya_obj::generated::{
    BPF_ALU64, BPF_CALL, BPF_EXIT, BPF_JA, BPF_JMP, BPF_LD, BPF_LDX, BPF_PSEUDO_CALL, BPF_ST,
    BPF_STX, bpf_insn,
};

use super::code::{LOAD_IMMEDIATE, Op};
use super::value::{self, Value};
use super::{GLOBALS, ReduceError};

/// Where a program's first frame ends; each call's lies below.
const FRAMES: u64 = 0x7000_0000;
const FRAME_BYTES: u64 = 512;
/// Where the globals lie.
const GLOBALS_AT: u64 = 0x5000_0000;
/// What a call leaves in the registers of its arguments.
const SPOILT: u64 = 0xdead_beef_0000_0000;
/// Steps after which a program is taken to run for ever.
const STEPS: usize = 100_000;

/// What the world sees of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) calls: Vec<[u64; 6]>,
    pub(super) answer: u64,
}

struct TestMachine<'a> {
    code: &'a [bpf_insn],
    memory: HashMap<u64, u8>,
    seen: Seen,
    steps: usize,
}

/// Runs a program with a number as its argument.
pub(super) fn run(code: &[bpf_insn], globals: &[u8], argument: u64) -> Result<Seen, ReduceError> {
    let memory = (GLOBALS_AT..).zip(globals.iter().copied()).collect();
    let mut machine = TestMachine { code, memory, seen: Seen::default(), steps: 0 };
    machine.seen.answer = machine.function(0, [argument, 0, 0, 0, 0], FRAMES)?;
    Ok(machine.seen)
}

impl TestMachine<'_> {
    fn load(&self, at: u64, size: usize) -> u64 {
        let byte = |n: usize| u64::from(*self.memory.get(&(at + n as u64)).unwrap_or(&0));
        (0..size).fold(0, |word, n| word | byte(n) << (8 * n))
    }

    fn store(&mut self, at: u64, size: usize, word: u64) {
        for n in 0..size {
            self.memory.insert(at.wrapping_add(n as u64), (word >> (8 * n)) as u8);
        }
    }

    /// A helper writes to where its first argument points, if that is a frame.
    fn helper(&mut self, number: i32, [a, b, c, d, e]: [u64; 5]) -> u64 {
        self.seen.calls.push([number as u64, a, b, c, d, e]);
        let answer =
            self.seen.calls.iter().flatten().fold(7, |sum: u64, part| {
                sum.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(*part)
            });
        if (FRAMES - 8 * FRAME_BYTES..FRAMES).contains(&a) {
            self.store(a, 8, answer);
        }
        // Small, so that branches on it go both ways.
        answer % 3
    }

    fn function(&mut self, start: usize, args: [u64; 5], frame: u64) -> Result<u64, ReduceError> {
        let [a, b, c, d, e] = args;
        let mut r = [0, a, b, c, d, e, 0, 0, 0, 0, frame];
        let mut at = start;
        loop {
            self.steps += 1;
            let one = self.code.get(at).ok_or(ReduceError::Target { at })?;
            assert!(self.steps < STEPS, "runs for ever at {at}");
            let (dst, src) = (usize::from(one.dst_reg()), usize::from(one.src_reg()));
            let op = operation(one);
            let imm = value::extended(one.imm);
            let right = if value::is_register(&op) { r[src] } else { imm };
            let to = move |distance: i64| usize::try_from(at as i64 + 1 + distance).unwrap();
            let off = i64::from(one.off);
            at += 1;
            match op.class() {
                BPF_LD if one.code == LOAD_IMMEDIATE => {
                    let high = self.code[at].imm;
                    r[dst] = if one.imm == GLOBALS {
                        GLOBALS_AT.wrapping_add_signed(i64::from(high))
                    } else {
                        u64::from(one.imm.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32
                    };
                    at += 1;
                }
                BPF_LDX => r[dst] = self.load(r[src].wrapping_add_signed(off), value::size(&op)),
                class @ (BPF_ST | BPF_STX) => {
                    let word = if class == BPF_STX { r[src] } else { imm };
                    self.store(r[dst].wrapping_add_signed(off), value::size(&op), word);
                }
                BPF_JMP if op.kind() == BPF_EXIT => return Ok(r[0]),
                BPF_JMP if op.kind() == BPF_CALL => {
                    let args = [r[1], r[2], r[3], r[4], r[5]];
                    r[0] = if u32::from(one.src_reg()) == BPF_PSEUDO_CALL {
                        self.function(to(i64::from(one.imm)), args, frame - FRAME_BYTES)?
                    } else {
                        self.helper(one.imm, args)
                    };
                    (1..=5).for_each(|n| r[n] = SPOILT + n as u64);
                }
                BPF_JMP if op.kind() == BPF_JA => at = to(off),
                class if class == BPF_JMP || class == aya_obj::generated::BPF_JMP32 => {
                    if value::is_taken(&op, r[dst], right).unwrap() {
                        at = to(off);
                    }
                }
                class => {
                    let (left, right) = (Value::Number(r[dst]), Value::Number(right));
                    let result = value::arithmetic(&op, left, right).number();
                    assert!(class == BPF_ALU64 || result.unwrap() >> 32 == 0);
                    r[dst] = result.unwrap();
                }
            }
        }
    }
}

/// An instruction as the rest of this room reads it.
fn operation(one: &bpf_insn) -> Op {
    Op {
        code: one.code,
        dst: one.dst_reg(),
        src: one.src_reg(),
        off: one.off,
        imm: one.imm,
        high: 0,
        target: None,
        is_private: false,
        gone: false,
    }
}
