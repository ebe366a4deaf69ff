//! A program as a list of operations whose jumps name operations: what is taken out shifts no distance.

use aya_obj::generated::{
    BPF_CALL, BPF_DW, BPF_EXIT, BPF_IMM, BPF_JA, BPF_JMP, BPF_JMP32, BPF_LD, BPF_PSEUDO_CALL,
    BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_VALUE, bpf_func_info, bpf_insn,
};

use super::{GLOBALS, ReduceError, Reduced};

/// `ld_imm64`, which takes two places.
pub(in crate::kernel::program) const LOAD_IMMEDIATE: u8 = (BPF_LD | BPF_IMM | BPF_DW) as u8;
/// Its first place counts as one operation, its second has no code.
const SECOND: u8 = 0;
/// Highest register, the frame pointer.
pub(super) const FRAME: u8 = 10;

/// An operation of a BPF program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Op {
    pub(super) code: u8,
    pub(super) dst: u8,
    pub(super) src: u8,
    pub(super) off: i16,
    pub(super) imm: i32,
    /// Second half of a [`LOAD_IMMEDIATE`].
    pub(super) high: i32,
    /// Operation that a jump, a call or an address of a function leads to.
    pub(super) target: Option<usize>,
    /// It writes to a place of the frame that nobody else has an address of.
    pub(super) is_private: bool,
    /// Taken out at the next [`ProgramCode::compact`].
    pub(super) gone: bool,
}

/// What an operation does with the flow of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Goes on to the next one.
    Next,
    Jump(usize),
    /// Jumps or goes on.
    Branch(usize),
    /// Calls a function of the program, and goes on.
    Call(usize),
    /// Ends the function.
    Exit,
}

impl Op {
    pub(super) const fn class(&self) -> u32 {
        self.code as u32 & 7
    }

    /// The operation within its class of arithmetic or jumps.
    pub(super) const fn kind(&self) -> u32 {
        self.code as u32 & 0xf0
    }

    pub(super) fn flow(&self) -> Flow {
        let is_jump = matches!(self.class(), BPF_JMP | BPF_JMP32);
        match (is_jump, self.kind(), self.target) {
            (true, BPF_EXIT, _) => Flow::Exit,
            (true, BPF_JA, Some(target)) => Flow::Jump(target),
            (true, BPF_CALL, Some(target)) => Flow::Call(target),
            (true, BPF_CALL, None) | (false, ..) => Flow::Next,
            (true, _, Some(target)) => Flow::Branch(target),
            (true, _, None) => Flow::Next,
        }
    }

    pub(super) fn is_call(&self) -> bool {
        self.class() == BPF_JMP && self.kind() == BPF_CALL
    }

    /// The address of a function of the program, for a helper that calls it.
    pub(super) fn is_function_address(&self) -> bool {
        self.code == LOAD_IMMEDIATE && u32::from(self.src) == BPF_PSEUDO_FUNC
    }

    /// An address in the map of read-only globals.
    pub(super) fn is_globals(&self) -> bool {
        self.code == LOAD_IMMEDIATE
            && u32::from(self.src) == BPF_PSEUDO_MAP_VALUE
            && self.imm == GLOBALS
    }

    const fn places(&self) -> usize {
        if self.code == LOAD_IMMEDIATE { 2 } else { 1 }
    }
}

/// A function of the program.
#[derive(Clone, Copy, Debug)]
struct Function {
    start: usize,
    type_id: u32,
}

#[derive(Clone, Debug)]
pub(super) struct ProgramCode {
    pub(super) ops: Vec<Op>,
    functions: Vec<Function>,
}

impl ProgramCode {
    /// Reads a program.
    pub(super) fn read(
        instructions: &[bpf_insn],
        functions: &[bpf_func_info],
    ) -> Result<Self, ReduceError> {
        // The operation at each place; the second half of a wide one has none.
        let mut op_at = vec![usize::MAX; instructions.len()];
        let mut places = Vec::with_capacity(instructions.len());
        let mut at = 0;
        while let (Some(one), Some(slot)) = (instructions.get(at), op_at.get_mut(at)) {
            *slot = places.len();
            places.push(at);
            at += if one.code == LOAD_IMMEDIATE { 2 } else { 1 };
        }
        if at > instructions.len() {
            return Err(ReduceError::Cut { at: instructions.len().saturating_sub(1) });
        }
        let find = |at: usize, to: i64| {
            let place = usize::try_from(to).ok().and_then(|place| op_at.get(place).copied());
            place.filter(|op| *op != usize::MAX).ok_or(ReduceError::Target { at })
        };
        let mut ops = Vec::with_capacity(places.len());
        for at in places {
            let Some(one) = instructions.get(at) else { break };
            let high = instructions.get(at + 1).map_or(0, |second| second.imm);
            let mut op = Op {
                code: one.code,
                dst: one.dst_reg(),
                src: one.src_reg(),
                off: one.off,
                imm: one.imm,
                high: if one.code == LOAD_IMMEDIATE { high } else { 0 },
                target: None,
                is_private: false,
                gone: false,
            };
            let from = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1);
            op.target = match distance(&op) {
                Some(distance) => Some(find(at, from.saturating_add(distance))?),
                None => None,
            };
            ops.push(op);
        }
        let start = |info: &bpf_func_info| -> Result<Function, ReduceError> {
            let at = usize::try_from(info.insn_off).unwrap_or(usize::MAX);
            Ok(Function { start: find(at, i64::from(info.insn_off))?, type_id: info.type_id })
        };
        let functions = functions.iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { ops, functions })
    }

    /// The operation at a place.
    pub(super) fn op(&self, at: usize) -> Option<&Op> {
        self.ops.get(at)
    }

    /// Closes the gaps that were left; what led to an operation that is gone leads to the one after it.
    pub(super) fn compact(&mut self) {
        let mut place = Vec::with_capacity(self.ops.len());
        let mut kept = 0;
        for op in &self.ops {
            place.push(kept);
            kept += usize::from(!op.gone);
        }
        // A function whose first operation went still has others, unless all are gone.
        let ends = self.functions.iter().skip(1).map(|function| function.start);
        let ends: Vec<usize> = ends.chain([self.ops.len()]).collect();
        let ops = &self.ops;
        let stays = |start: usize, end: usize| {
            ops.get(start..end).is_some_and(|own| own.iter().any(|op| !op.gone))
        };
        let functions = self.functions.iter().zip(ends);
        let functions = functions.filter(|(function, end)| stays(function.start, *end));
        let moved = |(function, _): (&Function, usize)| Function {
            start: place.get(function.start).copied().unwrap_or(kept),
            ..*function
        };
        self.functions = functions.map(moved).collect();
        self.ops.retain(|op| !op.gone);
        for op in &mut self.ops {
            op.target = op.target.and_then(|target| place.get(target).copied());
        }
    }

    /// The program as the kernel takes it.
    pub(super) fn write(mut self) -> Result<Reduced, ReduceError> {
        self.compact();
        let mut places = Vec::with_capacity(self.ops.len());
        let mut at = 0;
        for op in &self.ops {
            places.push(at);
            at += op.places();
        }
        let place = |op: usize| places.get(op).copied().ok_or(ReduceError::Target { at: op });
        let mut instructions = Vec::with_capacity(at);
        for (op, at) in self.ops.iter().zip(places.iter().copied()) {
            let mut op = *op;
            if let Some(target) = op.target {
                let far = ReduceError::Far { at };
                let to = i64::try_from(place(target)?).map_err(|_| far)?;
                let from = i64::try_from(at).map_err(|_| far)?;
                set_distance(&mut op, to - from - 1).ok_or(far)?;
            }
            instructions.push(instruction(op.code, op.dst, op.src, op.off, op.imm));
            if op.code == LOAD_IMMEDIATE {
                instructions.push(instruction(SECOND, 0, 0, 0, op.high));
            }
        }
        let info = |function: &Function| -> Result<bpf_func_info, ReduceError> {
            let at = place(function.start)?;
            let insn_off = u32::try_from(at).map_err(|_| ReduceError::Far { at })?;
            Ok(bpf_func_info { insn_off, type_id: function.type_id })
        };
        let functions = self.functions.iter().map(info).collect::<Result<_, _>>()?;
        let reads_globals = self.ops.iter().any(Op::is_globals);
        Ok(Reduced { instructions, functions, reads_globals })
    }
}

/// How far an operation leads, if it leads anywhere.
fn distance(op: &Op) -> Option<i64> {
    if op.is_function_address() {
        return Some(i64::from(op.imm));
    }
    let (class, kind) = (op.class(), op.kind());
    match (class, kind) {
        (BPF_JMP, BPF_CALL) => (u32::from(op.src) == BPF_PSEUDO_CALL).then_some(i64::from(op.imm)),
        (BPF_JMP, BPF_EXIT) => None,
        // `gotol` keeps its distance in the immediate.
        (BPF_JMP32, BPF_JA) => Some(i64::from(op.imm)),
        (BPF_JMP | BPF_JMP32, _) => Some(i64::from(op.off)),
        _ => None,
    }
}

fn set_distance(op: &mut Op, distance: i64) -> Option<()> {
    let in_immediate =
        op.is_function_address() || op.is_call() || op.class() == BPF_JMP32 && op.kind() == BPF_JA;
    if in_immediate {
        op.imm = i32::try_from(distance).ok()?;
    } else {
        op.off = i16::try_from(distance).ok()?;
    }
    Some(())
}

/// An instruction of these parts.
pub(super) fn instruction(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    let mut instruction = bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off,
        imm,
    };
    instruction.set_dst_reg(dst);
    instruction.set_src_reg(src);
    instruction
}
