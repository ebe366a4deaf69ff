//! Programs of the file family.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::deny::FileKey;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{FileOpen, PATH_LONG, PATH_SHORT, Text};

use crate::capture::{self, PathRead, Ptr, Skip};
use crate::emit::{self, Fill, Room};
use crate::filter::{self, Call};
use crate::offset;
use crate::verdict::{self, Decision, Object};

/// `security_file_open(struct file *file)`. A skipped capture allows.
#[lsm(hook = "file_open")]
pub fn file_open(ctx: LsmContext) -> i32 {
    let Some(call) = filter::enter(Hook::FileOpen) else { return 0 };
    match Ptr::arg::<0>(&ctx).and_then(|file| Ok((file, key(file)?))) {
        Ok((file, key)) => {
            let decision = verdict::decide(&call, Object::File(key));
            emit::account(&call, &decision);
            if !report::<PATH_SHORT>(&call, &decision, file, key, false) {
                report::<PATH_LONG>(&call, &decision, file, key, true);
            }
            decision.answer()
        }
        Err(skip) => {
            filter::skip(call.hook, skip);
            0
        }
    }
}

#[inline(always)]
fn key(file: Ptr) -> Result<FileKey, Skip> {
    capture::file_key(file.ptr(&offset::FILE_F_INODE)?)
}

#[inline(always)]
fn report<const P: usize>(
    call: &Call,
    decision: &Decision,
    file: Ptr,
    key: FileKey,
    last: bool,
) -> bool {
    emit::emit(call, decision, |room: &Room<FileOpen, [u8; P]>| {
        let path = match capture::path(file, room.tail)? {
            PathRead::Whole(len) => Text { offset: 0, len, truncated: 0, pad: 0 },
            PathRead::TooLong if last => capture::last_component(file, room.tail)?,
            PathRead::TooLong => return Ok(Fill::TooLong),
        };
        let mode: u16 = file.ptr(&offset::FILE_F_INODE)?.load(&offset::INODE_I_MODE)?;
        let flags = file.load(&offset::FILE_F_FLAGS)?;
        room.write(FileOpen { file: key, path, flags, mode: u32::from(mode) });
        Ok(Fill::Done)
    })
}
