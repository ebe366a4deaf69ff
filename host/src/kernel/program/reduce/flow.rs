//! Follows what is known of registers and frames from the entry through all branches that may be taken,
//! until nothing new is found.

use std::collections::HashMap;

use aya_obj::generated::{
    BPF_ALU, BPF_ALU64, BPF_JEQ, BPF_JMP, BPF_JNE, BPF_LD, BPF_LDX, BPF_MEM, BPF_ST, BPF_STX,
};

use super::ReduceError;
use super::code::{FRAME, Flow, LOAD_IMMEDIATE, Op, ProgramCode};
use super::stack::{BYTES, Stack};
use super::value::{Value, arithmetic, extended, is_register, is_taken, size};

/// Bits of a load's or store's code that say how it reaches memory.
const MODE: u32 = 0xe0;
/// Arguments of a call.
const ARGUMENTS: std::ops::RangeInclusive<usize> = 1..=5;

/// What is known where an operation is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct OpFacts {
    /// Value of the operation's second operand.
    pub(super) source: Value,
    /// Value that the operation leaves in its register.
    pub(super) result: Value,
    /// Whether its branch is taken, where that is decided.
    pub(super) taken: Option<bool>,
    /// It writes to a place of the frame that nobody else has an address of.
    pub(super) is_private: bool,
}

/// What is known of each operation that is reached.
pub(super) type Reached = Vec<Option<OpFacts>>;

/// Registers and frame at one point of a function.
#[derive(Clone, Debug)]
struct FlowState {
    /// Where its function begins.
    function: usize,
    registers: [Value; 11],
    stack: Stack,
}

impl FlowState {
    fn at_entry(function: usize) -> Self {
        let mut registers = [Value::Any; 11];
        if let Some(frame) = registers.last_mut() {
            *frame = Value::Frame(0);
        }
        Self { function, registers, stack: Stack::unknown() }
    }

    fn register(&self, number: u8) -> Value {
        self.registers.get(usize::from(number)).copied().unwrap_or_default()
    }

    fn set(&mut self, number: u8, value: Value) {
        if number != FRAME
            && let Some(register) = self.registers.get_mut(usize::from(number))
        {
            *register = value;
        }
    }
}

/// What of a function's frame others may have an address of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Addressed {
    /// The lowest address that was made of the frame pointer.
    lowest: i64,
    /// The lowest offset at which memory is reached by any address.
    below: i64,
}

impl Addressed {
    /// From where on anybody may read and write.
    const fn start(self) -> i64 {
        if self.lowest < 0 { self.lowest.saturating_add(self.below) } else { 0 }
    }

    fn note(&mut self, other: Self) {
        self.lowest = self.lowest.min(other.lowest);
        self.below = self.below.min(other.below);
    }
}

/// [`Addressed`] of each function, by its first operation.
type AddressedBy = HashMap<usize, Addressed>;

/// Follows a program's flow.
pub(super) fn follow(code: &ProgramCode, globals: &[u8]) -> Result<Reached, ReduceError> {
    let is_leader = leaders(code);
    let mut addressed = AddressedBy::new();
    loop {
        let mut walk = Walk {
            code,
            globals,
            is_leader: &is_leader,
            addressed: &addressed,
            seen: AddressedBy::new(),
            states: vec![None; code.ops.len()],
            waiting: Vec::new(),
            reached: vec![None; code.ops.len()],
        };
        walk.enter(0, FlowState::at_entry(0));
        while let Some(at) = walk.waiting.pop() {
            walk.block(at)?;
        }
        let (reached, seen) = (walk.reached, walk.seen);
        let mut more = addressed.clone();
        for (function, found) in seen {
            more.entry(function).or_default().note(found);
        }
        // What was followed holds only if no address is lower than was assumed.
        if more == addressed {
            return Ok(reached);
        }
        addressed = more;
    }
}

/// Operations that something else than the one before leads to.
fn leaders(code: &ProgramCode) -> Vec<bool> {
    let mut leaders = vec![false; code.ops.len()];
    for target in code.ops.iter().filter_map(|op| op.target) {
        if let Some(leader) = leaders.get_mut(target) {
            *leader = true;
        }
    }
    leaders
}

struct Walk<'a> {
    code: &'a ProgramCode,
    globals: &'a [u8],
    is_leader: &'a [bool],
    /// Places of each function's frame that others may have an address of, as assumed.
    addressed: &'a AddressedBy,
    /// Places of each function's frame that others may have an address of, as seen.
    seen: AddressedBy,
    /// State at each leader and at the entry, as far as it is known.
    states: Vec<Option<Box<FlowState>>>,
    /// Leaders whose state has changed.
    waiting: Vec<usize>,
    reached: Reached,
}

impl Walk<'_> {
    /// Comes to an operation in a state.
    fn enter(&mut self, at: usize, state: FlowState) {
        let Some(slot) = self.states.get_mut(at) else { return };
        let Some(known) = slot else {
            *slot = Some(Box::new(state));
            self.waiting.push(at);
            return;
        };
        let mut changed = known.stack.join(&state.stack);
        let mut bare = false;
        for (own, other) in known.registers.iter_mut().zip(state.registers) {
            let joined = own.join(other);
            if joined != *own {
                bare |= *own == Value::Frame(0) || other == Value::Frame(0);
                *own = joined;
                changed = true;
            }
        }
        if bare {
            self.note(state.function, -BYTES, 0);
        }
        if changed && !self.waiting.contains(&at) {
            self.waiting.push(at);
        }
    }

    fn note(&mut self, function: usize, lowest: i64, below: i64) {
        self.seen.entry(function).or_default().note(Addressed { lowest, below });
    }

    /// Goes on from a leader until control leaves the block.
    fn block(&mut self, from: usize) -> Result<(), ReduceError> {
        let Some(Some(state)) = self.states.get(from) else { return Ok(()) };
        let mut state = (**state).clone();
        let mut at = from;
        loop {
            let op = *self.code.op(at).ok_or(ReduceError::Target { at })?;
            let facts = self.step(&op, &mut state);
            if let Some(slot) = self.reached.get_mut(at) {
                // A block is gone through again whenever less is known: the last time counts.
                *slot = Some(facts);
            }
            let next = at + 1;
            match op.flow() {
                Flow::Exit => return Ok(()),
                Flow::Jump(target) => {
                    self.enter(target, state);
                    return Ok(());
                }
                Flow::Branch(target) => {
                    if facts.taken != Some(false) {
                        self.enter(target, narrowed(&op, &state, facts.source, BPF_JEQ));
                    }
                    if facts.taken == Some(true) {
                        return Ok(());
                    }
                    state = narrowed(&op, &state, facts.source, BPF_JNE);
                }
                Flow::Call(_) | Flow::Next => {}
            }
            if self.is_leader.get(next) == Some(&true) {
                self.enter(next, state);
                return Ok(());
            }
            at = next;
        }
    }

    /// What an operation does to the state.
    fn step(&mut self, op: &Op, state: &mut FlowState) -> OpFacts {
        let (left, function) = (state.register(op.dst), state.function);
        let source =
            if is_register(op) { state.register(op.src) } else { Value::Number(extended(op.imm)) };
        let mut facts = OpFacts { source, ..OpFacts::default() };
        match op.class() {
            BPF_ALU | BPF_ALU64 => {
                facts.result = arithmetic(op, left, source);
                self.derived(function, [left, source], facts.result);
                state.set(op.dst, facts.result);
            }
            BPF_LD if op.code == LOAD_IMMEDIATE => {
                facts.result = immediate(op);
                state.set(op.dst, facts.result);
                if let (true, Some(target)) = (op.is_function_address(), op.target) {
                    self.enter(target, FlowState::at_entry(target));
                }
            }
            BPF_LDX => {
                let base = state.register(op.src);
                self.reaches(function, op.src, op.off);
                facts.result = self.load(op, base, &state.stack);
                state.set(op.dst, facts.result);
            }
            BPF_ST | BPF_STX => {
                // The code's bit for registers means something else here.
                let stored = if op.class() == BPF_STX {
                    state.register(op.src)
                } else {
                    Value::Number(extended(op.imm))
                };
                facts.is_private = self.store(op, left, stored, state);
            }
            _ if op.is_call() => {
                if let Some(target) = op.target {
                    let mut inside = FlowState::at_entry(target);
                    for number in ARGUMENTS {
                        let value = state.registers.get(number).copied().unwrap_or_default();
                        // The caller's frame is not the callee's.
                        let value =
                            if matches!(value, Value::Frame(_)) { Value::Any } else { value };
                        if let Some(register) = inside.registers.get_mut(number) {
                            *register = value;
                        }
                    }
                    self.enter(target, inside);
                }
                state.stack.forget_from(self.addressed_from(function));
                for register in state.registers.iter_mut().take(ARGUMENTS.end() + 1) {
                    *register = Value::Any;
                }
            }
            _ => {
                if let (Some(left), Some(right)) = (left.number(), source.number()) {
                    facts.taken = is_taken(op, left, right);
                }
            }
        }
        facts
    }

    /// From where on a function's frame may be changed by whoever holds an address.
    fn addressed_from(&self, function: usize) -> i64 {
        self.addressed.get(&function).copied().unwrap_or_default().start()
    }

    /// Notes what became of an address of the frame.
    fn derived(&mut self, function: usize, operands: [Value; 2], result: Value) {
        match result {
            Value::Frame(offset) => self.note(function, offset, 0),
            // How far from the frame pointer itself is not known.
            Value::Any if operands.contains(&Value::Frame(0)) => self.note(function, -BYTES, 0),
            _ => {}
        }
    }

    /// Notes that memory is reached at an offset from any address.
    fn reaches(&mut self, function: usize, base: u8, offset: i16) {
        if base != FRAME && offset < 0 {
            self.note(function, 0, i64::from(offset));
        }
    }

    fn load(&self, op: &Op, base: Value, stack: &Stack) -> Value {
        if u32::from(op.code) & MODE != BPF_MEM {
            return Value::Any;
        }
        let (offset, size) = (i64::from(op.off), size(op));
        match base {
            Value::Frame(base) => stack.load(base.saturating_add(offset), size),
            Value::Globals(base) => {
                self.global(base.saturating_add(offset), size).map_or(Value::Any, Value::Number)
            }
            Value::Any | Value::Number(_) => Value::Any,
        }
    }

    /// The number that stands in the globals there.
    fn global(&self, offset: i64, size: usize) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let bytes = self.globals.get(start..start.checked_add(size)?)?;
        let mut word = [0; 8];
        word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Some(u64::from_le_bytes(word))
    }

    /// Writes to memory; whether to a place that nobody else has an address of.
    fn store(&mut self, op: &Op, base: Value, stored: Value, state: &mut FlowState) -> bool {
        self.reaches(state.function, op.dst, op.off);
        let is_plain = u32::from(op.code) & MODE == BPF_MEM;
        if stored == Value::Frame(0) {
            self.note(state.function, -BYTES, 0);
        }
        let start = self.addressed_from(state.function);
        if !is_plain {
            // An atomic operation may leave what was there, in its own register or the first.
            state.set(op.src, Value::Any);
            state.set(0, Value::Any);
        }
        let Value::Frame(base) = base else {
            state.stack.forget_from(start);
            return false;
        };
        let (offset, size) = (base.saturating_add(i64::from(op.off)), size(op));
        state.stack.store(offset, size, if is_plain { stored } else { Value::Any });
        let end = offset.saturating_add(i64::try_from(size).unwrap_or(BYTES));
        is_plain && op.dst == FRAME && end <= start
    }
}

/// What a `ld_imm64` loads.
fn immediate(op: &Op) -> Value {
    if op.is_globals() {
        return Value::Globals(i64::from(op.high));
    }
    if op.src != 0 {
        return Value::Any;
    }
    let half = |half: i32| u64::from(half.cast_unsigned());
    Value::Number(half(op.imm) | half(op.high) << u32::BITS)
}

/// The state behind a branch that is taken if the operation is of that kind, or is not taken.
fn narrowed(op: &Op, state: &FlowState, source: Value, kind: u32) -> FlowState {
    let mut state = state.clone();
    if op.class() == BPF_JMP
        && op.kind() == kind
        && state.register(op.dst) == Value::Any
        && matches!(source, Value::Number(_))
    {
        state.set(op.dst, source);
    }
    state
}
