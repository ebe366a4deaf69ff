//! Loaded programs → live links, held by the object until they are removed or it is dropped.

use aya::Ebpf;
use aya::programs::{BtfTracePoint, Lsm, ProgramError};
use krsi_host_abi::hook::{Attach, Hook};

use super::load::HookError;

/// Attaches a loaded program.
pub(super) fn attach(object: &mut Ebpf, hook: Hook) -> Result<(), HookError> {
    let program = object.program_mut(hook.name()).ok_or(HookError::NoProgram)?;
    let attached: Result<(), ProgramError> = match hook.row().attach {
        Attach::LsmDeny | Attach::LsmObserve => {
            <&mut Lsm>::try_from(program).and_then(|program| program.attach().map(drop))
        }
        Attach::Tracepoint => {
            <&mut BtfTracePoint>::try_from(program).and_then(|program| program.attach().map(drop))
        }
    };
    attached.map_err(HookError::Refused)
}
