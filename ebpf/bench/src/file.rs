//! Baselines of `file_open` and `bprm_check_security`.

use aya_ebpf::macros::lsm;
use aya_ebpf::programs::LsmContext;
use krsi_host_abi::hook::Hook;
use krsi_host_abi::record::{Exec, FileOpen, PATH_SHORT, Text};

use crate::read::{self, Ptr, offset};
use crate::{record, rule};

/// `file_open` with an empty program.
#[lsm(hook = "file_open")]
pub fn open_bare(_: LsmContext) -> i32 {
    0
}

/// `file_open` with one look-up of the caller.
#[lsm(hook = "file_open")]
pub fn open_process(_: LsmContext) -> i32 {
    rule::process()
}

/// `file_open` with one look-up of the file.
#[lsm(hook = "file_open")]
pub fn open_object(ctx: LsmContext) -> i32 {
    Ptr::arg::<0>(&ctx).map_or(0, rule::file)
}

/// The path, into a reservation that is given back.
#[lsm(hook = "file_open")]
pub fn open_path(ctx: LsmContext) -> i32 {
    if let Some(file) = Ptr::arg::<0>(&ctx) {
        record::discard::<PATH_SHORT>(|out| read::path(file, out));
    }
    0
}

/// `file_open` with a record of it.
#[lsm(hook = "file_open")]
pub fn open_record(ctx: LsmContext) -> i32 {
    let Some(file) = Ptr::arg::<0>(&ctx) else { return 0 };
    record::submit::<FileOpen, PATH_SHORT>(Hook::FileOpen, |body, tail| {
        let key = read::file_key(file)?;
        let path = text(read::path(file, tail))?;
        let mode: u16 = file.ptr(&offset::FILE_F_INODE)?.load(&offset::INODE_I_MODE);
        let flags = file.load(&offset::FILE_F_FLAGS);
        record::write(body, FileOpen { file: key, path, flags, mode: u32::from(mode) });
        Some(())
    });
    0
}

/// `bprm_check_security` with an empty program.
#[lsm(hook = "bprm_check_security")]
pub fn exec_bare(_: LsmContext) -> i32 {
    0
}

/// `bprm_check_security` with one look-up of the caller.
#[lsm(hook = "bprm_check_security")]
pub fn exec_process(_: LsmContext) -> i32 {
    rule::process()
}

/// `bprm_check_security` with one look-up of the executable.
#[lsm(hook = "bprm_check_security")]
pub fn exec_object(ctx: LsmContext) -> i32 {
    executable(&ctx).map_or(0, rule::file)
}

/// The path, into a reservation that is given back.
#[lsm(hook = "bprm_check_security")]
pub fn exec_path(ctx: LsmContext) -> i32 {
    if let Some(file) = executable(&ctx) {
        record::discard::<PATH_SHORT>(|out| read::path(file, out));
    }
    0
}

/// The record. An executable that still has a name needs no look at its file system.
#[lsm(hook = "bprm_check_security")]
pub fn exec_record(ctx: LsmContext) -> i32 {
    let (Some(bprm), Some(file)) = (Ptr::arg::<0>(&ctx), executable(&ctx)) else { return 0 };
    record::submit::<Exec, PATH_SHORT>(Hook::BprmCheckSecurity, |body, tail| {
        let key = read::file_key(file)?;
        let links: u32 = file.ptr(&offset::FILE_F_INODE)?.load(&offset::INODE_I_NLINK);
        let path = text(read::path(file, tail))?;
        let argv = Text { offset: PATH_SHORT as u16, len: 0, flags: 0, pad: 0 };
        let argc = bprm.load(&offset::BPRM_ARGC);
        record::write(body, Exec { file: key, path, argv, argc, flags: u32::from(links == 0) });
        Some(())
    });
    0
}

#[inline(always)]
fn executable(ctx: &LsmContext) -> Option<Ptr> {
    Ptr::arg::<0>(ctx)?.ptr(&offset::BPRM_FILE)
}

#[inline(always)]
fn text(len: i64) -> Option<Text> {
    if len <= 0 {
        return None;
    }
    Some(Text { offset: 0, len: (len - 1) as u16, flags: 0, pad: 0 })
}
