//! Trial loads: whether the kernel would take a program for a hook, asked by loading one that does nothing.
//!
//! The program is `r0 = 0; exit`. It is attached to nothing and gone when its descriptor is closed.

use std::fmt;

use aya_obj::generated::{bpf_func_id::BPF_FUNC_d_path, bpf_insn};
use serde::Serialize;

use super::syscall::{self, AttachType, Program, Refusal, Sleep};

/// `rN = imm`: `BPF_ALU64 | BPF_MOV | BPF_K`.
const SET: u8 = 0xb7;
/// `call imm`: `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// `exit`: `BPF_JMP | BPF_EXIT`.
const EXIT: u8 = 0x95;

/// A kind of program that the kernel is tried with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// A program of type LSM, on the hook's `bpf_lsm_*` function.
    Lsm,
    /// A sleepable program of type LSM.
    LsmSleepable,
    /// A program that modifies what the hook's `security_*` function returns.
    FmodRet,
    /// A program that watches that function.
    Observe,
}

/// Result of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The kernel was not tried.
    #[default]
    Untried,
    /// The kernel would take it.
    Accepted,
    /// The kernel has no such function.
    NoFunction,
    /// The kernel refused the program.
    Refused(Obstacle),
}

/// A obstacle in the kernel's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Obstacle {
    /// Meaning of the obstacle, as far as it is known.
    pub grounds: Grounds,
    pub errno: i32,
    /// Words of the verifier; empty when it said nothing.
    pub words: String,
}

/// What a obstacle means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grounds {
    /// The hook is on the kernel's list of hooks that BPF may not have.
    Disabled,
    /// The function is the BPF LSM's own and no hook.
    NoHook,
    /// A program for it may not sleep.
    NotSleepable,
    /// The caller may not load programs.
    NotPermitted,
    /// An obstacle of any other kind.
    Other,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.grounds, self.words.as_str()) {
            (Grounds::NotPermitted, "") => write!(formatter, "not permitted to load programs"),
            (_, "") => write!(formatter, "{}", std::io::Error::from_raw_os_error(self.errno)),
            (_, words) => write!(formatter, "{words}"),
        }
    }
}

/// Loads a program that does nothing for the function with that BTF id, and unloads it.
#[must_use]
pub(crate) fn load(attempt: Attempt, target: u32) -> Outcome {
    let (attach_type, sleep) = match attempt {
        Attempt::Lsm => (AttachType::Lsm, Sleep::Never),
        Attempt::LsmSleepable => (AttachType::Lsm, Sleep::Allowed),
        Attempt::FmodRet => (AttachType::ModifyReturn, Sleep::Never),
        Attempt::Observe => (AttachType::Exit, Sleep::Never),
    };
    let neutral = [instruction(SET, 0, 0), instruction(EXIT, 0, 0)];
    let program = Program {
        name: "trial",
        instructions: &neutral,
        attach_type,
        target,
        sleep,
        functions: None,
    };
    match syscall::load(&program) {
        Ok(_closed) => Outcome::Accepted,
        Err(refusal) => Outcome::Refused(obstacle(&refusal)),
    }
}

/// Why programs for the function with that BTF id may not call `bpf_d_path`, if they may not. It is asked with
/// three NULLs: the kernel looks at whether the helper may be called (EINVAL, `check_helper_call` of
/// kernel/bpf/verifier.c) before it looks at what it is called with (EACCES). Whether the program sleeps is the
/// same to it.
#[must_use]
pub(super) fn no_path_helper(attach_type: AttachType, target: u32) -> Option<Refusal> {
    let arguments = [1, 2, 3].map(|register| instruction(SET, register, 0));
    let [path, buffer, size] = arguments;
    let call = instruction(CALL, 0, BPF_FUNC_d_path as i32);
    let asks = [path, buffer, size, call, instruction(SET, 0, 0), instruction(EXIT, 0, 0)];
    let sleep = Sleep::Never;
    let program =
        Program { name: "trial", instructions: &asks, attach_type, target, sleep, functions: None };
    let refusal = syscall::load(&program).err()?;
    (refusal.source.raw_os_error() == Some(libc::EINVAL)).then_some(refusal)
}

fn instruction(code: u8, register: u8, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(register, 0),
        off: 0,
        imm,
    }
}

fn obstacle(refusal: &syscall::Refusal) -> Obstacle {
    let errno = refusal.source.raw_os_error().unwrap_or_default();
    let words = words(&refusal.log);
    // The texts of kernel/bpf/bpf_lsm.c and kernel/bpf/verifier.c.
    let grounds = if words.contains("disabled hook") {
        Grounds::Disabled
    } else if words.contains("wrong type name") {
        Grounds::NoHook
    } else if words.contains("sleepable") {
        Grounds::NotSleepable
    } else if errno == libc::EPERM {
        Grounds::NotPermitted
    } else {
        Grounds::Other
    };
    Obstacle { grounds, errno, words: words.to_owned() }
}

/// The line of a verifier's log that says why; its last one are statistics.
fn words(log: &str) -> &str {
    let says = |line: &&str| {
        !line.is_empty()
            && !line.starts_with("processed ")
            && !line.starts_with("verification time")
            && !line.starts_with("stack depth")
    };
    log.lines().map(str::trim).rfind(says).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_kernels_words() {
        let check = |errno: i32, log: &str, grounds: Grounds, shown: &str| {
            let source = io::Error::from_raw_os_error(errno);
            let obstacle = obstacle(&syscall::Refusal { source, log: log.into() });
            assert_eq!(
                (obstacle.grounds, obstacle.to_string().as_str()),
                (grounds, shown),
                "{log}"
            );
        };
        let statistics = "processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0\n";
        let disabled = "attach_btf_id 77 points to disabled hook bpf_lsm_getprocattr";
        check(libc::EINVAL, &format!("{disabled}\n{statistics}"), Grounds::Disabled, disabled);
        let own = "attach_btf_id 78 points to wrong type name bpf_lsm_func_proto";
        check(libc::EINVAL, &format!("{own}\n"), Grounds::NoHook, own);
        let awake = "bpf_lsm_file_mprotect is not sleepable";
        check(libc::EINVAL, &format!("{awake}\n{statistics}"), Grounds::NotSleepable, awake);
        check(libc::EPERM, "", Grounds::NotPermitted, "not permitted to load programs");
        check(libc::EINVAL, statistics, Grounds::Other, "Invalid argument (os error 22)");
    }

    /// Whoever runs this, nothing is on the kernel's side of BTF id `u32::MAX`.
    #[test]
    fn a_function_that_is_not_there_is_refused() {
        for attempt in [Attempt::Lsm, Attempt::LsmSleepable, Attempt::FmodRet, Attempt::Observe] {
            assert!(matches!(load(attempt, u32::MAX), Outcome::Refused(_)), "{attempt:?}");
        }
    }
}
