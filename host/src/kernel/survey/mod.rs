//! Every LSM hook of the running kernel: what BTF says of it, what trial loads show, what is attached to it.

pub(crate) mod attached;
pub(crate) mod facts;
pub(crate) mod privilege;
pub(crate) mod probe;

use serde::Serialize;

use self::attached::AttachedProgram;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::signature::Signature;
use crate::kernel::program::target::security_function;
use crate::kernel::program::trial::{self, Attempt, Grounds, Outcome};

/// Hooks of this kernel, with the programs that are attached to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Survey {
    /// Hooks by name, the BPF LSM's own functions among them: a trial load tells them apart.
    pub hooks: Vec<SurveyedHook>,
    /// Attached programs of which the kernel does not tell the function (before 5.13).
    pub unplaced: Vec<AttachedProgram>,
    /// Facts that could not be found out, each with the reason.
    pub unknown: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SurveyedHook {
    pub hook: String,
    /// BTF id of its `bpf_lsm_*` function.
    pub btf_id: u32,
    /// Prototype of the hook, in C.
    pub signature: String,
    /// Whether it can refuse: void hooks cannot.
    pub can_deny: bool,
    /// Whether a program of type LSM may be put there.
    pub lsm: Outcome,
    /// Whether that program may sleep; `None` where nobody could try.
    pub can_sleep: Option<bool>,
    /// The `security_*` function that calls it: its name, or its prototype where its parameters are not
    /// the hook's.
    pub function: Option<String>,
    /// BTF id of that function.
    pub function_btf_id: Option<u32>,
    /// Whether a program may modify what that function returns.
    pub fmod_ret: Outcome,
    /// Programs on either function.
    pub attached: Vec<AttachedProgram>,
}

/// Looks at the hooks that `wanted` names.
#[must_use]
pub(crate) fn survey(types: &KernelTypes, wanted: impl Fn(&str) -> bool) -> Survey {
    let mut survey = Survey::default();
    let mut programs = attached::attached().unwrap_or_else(|error| {
        survey.unknown.push(format!("{error}: that needs CAP_SYS_ADMIN"));
        Vec::new()
    });
    let mut permitted = true;
    for (hook, stub) in types.lsm_hooks() {
        if !wanted(&hook) {
            continue;
        }
        let name = security_function(&hook, |name| types.has_function(name));
        let target = name.as_deref().and_then(|name| types.signature(name));
        let mut tried = tried(&stub, target.as_ref(), permitted);
        if permitted && is(&tried.lsm, Grounds::NotPermitted) {
            permitted = false;
            let lacks = "whether programs may be attached was not tried: not permitted to load programs \
                 (`krsi-host doctor` says what is missing)";
            survey.unknown.push(lacks.into());
        }
        if !permitted {
            tried = Tried::default();
        }
        // What is no hook has no function either, whatever is called like it.
        let name = name.filter(|_| !is(&tried.lsm, Grounds::NoHook));
        let here = |program: &AttachedProgram| {
            let on = |signature: &Signature| program.target_btf_id == Some(signature.btf_id);
            on(&stub) || target.as_ref().is_some_and(on)
        };
        let (attached, rest) = programs.into_iter().partition(here);
        programs = rest;
        survey.hooks.push(SurveyedHook {
            btf_id: stub.btf_id,
            function_btf_id: name.as_ref().and(target.as_ref()).map(|target| target.btf_id),
            signature: stub.prototype(&hook),
            can_deny: !stub.is_void(),
            hook,
            lsm: tried.lsm,
            can_sleep: tried.can_sleep,
            function: name.map(|name| function(name, &stub, target.as_ref())),
            fmod_ret: tried.fmod_ret,
            attached,
        });
    }
    survey.unplaced = programs;
    survey.unplaced.retain(|program| program.target_btf_id.is_none());
    survey
}

/// What trial loads showed of one hook.
#[derive(Default)]
struct Tried {
    lsm: Outcome,
    can_sleep: Option<bool>,
    fmod_ret: Outcome,
}

fn tried(stub: &Signature, target: Option<&Signature>, permitted: bool) -> Tried {
    if !permitted {
        return Tried::default();
    }
    let lsm = trial::load(Attempt::Lsm, stub.btf_id);
    // What refuses any program refuses one that sleeps.
    let can_sleep = lsm == Outcome::Accepted
        && trial::load(Attempt::LsmSleepable, stub.btf_id) == Outcome::Accepted;
    let target = target.filter(|_| !is(&lsm, Grounds::NoHook));
    let fmod_ret =
        target.map_or(Outcome::NoFunction, |target| trial::load(Attempt::FmodRet, target.btf_id));
    Tried { lsm, can_sleep: Some(can_sleep), fmod_ret }
}

/// The function as it is to be shown.
fn function(name: String, stub: &Signature, target: Option<&Signature>) -> String {
    let takes = |signature: &Signature| -> Vec<String> {
        signature.parameters.iter().map(|parameter| parameter.r#type.clone()).collect()
    };
    match target {
        Some(target) if takes(target) != takes(stub) => target.prototype(&name),
        _ => name,
    }
}

fn is(outcome: &Outcome, grounds: Grounds) -> bool {
    matches!(outcome, Outcome::Refused(obstacle) if obstacle.grounds == grounds)
}
