//! Wanted hooks × this kernel → what will be attached, and a named reason for what will not.

use krsi_host_abi::capture::{ABSENT, OFFSETS};
use krsi_host_abi::hook::{Attach, HOOKS, Hook};

use super::btf::{KernelTypes, OffsetError};

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
    /// Structure.
    pub structure: &'static str,
    /// Member.
    pub member: &'static str,
    /// Why it has no offset.
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
