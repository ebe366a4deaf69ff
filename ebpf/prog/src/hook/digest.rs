//! The digest of an executable as a key of rules: a program of its own, because only one that sleeps
//! can have a file hashed.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::counter::Counter;
use krsi_host_abi::deny::{Digest, SHA256, UNHASHED, flag};
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{PATH_LONG, PATH_SHORT};

use super::exec;
use crate::capture::{self, Ptr, Skip};
use crate::emit::Wanted;
use crate::filter::{self, Call, Traits};
use crate::object::Object;
use crate::verdict::{self, Decision};
use crate::{map, offset};

/// `-EFBIG`: what stands for a file that is not hashed.
const NOT_HASHED: i64 = -27;

/// `security_bprm_check(struct linux_binprm *bprm)`, beside the hook's other program, in whichever order.
/// That one accounts for the call; this one only for what it refuses or reports.
#[lsm(hook = "bprm_check_security", sleepable)]
pub fn digest(ctx: LsmContext) -> i32 {
    let slot = Hook::BprmCheckSecurity.id() as u32;
    let flags = map::flags(slot);
    if flags & (flag::DIGEST | flag::CANARY) == 0 || capture::tgid() == offset::host_tgid() {
        return 0;
    }
    let Ok(bprm) = Ptr::arg::<0>(&ctx) else { return 0 };
    let mut digest = [0; 32];
    let algorithm = hash(bprm, &mut digest);
    // Of a file that is not hashed nothing is told: it is a stranger's, executed meanwhile.
    if flags & flag::CANARY != 0 && algorithm != NOT_HASHED {
        map::count_hashed(algorithm);
    }
    if flags & flag::DIGEST == 0 {
        return 0;
    }
    let Some(counts) = map::counts(slot) else { return 0 };
    if algorithm != SHA256 {
        counts.add(Counter::Errors);
        digest = UNHASHED;
    }
    if map::digest(&digest).is_none() {
        return 0;
    }
    let Ok(call) = filter::call(flags, slot, counts) else {
        counts.add(Counter::Errors);
        return 0;
    };
    let mut object = Object::none(&call);
    if let Ok(image) = exec::image(bprm) {
        object.set_file(image.key.ino, image.key.place());
        object.set_executed(1 ^ call.facts.unknown_zero());
    }
    let decision = verdict::decide_digest(&call, &object, &digest);
    if decision.is_made() {
        counts.add(Counter::Seen);
        emit_digest(&call, decision, bprm);
    }
    decision.answer()
}

/// What the file was hashed with, or a negative errno.
#[inline(always)]
fn hash(bprm: Ptr, digest: &mut Digest) -> i64 {
    match bprm.ptr(&offset::BPRM_FILE) {
        Ok(file) if is_bounded(file).unwrap_or(false) => capture::hash(file, digest),
        _ => NOT_HASHED,
    }
}

/// Whether hashing a file ends, and soon: the kernel reads it to its end whatever signal comes, and nobody
/// may write to what is being executed, so its length stays.
#[inline(always)]
fn is_bounded(file: Ptr) -> Result<bool, Skip> {
    let inode = file.ptr(&offset::FILE_F_INODE)?;
    let size: u64 = inode.load(&offset::INODE_I_SIZE)?;
    Ok(size <= offset::digest_bytes() && !capture::may_stall(inode)?)
}

/// Sends the record.
#[inline(always)]
fn emit_digest(call: &Call, decision: Decision, bprm: Ptr) {
    let traits = Traits::none(call);
    let wanted = Wanted::new(call, decision, &traits);
    let image: Result<_, Skip> = exec::image(bprm);
    match image {
        Ok(image) => {
            if !exec::report::<PATH_SHORT, 0>(call, &wanted, &traits, image, false) {
                exec::report::<PATH_LONG, 0>(call, &wanted, &traits, image, true);
            }
        }
        Err(skip) => call.skip(skip),
    }
}
