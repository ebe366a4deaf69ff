//! Functions of the kernel that BPF programs call: those that this kernel has, by number in the object.

use krsi_host_abi::kfunc::KFUNCS;

use super::KernelTypes;

/// Those that this kernel has: their numbers in the object and their BTF ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kfuncs(Vec<(i32, u32)>);

impl Kfuncs {
    /// Looks the functions up in the kernel's types.
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

    /// The BTF id of one, if this kernel has it.
    #[must_use]
    pub fn id(&self, number: i32) -> Option<u32> {
        self.0.iter().find(|(known, _)| *known == number).map(|(_, id)| *id)
    }
}

#[cfg(test)]
impl Kfuncs {
    /// A kernel that has them all.
    pub(crate) fn all() -> Self {
        Self((1..).zip(KFUNCS).map(|(id, (number, _))| (number, id)).collect())
    }

    /// A kernel that has one.
    pub(crate) fn one(number: i32, id: u32) -> Self {
        Self(vec![(number, id)])
    }
}
