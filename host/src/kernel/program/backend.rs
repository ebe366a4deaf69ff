//! Backends: programs are attached as LSM programs, to the functions that call the LSMs, or only after them.

use super::syscall::{AttachType, Sleep};
use super::target::security_function;
use crate::kernel::btf::KernelTypes;

/// The name of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// `BPF_PROG_TYPE_LSM`: needs `bpf` among the LSMs.
    Lsm,
    /// `BPF_MODIFY_RETURN` on `security_*`: refuses before any LSM is asked, never sleeps.
    FmodRet,
    /// `BPF_TRACE_FEXIT` on `security_*`: sees and refuses nothing.
    Observe,
}

impl BackendKind {
    /// Every backend, the one that can do most first.
    pub const ALL: [BackendKind; 3] =
        [BackendKind::Lsm, BackendKind::FmodRet, BackendKind::Observe];

    /// Name of the backend, as `--backend` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BackendKind::Lsm => "lsm",
            BackendKind::FmodRet => "fmod_ret",
            BackendKind::Observe => "observe",
        }
    }

    #[must_use]
    pub fn backend(self) -> &'static dyn Backend {
        match self {
            BackendKind::Lsm => &Lsm,
            BackendKind::FmodRet => &FmodRet,
            BackendKind::Observe => &Observe,
        }
    }
}

/// What a program of a hook is loaded for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name of the kernel's function.
    pub function: String,
    /// Attach type with which a program is loaded for the function.
    pub attach_type: AttachType,
}

/// A way to attach programs to hooks.
pub trait Backend: Sync {
    fn kind(&self) -> BackendKind;
    /// The function of a hook, without `bpf_lsm_`, on this kernel.
    fn target(&self, types: &KernelTypes, hook: &str) -> Option<Target>;
    /// Whether what a program answers refuses the call.
    fn can_deny(&self) -> bool;
    /// Whether a program that wants to sleep may.
    fn sleep(&self, wanted: Sleep) -> Sleep;
}

struct Lsm;
struct FmodRet;
struct Observe;

impl Backend for Lsm {
    fn kind(&self) -> BackendKind {
        BackendKind::Lsm
    }

    fn target(&self, types: &KernelTypes, hook: &str) -> Option<Target> {
        let function = format!("bpf_lsm_{hook}");
        types.has_function(&function).then_some(Target { function, attach_type: AttachType::Lsm })
    }

    fn can_deny(&self) -> bool {
        true
    }

    fn sleep(&self, wanted: Sleep) -> Sleep {
        wanted
    }
}

impl Backend for FmodRet {
    fn kind(&self) -> BackendKind {
        BackendKind::FmodRet
    }

    fn target(&self, types: &KernelTypes, hook: &str) -> Option<Target> {
        let function = security_function(hook, |name| types.has_function(name))?;
        Some(Target { function, attach_type: AttachType::ModifyReturn })
    }

    fn can_deny(&self) -> bool {
        true
    }

    fn sleep(&self, _wanted: Sleep) -> Sleep {
        Sleep::Never
    }
}

impl Backend for Observe {
    fn kind(&self) -> BackendKind {
        BackendKind::Observe
    }

    fn target(&self, types: &KernelTypes, hook: &str) -> Option<Target> {
        let function = security_function(hook, |name| types.has_function(name))?;
        Some(Target { function, attach_type: AttachType::Exit })
    }

    fn can_deny(&self) -> bool {
        false
    }

    fn sleep(&self, _wanted: Sleep) -> Sleep {
        Sleep::Never
    }
}
