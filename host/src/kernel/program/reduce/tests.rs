//! Reduced programs do what they did: by hand, and at random on a machine.

use aya_obj::generated::{
    BPF_ADD, BPF_ALU, BPF_ALU64, BPF_AND, BPF_B, BPF_CALL, BPF_DW, BPF_EXIT, BPF_H, BPF_JA,
    BPF_JEQ, BPF_JGT, BPF_JMP, BPF_JMP32, BPF_JNE, BPF_JSLT, BPF_LDX, BPF_LSH, BPF_MEM, BPF_MOV,
    BPF_OR, BPF_PSEUDO_CALL, BPF_PSEUDO_MAP_VALUE, BPF_RSH, BPF_ST, BPF_STX, BPF_SUB, BPF_W, BPF_X,
    BPF_XOR, bpf_func_info, bpf_insn,
};

use super::code::{LOAD_IMMEDIATE, ProgramCode, instruction};
use super::machine::{Seen, run};
use super::{GLOBALS, ReduceError, Reduced, in_rounds, reduce};

const BYTES: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 0x88, 9, 10, 11, 12, 0, 0, 0, 0];

fn one(code: u32, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
    instruction(code as u8, dst, src, off, imm)
}

fn mov(dst: u8, imm: i32) -> bpf_insn {
    one(BPF_ALU64 | BPF_MOV, dst, 0, 0, imm)
}

fn exit() -> bpf_insn {
    one(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
}

fn helper(number: i32) -> bpf_insn {
    one(BPF_JMP | BPF_CALL, 0, 0, 0, number)
}

/// Reads globals by an address of their own.
fn global(size: u32, dst: u8, from: i32) -> [bpf_insn; 3] {
    [
        instruction(LOAD_IMMEDIATE, dst, BPF_PSEUDO_MAP_VALUE as u8, 0, GLOBALS),
        instruction(0, 0, 0, 0, from),
        one(BPF_LDX | BPF_MEM | size, dst, dst, 0, 0),
    ]
}

fn reduced(code: &[bpf_insn]) -> Reduced {
    let reduced = reduce(code, &[bpf_func_info { insn_off: 0, type_id: 9 }], &BYTES).unwrap();
    assert_reachable(&reduced);
    reduced
}

/// The verifier refuses what no way leads to.
fn assert_reachable(reduced: &Reduced) {
    let mut code = ProgramCode::read(&reduced.instructions, &reduced.functions).unwrap();
    assert!(!code.drop_unreachable(), "unreachable: {:?}", parts(&reduced.instructions));
}

/// What an instruction is made of.
fn parts(code: &[bpf_insn]) -> Vec<(u8, u8, u8, i16, i32)> {
    code.iter().map(|one| (one.code, one.dst_reg(), one.src_reg(), one.off, one.imm)).collect()
}

fn check(code: &[bpf_insn], expected: &[bpf_insn]) {
    assert_eq!(parts(&reduced(code).instructions), parts(expected));
}

#[test]
fn globals_become_what_stands_there() {
    for (size, from, number) in [(BPF_B, 3, 4), (BPF_H, 0, 0x0201), (BPF_W, 0, 0x0403_0201)] {
        let code = [&global(size, 0, from)[..], &[exit()]].concat();
        check(&code, &[mov(0, number), exit()]);
        assert!(!reduced(&code).reads_globals);
    }
    // What does not fit into an immediate takes two places, and no address any more.
    let code = [&global(BPF_DW, 0, 0)[..], &[exit()]].concat();
    let wide = instruction(LOAD_IMMEDIATE, 0, 0, 0, 0x0403_0201);
    let high = instruction(0, 0, 0, 0, 0x8807_0605_u32.cast_signed());
    check(&code, &[wide, high, exit()]);
}

#[test]
fn what_lies_beyond_the_globals_or_at_an_unknown_place_is_still_read() {
    for from in [13, -4] {
        let code = [&global(BPF_W, 0, from)[..], &[exit()]].concat();
        assert!(reduced(&code).reads_globals);
        check(&code, &code);
    }
    let mut code = [&global(BPF_W, 2, 0)[..2], &[exit()]].concat();
    code.insert(2, one(BPF_ALU64 | BPF_ADD | BPF_X, 2, 1, 0, 0));
    code.insert(3, one(BPF_LDX | BPF_MEM | BPF_W, 0, 2, 0, 0));
    check(&code, &code);
}

#[test]
fn a_decided_branch_and_what_it_skips_go() {
    let skip = one(BPF_JMP | BPF_JEQ, 2, 0, 2, 4);
    let code = [&global(BPF_B, 2, 3)[..], &[skip, mov(0, 1), exit(), mov(0, 2), exit()]].concat();
    check(&code, &[mov(0, 2), exit()]);
    let code = [&global(BPF_B, 2, 2)[..], &[skip, mov(0, 1), exit(), mov(0, 2), exit()]].concat();
    check(&code, &[mov(0, 1), exit()]);
}

#[test]
fn a_function_that_nobody_calls_goes_and_the_others_move_up() {
    let call = |distance| one(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL as u8, 0, distance);
    let main = [
        mov(2, 0),
        one(BPF_JMP | BPF_JEQ, 2, 0, 1, 0),
        call(2),
        call(3),
        exit(),
        // The first function, then the second.
        helper(1),
        exit(),
        helper(2),
        exit(),
    ];
    let starts = [0, 5, 7].map(|insn_off| bpf_func_info { insn_off, type_id: insn_off + 1 });
    let reduced = reduce(&main, &starts, &BYTES).unwrap();
    // The arguments of a call are taken as wanted.
    let expected = [mov(2, 0), call(1), exit(), helper(2), exit()];
    assert_eq!(parts(&reduced.instructions), parts(&expected));
    let functions: Vec<_> =
        reduced.functions.iter().map(|info| (info.insn_off, info.type_id)).collect();
    assert_eq!(functions, [(0, 1), (3, 8)]);
}

#[test]
fn a_place_that_has_an_address_keeps_what_is_written_there() {
    let address =
        [one(BPF_ALU64 | BPF_MOV | BPF_X, 1, 10, 0, 0), one(BPF_ALU64 | BPF_ADD, 1, 0, 0, -16)];
    let store = |off| one(BPF_ST | BPF_MEM | BPF_DW, 10, 0, off, 5);
    let load = one(BPF_LDX | BPF_MEM | BPF_DW, 0, 10, -16, 0);
    // Below the address, nobody reads it; above, the helper may, and may write.
    let code = [&[store(-24), store(-16)], &address[..], &[helper(1), load, exit()]].concat();
    check(&code, &[&[store(-16)], &address[..], &[helper(1), load, exit()]].concat());
}

#[test]
fn a_value_that_rests_in_the_frame_is_known_when_it_comes_back() {
    let keep = one(BPF_STX | BPF_MEM | BPF_W, 10, 3, -4, 0);
    let back = one(BPF_LDX | BPF_MEM | BPF_W, 4, 10, -4, 0);
    let code = [
        &global(BPF_B, 3, 0)[..],
        &[keep, helper(1), back, one(BPF_JMP | BPF_JNE, 4, 0, 1, 1), mov(0, 3), exit()],
    ]
    .concat();
    check(&code, &[mov(3, 1), helper(1), mov(0, 3), exit()]);
}

#[test]
fn programs_that_lead_nowhere_are_refused() {
    let jump = |off| [one(BPF_JMP | BPF_JA, 0, 0, off, 0), exit()];
    for off in [1, -2, i16::MAX, i16::MIN] {
        let result = reduce(&jump(off), &[], &BYTES).map(|_| ());
        assert_eq!(result, Err(ReduceError::Target { at: 0 }));
    }
    let into_the_middle = [&jump(1)[..1], &global(BPF_B, 0, 0)].concat();
    assert!(reduce(&into_the_middle, &[], &BYTES).is_err());
    let cut = [instruction(LOAD_IMMEDIATE, 0, 0, 0, 0)];
    assert!(matches!(reduce(&cut, &[], &BYTES), Err(ReduceError::Cut { .. })));
    // A block that runs out of the program.
    assert!(reduce(&[mov(0, 0)], &[], &BYTES).is_err());
}

/// Numbers that look like chance and are the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// The register of addresses; whatever is not one never goes there.
const ADDRESS: u8 = 9;
/// Where what has an address begins, counted from the frame pointer.
const OBJECTS: i16 = -32;

fn address(object: i16) -> [bpf_insn; 2] {
    let frame = one(BPF_ALU64 | BPF_MOV | BPF_X, ADDRESS, 10, 0, 0);
    [frame, one(BPF_ALU64 | BPF_ADD, ADDRESS, 0, 0, i32::from(object))]
}

/// Some instructions that belong together, as a compiler makes them.
fn group(chance: &mut Chance) -> Vec<bpf_insn> {
    let (dst, src) = (chance.below(8) as u8, chance.below(8) as u8);
    let imm = chance.of(&[0, 1, 2, 3, -1, 64, 255]);
    let class = chance.of(&[BPF_ALU, BPF_ALU64]);
    let kind = chance.of(&[BPF_ADD, BPF_SUB, BPF_AND, BPF_OR, BPF_XOR, BPF_MOV, BPF_MOV]);
    let size = chance.of(&[BPF_W, BPF_DW, BPF_DW, BPF_B]);
    let private = OBJECTS - 8 * (1 + chance.below(4) as i16);
    let object = -8 * (1 + chance.below(4) as i16);
    let place = chance.of(&[private, private, object]);
    match chance.below(12) {
        0 => vec![mov(dst, imm)],
        1 => vec![one(class | kind, dst, 0, 0, imm)],
        2 => vec![one(class | kind | BPF_X, dst, src, 0, 0)],
        3 => vec![one(class | chance.of(&[BPF_LSH, BPF_RSH]), dst, 0, 0, imm & 31)],
        4 | 5 => global(size, dst, chance.below(8) as i32).to_vec(),
        6 | 7 => vec![one(BPF_STX | BPF_MEM | size, 10, src, place, 0)],
        8 => vec![one(BPF_LDX | BPF_MEM | size, dst, 10, place, 0)],
        9 => {
            let through = chance.of(&[
                one(BPF_STX | BPF_MEM | size, ADDRESS, src, 0, 0),
                one(BPF_LDX | BPF_MEM | size, dst, ADDRESS, 0, 0),
                one(BPF_ALU64 | BPF_MOV | BPF_X, 1, ADDRESS, 0, 0),
            ]);
            [&address(object)[..], &[through]].concat()
        }
        // One address or another.
        10 => {
            let branch = one(BPF_JMP | BPF_JNE, dst, 0, 2, chance.below(3) as i32);
            let other = -8 * (1 + chance.below(4) as i16);
            let store = one(BPF_STX | BPF_MEM | size, ADDRESS, src, 0, 0);
            let back = one(BPF_LDX | BPF_MEM | size, dst, 10, object, 0);
            [&address(object)[..], &[branch], &address(other), &[store, back]].concat()
        }
        _ => vec![helper(1 + imm.abs())],
    }
}

/// A function whose branches all lead forward.
fn function(chance: &mut Chance, groups: usize) -> Vec<bpf_insn> {
    let mut made: Vec<(Vec<bpf_insn>, usize)> = Vec::new();
    for left in (0..groups).rev() {
        let (mut own, mut skip) = (group(chance), 0);
        if left > 2 && chance.below(4) == 0 {
            let kind = chance.of(&[BPF_JEQ, BPF_JNE, BPF_JGT, BPF_JSLT]);
            let class = chance.of(&[BPF_JMP, BPF_JMP32]);
            let operand = chance.of(&[0, BPF_X]);
            let (dst, src) = (chance.below(8) as u8, chance.below(8) as u8);
            let src = if operand == 0 { 0 } else { src };
            own.push(one(class | kind | operand, dst, src, 0, chance.below(3) as i32));
            skip = 1 + chance.below(left - 1);
        }
        made.push((own, skip));
    }
    let sizes: Vec<usize> = made.iter().map(|(own, _)| own.len()).collect();
    for (at, (own, skip)) in made.iter_mut().enumerate().filter(|(_, (_, skip))| *skip > 0) {
        own.last_mut().unwrap().off = sizes[at + 1..=at + *skip].iter().sum::<usize>() as i16;
    }
    let mut code: Vec<bpf_insn> = made.into_iter().flat_map(|(own, _)| own).collect();
    code.push(exit());
    code
}

#[test]
fn programs_at_random_do_what_they_did() {
    let mut chance = Chance(11);
    let (mut before, mut after) = (0, 0);
    for round in 0..3000 {
        let (first, second) = (function(&mut chance, 40), function(&mut chance, 12));
        let mut code = first;
        let at = code.len() - 1;
        // The first calls the second before it ends.
        code.insert(at, one(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_CALL as u8, 0, 1));
        let start = code.len() as u32;
        code.extend(second);
        let infos = [0, start].map(|insn_off| bpf_func_info { insn_off, type_id: 1 });
        // Whatever round is the last leaves a program that the verifier takes.
        for rounds in 1..4 {
            assert_reachable(&in_rounds(rounds, &code, &infos, &BYTES).unwrap());
        }
        let reduced = reduce(&code, &infos, &BYTES).unwrap();
        assert_reachable(&reduced);
        for argument in [0, 1, 2, 300] {
            let expected: Seen = run(&code, &BYTES, argument).unwrap();
            let found = run(&reduced.instructions, &BYTES, argument).unwrap();
            assert_eq!(found, expected, "program {round} with {argument}: {:?}", parts(&code));
        }
        before += code.len();
        after += reduced.instructions.len();
    }
    assert!(after * 4 < before * 3, "{before} instructions became {after}");
}
