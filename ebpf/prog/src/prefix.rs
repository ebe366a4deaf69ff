//! The path of a call as a key of rules: resolved into memory of the calling task's own, then cut to
//! the longest prefix that has a rule.
//!
//! The memory is not the CPU's, because LSM programs are preemptible, and not a ring's, because a
//! discarded reservation waits for its reader.

use krsi_host_abi::filter::PREFIX_LEN;
use krsi_host_abi::frozen::d_path;
use krsi_host_abi::path::{PATHLESS, PREFIX_MAX, PathKey, UNRESOLVED, step};

use crate::call::Call;
use crate::capture::{self, Ptr, Skip};
use crate::global;
use crate::map::{self, SCRATCH_LEN};
use crate::object::Object;
use crate::offset;
use crate::resolve::{self, PathRead};
use krsi_host_abi::deny::flag;

/// Notes the path of a call in its object: with `name`, that of an entry of the folder.
#[inline(always)]
pub fn note(call: &Call, path: Result<Ptr, Skip>, name: u64, object: &mut Object) {
    if !call.wants(flag::PATH) {
        return;
    }
    object.path = PathKey { hash: u64::from(call.facts.slot), len: UNRESOLVED, pad: 0 };
    match path {
        Ok(path) if offset::d_path() != d_path::NONE => resolve(call, path, name, object),
        Err(Skip::Null) => object.path.len = PATHLESS,
        _ => {}
    }
}

#[inline(always)]
fn resolve(call: &Call, path: Ptr, name: u64, object: &mut Object) {
    let task = capture::pid_tgid();
    let Some(room) = map::lend(&task) else { return };
    if let Ok(PathRead::Whole(len)) = resolve::folder(path, room.bytes)
        && (name == 0 || resolve::join(room.bytes, len, name).is_ok())
    {
        krsi_prefix(room.bytes.cast(), call.facts.unknown_zero(), &mut object.path);
    }
    room.let_go(&task);
}

/// Whether a path may start as somebody asks: yes, where it cannot be resolved now.
#[inline(always)]
pub fn may_start(path: Ptr, asks: impl FnOnce(*const [u8; PREFIX_LEN]) -> bool) -> bool {
    if offset::d_path() == d_path::NONE {
        return true;
    }
    let Some(room) = map::claim() else { return true };
    let may = match resolve::folder(path, room.bytes) {
        Ok(PathRead::Whole(_)) => asks(room.bytes.cast()),
        _ => true,
    };
    room.let_go(&0);
    may
}

/// Finds the longest prefix of a path that has a rule. A name that is no path of a file system, as a
/// pipe's, has none; one beyond the root of the caller stays unresolved.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn krsi_prefix(path: *const [u8; PREFIX_MAX], zero: u64, out: &mut PathKey) -> u32 {
    let Some(out) = global::seen_mut(out) else { return 0 };
    if path.is_null() {
        return 0;
    }
    let first = capture::byte(path, 0);
    if first == b'(' {
        return 0;
    }
    out.len = PATHLESS;
    if first != b'/' {
        return 0;
    }
    let mut hash = offset::path_secret() ^ zero;
    let mut at = 0;
    while at < offset::path_bytes() {
        let byte = capture::byte(path, at as usize);
        if byte == b'/' || byte == 0 {
            let key = PathKey { hash, len: at, pad: 0 };
            if map::path(&key).is_some() {
                out.hash = hash ^ zero;
                out.len = at ^ zero as u32;
            }
            if byte == 0 {
                break;
            }
        }
        hash = step(hash, byte) ^ zero;
        at += 1;
    }
    0
}

const _: () = assert!(SCRATCH_LEN >= PREFIX_MAX);
