//! Calls of functions of the kernel, put in place of their numbers in the object.

use aya_obj::generated::{BPF_CALL, BPF_JMP, BPF_PSEUDO_KFUNC_CALL, bpf_insn};

use crate::kernel::btf::kfunc::Kfuncs;

/// Makes calls of the kernel's functions of the calls that have their numbers. A call of one that this kernel
/// does not have stays as it is: it stands where the verifier never comes.
pub(crate) fn call_kfuncs(kfuncs: &Kfuncs, instructions: &mut [bpf_insn]) {
    let call = (BPF_JMP | BPF_CALL) as u8;
    for instruction in instructions.iter_mut() {
        if instruction.code == call
            && instruction.src_reg() == 0
            && let Some(id) = kfuncs.id(instruction.imm)
        {
            instruction.set_src_reg(BPF_PSEUDO_KFUNC_CALL as u8);
            instruction.imm = id.cast_signed();
            instruction.off = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use krsi_host_abi::kfunc::PATH_D_PATH;

    use super::*;

    fn call(imm: i32) -> bpf_insn {
        let mut instruction = bpf_insn {
            code: (BPF_JMP | BPF_CALL) as u8,
            _bitfield_align_1: [],
            _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
            off: 0,
            imm,
        };
        instruction.set_src_reg(0);
        instruction
    }

    #[test]
    fn only_calls_with_a_known_number_change() {
        let mut code = [call(147), call(PATH_D_PATH), call(PATH_D_PATH + 1)];
        call_kfuncs(&Kfuncs::default(), &mut code);
        assert_eq!(
            code.map(|one| (one.src_reg(), one.imm)),
            [(0, 147), (0, PATH_D_PATH), (0, PATH_D_PATH + 1)]
        );
        call_kfuncs(&Kfuncs::one(PATH_D_PATH, 77), &mut code);
        assert_eq!(
            code.map(|one| (one.src_reg(), one.imm)),
            [(0, 147), (2, 77), (0, PATH_D_PATH + 1)]
        );
    }
}
