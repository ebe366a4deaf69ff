//! Trial loads: whether the kernel would take a program for a hook, asked by loading one that does nothing.
//!
//! The program is `r0 = 0; exit`. It is attached to nothing and gone when its descriptor is closed.

use std::fmt;

use serde::Serialize;

use super::syscall::{ProgSpec, Rejected, prog_load};

/// `r0 = 0; exit`.
const NEUTRAL: [u64; 2] = [0xb7, 0x95];

const TRACING: u32 = 26;
const LSM: u32 = 29;
const TRACE_FENTRY: u32 = 24;
const MODIFY_RETURN: u32 = 26;
const LSM_MAC: u32 = 27;
const SLEEPABLE: u32 = 1 << 4;

const EPERM: i32 = 1;

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A program of type LSM, on the hook's `bpf_lsm_*` function.
    Lsm,
    /// The same, one that may sleep.
    LsmSleepable,
    /// A program that modifies what the hook's `security_*` function returns.
    FmodRet,
    /// A program that watches that function.
    Observe,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody tried.
    #[default]
    Untried,
    /// The kernel would take it.
    Accepted,
    /// The kernel has no such function.
    NoFunction,
    /// The kernel refuses.
    Refused(Refusal),
}

/// A refusal in the kernel's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// What it means.
    pub cause: Cause,
    /// The errno.
    pub errno: i32,
    /// What the verifier said; empty when it said nothing.
    pub words: String,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The hook is on the kernel's list of hooks that BPF may not have.
    Disabled,
    /// The function is the BPF LSM's own and no hook.
    NoHook,
    /// A program for it may not sleep.
    NotSleepable,
    /// The caller may not load programs.
    NotPermitted,
    /// Anything else.
    Other,
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cause, self.words.as_str()) {
            (Cause::NotPermitted, "") => write!(formatter, "not permitted to load programs"),
            (_, "") => write!(formatter, "{}", std::io::Error::from_raw_os_error(self.errno)),
            (_, words) => write!(formatter, "{words}"),
        }
    }
}

/// Loads a program that does nothing for the function with that BTF id, and unloads it.
#[must_use]
pub fn load(attempt: Attempt, attach_btf_id: u32) -> Outcome {
    let (prog_type, attach_type, flags) = match attempt {
        Attempt::Lsm => (LSM, LSM_MAC, 0),
        Attempt::LsmSleepable => (LSM, LSM_MAC, SLEEPABLE),
        Attempt::FmodRet => (TRACING, MODIFY_RETURN, 0),
        Attempt::Observe => (TRACING, TRACE_FENTRY, 0),
    };
    let spec =
        ProgSpec { prog_type, attach_type, attach_btf_id, flags, name: "trial", code: &NEUTRAL };
    match prog_load(&spec) {
        Ok(_closed) => Outcome::Accepted,
        Err(rejected) => Outcome::Refused(refusal(&rejected)),
    }
}

fn refusal(rejected: &Rejected) -> Refusal {
    let errno = rejected.source.raw_os_error().unwrap_or_default();
    let words = words(&rejected.log);
    // The texts of kernel/bpf/bpf_lsm.c and kernel/bpf/verifier.c.
    let cause = if words.contains("disabled hook") {
        Cause::Disabled
    } else if words.contains("wrong type name") {
        Cause::NoHook
    } else if words.contains("sleepable") {
        Cause::NotSleepable
    } else if errno == EPERM {
        Cause::NotPermitted
    } else {
        Cause::Other
    };
    Refusal { cause, errno, words: words.to_owned() }
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
        let check = |errno: i32, log: &str, cause: Cause, shown: &str| {
            let source = io::Error::from_raw_os_error(errno);
            let refusal = refusal(&Rejected { source, log: log.into() });
            assert_eq!((refusal.cause, refusal.to_string().as_str()), (cause, shown), "{log}");
        };
        let statistics = "processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0\n";
        let disabled = "attach_btf_id 77 points to disabled hook bpf_lsm_getprocattr";
        check(22, &format!("{disabled}\n{statistics}"), Cause::Disabled, disabled);
        let own = "attach_btf_id 78 points to wrong type name bpf_lsm_func_proto";
        check(22, &format!("{own}\n"), Cause::NoHook, own);
        let awake = "bpf_lsm_file_mprotect is not sleepable";
        check(22, &format!("{awake}\n{statistics}"), Cause::NotSleepable, awake);
        check(1, "", Cause::NotPermitted, "not permitted to load programs");
        check(22, statistics, Cause::Other, "Invalid argument (os error 22)");
    }

    /// Whoever runs this, nothing is on the kernel's side of BTF id `u32::MAX`.
    #[test]
    fn a_function_that_is_not_there_is_refused() {
        for attempt in [Attempt::Lsm, Attempt::LsmSleepable, Attempt::FmodRet, Attempt::Observe] {
            assert!(matches!(load(attempt, u32::MAX), Outcome::Refused(_)), "{attempt:?}");
        }
    }
}
