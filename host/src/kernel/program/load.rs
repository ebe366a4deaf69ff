//! Programs in the kernel: one instance a hook or watch, loaded and attached one by one.
//!
//! A program that the kernel refuses takes no other with it.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use krsi_host_abi::capture::{OFFSETS, VITAL};
use krsi_host_abi::frozen::{self, d_path};
use krsi_host_abi::hook::Attach;
use krsi_host_abi::kfunc::PATH_D_PATH;
use krsi_host_abi::spec::{ObjectKind, Spec, spec_flag};
use zerocopy::IntoBytes;

use super::backend::{Backend, BackendKind, Target};
use super::job::Job;
use super::kfunc::call_kfuncs;
use super::object::{GlobalFunctions, ObjectError, ObjectFile};
use super::plan::{HookPlan, MissingField};
use super::processes::TaskIterator;
use super::syscall::{self, AttachType, Program, Refusal, Sleep};
use super::trial;
use crate::kernel::btf::KernelTypes;
use crate::kernel::btf::kfunc::Kfuncs;
use crate::kernel::map::label::LabelProgram;

/// Why a hook has no program.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The kernel has no function to attach to.
    #[error("this kernel has no function for it")]
    NoFunction,
    /// The kernel does not tell whose a call is.
    #[error("this kernel's {structure} has no {member}")]
    Field { structure: &'static str, member: &'static str },
    /// The object cannot be made into its program.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// The verifier or the kernel refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The verifier or the kernel refused a watch whose predicate tests a path.
    #[error(
        "the kernel resolves no path at this hook, and the watch tests one; test the inode or a name"
    )]
    PathTest(#[source] Refusal),
    /// The program was loaded and could not be attached.
    #[error("the kernel does not attach the program")]
    Attach(#[source] io::Error),
}

/// A live program: dropping it detaches and unloads it.
pub struct LiveProgram {
    /// Slot of its flags and counters.
    pub slot: u16,
    /// Name of its hook.
    pub hook: String,
    /// Function that it is attached to.
    pub function: String,
    /// Whether it resolves the path of what its hook is about.
    pub resolves: bool,
    /// Attach type of the program.
    attach_type: AttachType,
    link: Option<OwnedFd>,
    program: Arc<OwnedFd>,
}

/// What the kernel tells of a program's misses. It keeps the program loaded, and nothing attached.
#[derive(Clone, Debug)]
pub struct Misses(Arc<OwnedFd>);

impl Misses {
    /// Calls so far that were left out because the program ran on that CPU already
    /// (`recursion_misses`, from Linux 5.12 on).
    #[must_use]
    pub fn count(&self) -> u64 {
        syscall::info(self.0.as_fd()).map_or(0, |info| info.recursion_misses)
    }
}

impl PartialEq for Misses {
    /// Whether they are of the same program.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl LiveProgram {
    /// What the kernel tells of it: runs, misses, verified instructions.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn info(&self) -> io::Result<aya_obj::generated::bpf_prog_info> {
        syscall::info(self.program.as_fd())
    }

    /// What the kernel tells of its misses, for whoever outlives it.
    #[must_use]
    pub fn misses(&self) -> Misses {
        Misses(Arc::clone(&self.program))
    }

    /// Whether its hook is one of the LSMs.
    #[must_use]
    pub fn is_lsm(&self) -> bool {
        self.attach_type != AttachType::Tracepoint
    }

    /// Detaches it; what runs, runs on to its end.
    pub fn detach(&mut self) {
        self.link = None;
    }
}

/// Loads and attaches instances of the object's programs by one backend.
pub struct Loader {
    file: ObjectFile,
    backend: &'static dyn Backend,
    offsets: Vec<(&'static str, u32)>,
    /// Secret with which hashes of paths start.
    path_secret: u64,
    /// Member of a kernel type that every program needs, if this kernel lacks one.
    vital: Option<MissingField>,
    task_btf: bool,
    /// Whether programs are told the cgroups above the caller's.
    ancestors: bool,
    kfuncs: Kfuncs,
    /// Which global functions this kernel was seen to take.
    functions: OnceLock<GlobalFunctions>,
}

/// A way to make a program, which not every kernel or hook allows.
#[derive(Clone, Copy)]
struct Way {
    /// Which functions are verified once.
    functions: GlobalFunctions,
    /// How paths are resolved: one of [`d_path`].
    d_path: u32,
    /// It sleeps where it wants to; else it reads only what is resident.
    sleep: bool,
}

/// 5.10 knows no global functions with pointers, and no ring buffers in programs that sleep.
const WAYS: [Way; 6] = [
    Way { functions: GlobalFunctions::All, d_path: d_path::HELPER, sleep: true },
    Way { functions: GlobalFunctions::All, d_path: d_path::KFUNC, sleep: true },
    Way { functions: GlobalFunctions::All, d_path: d_path::NONE, sleep: true },
    Way { functions: GlobalFunctions::OfNumbers, d_path: d_path::HELPER, sleep: true },
    Way { functions: GlobalFunctions::OfNumbers, d_path: d_path::HELPER, sleep: false },
    Way { functions: GlobalFunctions::OfNumbers, d_path: d_path::NONE, sleep: false },
];

impl Loader {
    /// A loader for this kernel.
    #[must_use]
    pub fn new(
        file: ObjectFile,
        backend: &'static dyn Backend,
        plan: &HookPlan,
        path_secret: u64,
        types: &KernelTypes,
    ) -> Self {
        let task_btf = types.has_function("bpf_get_current_task_btf");
        // It came to tracing programs with 5.15, as this helper did.
        let ancestors = types.has_function("bpf_task_pt_regs");
        let functions = OnceLock::new();
        let offsets = plan.offsets.clone();
        let kfuncs = Kfuncs::of(types);
        let is_vital = |field: &&MissingField| {
            let mut named = OFFSETS.iter().filter(|offset| VITAL.contains(&offset.global));
            named.any(|offset| (offset.structure, offset.member) == (field.structure, field.member))
        };
        let vital = plan.missing.iter().find(is_vital).copied();
        Self { file, backend, offsets, path_secret, vital, task_btf, ancestors, kfuncs, functions }
    }

    #[must_use]
    pub fn backend(&self) -> &'static dyn Backend {
        self.backend
    }

    /// Functions of the kernel that its programs may call.
    #[must_use]
    pub fn kfuncs(&self) -> Kfuncs {
        match self.backend.kind() {
            BackendKind::Lsm => self.kfuncs.clone(),
            BackendKind::FmodRet | BackendKind::Observe => Kfuncs::default(),
        }
    }

    /// Attaches programs by another backend from now on.
    pub fn set_backend(&mut self, backend: &'static dyn Backend) {
        self.backend = backend;
    }

    /// Loads and attaches a program.
    ///
    /// # Errors
    /// When this kernel has no place for it, or refuses it.
    pub fn load(&self, types: &KernelTypes, job: &Job) -> Result<LiveProgram, HookError> {
        let (hook, attach, program) = (job.hook(), job.attach(), job.program());
        let backend = self.backend_of(job);
        let target = match attach {
            Attach::Tracepoint => Target {
                function: format!("btf_trace_{hook}"),
                attach_type: AttachType::Tracepoint,
            },
            _ => backend.target(types, hook).ok_or(HookError::NoFunction)?,
        };
        let id = match target.attach_type {
            AttachType::Tracepoint => types.typedef_id(&target.function),
            _ => types.function_id(&target.function),
        };
        let id = id.ok_or(HookError::NoFunction)?;
        if let Some(MissingField { structure, member, .. }) = self.vital {
            return Err(HookError::Field { structure, member });
        }
        // Cheaper than to find out by a whole program.
        let is_hook = matches!(target.attach_type, AttachType::Lsm | AttachType::ModifyReturn);
        let no_path_helper =
            is_hook.then(|| trial::no_path_helper(target.attach_type, id)).flatten();
        let load = |way| self.refined(job, &target, program, id, way);
        let (fd, way) = self.by_any_way(job, no_path_helper, load)?;
        let link = syscall::attach(fd.as_fd()).map_err(HookError::Attach)?;
        let verified = syscall::info(fd.as_fd()).map_or(0, |info| info.verified_insns);
        tracing::debug!(hook, program, verified, function = target.function, "attached");
        Ok(LiveProgram {
            slot: job.slot(),
            hook: hook.to_owned(),
            function: target.function,
            resolves: way.d_path != d_path::NONE && !job.is_untold(),
            attach_type: target.attach_type,
            link: Some(link),
            program: Arc::new(fd),
        })
    }

    /// Loads the program that tells which processes there are. It is attached to nothing.
    ///
    /// # Errors
    /// When this kernel has no iterator of tasks, or refuses it.
    pub fn processes(&self, types: &KernelTypes) -> Result<TaskIterator, HookError> {
        let function = "bpf_iter_task".to_owned();
        let id = types.function_id(&function).ok_or(HookError::NoFunction)?;
        if let Some(MissingField { structure, member, .. }) = self.vital {
            return Err(HookError::Field { structure, member });
        }
        let target = Target { function, attach_type: AttachType::Iterator };
        let job = Job::Processes;
        let load = |way| self.refined(&job, &target, job.program(), id, way);
        let (program, _) = self.by_any_way(&job, None, load)?;
        TaskIterator::new(program.as_fd()).map_err(HookError::Attach)
    }

    /// Loads the program that changes labels for the host. It is attached to nothing.
    ///
    /// # Errors
    /// When this kernel refuses it.
    pub(crate) fn label(&self, program: &LabelProgram) -> Result<(), HookError> {
        let target = Target { function: String::new(), attach_type: AttachType::Run };
        let load = |way| self.refined(&Job::Label, &target, Job::Label.program(), 0, way);
        let (fd, _) = self.by_any_way(&Job::Label, None, load)?;
        program.loaded(move |arguments| syscall::run(fd.as_fd(), arguments));
        Ok(())
    }

    /// A witness comes after all that refuse, whatever they are.
    fn backend_of(&self, job: &Job) -> &'static dyn Backend {
        match job {
            Job::Own(_)
            | Job::Template { .. }
            | Job::Digest { .. }
            | Job::Proof { .. }
            | Job::Processes
            | Job::Label => self.backend,
            Job::Witness { .. } => BackendKind::Observe.backend(),
        }
    }

    /// Tries each way in turn; the refusal of the last is told, which asks least of the kernel.
    fn by_any_way(
        &self,
        job: &Job,
        no_path_helper: Option<Refusal>,
        load: impl Fn(Way) -> Result<OwnedFd, HookError>,
    ) -> Result<(OwnedFd, Way), HookError> {
        let known = self.functions.get().copied();
        let has_function = self.kfuncs().has(PATH_D_PATH);
        let has_helper = no_path_helper.is_none();
        let mut last = no_path_helper;
        let is_open = |way: &Way| {
            known.is_none_or(|functions| way.functions == functions)
                && (way.d_path != d_path::HELPER || has_helper)
                && (way.d_path != d_path::KFUNC || has_function)
                && (way.d_path != d_path::NONE || !job.tests_path())
                && (way.sleep || !job.sleeps())
        };
        for way in WAYS.into_iter().filter(is_open) {
            match load(way) {
                Ok(fd) => {
                    // The first program that loads tells what the kernel takes; two have no global function.
                    if !matches!(job, Job::Proof { .. } | Job::Processes | Job::Label) {
                        self.functions.get_or_init(|| way.functions);
                    }
                    return Ok((fd, way));
                }
                Err(HookError::Refused(refusal)) => {
                    tracing::debug!(
                        functions = ?way.functions,
                        d_path = way.d_path,
                        sleep = way.sleep,
                        log = refusal.log,
                        "refused: {refusal}"
                    );
                    last = Some(refusal);
                }
                Err(error) => return Err(error),
            }
        }
        Err(match last {
            Some(refusal) if job.tests_path() => HookError::PathTest(refusal),
            Some(refusal) => HookError::Refused(refusal),
            None => HookError::NoFunction,
        })
    }

    fn refined(
        &self,
        job: &Job,
        target: &Target,
        program: &str,
        id: u32,
        way: Way,
    ) -> Result<OwnedFd, HookError> {
        let mut words: HashMap<&str, [u8; 4]> = HashMap::new();
        let mut set = |name: &'static str, value: u32| words.insert(name, value.to_ne_bytes());
        for (name, offset) in &self.offsets {
            set(name, *offset);
        }
        set(frozen::HOST_TGID, std::process::id());
        set(frozen::D_PATH, way.d_path);
        let [low, high] = frozen::PATH_SECRET;
        set(low, u32::try_from(self.path_secret & u64::from(u32::MAX)).unwrap_or(0));
        set(high, u32::try_from(self.path_secret >> 32).unwrap_or(0));
        set(frozen::TASK_BTF, u32::from(self.task_btf));
        set(frozen::OBJECTS, job.objects());
        set(frozen::ANCESTORS, u32::from(self.ancestors));
        set(frozen::READS_AGAIN, u32::from(way.functions == GlobalFunctions::All));
        let sleep = match target.attach_type {
            AttachType::Lsm if job.sleeps() => Sleep::Allowed,
            AttachType::Lsm if way.sleep => self.backend.sleep(self.file.sleep(program)),
            _ => Sleep::Never,
        };
        set(frozen::MAY_SLEEP, u32::from(sleep == Sleep::Allowed));
        let spec = match job {
            Job::Own(_) | Job::Proof { .. } | Job::Processes | Job::Label => None,
            Job::Digest { mib } => {
                set(frozen::DIGEST_MIB, *mib);
                None
            }
            Job::Witness { slot, answer, .. } => {
                set(frozen::WITNESS_SLOT, u32::from(*slot));
                set(frozen::WITNESS_ANSWER, *answer);
                None
            }
            Job::Template { spec, .. } => {
                let mut spec = (**spec).seal();
                if !self.backend.can_deny() {
                    spec.flags &= !spec_flag::DENY;
                }
                Some(spec)
            }
        };
        // A hook that answers yes or no takes no errno.
        let refuses = spec.as_ref().is_none_or(|spec| spec.flags & spec_flag::DENY != 0);
        set(frozen::CAN_DENY, u32::from(refuses && self.backend_of(job).can_deny()));
        let globals = globals(&words, spec.as_ref());
        let is_elsewhere =
            spec.as_ref().is_some_and(|spec| spec.object != ObjectKind::Network as u32);
        let stands_in = sleep == Sleep::Allowed && is_elsewhere;
        let mut instance = self.file.instance(program, globals, stands_in)?;
        call_kfuncs(&self.kfuncs, &mut instance.instructions);
        let types = self.file.types(way.functions);
        let fd = syscall::load(&Program {
            functions: types.map(|types| (types, instance.functions.as_slice())),
            name: job.name(),
            instructions: &instance.instructions,
            attach_type: target.attach_type,
            target: id,
            sleep,
        })?;
        Ok(fd)
    }
}

fn globals<'a>(
    words: &'a HashMap<&'a str, [u8; 4]>,
    spec: Option<&'a Spec>,
) -> HashMap<&'a str, (&'a [u8], bool)> {
    let words = words.iter().map(|(name, bytes)| (*name, (&bytes[..], true)));
    words.chain(spec.map(|spec| (frozen::SPEC, (spec.as_bytes(), true)))).collect()
}
