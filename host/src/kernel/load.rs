//! Object and plan → loaded programs. A program that the verifier refuses takes no other with it.

use aya::programs::{BtfTracePoint, Lsm, ProgramError};
use aya::{Btf, Ebpf, EbpfError, EbpfLoader};
use krsi_host_abi::hook::{Attach, Hook};

use super::attach;
use super::plan::HookPlan;

/// The BPF object, built from `ebpf/` by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/krsi-host-ebpf"));

/// Why nothing could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// aya could not read the kernel's BTF.
    #[error("the kernel's BTF does not parse")]
    Btf(#[source] aya::BtfError),
    /// Maps could not be created or the object does not parse.
    #[error("the BPF object cannot be loaded")]
    Object(#[source] EbpfError),
}

/// Why one hook has no program.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The object has no program of that name.
    #[error("the object holds no program for it")]
    NoProgram,
    /// The verifier or the kernel refused it.
    #[error("the kernel refuses the program")]
    Refused(#[source] ProgramError),
}

/// What is loaded, and what was refused.
pub struct Loaded {
    /// The object with its maps and programs.
    pub object: Ebpf,
    /// Hooks with an attached program.
    pub hooks: Vec<Hook>,
    /// Hooks whose program was refused.
    pub refused: Vec<(Hook, HookError)>,
}

/// Sizes that the operator may choose.
#[derive(Clone, Copy, Debug)]
pub struct LoadSpec {
    /// Bytes of the telemetry ring: a power of two of at least a page.
    pub ring_bytes: u32,
}

/// Creates the maps; programs are loaded one by one by [`add`].
///
/// # Errors
/// When the object as a whole cannot be loaded.
pub fn load(plan: &HookPlan, spec: LoadSpec) -> Result<Loaded, LoadError> {
    let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
    let host_tgid = std::process::id();
    let mut loader = EbpfLoader::new();
    loader.btf(Some(&btf)).map_max_entries("TELEMETRY", spec.ring_bytes);
    loader.override_global("HOST_TGID", &host_tgid, true);
    for (global, value) in &plan.offsets {
        loader.override_global(global, value, true);
    }
    let object = loader.load(OBJECT).map_err(LoadError::Object)?;
    Ok(Loaded { object, hooks: Vec::new(), refused: Vec::new() })
}

/// Loads and attaches the programs of more hooks. One that the kernel refuses moves to `refused`.
///
/// # Errors
/// When the kernel's BTF cannot be read.
pub fn add(loaded: &mut Loaded, hooks: &[Hook]) -> Result<(), LoadError> {
    if hooks.is_empty() {
        return Ok(());
    }
    let btf = Btf::from_sys_fs().map_err(LoadError::Btf)?;
    for &hook in hooks {
        let object = &mut loaded.object;
        let added = load_hook(object, hook, &btf).and_then(|()| attach::attach(object, hook));
        match added {
            Ok(()) => loaded.hooks.push(hook),
            Err(error) => loaded.refused.push((hook, error)),
        }
    }
    Ok(())
}

/// Detaches and unloads the program of a hook.
pub fn remove(loaded: &mut Loaded, hook: Hook) {
    loaded.hooks.retain(|other| *other != hook);
    let Some(program) = loaded.object.program_mut(hook.name()) else { return };
    let unloaded = match hook.row().attach {
        Attach::LsmDeny | Attach::LsmObserve => {
            <&mut Lsm>::try_from(program).and_then(|program| program.unload())
        }
        Attach::Tracepoint => {
            <&mut BtfTracePoint>::try_from(program).and_then(|program| program.unload())
        }
    };
    if let Err(error) = unloaded {
        tracing::warn!(hook = hook.name(), %error, "a program that nobody needs is still loaded");
    }
}

fn load_hook(object: &mut Ebpf, hook: Hook, btf: &Btf) -> Result<(), HookError> {
    let program = object.program_mut(hook.name()).ok_or(HookError::NoProgram)?;
    match hook.row().attach {
        Attach::LsmDeny | Attach::LsmObserve => {
            let program: &mut Lsm = program.try_into().map_err(HookError::Refused)?;
            program.load(hook.name(), btf).map_err(HookError::Refused)
        }
        Attach::Tracepoint => {
            let program: &mut BtfTracePoint = program.try_into().map_err(HookError::Refused)?;
            program.load(hook.name(), btf).map_err(HookError::Refused)
        }
    }
}
