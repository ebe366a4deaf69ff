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

/// `FUSE_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const FUSE_MAGIC: u64 = 0x6573_5546;
/// `OVERLAYFS_SUPER_MAGIC` of `include/uapi/linux/magic.h`.
const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// `SB_I_NODEV` of `include/linux/fs.h`, which file systems have that a user namespace mounted.
const SB_I_NODEV: u64 = 1 << 2;
/// `-EFBIG`: what is told of a file that is not hashed.
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
    if flags & flag::CANARY != 0 {
        map::tell_hashed(algorithm);
    }
    if flags & flag::DIGEST == 0 {
        return 0;
    }
    let Some(counts) = map::counts(slot) else { return 0 };
    if algorithm != SHA256 {
        counts.add(Counter::Errors);
        digest = UNHASHED;
    }
    let Some(entry) = map::digest(&digest) else { return 0 };
    let Ok(call) = filter::call(flags, slot, counts) else {
        counts.add(Counter::Errors);
        return 0;
    };
    let mut object = Object::none(&call);
    if let Ok(image) = exec::image(bprm) {
        object.set_file(image.key.ino, u64::from(image.key.dev));
        object.set_executed(1 ^ call.facts.unknown_zero());
    }
    let decision = verdict::decide_digest(&call, &object, entry);
    if decision.is_made() {
        counts.add(Counter::Seen);
        tell(&call, decision, bprm);
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
/// may write to what is being executed, so its length stays. Who serves a FUSE file system may stall a
/// read; an overlay that an unprivileged user mounted may lie on one.
#[inline(always)]
fn is_bounded(file: Ptr) -> Result<bool, Skip> {
    let inode = file.ptr(&offset::FILE_F_INODE)?;
    let size: u64 = inode.load(&offset::INODE_I_SIZE)?;
    let sb = inode.ptr(&offset::INODE_I_SB)?;
    let magic: u64 = sb.load(&offset::SB_S_MAGIC)?;
    let flags: u64 = sb.load(&offset::SB_S_IFLAGS)?;
    let stalls = magic == FUSE_MAGIC || magic == OVERLAY_MAGIC && flags & SB_I_NODEV != 0;
    Ok(size <= offset::digest_bytes() && !stalls)
}

/// Sends the record.
#[inline(always)]
fn tell(call: &Call, decision: Decision, bprm: Ptr) {
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
