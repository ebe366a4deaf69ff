//! Programs of the file family.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::deny::FileKey;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{FileOpen, PATH_LONG, PATH_SHORT};

use super::path::{self, Outcome};
use crate::capture::{self, Ptr, Skip};
use crate::emit::{self, Fill, Room, Wanted};
use crate::filter::{self, Call, EarlyObject, Passes, Traits};
use crate::verdict;
use crate::{map, offset, prefix};

/// `__FMODE_EXEC` of `include/linux/fs.h`: the file is opened to be executed.
const FMODE_EXEC: u32 = 0x20;

/// `security_file_open(struct file *file)`. A skipped capture is answered by the on-error rule.
#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let early = FileObject(|| Ptr::arg::<0>(&ctx));
    let Some(call) = filter::enter(Hook::FileOpen.id() as u32, &early) else { return 0 };
    let file = Ptr::arg::<0>(&ctx);
    let mut traits = Traits::none(&call);
    if call.wants_file() && file.and_then(|file| look(file, &mut traits)).is_err() {
        traits.object.set_unread();
    }
    traits.object.set_executed(u64::from(traits.flags & FMODE_EXEC));
    let path = file.and_then(|file| file.embedded(&offset::FILE_F_PATH));
    prefix::note(&call, path, 0, &mut traits.object);
    let decision = verdict::decide(&call, &mut traits.object);
    let wanted = Wanted::new(&call, decision, &traits);
    if wanted.passes == Passes::No {
        call.leave();
        return decision.answer();
    }
    match file.and_then(|file| Ok((file, key(file)?))) {
        Ok((file, key)) => {
            if !report::<PATH_SHORT>(&call, &wanted, &traits, file, key, false) {
                report::<PATH_LONG>(&call, &wanted, &traits, file, key, true);
            }
        }
        Err(skip) => call.skip(skip),
    }
    decision.answer()
}

/// The file of a call, read only when it is asked for.
pub(super) struct FileObject<F: Fn() -> Result<Ptr, Skip>>(pub(super) F);

impl<F: Fn() -> Result<Ptr, Skip>> EarlyObject for FileObject<F> {
    #[inline(always)]
    fn misses_files(&self) -> bool {
        match (self.0)().and_then(key) {
            Ok(key) => map::file(&key).is_none(),
            Err(_) => false,
        }
    }

    #[inline(always)]
    fn path(&self) -> Option<Ptr> {
        (self.0)().and_then(|file| file.embedded(&offset::FILE_F_PATH)).ok()
    }
}

/// Reads what rules and filters ask for.
#[inline(always)]
fn look(file: Ptr, traits: &mut Traits) -> Result<(), Skip> {
    let key = key(file)?;
    traits.object.set_file(key.ino, key.place());
    traits.flags = file.load(&offset::FILE_F_FLAGS).unwrap_or(0);
    Ok(())
}

#[inline(always)]
fn key(file: Ptr) -> Result<FileKey, Skip> {
    capture::file_key(file.ptr(&offset::FILE_F_INODE)?)
}

#[inline(always)]
fn report<const P: usize>(
    call: &Call,
    wanted: &Wanted,
    traits: &Traits,
    file: Ptr,
    key: FileKey,
    last: bool,
) -> bool {
    emit::emit(call, wanted, |room: &Room<FileOpen, [u8; P]>| {
        let path = match path::capture(call, wanted, traits, file, room.tail, last)? {
            Outcome::Text(text) => text,
            Outcome::Fill(fill) => return Ok(fill),
        };
        let mode: u16 = file.ptr(&offset::FILE_F_INODE)?.load(&offset::INODE_I_MODE)?;
        let flags = file.load(&offset::FILE_F_FLAGS)?;
        room.write(FileOpen { file: key, path, flags, mode: u32::from(mode) });
        Ok(Fill::Done)
    })
}
