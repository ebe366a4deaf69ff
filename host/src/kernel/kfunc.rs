//! Functions of the kernel that programs call where it has them, put in place of their numbers.

use aya_obj::generated::{BPF_CALL, BPF_JMP, BPF_PSEUDO_KFUNC_CALL, bpf_insn};
use krsi_host_abi::kfunc::KFUNCS;

use super::backend::BackendKind;
use super::btf::KernelTypes;

/// Those that this kernel has: their numbers in the object and their BTF ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kfuncs(Vec<(i32, u32)>);

impl Kfuncs {
    /// Looks them up.
    #[must_use]
    pub fn of(types: &KernelTypes) -> Self {
        let id = |(number, name): (i32, &str)| Some((number, types.function_id(name)?));
        Self(KFUNCS.into_iter().filter_map(id).collect())
    }

    /// Whether this kernel has one.
    #[must_use]
    pub fn has(&self, number: i32) -> bool {
        self.id(number).is_some()
    }

    /// Those that programs of a backend may call: the kernel gives the others to none but LSM programs.
    #[must_use]
    pub fn under(&self, backend: BackendKind) -> Self {
        match backend {
            BackendKind::Lsm => self.clone(),
            BackendKind::FmodRet | BackendKind::Observe => Self::default(),
        }
    }

    fn id(&self, number: i32) -> Option<u32> {
        self.0.iter().find(|(known, _)| *known == number).map(|(_, id)| *id)
    }

    /// Makes calls of them of the calls that have their numbers. A call of one that this kernel does not
    /// have stays as it is: it stands where the verifier never comes.
    pub fn settle(&self, instructions: &mut [bpf_insn]) {
        let call = (BPF_JMP | BPF_CALL) as u8;
        for instruction in instructions.iter_mut() {
            if instruction.code == call
                && instruction.src_reg() == 0
                && let Some(id) = self.id(instruction.imm)
            {
                instruction.set_src_reg(BPF_PSEUDO_KFUNC_CALL as u8);
                instruction.imm = id.cast_signed();
                instruction.off = 0;
            }
        }
    }
}

#[cfg(test)]
impl Kfuncs {
    /// A kernel that has them all.
    pub(crate) fn all() -> Self {
        Self((1..).zip(KFUNCS).map(|(id, (number, _))| (number, id)).collect())
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
        Kfuncs::default().settle(&mut code);
        assert_eq!(
            code.map(|one| (one.src_reg(), one.imm)),
            [(0, 147), (0, PATH_D_PATH), (0, PATH_D_PATH + 1)]
        );
        Kfuncs(vec![(PATH_D_PATH, 77)]).settle(&mut code);
        assert_eq!(
            code.map(|one| (one.src_reg(), one.imm)),
            [(0, 147), (2, 77), (0, PATH_D_PATH + 1)]
        );
    }
}
