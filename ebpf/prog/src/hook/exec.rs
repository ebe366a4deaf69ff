//! Programs of the exec family.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::deny::FileKey;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{ARGV_LONG, ARGV_SHORT, Exec, PATH_LONG, PATH_SHORT, Text};

use crate::capture::{self, PathRead, Ptr, Skip};
use crate::emit::{self, Fill, Room};
use crate::filter::{self, Call};
use crate::offset;
use crate::verdict::{self, Decision, Object};

/// What both hooks know of the executable.
#[derive(Clone, Copy)]
struct Image {
    file: Ptr,
    key: FileKey,
    flags: u32,
    argc: u32,
    /// User memory of the argument strings; empty where it is not mapped yet.
    argv: (u64, u64),
}

/// Path and argument rooms of a record.
#[repr(C)]
struct Tail<const P: usize, const A: usize> {
    path: [u8; P],
    argv: [u8; A],
}

/// `security_bprm_check(struct linux_binprm *bprm)`. A skipped capture allows.
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(ctx: LsmContext) -> i32 {
    let Some(call) = filter::enter(Hook::BprmCheckSecurity) else { return 0 };
    match Ptr::arg::<0>(&ctx).and_then(image) {
        Ok(image) => {
            let decision = verdict::decide(&call, Object::File(image.key));
            emit::account(&call, &decision);
            if !report::<PATH_SHORT, 0>(&call, &decision, image, false) {
                report::<PATH_LONG, 0>(&call, &decision, image, true);
            }
            decision.answer()
        }
        Err(skip) => {
            filter::skip(call.hook, skip);
            0
        }
    }
}

/// `security_bprm_committed_creds(const struct linux_binprm *bprm)`: void, so the answer is ignored.
/// Sleepable, to read the new image's arguments.
#[lsm(hook = "bprm_committed_creds", sleepable)]
pub fn bprm_committed_creds(ctx: LsmContext) -> i32 {
    let Some(call) = filter::enter(Hook::BprmCommittedCreds) else { return 0 };
    match Ptr::arg::<0>(&ctx).and_then(committed) {
        Ok(image) => {
            if !report::<PATH_SHORT, ARGV_SHORT>(&call, &Decision::NONE, image, false) {
                report::<PATH_LONG, ARGV_LONG>(&call, &Decision::NONE, image, true);
            }
        }
        Err(skip) => filter::skip(call.hook, skip),
    }
    0
}

#[inline(always)]
fn image(bprm: Ptr) -> Result<Image, Skip> {
    let file = bprm.ptr(&offset::BPRM_FILE)?;
    let inode = file.ptr(&offset::FILE_F_INODE)?;
    Ok(Image {
        file,
        key: capture::file_key(inode)?,
        flags: capture::exec_flags(inode)?,
        argc: bprm.load(&offset::BPRM_ARGC)?,
        argv: (0, 0),
    })
}

#[inline(always)]
fn committed(bprm: Ptr) -> Result<Image, Skip> {
    // `p` is the lowest argument and `exec` the file name above the environment; mm->arg_end is
    // only set later (fs/exec.c, setup_arg_pages).
    let argv = (bprm.load(&offset::BPRM_P)?, bprm.load(&offset::BPRM_EXEC)?);
    Ok(Image { argv, ..image(bprm)? })
}

#[inline(always)]
fn report<const P: usize, const A: usize>(
    call: &Call,
    decision: &Decision,
    image: Image,
    last: bool,
) -> bool {
    emit::emit(call, decision, |room: &Room<Exec, Tail<P, A>>| {
        let (path_room, argv_room) = rooms(room);
        let path = match capture::path(image.file, path_room)? {
            PathRead::Whole(len) => Text { offset: 0, len, truncated: 0, pad: 0 },
            PathRead::TooLong if last => capture::last_component(image.file, path_room)?,
            PathRead::TooLong => return Ok(Fill::TooLong),
        };
        let (start, end) = image.argv;
        let len = if A == 0 { 0 } else { capture::user_bytes(start, end, argv_room)? };
        let argv = Text { offset: P as u16, len, truncated: 0, pad: 0 };
        room.write(Exec { file: image.key, path, argv, argc: image.argc, flags: image.flags });
        Ok(Fill::Done)
    })
}

#[inline(always)]
fn rooms<const P: usize, const A: usize>(
    room: &Room<Exec, Tail<P, A>>,
) -> (*mut [u8; P], *mut [u8; A]) {
    let path = room.tail.cast::<[u8; P]>();
    (path, path.wrapping_add(1).cast())
}
