//! Wanted hooks × this kernel → what will be attached, and a named reason for what will not.

use krsi_host_abi::capture::{ABSENT, OFFSETS};
use krsi_host_abi::hook::{Attach, HOOKS, Hook};

use crate::kernel::btf::{KernelTypes, OffsetError};

/// Why a hook will not be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// The kernel has no such LSM hook, or does not let BPF attach to it.
    #[error("this kernel has no such LSM hook for BPF")]
    LsmHook,
    /// The kernel has no such tracepoint.
    #[error("this kernel has no such tracepoint")]
    Tracepoint,
}

/// A structure member that this kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingField {
    pub structure: &'static str,
    pub member: &'static str,
    /// Why the member has no offset.
    pub why: OffsetError,
}

/// What is to be loaded on this kernel.
#[derive(Clone, Debug)]
pub struct HookPlan {
    /// Hooks to attach, in id order.
    pub hooks: Vec<Hook>,
    /// Hooks that were wanted and cannot be had.
    pub lacking: Vec<(Hook, Lacking)>,
    /// Value of every offset global.
    pub offsets: Vec<(&'static str, u32)>,
    /// Offsets that are [`ABSENT`]; captures that need them are skipped and counted.
    pub missing: Vec<MissingField>,
}

/// Resolves the wanted hooks on a kernel.
#[must_use]
pub fn plan(types: &KernelTypes, wanted: impl Fn(Hook) -> bool) -> HookPlan {
    let mut plan = HookPlan {
        hooks: Vec::new(),
        lacking: Vec::new(),
        offsets: Vec::with_capacity(OFFSETS.len()),
        missing: Vec::new(),
    };
    for row in HOOKS.iter().filter(|row| wanted(row.hook)) {
        match row.attach {
            Attach::Tracepoint if !types.has_tracepoint(row.name) => {
                plan.lacking.push((row.hook, Lacking::Tracepoint));
            }
            Attach::LsmDeny | Attach::LsmObserve
                if !types.has_function(&format!("bpf_lsm_{}", row.name)) =>
            {
                plan.lacking.push((row.hook, Lacking::LsmHook));
            }
            _ => plan.hooks.push(row.hook),
        }
    }
    for offset in OFFSETS {
        let value = types.offset(offset.structure, offset.member).unwrap_or_else(|why| {
            let (structure, member) = (offset.structure, offset.member);
            plan.missing.push(MissingField { structure, member, why });
            ABSENT
        });
        plan.offsets.push((offset.global, value));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::tests::stored;

    #[test]
    fn every_offset_of_the_object_is_there_on_every_kernel() {
        let newer =
            [Hook::UsernsCreate, Hook::UringOverrideCreds, Hook::UringSqpoll, Hook::UringCmd];
        let newer = newer.map(|hook| (hook, Lacking::LsmHook));
        for (kernel, lacking) in [("5.10", &newer[..]), ("6.1", &[]), ("6.12", &[]), ("7.2", &[])] {
            let plan = plan(&stored(kernel), |_| true);
            assert_eq!(plan.missing, [], "{kernel}");
            assert_eq!(plan.lacking, lacking, "{kernel}");
            assert_eq!(plan.offsets.len(), OFFSETS.len());
            assert!(plan.offsets.iter().all(|(_, value)| *value != ABSENT));
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_never_guessed() {
        let empty =
            [0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let file = std::env::temp_dir().join(format!("krsi-btf-{}", std::process::id()));
        std::fs::write(&file, empty).unwrap();
        let plan = plan(&KernelTypes::read(&file).unwrap(), |hook| hook == Hook::FileOpen);
        std::fs::remove_file(&file).unwrap();
        assert_eq!((plan.hooks, plan.lacking), (vec![], vec![(Hook::FileOpen, Lacking::LsmHook)]));
        assert!(plan.offsets.iter().all(|(_, value)| *value == ABSENT));
        assert_eq!(plan.missing.len(), OFFSETS.len());
    }
}
