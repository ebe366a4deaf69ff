//! Programs of the exec family.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::deny::FileKey;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{ARGV_LONG, ARGV_SHORT, Exec, PATH_LONG, PATH_SHORT, Text};

use super::file;
use super::path::{self, Outcome};
use crate::capture::{self, Ptr, Skip};
use crate::emit::{self, Fill, Room, Wanted};
use crate::filter::{self, Call, Passes, Traits};
use crate::verdict::{self, Decision};
use crate::{exempt, label, offset, prefix};

/// What both hooks know of the executable.
#[derive(Clone, Copy)]
pub(super) struct Image {
    file: Ptr,
    /// Identity of the executable.
    pub(super) key: FileKey,
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

/// `security_bprm_check(struct linux_binprm *bprm)`. A skipped capture is
/// answered by the on-error rule.
#[lsm(hook = "bprm_check_security")]
pub fn bprm_check_security(ctx: LsmContext) -> i32 {
    let slot = Hook::BprmCheckSecurity.id() as u32;
    let early = file::FileObject(|| Ptr::arg::<0>(&ctx)?.ptr(&offset::BPRM_FILE));
    let Some(call) = filter::enter(slot, &early) else { return 0 };
    let bprm = Ptr::arg::<0>(&ctx);
    let file = bprm.and_then(|bprm| bprm.ptr(&offset::BPRM_FILE));
    let mut traits = Traits::none(&call);
    if call.wants_file() && bprm.and_then(|bprm| look(bprm, &mut traits)).is_err() {
        traits.object.set_unread();
    }
    traits.object.set_executed(1 ^ call.facts.unknown_zero());
    let path = file.and_then(|file| file.embedded(&offset::FILE_F_PATH));
    prefix::note(&call, path, 0, &mut traits.object);
    let decision = verdict::decide(&call, &mut traits.object);
    let wanted = Wanted::new(&call, decision, &traits);
    if wanted.passes == Passes::No {
        call.leave();
        return decision.answer();
    }
    match bprm.and_then(image) {
        Ok(image) => {
            if !report::<PATH_SHORT, 0>(&call, &wanted, &traits, image, false) {
                report::<PATH_LONG, 0>(&call, &wanted, &traits, image, true);
            }
        }
        Err(skip) => call.skip(skip),
    }
    decision.answer()
}

/// `security_bprm_committed_creds(const struct linux_binprm *bprm)`: void, so the answer is ignored.
/// Sleepable where it can be, to read the new image's arguments.
#[lsm(hook = "bprm_committed_creds", sleepable)]
pub fn bprm_committed_creds(ctx: LsmContext) -> i32 {
    let Some(call) = filter::enter_always(Hook::BprmCommittedCreds.id() as u32) else { return 0 };
    let image = Ptr::arg::<0>(&ctx).and_then(committed);
    // Whatever became of the rest: who runs something else is not exempt for what it ran.
    exempt::exec(&call, image.map(|image| image.key));
    match image {
        Ok(image) => {
            let mut traits = Traits::none(&call);
            traits.object.set_file(image.key.ino, image.key.place());
            let mut decision = Decision::none(&call);
            label::note_exec(&call, &mut decision);
            let wanted = Wanted::undecided(&call, decision, &traits);
            if !report::<PATH_SHORT, ARGV_SHORT>(&call, &wanted, &traits, image, false) {
                report::<PATH_LONG, ARGV_LONG>(&call, &wanted, &traits, image, true);
            }
        }
        Err(skip) => call.skip(skip),
    }
    // Its record tells of the labels before and of those that it gives.
    label::exec_done(&call);
    0
}

/// Reads what rules and filters ask for.
#[inline(always)]
fn look(bprm: Ptr, traits: &mut Traits) -> Result<(), Skip> {
    let key = capture::file_key(bprm.ptr(&offset::BPRM_FILE)?.ptr(&offset::FILE_F_INODE)?)?;
    traits.object.set_file(key.ino, key.place());
    Ok(())
}

#[inline(always)]
pub(super) fn image(bprm: Ptr) -> Result<Image, Skip> {
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
pub(super) fn report<const P: usize, const A: usize>(
    call: &Call,
    wanted: &Wanted,
    traits: &Traits,
    image: Image,
    last: bool,
) -> bool {
    // The verifier forgets them, and goes through what follows once.
    let image = Image { flags: image.flags ^ call.facts.unknown_zero() as u32, ..image };
    emit::emit(
        call,
        wanted,
        #[inline(always)]
        |room: &Room<Exec, Tail<P, A>>| {
            let (path_room, argv_room) = rooms(room);
            let path = match path::capture(call, wanted, traits, image.file, path_room, last)? {
                Outcome::Text(text) => text,
                Outcome::Fill(fill) => return Ok(fill),
            };
            let zero = call.facts.unknown_zero();
            let len = if A == 0 { 0 } else { capture::user_bytes(image.argv, zero, argv_room)? };
            let argv = Text { offset: P as u16, len, flags: 0, pad: 0 };
            room.write(Exec { file: image.key, path, argv, argc: image.argc, flags: image.flags });
            Ok(Fill::Done)
        },
    )
}

#[inline(always)]
fn rooms<const P: usize, const A: usize>(
    room: &Room<Exec, Tail<P, A>>,
) -> (*mut [u8; P], *mut [u8; A]) {
    let path = room.tail.cast::<[u8; P]>();
    (path, path.wrapping_add(1).cast())
}
