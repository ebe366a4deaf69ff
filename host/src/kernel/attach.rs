//! Loaded programs → live links, held by the object until it is dropped.

use aya::Ebpf;
use aya::programs::{BtfTracePoint, Lsm, ProgramError};
use krsi_host_abi::hook::{Attach, Hook};

use super::load::{HookError, Loaded};

/// Attaches every loaded program. A hook that the kernel refuses moves to `refused`.
pub fn attach(loaded: &mut Loaded) {
    let hooks = std::mem::take(&mut loaded.hooks);
    for hook in hooks {
        match attach_hook(&mut loaded.object, hook) {
            Ok(()) => loaded.hooks.push(hook),
            Err(error) => loaded.refused.push((hook, error)),
        }
    }
}

fn attach_hook(object: &mut Ebpf, hook: Hook) -> Result<(), HookError> {
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
