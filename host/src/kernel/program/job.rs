//! The job of a program: the hook, watch or proof that it is made for.

use krsi_host_abi::frozen::objects;
use krsi_host_abi::hook::{Attach, Hook, Keys};
use krsi_host_abi::spec::{Capture, ObjectKind, Read, Spec, spec_flag};

/// Program that has executables hashed.
const DIGEST: &str = "digest";
/// Program that proves a backend.
const PROOF: &str = "proof";
/// Program that tells which processes there are.
const PROCESSES: &str = "processes";
/// Program that changes labels.
const LABEL: &str = "label";
/// Program of the witness.
const WITNESS: &str = "witness";
/// Program of the hooks without one of their own.
const TEMPLATE: &str = "template";

/// Which program, and what it is told.
#[derive(Clone, Debug)]
pub enum Job {
    /// A hook with a program of its own.
    Own(Hook),
    /// An instance of the template for an LSM hook.
    Template {
        /// Name of the LSM hook.
        hook: String,
        /// Captures, predicate and verdict of the instance.
        spec: Box<Spec>,
    },
    /// Sees what the LSMs together answered at a hook.
    Witness {
        /// Name of the LSM hook.
        hook: String,
        /// Slot at which the witness counts.
        slot: u16,
        /// Words of the function's arguments: the answer stands behind them.
        answer: u32,
    },
    /// Asks the rules on digests at `bprm_check_security`, beside the hook's own program.
    Digest {
        /// Mebibytes of a file at most that is hashed.
        mib: u32,
    },
    /// Tells that it is called, and for which file.
    Proof {
        /// Name of the LSM hook: its first argument is a file.
        hook: &'static str,
    },
    /// Tells which processes there are, whenever the host reads it.
    Processes,
    /// Changes labels of a process, whenever the host runs it.
    Label,
}

/// Hook of [`Job::Digest`].
const DIGEST_HOOK: Hook = Hook::BprmCheckSecurity;

impl Job {
    /// Slot of its flags and counters.
    #[must_use]
    pub fn slot(&self) -> u16 {
        match self {
            Job::Own(hook) => hook.id(),
            Job::Template { spec, .. } => u16::try_from(spec.slot).unwrap_or(0),
            Job::Witness { slot, .. } => *slot,
            Job::Digest { .. } => DIGEST_HOOK.id(),
            Job::Proof { hook } => Hook::from_name(hook).map_or(0, Hook::id),
            // They count nothing.
            Job::Processes | Job::Label => 0,
        }
    }

    /// LSM hook or tracepoint of the program.
    pub(super) fn hook(&self) -> &str {
        match self {
            Job::Own(hook) => hook.name(),
            Job::Template { hook, .. } | Job::Witness { hook, .. } => hook,
            Job::Digest { .. } => DIGEST_HOOK.name(),
            Job::Proof { hook } => hook,
            Job::Processes => PROCESSES,
            Job::Label => LABEL,
        }
    }

    /// Kind of the program's attachment to its hook.
    pub(super) fn attach(&self) -> Attach {
        match self {
            Job::Own(hook) => hook.row().attach,
            Job::Template { .. }
            | Job::Witness { .. }
            | Job::Digest { .. }
            | Job::Proof { .. }
            | Job::Processes
            | Job::Label => Attach::LsmDeny,
        }
    }

    /// The object's program that it is an instance of.
    pub(super) fn program(&self) -> &'static str {
        match self {
            Job::Own(hook) => hook.name(),
            Job::Template { .. } => TEMPLATE,
            Job::Witness { .. } => WITNESS,
            Job::Digest { .. } => DIGEST,
            Job::Proof { .. } => PROOF,
            Job::Processes => PROCESSES,
            Job::Label => LABEL,
        }
    }

    /// Name of the instance in the kernel.
    pub(super) fn name(&self) -> &str {
        match self {
            Job::Digest { .. } => DIGEST,
            Job::Proof { .. } => PROOF,
            _ => self.hook(),
        }
    }

    /// What its calls can be about, as [`krsi_host_abi::frozen::OBJECTS`] says it.
    pub(super) fn objects(&self) -> u32 {
        let if_so = |is_so: bool, bit: u32| if is_so { bit } else { 0 };
        match self {
            Job::Own(hook) => {
                let keys = hook.row().keys;
                if_so(keys.contains(Keys::FILE), objects::FILE)
                    | if_so(keys.contains(Keys::NETWORK), objects::NETWORK)
            }
            Job::Template { spec, .. } => {
                let has_path = spec.path_row != 0 || spec.flags & spec_flag::PATH_UNTOLD != 0;
                let has_file = spec.object == ObjectKind::File as u32 || spec.second_capture != 0;
                if_so(has_file || has_path, objects::FILE)
                    | if_so(spec.object == ObjectKind::Network as u32, objects::NETWORK)
            }
            Job::Digest { .. } => objects::FILE,
            Job::Witness { .. } | Job::Proof { .. } | Job::Processes | Job::Label => {
                objects::FILE | objects::NETWORK
            }
        }
    }

    fn spec(&self) -> Option<&Spec> {
        match self {
            Job::Template { spec, .. } => Some(spec),
            Job::Own(_)
            | Job::Witness { .. }
            | Job::Digest { .. }
            | Job::Proof { .. }
            | Job::Processes
            | Job::Label => None,
        }
    }

    /// Whether its calls are about a path that the hook's arguments do not tell.
    pub(super) fn is_untold(&self) -> bool {
        self.spec().is_some_and(|spec| spec.flags & spec_flag::PATH_UNTOLD != 0)
    }

    /// Whether its predicate tests a path: one that is walked is put together afterwards.
    pub(super) fn tests_path(&self) -> bool {
        self.spec().is_some_and(|spec| spec.flags & spec_flag::PATH_TEST != 0)
    }

    /// Whether it gives a label at the end of the exec that a call belongs to.
    pub(crate) fn labels_at_exec(&self) -> bool {
        self.spec().is_some_and(|spec| spec.flags & spec_flag::LABEL_AT_EXEC != 0)
    }

    /// Whether it reads what only a program that sleeps can.
    pub(super) fn sleeps(&self) -> bool {
        let is_slow = |capture: &Capture| capture.read == Read::Xattr as u8;
        self.spec().is_some_and(|spec| spec.captures.iter().any(is_slow))
    }
}

#[cfg(test)]
mod tests {
    use krsi_host_abi::hook::HOOKS;

    use super::*;

    /// A look-up that is taken out of a program which could need it would let a denied call pass.
    #[test]
    fn a_program_keeps_the_look_ups_of_all_keys_that_its_hook_has() {
        for row in HOOKS {
            let objects = Job::Own(row.hook).objects();
            let has = |bit| objects & bit != 0;
            assert_eq!(has(objects::FILE), row.keys.contains(Keys::FILE), "{}", row.name);
            assert_eq!(has(objects::NETWORK), row.keys.contains(Keys::NETWORK), "{}", row.name);
        }
        let of = |change: fn(&mut Spec)| {
            let mut spec = Spec::EMPTY;
            change(&mut spec);
            Job::Template { hook: "x".into(), spec: Box::new(spec) }.objects()
        };
        assert_eq!(of(|_| ()), 0);
        assert_eq!(of(|spec| spec.object = ObjectKind::Network as u32), objects::NETWORK);
        for change in [
            (|spec| spec.object = ObjectKind::File as u32) as fn(&mut Spec),
            |spec| spec.second_capture = 1,
            |spec| spec.path_row = 1,
            |spec| spec.flags = spec_flag::PATH_UNTOLD,
        ] {
            assert_eq!(of(change), objects::FILE);
        }
    }
}
