//! From a decided call to a record: reserve on the right ring, fill, submit, or count the loss.
//!
//! The reservation is the scratch space: per-CPU scratch would be overwritten by another task,
//! because LSM programs are preemptible. Wake-ups are the kernel's adaptive ones: at once when the
//! reader has caught up, none while it is behind.

use core::mem::MaybeUninit;

use aya_ebpf::maps::ring_buf::RingBufEntry;
use krsi_host_abi::ABI_VERSION;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::ProcessKey;
use krsi_host_abi::record::{Header, Verdict};

use crate::capture::{self, Skip, Task};
use crate::filter::{self, Call, Facts, Passes, Traits};
use crate::verdict::Decision;
use crate::{global, label, map, offset};

/// A record under construction: header, body, tail.
#[repr(C)]
pub struct Slot<B, T> {
    header: Header,
    body: B,
    tail: T,
}

/// What filling a record came to.
pub enum Fill {
    /// The record is complete and is submitted.
    Done,
    /// The path in the record is not one that the filter asks for.
    Unwanted,
    /// The tail is too short for the strings.
    TooLong,
}

/// Where a record's body and tail are written.
pub struct Room<B, T> {
    /// Room for the record's body.
    pub body: *mut B,
    /// Room for the record's tail.
    pub tail: *mut T,
}

impl<B, T> Room<B, T> {
    /// Writes the body.
    #[inline(always)]
    pub fn write(&self, body: B) {
        // SAFETY: `body` points into a live reservation of `Slot<B, T>`.
        unsafe { self.body.write(body) };
    }
}

/// Whether a call has a record, and where.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The decision on the call.
    pub decision: Decision,
    /// Whether telemetry is wanted.
    pub passes: Passes,
    /// Whether the hook decides anything.
    decides: bool,
}

impl Wanted {
    /// What a call is worth: a decision always has its record.
    #[inline(always)]
    pub fn new(call: &Call, decision: Decision, traits: &Traits) -> Self {
        let passes = match decision.verdict() {
            Verdict::None => filter::passes(call, traits),
            Verdict::Denied | Verdict::Audited => Passes::Yes,
        };
        Self { decision, passes, decides: true }
    }

    /// The same of a hook that decides nothing: the compiler leaves out what a verdict would change, which 5.10
    /// would verify on every way.
    #[inline(always)]
    pub fn undecided(call: &Call, decision: Decision, traits: &Traits) -> Self {
        Self { decision, passes: filter::passes(call, traits), decides: false }
    }

    /// The verdict on the call.
    #[inline(always)]
    fn verdict(&self) -> Verdict {
        if self.decides { self.decision.verdict() } else { Verdict::None }
    }

    /// Whether the path has a say.
    #[inline(always)]
    pub fn by_path(&self) -> bool {
        matches!(self.passes, Passes::IfPath)
    }
}

/// Emits a record if somebody wants it. False: the tail was too short, nothing is counted yet, call
/// again with a longer one.
#[inline(always)]
pub fn emit<B: 'static, T: 'static>(
    call: &Call,
    wanted: &Wanted,
    fill: impl FnOnce(&Room<B, T>) -> Result<Fill, Skip>,
) -> bool {
    if wanted.passes == Passes::No {
        call.leave();
        return true;
    }
    let (sent, lost) = match wanted.verdict() {
        Verdict::None => (Counter::Forwarded, Counter::LostTelemetry),
        Verdict::Denied | Verdict::Audited => (Counter::Verdicts, Counter::LostVerdicts),
    };
    let Some(mut entry) = reserve::<B, T>(wanted.verdict()) else {
        call.counts.add(lost);
        return true;
    };
    let (header, room) = parts(entry.as_mut_ptr());
    match fill(&room) {
        Ok(Fill::Done) => {
            write_header(header, call, &wanted.decision);
            entry.submit(0);
            call.counts.add(sent);
            true
        }
        Ok(Fill::Unwanted) => {
            entry.discard(0);
            call.leave();
            true
        }
        Ok(Fill::TooLong) => {
            entry.discard(0);
            false
        }
        Err(skip) => {
            entry.discard(0);
            call.skip(skip);
            true
        }
    }
}

/// Room on the ring of denials or on that of telemetry.
#[inline(always)]
pub fn reserve<B: 'static, T: 'static>(verdict: Verdict) -> Option<RingBufEntry<Slot<B, T>>> {
    match verdict {
        Verdict::None => map::TELEMETRY.reserve::<Slot<B, T>>(0),
        Verdict::Denied | Verdict::Audited => map::VERDICTS.reserve::<Slot<B, T>>(0),
    }
}

/// The parts of a reservation.
#[inline(always)]
pub fn parts<B, T>(slot: *mut Slot<B, T>) -> (*mut Header, Room<B, T>) {
    // SAFETY: `slot` is a live reservation of the right size; only addresses are taken.
    unsafe {
        (&raw mut (*slot).header, Room { body: &raw mut (*slot).body, tail: &raw mut (*slot).tail })
    }
}

/// Writes the header.
#[inline(always)]
pub fn write_header(out: *mut Header, call: &Call, decision: &Decision) {
    krsi_header(out, &call.facts, decision);
}

/// Writes a header into a live reservation.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_header(out: *mut Header, facts: &Facts, decision: &Decision) -> u32 {
    let (Some(facts), Some(decision)) = (global::seen(facts), global::seen(decision)) else {
        return 0;
    };
    if out.is_null() {
        return 0;
    }
    let caller = capture::caller();
    let zero = facts.unknown_zero();
    let none = ProcessKey { start_boot_ns: zero, tgid: zero as u32, pad: zero as u32 };
    let (real_parent, namespace) = match Task::current() {
        Ok(task) => (
            task.ptr(&offset::TASK_REAL_PARENT).and_then(capture::process_key).unwrap_or(none),
            capture::mount_ns(task),
        ),
        Err(_) => (none, 0),
    };
    // SAFETY: `out` points into a live reservation, whose bytes are the kernel's and so have values,
    // and any bytes are a header (`FromBytes`).
    let out = unsafe { &mut *out };
    // Every field by name: one that is added and not filled here does not compile.
    let Header {
        abi,
        hook,
        cpu,
        boot_ns,
        process,
        parent,
        tid,
        uid,
        gid,
        mount_ns,
        cgroup_id,
        rule_id,
        errno,
        verdict,
        owner,
        pad,
        labels,
        given,
        comm,
    } = out;
    *abi = ABI_VERSION as u16;
    *hook = facts.slot as u16;
    *cpu = caller.cpu;
    *boot_ns = capture::boot_ns();
    let ProcessKey { start_boot_ns, tgid, pad: process_pad } = facts.process;
    *process = ProcessKey { start_boot_ns, tgid, pad: process_pad };
    *parent = real_parent;
    *tid = caller.tid;
    *uid = caller.uid;
    *gid = caller.gid;
    *mount_ns = namespace;
    *cgroup_id = caller.cgroup_id;
    *rule_id = decision.rule_id;
    *errno = decision.errno();
    *verdict = decision.verdict() as u8;
    *owner = decision.owner();
    *pad = 0;
    *given = decision.gives();
    *labels = label::had(facts, decision);
    capture::comm(comm);
    0
}

/// A tail without strings.
pub type NoTail = MaybeUninit<[u8; 0]>;
