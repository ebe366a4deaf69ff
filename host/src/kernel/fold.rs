//! Reads of frozen globals become constants before a program is loaded: the verifier knows their values
//! and leaves the reads where they are.

use std::collections::HashSet;

use aya_obj::generated::{
    BPF_ALU, BPF_B, BPF_CALL, BPF_DW, BPF_EXIT, BPF_H, BPF_IMM, BPF_JA, BPF_JMP, BPF_JMP32, BPF_LD,
    BPF_LDX, BPF_MEM, BPF_PSEUDO_MAP_VALUE, BPF_W, bpf_insn,
};

/// `ld_imm64`, which takes two places.
const LOAD_IMMEDIATE: u8 = (BPF_LD | BPF_IMM | BPF_DW) as u8;

/// Makes constants of reads through the descriptor of a frozen map with those bytes. Only an address that
/// is read at once, into its own register, is taken: nobody else can want it.
pub fn constants(instructions: &mut [bpf_insn], map: i32, bytes: &[u8]) {
    let targets = targets(instructions);
    let mut at = 0;
    while at < instructions.len() {
        let is_wide = instructions.get(at).is_some_and(|one| one.code == LOAD_IMMEDIATE);
        if is_wide
            && !targets.contains(&(at + 2))
            && let Some([low, high, read]) = instructions.get_mut(at..at + 3)
            && let Some(value) = value([low, high, read], map, bytes)
        {
            low.set_src_reg(0);
            // Halves of a word, as the instruction has them.
            low.imm = (value as u32).cast_signed();
            high.imm = ((value >> 32) as u32).cast_signed();
            *read = nothing(*read);
        }
        at += if is_wide { 2 } else { 1 };
    }
}

/// What is read, if it is read from the map into the register of its address.
fn value([low, high, read]: [&bpf_insn; 3], map: i32, bytes: &[u8]) -> Option<u64> {
    let code = u32::from(read.code);
    let is_address = u32::from(low.src_reg()) == BPF_PSEUDO_MAP_VALUE && low.imm == map;
    let is_read = code & !BPF_DW == BPF_LDX | BPF_MEM
        && read.src_reg() == low.dst_reg()
        && read.dst_reg() == low.dst_reg();
    if !is_address || !is_read {
        return None;
    }
    let size = match code & BPF_DW {
        BPF_B => 1,
        BPF_H => 2,
        BPF_W => 4,
        _ => 8,
    };
    let start = usize::try_from(i64::from(high.imm) + i64::from(read.off)).ok()?;
    let bytes = bytes.get(start..start.checked_add(size)?)?;
    let mut word = [0; 8];
    word.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Some(u64::from_le_bytes(word))
}

/// An instruction that does nothing, which the verifier takes out: a jump to the next one.
fn nothing(mut instruction: bpf_insn) -> bpf_insn {
    instruction.code = (BPF_JMP | BPF_JA) as u8;
    instruction.set_src_reg(0);
    instruction.set_dst_reg(0);
    instruction.off = 0;
    instruction.imm = 0;
    instruction
}

/// Where jumps lead.
fn targets(instructions: &[bpf_insn]) -> HashSet<usize> {
    let mut targets = HashSet::new();
    for (at, instruction) in (0i64..).zip(instructions) {
        let code = u32::from(instruction.code);
        let class = code & 7;
        let is_jump =
            class == BPF_JMP32 || class == BPF_JMP && !matches!(code & 0xf0, BPF_CALL | BPF_EXIT);
        if is_jump {
            // `gotol` keeps its distance in the immediate.
            let far = class == BPF_JMP32 && code & 0xf0 == BPF_JA;
            let distance =
                if far { i64::from(instruction.imm) } else { i64::from(instruction.off) };
            targets.extend(usize::try_from(at + 1 + distance).ok());
        }
    }
    targets
}

const _: () = assert!(BPF_ALU == 4 && BPF_JMP32 == 6 && BPF_DW == 0x18);

#[cfg(test)]
mod tests {
    use super::*;

    fn one(code: u32, dst: u8, src: u8, off: i16, imm: i32) -> bpf_insn {
        let mut instruction = bpf_insn {
            code: code as u8,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
            off,
            imm,
        };
        instruction.set_dst_reg(dst);
        instruction.set_src_reg(src);
        instruction
    }

    const MAP: i32 = 7;
    const BYTES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 0x88, 9, 10, 11, 12];

    fn read(size: u32, from: i32, dst: u8) -> Vec<bpf_insn> {
        vec![
            one(BPF_LD | BPF_IMM | BPF_DW, 1, BPF_PSEUDO_MAP_VALUE as u8, 0, MAP),
            one(0, 0, 0, 0, from),
            one(BPF_LDX | BPF_MEM | size, dst, 1, 0, 0),
        ]
    }

    fn folded(mut code: Vec<bpf_insn>) -> Option<u64> {
        constants(&mut code, MAP, &BYTES);
        let [low, high, read, ..] = &code[..] else { return None };
        (low.src_reg() == 0 && u32::from(read.code) == BPF_JMP | BPF_JA)
            .then(|| u64::from(low.imm.cast_unsigned()) | u64::from(high.imm.cast_unsigned()) << 32)
    }

    #[test]
    fn reads_become_what_stands_there() {
        assert_eq!(folded(read(BPF_B, 3, 1)), Some(4));
        assert_eq!(folded(read(BPF_H, 0, 1)), Some(0x0201));
        assert_eq!(folded(read(BPF_W, 4, 1)), Some(0x8807_0605));
        assert_eq!(folded(read(BPF_DW, 0, 1)), Some(0x8807_0605_0403_0201));
    }

    #[test]
    fn whatever_else_may_want_the_address_keeps_it() {
        assert_eq!(folded(read(BPF_W, 0, 2)), None);
        assert_eq!(folded(read(BPF_W, 10, 1)), None);
        assert_eq!(folded(read(BPF_W, -4, 1)), None);
        let mut jumped_into = read(BPF_W, 0, 1);
        jumped_into.push(one(BPF_JMP | BPF_JA, 0, 0, -2, 0));
        assert_eq!(folded(jumped_into), None);
        let mut other_map = read(BPF_W, 0, 1);
        other_map[0].imm = MAP + 1;
        assert_eq!(folded(other_map), None);
    }
}
