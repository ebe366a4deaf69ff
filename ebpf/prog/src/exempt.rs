//! Whom no rule refuses: PID 1, the host's own, and whom the operator exempts; followed here through fork,
//! exec and exit, so that neither a lost record nor a stopped host prolongs it.

use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{FileKey, ProcessKey, exempt};

use crate::capture::{self, Ptr, Skip, Task};
use crate::filter::{Call, Facts};
use crate::object::Object;
use crate::{global, map, offset};

/// Whether no rule may refuse a call: by who calls, or because root executes the host's own file. PID 1 is
/// among the processes that the host has noted.
///
/// Kernels before 6.2 take a key from the stack only, of which there is little: one place for all, that of the
/// caller's process, which it holds again afterwards.
#[inline(always)]
pub fn spares(facts: &Facts, object: &Object, place: &mut ProcessKey) -> bool {
    *place = facts.process.in_ticks();
    if map::exempt(place) != 0 {
        return true;
    }
    if object.is_executed() {
        // The host holds the file.
        let FileKey { ino, dev, generation: pad } = object.file_key().held();
        *place = ProcessKey { start_boot_ns: ino, tgid: dev, pad };
        if map::exempt_file_at(place) & exempt::HOST != 0 && is_root() {
            return true;
        }
    }
    *place = facts.process;
    false
}

/// The same, for whoever has no room for a key.
#[inline(always)]
pub fn is_spared(facts: &Facts, object: &Object) -> bool {
    krsi_spares(facts, object) != 0
}

/// Whether no rule may refuse a call: 1, or 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_spares(facts: &Facts, object: &Object) -> u32 {
    let (Some(facts), Some(object)) = (global::seen(facts), global::seen(object)) else {
        return 0;
    };
    let mut place = facts.process;
    u32::from(spares(facts, object, &mut place)) ^ facts.unknown_zero() as u32
}

/// Whether the caller's real user is root.
#[inline(always)]
fn is_root() -> bool {
    Task::current().and_then(capture::uid_of).is_ok_and(|uid| uid == 0)
}

/// A child of the host's is exempt until it executes something else.
#[inline(always)]
pub fn fork_of_host(child: Ptr) -> Result<(), Skip> {
    if capture::tgid() != offset::host_tgid() {
        return Ok(());
    }
    if let Some(child) = capture::forked(child)? {
        // A full map leaves it to the rules.
        let _kept = map::set_exempt(&child.in_ticks(), exempt::HOST);
    }
    Ok(())
}

/// A child runs its parent's image.
#[inline(always)]
pub fn fork(call: &Call, child: &ProcessKey) {
    let parent = call.facts.process.in_ticks();
    let why = map::exempt(&parent) & exempt::INHERITED;
    if why != 0 && !map::set_exempt(&child.in_ticks(), why) {
        call.counts.add(Counter::LostExempt);
    }
}

/// A process runs another image from here on, which alone decides; but for one that was named.
#[inline(always)]
pub fn exec(call: &Call, file: Result<FileKey, Skip>) {
    let process = call.facts.process.in_ticks();
    let zero = call.facts.unknown_zero();
    let before = map::exempt(&process) ^ zero;
    let after = (before & exempt::NAMED | granted(call, file)) ^ zero;
    if after == before {
        return;
    }
    if after == 0 {
        map::end_exempt(&process);
    } else if !map::set_exempt(&process, after) {
        call.counts.add(Counter::LostExempt);
    }
}

/// What an executable makes of the caller: decided by the real user, which no set-uid bit changes.
#[inline(always)]
fn granted(call: &Call, file: Result<FileKey, Skip>) -> u64 {
    let Ok(file) = file else { return 0 };
    let named = map::exempt_file(&file.held());
    if named == 0 {
        return 0;
    }
    let Ok(uid) = capture::uid_of(call.task) else { return 0 };
    let mut why = 0;
    if named & exempt::HOST != 0 && uid == 0 {
        why |= exempt::HOST;
    }
    if named & exempt::EXECUTABLE != 0
        && (map::is_exempt_uid(&uid) || map::is_exempt_cgroup(&capture::cgroup_id()))
    {
        why |= exempt::EXECUTABLE;
    }
    why
}

/// A process is gone.
#[inline(always)]
pub fn exit(process: &ProcessKey) {
    map::end_exempt(&process.in_ticks());
}
